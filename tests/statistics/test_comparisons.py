"""Families of p-values and ranks against direct implementations, scipy and published tables."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy import stats

from study.statistics.comparisons import (
    cliques,
    critical_difference,
    friedman,
    holm,
    kendall,
    spearman,
)


def test_holm_by_hand():
    # Holm's steps: .01 * 4, .02 * 3, .03 * 2 (not below the one before), .04 * 1 (likewise)
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)
    found = holm([0.01, math.nan, 0.02])
    assert found[[0, 2]] == pytest.approx([0.02, 0.02]) and math.isnan(found[1])


def test_holm_rejects_what_the_stepwise_procedure_rejects():
    rng = np.random.default_rng(11)
    for _ in range(50):
        p = rng.random(9) ** 4
        rejected = set()
        for step, at in enumerate(np.argsort(p)):
            if p[at] > 0.05 / (9 - step):
                break
            rejected.add(int(at))
        assert set(np.flatnonzero(holm(p) <= 0.05)) == rejected


@pytest.mark.parametrize("decimals", [1, 12])
def test_friedman_is_scipys(decimals):
    rng = np.random.default_rng(12)
    values = np.round(rng.random((8, 4)) + np.array([0, 0.2, 0.3, 0.6]), decimals)
    expected = stats.friedmanchisquare(*values.T)
    found = friedman(values)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.mean_ranks == pytest.approx(stats.rankdata(-values, axis=1).mean(axis=0))
    with_gaps = friedman(np.vstack([values, [[1, 2, math.nan, 3]]]))
    assert with_gaps.left_out == 1 and with_gaps.p == found.p and with_gaps.n == 8


def test_too_few_test_sets_cannot_show_anything_and_say_so():
    for n, k in [(2, 3), (5, 2), (3, 2)]:
        order = np.arange(k, dtype=float)
        all_tables = list(product(permutations(order), repeat=n))
        same = [len({*table}) == 1 for table in all_tables]
        found = friedman(np.tile(order, (n, 1)))
        assert found.least_p == pytest.approx(np.mean(same)) and found.least_p >= 0.05
        assert math.isnan(found.p) and found.reason.startswith("too few test sets")
        # whatever the critical difference, nothing is told apart
        assert found.cliques == (tuple(range(k))[::-1],)
    assert not friedman(np.tile(np.arange(3.0), (3, 1))).reason
    assert friedman(np.ones((4, 1))).reason == "fewer than two detectors"
    assert friedman(np.ones((1, 3))).reason.startswith("1 test set ")
    assert friedman(np.empty((0, 3))).reason.startswith("0 test sets")
    assert friedman(np.ones((6, 3))).reason == "all detectors tie on every test set"


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_critical_differences_are_those_of_demsars_table(k, q):
    assert critical_difference(14, k) == pytest.approx(
        q * math.sqrt(k * (k + 1) / (6 * 14)), abs=1.1e-3
    )
    assert math.isnan(critical_difference(1, k))


def test_cliques_are_the_largest_sets_within_reach():
    assert cliques([1.0, 1.5, 2.4, 4.0], 1.0) == ((0, 1), (1, 2))
    assert cliques([4.0, 2.0, 1.0], 5.0) == ((2, 1, 0),)
    # a difference of exactly the critical one is a difference
    assert cliques([1.0, 2.0, 3.0], 1.0) == ()
    assert cliques([1.0, 1.2, 1.3, 3.0], 0.5) == ((0, 1, 2),)
    assert cliques([1.0, 2.0], math.nan) == ()


def test_spearman_is_scipys_on_what_both_columns_define():
    rng = np.random.default_rng(13)
    values = np.round(rng.random((12, 4)), 1)
    rho, used = spearman(values)
    np.testing.assert_allclose(rho, stats.spearmanr(values).statistic, atol=1e-12)
    assert (used == 12).all()
    values[[0, 3], 1] = math.nan
    values[[3, 4], 2] = math.nan
    rho, used = spearman(values)
    kept = [i for i in range(12) if i not in (0, 3, 4)]
    assert used[1, 2] == used[2, 1] == 9
    assert rho[1, 2] == pytest.approx(stats.spearmanr(values[kept, 1], values[kept, 2]).statistic)
    values[:, 3] = 0.5
    values[2:, 0] = math.nan
    rho, used = spearman(values)
    assert np.isnan(rho[3]).all() and np.isnan(rho[0]).all() and used[0, 3] == 2


def test_kendall_is_scipys_with_ties_and_counts_the_pairs_that_turn():
    rng = np.random.default_rng(5)
    for n in (2, 5, 12):
        first, second = np.round(rng.random((2, n)), 1)
        tau, turned, pairs = kendall(first, second)
        assert tau == pytest.approx(stats.kendalltau(first, second).statistic, nan_ok=True)
        assert pairs == n * (n - 1) // 2
        by_hand = [
            (first[i] - first[j]) * (second[i] - second[j]) < 0
            for i, j in combinations(range(n), 2)
        ]
        assert turned == sum(by_hand)
    # by hand: of the three pairs one turns, so (2 - 1) / 3
    assert kendall([0.9, 0.7, 0.5], [0.8, 0.4, 0.6]) == (pytest.approx(1 / 3), 1, 3)
    assert math.isnan(kendall([0.5, 0.5], [0.1, 0.2])[0]) and math.isnan(kendall([1.0], [1.0])[0])
