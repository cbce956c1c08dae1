"""Differences over seeds against scipy's t interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.statistics.seeds import lead_over_seeds, over_seeds, p_of_both


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


def test_a_lead_over_seeds_is_welchs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.02, 3), rng.normal(0.7, 0.05, 4)
    found, welch = lead_over_seeds(a, b), stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx(
        (welch.pvalue, interval.low, interval.high)
    )
    still = lead_over_seeds(a, [0.7, 0.7], seedless=(False, True))
    assert still.p == pytest.approx(stats.ttest_1samp(a, 0.7).pvalue)
    assert math.isnan(lead_over_seeds(a, [0.7]).p) and lead_over_seeds(a, [0.7]).reason
    assert lead_over_seeds(a, [0.7], seedless=(False, True)).p == pytest.approx(still.p)
    assert lead_over_seeds([0.8, 0.8], [0.7], seedless=(True, True)).fixed


@pytest.mark.parametrize(
    ("first", "second"),
    [([0.75, 0.75], [0.5, 0.5]), ([1.0, 1.0, 1.0], [0.8, 0.82, 0.9]), ([0.8, 0.9], [])],
)
def test_equal_aucs_do_not_say_that_seeds_change_nothing(
    first: list[float], second: list[float]
) -> None:
    found = lead_over_seeds(first, second)
    assert (
        all(map(math.isnan, (found.low, found.high, found.p, found.variance))) and not found.fixed
    )
    expected = "no seed has every cell" if not second else f"{len(first)} seeds of the same AUC"
    assert found.reason == expected and math.isnan(p_of_both(0.2, 0.01, found))


def test_the_p_of_both_is_students_where_seeds_are_all_and_normal_where_they_are_nothing() -> None:
    a, b = np.array([0.8, 0.82, 0.85]), np.array([0.7, 0.78, 0.74])
    seeds = lead_over_seeds(a, b)
    assert p_of_both(seeds.mean, 0.0, seeds) == pytest.approx(
        stats.ttest_ind(a, b, equal_var=False).pvalue
    )
    fixed = lead_over_seeds([0.8, 0.8], [0.7], seedless=(True, True))
    assert p_of_both(0.1, 0.04**2, fixed) == pytest.approx(2 * stats.norm.sf(2.5))
    assert math.isnan(p_of_both(0.1, 0.01, lead_over_seeds([0.8], [0.7])))
