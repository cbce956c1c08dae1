"""Differences over seeds against scipy's t interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.statistics.seeds import over_seeds


@pytest.mark.parametrize("n", [2, 3, 10])
def test_agrees_with_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.1, 0.05, n)
    found = over_seeds([*values, math.nan])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high, found.sd, found.seeds) == pytest.approx(
        (values.mean(), low, high, np.std(values, ddof=1), n)
    )


def test_one_seed_has_no_interval_and_none_has_no_mean() -> None:
    one, none = over_seeds([0.2]), over_seeds([math.nan])
    assert (one.mean, one.seeds) == (0.2, 1) and all(map(math.isnan, (one.low, one.high, one.sd)))
    assert none.seeds == 0 and math.isnan(none.mean)
