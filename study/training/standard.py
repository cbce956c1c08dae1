"""Standardised features, bit for bit as scikit-learn's StandardScaler has them.

To import scikit-learn takes one to three seconds of a short sweep, for these few lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """mean, scale: (D,) float64. scale is 1 where a column is constant but for rounding."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats | None = None) -> Standard:
        """Return the columns' means and standard deviations. values: (N, D) float64, finite;
        weights: (N,), not all 0. In two passes, with the rounding of the first taken out (Chan,
        Golub and LeVeque, The American Statistician 37, 1983).
        """
        count = float(len(values))
        if weights is not None:  # added up row by row, as scikit-learn does
            count = np.repeat(weights[:, None], values.shape[1], axis=1).sum(axis=0)
        mean = _sum(values, weights) / count
        apart = values - mean
        lost = _sum(apart, weights)
        apart **= 2
        variance = (_sum(apart, weights) - lost**2 / count) / count
        eps = np.finfo(np.float64).eps
        constant = variance <= count * eps * variance + (count * mean * eps) ** 2
        return cls(mean, np.sqrt(np.where(constant, 1.0, variance)))

    def __call__(self, values: Floats) -> Floats:
        """Return values (N, D), standardised."""
        standard = values - self.mean
        standard /= self.scale
        return standard


def _sum(values: Floats, weights: Floats | None) -> Floats:
    summed = values.sum(axis=0) if weights is None else weights @ values
    return np.asarray(summed, dtype=np.float64)
