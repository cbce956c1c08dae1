"""Differences over training seeds: what another seed would change, apart from the sampling of
images (PROTOCOL section 5).

Numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from study.statistics.ranking import Floats
from study.statistics.resampling import CONFIDENCE

NAN = float("nan")


NO_SPREAD = 1e-12  # between seeds' AUCs: below it only rounding is left
ROUNDING = 1e-5  # of float32 logits, as a share of their range


@dataclass(frozen=True, kw_only=True)
class SeedDifference:
    """The mean of a difference over seeds with its 95 % interval and sample sd; of one seed these
    two are NaN, of none all are.

    fixed: whether all of several seeds give the very same. It does not depend on the seed, so that
    they count as one (`seeds` 1).
    """

    mean: float
    low: float
    high: float
    sd: float
    seeds: int
    fixed: bool = False

    @property
    def sd_text(self) -> str:
        """The sd as a table shows it, or why there is none."""
        return (
            "n=1: no seed differs"
            if self.fixed
            else f"n={self.seeds}"
            if self.seeds < 2
            else f"{self.sd:.3f}"
        )


def over_seeds(differences: ArrayLike) -> SeedDifference:
    """Return the mean of paired differences (S,), one a seed, with Student's t interval on S - 1
    degrees of freedom.

    NaN entries are left out. Where all are the same, as of logistic regressions, seeds are no
    sample: no interval.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    n = len(values)
    mean = float(values.mean()) if n else NAN
    if n > 1 and np.ptp(values) <= NO_SPREAD:
        return SeedDifference(mean=mean, low=NAN, high=NAN, sd=NAN, seeds=1, fixed=True)
    sd = float(values.std(ddof=1)) if n > 1 else NAN
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / np.sqrt(n) if n > 1 else NAN
    return SeedDifference(mean=mean, low=mean - reach, high=mean + reach, sd=sd, seeds=n)


def same_logits(logits: Sequence[Floats]) -> bool:
    """Whether seeds gave the same logits (N,), but for rounding: equal AUCs may coincide."""
    return len(logits) > 1 and all(
        np.abs(one - logits[0]).max() <= ROUNDING * np.ptp(one) for one in logits[1:] if len(one)
    )
