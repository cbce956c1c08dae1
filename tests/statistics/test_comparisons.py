"""Comparisons against direct implementations, scipy, published tables and simulations with a known
answer.
"""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from study.core.errors import ScoreError
from study.statistics.comparisons import (
    BOOTSTRAP,
    DELONG,
    PairedAucs,
    cliques,
    critical_difference,
    friedman,
    holm,
    spearman,
)
from study.statistics.delong import clustered_variance
from study.statistics.differences import (
    Part,
    constant_difference,
    normal_difference,
    smallest_difference,
    total_difference,
)
from study.statistics.resampling import bootstrap_auc


def compare(label, first, second, group, **options):
    return PairedAucs(label, (first, second), group, **options).difference(0, 1)


def alone(n: int) -> np.ndarray:
    return np.arange(n).astype(str)


def correlated(rng, label, *, shift=(1.0, 1.0), share=0.6):
    """Two scorings of the same images whose errors are correlated."""
    shared = rng.normal(size=len(label))
    return [
        math.sqrt(share) * shared
        + math.sqrt(1 - share) * rng.normal(size=len(label))
        + up * np.asarray(label)
        for up in shift
    ]


def pair_values(label, score):
    """(fakes, reals) 1 where the fake scores above the real, .5 where they tie."""
    fake, real = np.asarray(score)[label == 1][:, None], np.asarray(score)[label == 0][None]
    return (fake > real) + (fake == real) / 2


def delong_directly(label, first, second):
    """The 1988 paper's covariance matrix, from all pairs."""
    of_fakes = np.stack([pair_values(label, s).mean(axis=1) for s in (first, second)])
    of_reals = np.stack([pair_values(label, s).mean(axis=0) for s in (first, second)])
    covariance = np.cov(of_fakes) / of_fakes.shape[1] + np.cov(of_reals) / of_reals.shape[1]
    contrast = np.array([1, -1])
    return float(contrast @ of_fakes.mean(axis=1)), float(contrast @ covariance @ contrast)


@pytest.mark.parametrize("decimals", [1, 15])
def test_paired_delong_is_that_of_the_paper(decimals):
    rng = np.random.default_rng(1)
    label = (rng.random(150) < 0.3).astype(int)
    first, second = (np.round(s, decimals) for s in correlated(rng, label, shift=(1.5, 0.8)))
    value, variance = delong_directly(label, first, second)
    found = compare(label, first, second, alone(150), rng_seed=0)
    assert found.how == DELONG
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(
        stats.norm(value, math.sqrt(variance)).interval(0.95)
    )
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(value) / math.sqrt(variance)))


def test_a_comparison_turned_round_is_its_mirror_image():
    rng = np.random.default_rng(2)
    label = np.arange(80) % 2
    scorings = correlated(rng, label)
    for group in (alone(80), (np.arange(80) // 2).astype(str)):
        one = compare(label, *scorings, group, rng_seed=3)
        other = compare(label, *scorings[::-1], group, rng_seed=3)
        assert (one.value, one.low, one.high) == pytest.approx(
            (-other.value, -other.high, -other.low)
        )
        assert one.p == pytest.approx(other.p) and one.smallest == pytest.approx(other.smallest)


def test_the_bootstrap_draws_the_same_groups_for_both():
    """Against replicates made one by one, with other random numbers: the standard errors agree as
    two bootstraps do.
    """
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(40), 4)
    label = (np.arange(160) % 2).astype(int)
    random_effect = rng.normal(size=40)[group]
    first, second = (random_effect + rng.normal(size=160) + up * label for up in (1.2, 0.6))
    found = compare(label, first, second, group.astype(str), replicates=4000, rng_seed=0)
    assert found.how == BOOTSTRAP
    drawn = []
    for _ in range(1500):
        images = (4 * rng.integers(40, size=40)[:, None] + np.arange(4)).ravel()
        drawn.append(
            np.diff([pair_values(label[images], s[images]).mean() for s in (second, first)])[0]
        )
    reach = (found.high - found.low) / 2
    assert reach == pytest.approx(stats.norm.ppf(0.975) * np.std(drawn, ddof=1), rel=0.08)
    assert found.value == pytest.approx(
        pair_values(label, first).mean() - pair_values(label, second).mean()
    )


def test_bootstrap_and_delong_agree_where_every_group_has_one_image():
    rng = np.random.default_rng(5)
    label = np.arange(400) % 2
    scorings = correlated(rng, label, shift=(1.2, 0.9))
    exact = compare(label, *scorings, alone(400), rng_seed=0)
    drawn = [bootstrap_auc(label, s, alone(400), replicates=4000, rng_seed=0) for s in scorings]
    assert np.std(drawn[0] - drawn[1], ddof=1) * stats.norm.ppf(0.975) == pytest.approx(
        (exact.high - exact.low) / 2, rel=0.06
    )


def test_the_interval_of_single_images_covers_the_truth():
    """2,500 samples of two binormal scorings whose AUCs are known: Phi(shift / sqrt(2))."""
    rng = np.random.default_rng(6)
    label = np.repeat([0, 1], [60, 80])
    truth = stats.norm.cdf(1.3 / math.sqrt(2)) - stats.norm.cdf(0.9 / math.sqrt(2))
    found = [
        compare(label, *correlated(rng, label, shift=(1.3, 0.9)), alone(140), rng_seed=0)
        for _ in range(2500)
    ]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.93 <= covered <= 0.97
    assert np.mean([one.p < 0.05 for one in found]) == np.mean(
        [not one.low <= 0 <= one.high for one in found]
    )


def test_the_interval_of_groups_covers_the_truth_and_ignoring_them_does_not():
    """Groups of four images with an effect of their own on one scoring: equal AUCs, so the truth is
    0.
    """
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(60), 4)
    label = (group % 2).astype(int)
    covered, naive = [], []
    for _ in range(700):
        scorings = [
            1.5 * rng.normal(size=60)[group] + rng.normal(size=240) + label for _ in range(2)
        ]
        one = compare(label, *scorings, group.astype(str), replicates=400, rng_seed=0)
        covered.append(one.low <= 0 <= one.high)
        image_wise = compare(label, *scorings, alone(240), rng_seed=0)
        naive.append(image_wise.low <= 0 <= image_wise.high)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(naive) < 0.85


