"""A share of images, with its interval by group (PROTOCOL section 5). Numpy and scipy only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from study.statistics.error_model import sampled
from study.statistics.exact import agreeing, clopper_pearson, korn_graubard
from study.statistics.resampling import NO_WIDTH, Clusters


class Share(NamedTuple):
    """A share in [0, 1] with its 95 % interval, NaN where there is none; note: what it is, or why
    it is missing, else "".
    """

    value: float
    low: float
    high: float
    note: str = ""


def share_of(each: ArrayLike, groups: Clusters) -> Share:
    """Return the mean of what N images are, each in [0, 1] (a mean over seeds of 0 and 1), with its
    95 % interval: another sample of groups, these models.

    Clopper and Pearson's, and where groups have several images Korn and Graubard's with the
    variance between groups. A share of 0 or 1 has the exact bound of so many groups.
    """
    held = np.asarray(each, dtype=np.float64)
    n, count = len(held), len(groups)
    if not n:
        return Share(math.nan, math.nan, math.nan, "no images")
    value = float(held.mean())
    if count < 2:
        return Share(value, math.nan, math.nan, "interval undefined: all images are one group")
    if value in (0.0, 1.0):
        return Share(value, *agreeing(value, count, "groups"))
    if n == count:
        return Share(value, *clopper_pearson(value * n, n))
    nothing = np.zeros(n)
    variance = sampled((held - value) / n, nothing, nothing, groups).part.variance
    ends = korn_graubard(value, max(variance, NO_WIDTH**2), images=n, groups=count)
    return Share(value, *ends)
