"""The summary of a matrix, by hand."""

from __future__ import annotations

import math

import pytest

from study.statistics.matrix import summarise
from study.statistics.metrics import METRICS

MEMBERS = {"a": ("a",), "b": ("b",), "a+b": ("a", "b")}
VALUES = {
    ("a", "a"): 0.9,
    ("a", "b"): 0.6,
    ("a", "c"): 0.5,
    ("b", "a"): 0.4,
    ("b", "b"): 1.0,
    ("b", "c"): math.nan,
    ("a+b", "a"): 0.8,
    ("a+b", "b"): 0.9,
    ("a+b", "c"): 0.7,
}


def test_in_and_across_domains_by_hand():
    found = summarise(VALUES, MEMBERS, 0.5)
    assert found.in_domain_mean == pytest.approx((0.9 + 1.0 + 0.8 + 0.9) / 4)
    assert found.cross_domain_mean == pytest.approx((0.6 + 0.5 + 0.4 + 0.7) / 4)
    assert found.gap == pytest.approx(0.9 - 0.55) == pytest.approx(found.gap_above_chance)
    assert found.in_domain_above_chance == pytest.approx(
        0.4
    ) and found.cross_domain_above_chance == pytest.approx(0.05)
    assert (found.worst, found.worst_cell) == (
        0.4,
        ("b", "a"),
    ) and found.worst_above_chance == pytest.approx(-0.1)
    assert (found.n_in_domain, found.n_cross_domain, found.n_undefined) == (4, 4, 1)


def test_chance_per_test_set_moves_the_worst_cell():
    found = summarise(
        {("a", "a"): 0.9, ("a", "b"): 0.6, ("a", "c"): 0.65},
        MEMBERS,
        {("a", "a"): 0.5, ("a", "b"): 0.1, ("a", "c"): 0.7},
    )
    assert (
        found.worst_cell == ("a", "c")
        and found.worst == 0.65
        and found.worst_above_chance == pytest.approx(-0.05)
    )
    assert found.cross_domain_above_chance == pytest.approx((0.5 - 0.05) / 2)
    assert found.gap == pytest.approx(0.275) and found.gap_above_chance == pytest.approx(
        0.4 - 0.225
    )


def test_without_chance_only_the_plain_numbers_are_defined():
    found = summarise(VALUES, MEMBERS)
    assert found.worst_cell == ("b", "a") and found.gap == pytest.approx(0.35)
    for value in (found.in_domain_above_chance, found.gap_above_chance, found.worst_above_chance):
        assert math.isnan(value)


def test_where_less_is_better_the_worst_is_the_highest_and_a_rise_is_a_gap():
    found = summarise({("a", "a"): 0.1, ("a", "b"): 0.4}, MEMBERS, 0.5, greater_is_better=False)
    assert found.worst_cell == ("a", "b") and found.gap == pytest.approx(0.3)


def test_a_matrix_without_cross_domain_or_without_numbers():
    found = summarise({("a", "a"): 0.9}, MEMBERS, 0.5)
    assert (
        found.in_domain_mean == 0.9
        and math.isnan(found.cross_domain_mean)
        and math.isnan(found.gap)
    )
    nothing = summarise({("a", "a"): math.nan}, MEMBERS, 0.5)
    assert (
        math.isnan(nothing.in_domain_mean)
        and nothing.worst_cell is None
        and nothing.n_undefined == 1
    )


def test_chance_levels():
    levels = {"auc": 0.5, "ap": 0.25, "tpr_at_fpr1": 0.01, "eer": 0.5}
    assert {name: METRICS[name].chance(n_real=30, n_fake=10) for name in levels} == levels
    assert math.isnan(METRICS["f1"].chance(n_real=1, n_fake=1))
    assert math.isnan(METRICS["ap"].chance(n_real=0, n_fake=0))
