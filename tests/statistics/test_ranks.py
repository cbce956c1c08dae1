"""Ranks are scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from study.statistics.ranks import tied_ranks


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(7, 5), (1, 6), (0, 4), (40, 2)])
def test_tied_ranks_are_those_of_scipy(shape: tuple[int, int], axis: int) -> None:
    rng = np.random.default_rng(3)
    for values in (rng.integers(0, 4, shape).astype(float), rng.normal(size=shape)):
        if values.shape[axis]:
            assert np.array_equal(tied_ranks(values, axis), rankdata(values, axis=axis))


def test_a_line_with_an_undefined_value_has_no_ranks() -> None:
    values = np.array([[3.0, 1.0, 2.0], [1.0, np.nan, 0.0]])
    np.testing.assert_equal(tied_ranks(values), rankdata(values, axis=1))
