"""Differences over training seeds: what another seed would change, apart from the sampling of
images (PROTOCOL section 5).

Numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtr, stdtrit

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


@dataclass(frozen=True, kw_only=True)
class SeedLead:
    """How far one detector's mean over seeds lies above another's, with Welch's 95 % interval and
    two-sided p.

    variance: of `mean`, between seeds. degrees: of freedom, by Welch and Satterthwaite; infinite
    where the variance is 0.
    reason: why all but `mean` are NaN, else "".
    """

    mean: float
    low: float = NAN
    high: float = NAN
    p: float = NAN
    variance: float = NAN
    degrees: float = NAN
    reason: str = ""

    @property
    def fixed(self) -> bool:
        """Whether no seed of either detector changes anything."""
        return self.variance == 0


def lead_over_seeds(
    first: ArrayLike, second: ArrayLike, *, seedless: tuple[bool, bool] = (False, False)
) -> SeedLead:
    """Compare the seeds' values of two detectors, (S1,) and (S2,), after Welch (1947): their seeds
    are no pairs.

    seedless: of each, whether nothing in it can depend on a seed, so that one value is enough. Of
    any other detector with a single seed the spread is unknown, and so are interval and p; likewise
    where its values are all the same, as AUCs are on few images, or near 0 and 1, without the
    detectors being.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (first, second)]
    value = float(sides[0].mean() - sides[1].mean()) if all(map(len, sides)) else NAN
    reasons = [_no_spread(side) for side, free in zip(sides, seedless, strict=True) if not free]
    if np.isnan(value) or any(reasons):
        return SeedLead(mean=value, reason=next(filter(None, reasons), "no seed"))
    parts = [
        0.0 if free else float(s.var(ddof=1)) / len(s)
        for s, free in zip(sides, seedless, strict=True)
    ]
    variance = sum(parts)
    if not variance:
        return SeedLead(
            mean=value,
            low=value,
            high=value,
            variance=0.0,
            degrees=float("inf"),
            p=float(value == 0),
        )
    degrees = variance**2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True) if part
    )
    reach = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * np.sqrt(variance)
    p = float(2 * stdtr(degrees, -abs(value) / np.sqrt(variance)))
    return SeedLead(
        mean=value, low=value - reach, high=value + reach, p=p, variance=variance, degrees=degrees
    )


def _no_spread(values: Floats) -> str:
    """Why the spread that some seeds' values (S,) are a sample of is unknown, or ""."""
    if len(values) < 2:
        return "one seed" if len(values) else "no seed has every cell"
    return f"{len(values)} seeds of the same AUC" if np.ptp(values) <= NO_SPREAD else ""


def same_logits(logits: Sequence[Floats]) -> bool:
    """Whether seeds gave the same logits (N,), but for rounding: equal AUCs may coincide."""
    return len(logits) > 1 and all(
        np.abs(one - logits[0]).max() <= ROUNDING * np.ptp(one) for one in logits[1:] if len(one)
    )


def p_of_both(lead: float, images: float, seeds: SeedLead) -> float:
    """Return the two-sided p of a lead whose error is the images' sampling, of variance `images`,
    and the seeds', both at once.

    Student's t, degrees of freedom after Satterthwaite (1946), those of the images being infinite.
    NaN where either is.
    """
    variance = images + seeds.variance
    if not variance > 0:
        return NAN
    if seeds.fixed:
        return float(2 * ndtr(-abs(lead) / np.sqrt(variance)))
    degrees = seeds.degrees * (variance / seeds.variance) ** 2
    return float(2 * stdtr(degrees, -abs(lead) / np.sqrt(variance)))
