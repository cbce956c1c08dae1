"""Shares by group against scipy's binomial test, a calculation by hand, and simulated samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.statistics.resampling import clusters
from study.statistics.shares import share_of


def test_single_images_have_clopper_and_pearsons_interval():
    each = np.repeat([1.0, 0.0], [7, 33])
    found = share_of(each, clusters(np.arange(40) % 2, np.arange(40).astype(str)))
    exact = stats.binomtest(7, 40).proportion_ci(method="exact")
    assert found.value == 7 / 40
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_groups_widen_it_by_hand():
    """Twelve groups of 4 images, all alike within a group: three groups flip. The variance of the
    share is that of 12 independent groups, which are all of one class here.
    """
    of_group = np.repeat([1.0, 0.0], [3, 9])
    each, group = np.repeat(of_group, 4), np.repeat(np.arange(12), 4).astype(str)
    found = share_of(each, clusters(np.ones(48), group))
    p = 0.25
    variance = np.var(of_group - p, ddof=1) / 12
    few = (stats.t.ppf(0.975, 47) / stats.t.ppf(0.975, 11)) ** 2
    n = p * (1 - p) / variance * few
    low = stats.beta.ppf(0.025, p * n, n - p * n + 1)
    high = stats.beta.ppf(0.975, p * n + 1, n - p * n)
    assert (found.low, found.high) == pytest.approx((low, high))
    alone = share_of(each, clusters(np.ones(48), np.arange(48).astype(str)))
    assert alone.high - alone.low < found.high - found.low


def test_what_does_not_vary_has_a_bound_or_says_why_not():
    groups = clusters(np.arange(20) % 2, np.repeat(np.arange(10), 2).astype(str))
    never, always = (share_of(np.full(20, value), groups) for value in (0.0, 1.0))
    assert (never.low, never.high) == pytest.approx((0, 1 - 0.025 ** (1 / 10)))
    assert (always.low, always.high) == pytest.approx((0.025 ** (1 / 10), 1))
    assert "10 groups" in never.note
    one = share_of([1.0, 0.0], clusters([0, 1], ["a", "a"]))
    assert one.value == 0.5 and math.isnan(one.low) and "one group" in one.note
    none = share_of([], clusters([], np.array([], dtype=str)))
    assert math.isnan(none.value) and none.note == "no images"


def test_it_covers_the_true_share_of_simulated_groups():
    rng = np.random.default_rng(3)
    held = 0
    group = np.repeat(np.arange(60), 5).astype(str)
    groups = clusters(np.repeat(np.arange(60) % 2, 5), group)
    for _ in range(400):
        rate = np.repeat(rng.beta(0.5, 4.5, size=60), 5)  # a mean of .1, far apart between groups
        found = share_of(rng.random(300) < rate, groups)
        held += found.low <= 0.1 <= found.high
    assert held / 400 >= 0.93