def test_the_smallest_difference_is_found_with_the_power_it_names():
    assert smallest_difference(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    error = 0.02
    estimates = stats.norm(smallest_difference(error), error).rvs(
        200_000, random_state=np.random.default_rng(8)
    )
    assert np.mean(np.abs(estimates) > stats.norm.ppf(0.975) * error) == pytest.approx(
        0.8, abs=0.005
    )


def test_same_order_has_a_bound_and_not_a_zero_width():
    rng = np.random.default_rng(9)
    label = np.repeat([0, 1], [30, 20])
    score = rng.normal(size=50)
    found = compare(label, score, np.exp(score), alone(50), rng_seed=0)
    assert (found.value, found.p) == (0, 1)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 20)) and found.low == -found.high
    assert "exact bound (20 disjoint pairs)" in found.how
    # only fakes change places
    swapped = np.array([0.0, 1, 2, 4, 3, 5]), np.array([0.0, 1, 2, 3, 4, 5])
    kept = compare([0, 0, 1, 1, 1, 0], *swapped, alone(6), rng_seed=0)
    assert kept.value == 0 and kept.high == pytest.approx(1 - 0.025 ** (1 / 3))
    grouped = compare(label, score, score, np.repeat(np.arange(10), 5).astype(str), rng_seed=0)
    assert grouped.high == pytest.approx(1 - 0.025 ** (1 / 4))  # 6 groups of reals, 4 of fakes


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.5, 1.0])
def test_separated_against_constant_or_reversed_scores(value):
    label = np.repeat([0, 1], 12)
    good, other = (
        label + np.linspace(0, 0.5, 24),
        {0.5: np.zeros(24), 1.0: -label - np.linspace(0, 0.5, 24)}[abs(value)],
    )
    found = compare(label, *((good, other) if value > 0 else (other, good)), alone(24), rng_seed=0)
    assert found.value == value
    assert -1 <= found.low <= value <= found.high <= 1 and found.low < found.high
    assert found.p == pytest.approx(2 / (1 + abs(value)) ** 12)


def test_the_bound_of_a_constant_difference_holds_for_the_worst_distribution():
    """Differences of v or -1: at the lower bound's expectation, all of m equal v with 2.5 %."""
    for v, m in product((0.0, 0.5, 1.0), (3, 40)):
        low = constant_difference(v, m).low
        assert ((low + 1) / (v + 1)) ** m == pytest.approx(0.025)
    sign_test = stats.binomtest(9, 9, 0.5).pvalue
    assert constant_difference(1.0, 9).p == pytest.approx(sign_test)


@pytest.mark.parametrize("pairs", [5, 8, 20, 80])
@pytest.mark.parametrize("other", ["reversed", "constant"])
def test_one_image_that_moves_does_not_turn_a_bound_into_certainty(pairs, other):
    """Beside perfect against reversed or constant: what DeLong's variance claims of nearly the same
    sample is no finding more.
    """
    label, good = np.repeat([0, 1], pairs), np.arange(2.0 * pairs)
    bad = {"reversed": -good, "constant": np.zeros(2 * pairs)}[other]
    still = compare(label, good, bad, alone(2 * pairs), rng_seed=0)
    moved = bad.copy()
    # one real below every fake: the first leads by less
    moved[0] = -1.0 if other == "constant" else -2.0 * pairs
    for first, second, sign in ((good, moved, 1), (moved, good, -1)):
        found = compare(label, first, second, alone(2 * pairs), rng_seed=0)
        assert 0 < sign * found.value < still.value
        assert found.p >= still.p and (found.p < 0.05) == (not found.low <= 0 <= found.high)
        assert (found.low if sign > 0 else -found.high) <= still.low
        assert f"exact bound of {pairs} disjoint pairs" in found.note


def test_the_interval_holds_the_truth_where_rare_images_decide():
    """A separates but for 2 % of fakes, which it puts below all reals; B moves a single image.
    Truth: .98 - .5.

    That such a fake is in none of 80 happens in one sample of five, and then the variance knows
    nothing of them.
    """
    rng, label, held, normal = np.random.default_rng(0), np.repeat([0, 1], 80), [], []
    for _ in range(250):
        good = rng.random(160) + 2 * label
        good[80:][rng.random(80) < 0.02] -= 4
        other = np.zeros(160)
        other[rng.integers(160)] = rng.choice([-1, 1])
        paired = PairedAucs(label, [good, other], alone(160), rng_seed=0)
        found, plain = paired.difference(0, 1), normal_difference(*paired.contrast([1, -1]), how="")
        held.append(found.low <= 0.48 <= found.high)
        normal.append(plain.low <= 0.48 <= plain.high)
    assert np.mean(held) >= 0.95 and np.mean(normal) < 0.9


def test_ordinary_samples_keep_the_normal_interval():
    rng, label = np.random.default_rng(1), np.repeat([0, 1], 40)
    for _ in range(50):
        scorings = correlated(rng, label, shift=(1.3, 0.9))
        paired = PairedAucs(label, scorings, alone(80), rng_seed=0)
        plain, found = (
            normal_difference(*paired.contrast([1, -1]), how=DELONG),
            paired.difference(0, 1),
        )
        assert (found.low, found.high, found.p, found.smallest) == pytest.approx(
            (plain.low, plain.high, plain.p, plain.smallest)
        )


def test_parts_are_combined_by_mover():
    normal = [
        Part(value=0.02, variance=0.01**2, pairs=100, scale=0.5),
        Part(value=0.05, variance=0.02**2, pairs=200, scale=0.5),
    ]
    found, plain = (
        total_difference(normal, how=""),
        normal_difference(0.07, 0.01**2 + 0.02**2, how=""),
    )
    assert (found.low, found.high, found.p) == pytest.approx(
        (plain.low, plain.high, plain.p)
    ) and not found.note
    tiny = Part(value=0.5, variance=0.0, pairs=2, scale=0.5, alike=True)
    found, exact = total_difference([tiny, normal[1]], how=""), constant_difference(1.0, 2)
    assert found.low == pytest.approx(
        0.55 - math.hypot(0.5 * (1 - exact.low), stats.norm.ppf(0.975) * 0.02)
    )
    assert (
        found.high == pytest.approx(0.55 + stats.norm.ppf(0.975) * 0.02)
        and found.p > 0.05
        and "exact bounds" in found.note
    )
    whole = Part(value=1.0, variance=0.0, pairs=2, alike=True)
    assert total_difference([whole], how="") == exact
    unlike = total_difference(
        [Part(value=0.1, variance=0.0, pairs=50, scale=0.5), normal[1]], how=""
    )
    assert (
        math.isnan(unlike.p)
        and unlike.reason == "the sample shows no variance and no exact bound is known"
    )


def test_the_smallest_difference_does_not_hang_on_the_lead_observed():
    def smallest(*parts):
        return total_difference([Part(**part) for part in parts], how="").smallest

    for lead in (-0.9, 0.0, 0.1, 0.45, 0.6, 0.9):
        assert smallest({"value": lead, "variance": 0.05**2, "pairs": 20}) == pytest.approx(
            2.801585 * 0.05, rel=1e-5
        )
        halves = [
            {"value": lead / 2, "variance": variance, "pairs": 30, "scale": 0.5, "alike": True}
            for variance in (0.02**2, 0.0)
        ]
        reach = 0.5 * (1 - 0.025 ** (1 / 30))  # of the part that does not vary
        assert smallest(*halves) == pytest.approx(
            2.801585 * math.hypot(0.02, reach / stats.norm.ppf(0.975)), rel=1e-5
        )


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (3, 3, 3), (5,), (9,), (10,)])
@pytest.mark.parametrize("lead", [0.3, 0.9, 1.0])
def test_interval_and_p_agree_however_small_the_parts(sizes, lead):
    scale = 1 / len(sizes)
    found = total_difference(
        [Part(value=lead * scale, variance=1e-6, pairs=m, scale=scale) for m in sizes], how=""
    )
    assert (found.p < 0.05) == (found.low > 0)
    assert found.p >= constant_difference(max(lead, 0.5), sum(sizes)).p * (1 - 1e-9)
    assert math.isnan(found.smallest) or found.smallest <= 1


