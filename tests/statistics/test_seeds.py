"""Differences over seeds against scipy's t interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.statistics.seeds import over_seeds, same_logits


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


def test_seeds_that_change_nothing_count_as_one() -> None:
    found = over_seeds([0.1, 0.1, 0.1])
    assert (found.mean, found.seeds, found.fixed) == (pytest.approx(0.1), 1, True)
    assert (
        all(map(math.isnan, (found.low, found.high, found.sd)))
        and found.sd_text == "n=1: no seed differs"
    )


def test_seeds_with_the_same_logits_but_for_rounding_change_nothing() -> None:
    logit = np.random.default_rng(0).normal(size=50)
    assert same_logits([logit, logit * (1 + 1e-7), logit])
    assert not same_logits([logit, logit + 1e-3])
    assert not same_logits([logit])  # of one seed it is not known
