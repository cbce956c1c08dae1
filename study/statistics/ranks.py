"""Ranks, of ties their mean. scipy has them in `scipy.stats`, which takes a third of a second to be
imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def tied_ranks(values: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Return the rank of every value along an axis, from 1 on, ties at their mean; NaN along all of
    a line in which one is NaN. The shape is that of `values`.
    """
    table = np.asarray(values, dtype=np.float64)
    return np.apply_along_axis(_ranks, axis, table) if table.size else table


def _ranks(line: NDArray[Any]) -> NDArray[np.float64]:
    if np.isnan(line).any():
        return np.full(len(line), np.nan)
    _, place, count = np.unique(line, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks
