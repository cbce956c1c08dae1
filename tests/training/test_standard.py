"""Standardised features beside scikit-learn's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from study.training.balance import even_weights
from study.training.standard import Standard


def columns(rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Columns of many sizes and offsets; some constant, some constant but for rounding."""
    values = rng.normal(size=(rows, 40)) * 10 ** rng.uniform(-9, 9, 40) + rng.normal(size=40) * 50
    values[:, 3] = 0.0
    values[:, 7] = 0.1
    values = np.asarray(values.astype(np.float32), dtype=np.float64)
    values[:, 11] = 1e8 + rng.normal(size=rows) * 1e-9  # constant but for rounding
    return values


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 17, 300])
def test_has_the_bits_of_scikit_learns(rows: int, weighted: bool) -> None:
    rng = np.random.default_rng(rows)
    for _ in range(10):
        values = columns(rows, rng)
        weights = even_weights(rng.choice(3, rows, p=[0.1, 0.3, 0.6])) if weighted else None
        with np.errstate(invalid="ignore"):  # a variance of -1e-18, whose scale is then 1
            scaler = StandardScaler().fit(values, sample_weight=weights)
        standard = Standard.of(values, weights)
        assert np.array_equal(standard.mean, scaler.mean_)
        assert np.array_equal(standard.scale, scaler.scale_)
        assert np.array_equal(standard(values), scaler.transform(values))
