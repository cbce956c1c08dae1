"""Random effects against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.statistics.error_model import Part
from study.statistics.random_effects import random_effects


def test_of_equal_errors_it_is_the_t_interval_of_the_values() -> None:
    values = np.array([0.55, 0.61, 0.72, 0.5, 0.66, 0.81, 0.58, 0.69])
    found = random_effects(values, np.full(8, 0.0004))
    low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.between**2 == pytest.approx(values.var(ddof=1) - 0.0004)
    reach = stats.t.ppf(0.975, 6) * np.sqrt(found.between**2 + stats.sem(values) ** 2)
    assert (found.one_low, found.one_high) == pytest.approx(
        (values.mean() - reach, values.mean() + reach)
    )


def test_values_closer_than_their_errors_have_nothing_between() -> None:
    """The interval is then that of one common value, and no narrower."""
    own = np.array([0.01, 0.02, 0.04, 0.01])
    found = random_effects([0.6, 0.61, 0.6, 0.59], own)
    weight = 1 / own
    assert found.between == 0
    assert found.mean == pytest.approx(np.average([0.6, 0.61, 0.6, 0.59], weights=weight))
    reach = stats.t.ppf(0.975, 3) / np.sqrt(weight.sum())
    assert found.high - found.mean == pytest.approx(reach)


def test_the_scatter_is_what_it_should_be() -> None:
    """Paule and Mandel's equation, with unequal errors."""
    rng = np.random.default_rng(0)
    own = rng.uniform(0.0001, 0.002, 12)
    values = 0.7 + rng.normal(0, 0.08, 12) + rng.normal(0, np.sqrt(own))
    found = random_effects(values, own)
    weight = 1 / (own + found.between**2)
    assert weight @ (values - found.mean) ** 2 == pytest.approx(11, rel=1e-6)


def test_what_all_studies_share_is_added_to_the_error_of_the_mean() -> None:
    """By hand, with Welch and Satterthwaite's degrees of freedom."""
    values = np.array([0.55, 0.61, 0.72, 0.5, 0.66, 0.81, 0.58, 0.69])
    given: list[np.ndarray] = []

    def shared(weights: np.ndarray) -> Part:
        given.append(weights)
        return Part(variance=0.001, doubt=0.001**2 / 10)

    found = random_effects(values, np.full(8, 0.0004), shared)
    assert given[0] == pytest.approx(np.full(8, 1 / 8))
    own = stats.sem(values) ** 2
    for low, high, variance, degrees in (
        (found.low, found.high, own, 7),
        (found.one_low, found.one_high, own + values.var(ddof=1) - 0.0004, 6),
    ):
        of_both = (variance + 0.001) ** 2 / (variance**2 / degrees + 0.001**2 / 10)
        reach = stats.t.ppf(0.975, of_both) * np.sqrt(variance + 0.001)
        assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_most_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        own = rng.uniform(0.0002, 0.002, 8)
        values = 0.7 + rng.normal(0, 0.06, 8) + rng.normal(0, np.sqrt(own))
        found = random_effects(values, own)
        held += found.low <= 0.7 <= found.high
    assert 930 <= held <= 975