def test_what_differs_alike_in_every_pair():
    label, rng = np.repeat([0, 1], 6), np.random.default_rng(3)
    score = rng.normal(size=12)
    scorings = [score, np.exp(score), rng.normal(size=12), np.zeros(12), label.astype(float)]
    paired = PairedAucs(label, scorings, alone(12), rng_seed=0)
    for weights, alike in (
        ([1, -1, 0, 0, 0], True),
        ([1, -1, 0, 2, -3], True),
        ([1, 0, -1, 0, 0], False),
        ([1, 1, 0, -2, 0], False),
    ):
        table = np.tensordot(weights, np.stack([pair_values(label, s) for s in scorings]), 1)
        assert paired.every_pair_alike(weights) is alike is bool(np.ptp(table) < 1e-12)


def test_undefined_has_a_reason():
    none = compare([1, 1, 1], [1.0, 2, 3], [3.0, 2, 1], alone(3), rng_seed=0)
    assert math.isnan(none.value) and math.isnan(none.p) and none.reason == "no real images"
    assert compare([0, 0], [1.0, 2], [3.0, 2], alone(2), rng_seed=0).reason == "no fake images"
    assert compare([], [], [], [], rng_seed=0).reason == "no images"
    one = compare([0, 0, 1, 1], [1.0, 2, 2, 3], [3.0, 2, 1, 4], list("aabc"), rng_seed=0)
    assert (
        one.value == pytest.approx(0.875 - 0.5)
        and math.isnan(one.low)
        and one.reason == "a class comes from one group"
    )
    label = np.arange(12) % 2
    few = compare(label, *correlated(np.random.default_rng(0), label), alone(12), rng_seed=0)
    assert few.note == "few groups (6)" and not few.reason


def test_scores_that_do_not_fit_are_errors():
    with pytest.raises(ScoreError, match="nan"):
        compare([0, 1], [0.0, 1.0], [0.0, math.nan], alone(2), rng_seed=0)
    with pytest.raises(ScoreError, match="shape"):
        compare([0, 1], [0.0, 1.0], [0.0, 1.0, 2.0], alone(2), rng_seed=0)
    with pytest.raises(ScoreError, match="groups of shape"):
        compare([0, 1], [0.0, 1.0], [0.0, 1.0], alone(3), rng_seed=0)


def test_a_contrast_of_several_scorings_counts_their_covariances():
    rng = np.random.default_rng(10)
    label = np.arange(120) % 2
    scorings = [*correlated(rng, label), *correlated(rng, label)]
    weights = np.array([0.5, 0.5, -0.5, -0.5])
    value, variance = PairedAucs(label, scorings, alone(120), rng_seed=0).contrast(weights)
    fakes = np.stack([pair_values(label, s).mean(axis=1) for s in scorings])
    reals = np.stack([pair_values(label, s).mean(axis=0) for s in scorings])
    assert value == pytest.approx(weights @ fakes.mean(axis=1))
    assert variance == pytest.approx(weights @ (np.cov(fakes) + np.cov(reals)) @ weights / 60)


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


def test_the_clustered_variance_is_delongs_with_one_image_a_group() -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(2, size=150)
    scorings = [rng.normal(size=150) + label, rng.normal(size=150)]
    paired, weights = PairedAucs(label, scorings, alone(150), rng_seed=0), [1.0, -0.4]
    found = clustered_variance(paired.influence(weights), label, alone(150))
    assert found == pytest.approx(paired.contrast(weights)[1], rel=1e-12)


def test_the_clustered_variance_is_the_cluster_bootstraps() -> None:
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(120), 5).astype(str)
    label = np.repeat(np.arange(120) % 2, 5)
    score = np.repeat(rng.normal(size=120), 5) + rng.normal(size=600) + label
    paired = PairedAucs(label, [score], group, rng_seed=0)
    found = clustered_variance(paired.influence([1.0]), label, group)
    assert found == pytest.approx(paired.contrast([1.0])[1], rel=0.12)
