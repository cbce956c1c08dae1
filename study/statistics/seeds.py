"""Differences over training seeds: what another seed would change, apart from the sampling of images (PROTOCOL section 5).

Floor 0: numpy and scipy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from study.statistics.resampling import CONFIDENCE

NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class SeedDifference:
    """The mean of a difference over seeds with its 95 % interval and sample sd; of one seed these two are NaN, of none all are."""

    mean: float
    low: float
    high: float
    sd: float
    seeds: int


def over_seeds(differences: ArrayLike) -> SeedDifference:
    """Return the mean of paired differences (S,), one a seed, with Student's t interval on S - 1 degrees of freedom.

    NaN entries are left out.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    n = len(values)
    mean = float(values.mean()) if n else NAN
    sd = float(values.std(ddof=1)) if n > 1 else NAN
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / np.sqrt(n) if n > 1 else NAN
    return SeedDifference(mean=mean, low=mean - reach, high=mean + reach, sd=sd, seeds=n)
