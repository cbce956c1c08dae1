"""A mean over studies that differ among themselves: random effects (PROTOCOL section 5).

Numpy and scipy only. The variance between the studies is Paule and Mandel's (1982), the interval of
the mean Hartung and Knapp's (2001), never narrower than without their factor, and the
interval for one more study is that of Higgins, Thompson and Spiegelhalter (2009).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from study.statistics.error_model import NOTHING, Part
from study.statistics.ranking import Floats
from study.statistics.resampling import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class RandomEffects:
    """mean with its interval; between: the standard deviation of the studies' true values;
    one_low, one_high: the interval for the true value of one more study.
    """

    mean: float
    low: float
    high: float
    between: float
    one_low: float
    one_high: float


def random_effects(
    values: ArrayLike,
    variances: ArrayLike,
    shared: Callable[[Floats], Part] = lambda weights: NOTHING,
) -> RandomEffects:
    """Return the mean of K >= 3 studies. values (K,); variances (K,), positive: of each's own
    error. shared: given the studies' weights (K,), 1 in all, the part of an error of their mean
    that their scatter does not show, because they share it.
    """
    y, own = np.asarray(values, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    k = len(y)
    between = _between(y, own)
    weight = 1 / (own + between)
    mean = float(weight @ y / weight.sum())
    factor = max(float(weight @ (y - mean) ** 2) / (k - 1), 1.0)
    error, common = factor / float(weight.sum()), shared(weight / weight.sum())
    reach = _reach(Part(variance=error, doubt=error**2 / (k - 1)) + common)
    scatter = between + error
    one = _reach(Part(variance=scatter, doubt=scatter**2 / (k - 2)) + common)
    return RandomEffects(
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        between=float(np.sqrt(between)),
        one_low=mean - one,
        one_high=mean + one,
    )


def _reach(error: Part) -> float:
    """Half the interval of a normal number with this error."""
    return float(stdtrit(error.degrees, (1 + CONFIDENCE) / 2) * np.sqrt(error.variance))


def _between(y: Floats, own: Floats) -> float:
    """The variance between studies at which their weighted scatter is what it should be."""
    from scipy.optimize import brentq

    def excess(between: float) -> float:
        weight = 1 / (own + between)
        return float(weight @ (y - weight @ y / weight.sum()) ** 2) - (len(y) - 1)

    if excess(0.0) <= 0:
        return 0.0
    most = float(y.var(ddof=1)) * len(y) + float(own.max())
    return float(brentq(excess, 0.0, most, xtol=1e-14))
