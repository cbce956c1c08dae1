"""Standardised features beside scikit-learn's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from study.training.standard import Standard


def columns(rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Columns of many sizes and offsets; some constant, some constant but for rounding."""
    values = rng.normal(size=(rows, 40)) * 10 ** rng.uniform(-9, 9, 40) + rng.normal(size=40) * 50
    values[:, 3] = 0.0
    values[:, 7] = 0.1
    values[:, 11] = 1e8 + rng.normal(size=rows) * 1e-9
    return np.asarray(values.astype(np.float32), dtype=np.float64)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 17, 300])
def test_has_the_bits_of_scikit_learns(rows: int, weighted: bool) -> None:
    rng = np.random.default_rng(rows)
    for _ in range(10):
        values = columns(rows, rng)
        weights = rng.choice([0.5, 1.0, 2.0], rows) if weighted else None
        scaler = StandardScaler().fit(values, sample_weight=weights)
        standard = Standard.of(values, weights)
        assert np.array_equal(standard.mean, scaler.mean_)
        assert np.array_equal(standard.scale, scaler.scale_)
        assert np.array_equal(standard(values), scaler.transform(values))
