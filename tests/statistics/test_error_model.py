"""One error model: verdict's sign, interval and p agree, and it holds with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import nct, t, ttest_1samp
from sklearn.metrics import roc_auc_score

from study.statistics.delong import auc_variance, influence
from study.statistics.error_model import (
    ALPHA,
    NOTHING,
    Finding,
    Part,
    Sampled,
    draw_part,
    exact_low,
    infer,
    own_noise,
    sampled,
    seed_part,
    training_part,
)
from study.statistics.resampling import bootstrap_auc, clusters

Floats = NDArray[np.float64]


def of_scores(
    label: NDArray[np.int_], group: NDArray[np.str_], plus: Floats, minus: Floats | None = None
) -> Sampled:
    """What the images of one test set say of an AUC, or of a difference of two."""
    value = float(roc_auc_score(label, plus))
    error = influence(label, plus)
    if minus is not None:
        value -= float(roc_auc_score(label, minus))
        error = error - influence(label, minus)
    share = 0.5 / np.bincount(label)[label]
    return sampled(error, value * share, share, clusters(label, group))


def test_the_images_part_of_single_images_is_delongs() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [40, 60])
    score = rng.normal(size=100) + label
    found = of_scores(label, np.arange(100).astype(str), score)
    value, variance = auc_variance(label, [score])
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.part.variance == pytest.approx(variance, rel=1e-12)
    assert found.contributions.sum() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_sign_interval_and_p_always_agree(seed: int) -> None:
    """Row 2 cannot happen: over random inputs of every kind."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        groups = int(rng.choice([8, 30, 60, 200]))
        size = int(rng.integers(1, 4))
        label = rng.integers(0, 2, groups * size)
        label[:4] = [0, 0, 1, 1]
        group = np.repeat(np.arange(groups), size)
        group[:4] = [0, 1, 2, 3]
        common = rng.normal(size=len(label))
        decimals = int(rng.integers(0, 3))
        scores = [
            np.round(common + rng.normal(size=len(label)) + lead * label, decimals)
            for lead in rng.uniform(0, 3, 2).tolist()
        ]
        difference = bool(rng.integers(2))
        one = of_scores(label, group.astype(str), *scores[: 1 + difference])
        one = alike(one) if not one.varies else one
        training = None
        if rng.integers(3):
            draw = draw_part(rng.normal(size=rng.integers(1, 20)) * 10 ** rng.uniform(-3, -0.5))
            seeds = int(rng.integers(1, 5))
            training = training_part(draw, seed_part(rng.normal(size=seeds) * 0.05), seeds)
        null = 0.0 if difference else 0.5
        found = infer([one], training, kind="difference" if difference else "auc", null=null)
        agrees(found)


def agrees(found: Finding) -> None:
    assert found.low <= found.value <= found.high
    assert 0 <= found.p <= 1
    outside = not found.low <= found.null <= found.high
    assert outside == (found.p < ALPHA)
    if found.p < ALPHA:
        assert (found.low > found.null) == (found.value > found.null)


def permuted(contributions: Floats, draws: int) -> float:
    """The p of a group permutation, by a loop: which of the two detectors a group's contribution
    speaks for is drawn anew.
    """
    rng = np.random.default_rng(11)
    seen = abs(contributions.sum())
    as_much = 0
    for _ in range(draws):
        sign = np.where(rng.random(len(contributions)) < 0.5, -1.0, 1.0)
        as_much += abs(float(sign @ contributions)) >= seen - 1e-12
    return (1 + as_much) / (1 + draws)


@pytest.mark.parametrize(("lead", "seed"), [(0.0, 1), (0.6, 2), (1.0, 3), (1.6, 4)])
def test_few_groups_have_the_p_of_a_group_permutation(lead: float, seed: int) -> None:
    """Row 5: 27 groups, some mixed, several images in each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(27), 4)
    label = np.where(group < 9, 0, np.where(group < 18, 1, np.tile([0, 1, 1, 0], 27)))
    own = rng.normal(size=27)[group]
    first = own + rng.normal(size=108) + (0.5 + lead) * label
    second = own + rng.normal(size=108) + 0.5 * label
    one = of_scores(label, group.astype(str), first, second)
    found = infer([one], NOTHING)
    agrees(found)
    p = permuted(one.contributions, 20_000)
    error = math.sqrt(p * (1 - p) / 20_000)
    assert found.p == pytest.approx(p, abs=4 * math.sqrt(2) * error + 1e-4)
    assert found.how == "signs of groups flipped"


def test_the_ends_of_an_interval_by_flips_are_what_the_permutation_allows() -> None:
    rng = np.random.default_rng(5)
    label, group = np.repeat([0, 1], 14), np.arange(28).astype(str)
    one = of_scores(label, group, rng.normal(size=28) + 2 * label, rng.normal(size=28) + label)
    found = infer([one], NOTHING)
    for end, inwards in ((found.low, 0.004), (found.high, -0.004)):
        held, left_out = (
            permuted(one.contributions - shift * one.shares, 20_000)
            for shift in (end + inwards, end - inwards)
        )
        assert held >= ALPHA - 0.006
        assert left_out <= ALPHA + 0.006


def test_one_stratum_alone_is_students_t() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], 100)
    group = np.tile(np.arange(100), 2).astype(str)  # one of each class in every group
    each = rng.normal(size=100) / 100 * 0.2 + 0.0004
    share = np.full(200, 0.5 / 100)
    centred = np.concatenate([each - each.mean(), np.zeros(100)])
    value = float(each.sum())
    found = infer([sampled(centred, value * share, share, clusters(label, group))], NOTHING)
    assert found.p == pytest.approx(float(ttest_1samp(each, 0).pvalue), rel=1e-9)


def test_parts_of_a_variance() -> None:
    apart = np.array([0.1, -0.2, 0.3])
    draw = draw_part(apart, noise=0.01)
    assert draw.variance == pytest.approx((0.01 + 0.04 + 0.09) / 6 - 0.005)
    assert draw_part(apart).degrees == pytest.approx(3)
    seed = seed_part([0.5, 0.6, 0.7])
    assert seed.variance == pytest.approx(0.01)
    assert seed.degrees == pytest.approx(2)
    assert seed_part([0.5]) == NOTHING
    sizes = Part(variance=1.0, doubt=0.5) + Part(variance=3.0, doubt=1.0)
    assert sizes.degrees == pytest.approx(16 / 1.5)  # Welch and Satterthwaite


def test_the_training_part_by_hand() -> None:
    draw = draw_part([0.1, -0.2, 0.3])
    left = training_part(draw, Part(variance=0.006), 3)
    assert left.variance == pytest.approx(draw.variance - 0.004)
    assert left.degrees == pytest.approx(3 * left.variance / draw.variance)  # of 3 pairs
    # never less than seeds alone would leave, and with one seed all of it
    assert training_part(draw, Part(variance=1.0), 3).variance == pytest.approx(draw.variance / 3)
    assert training_part(draw, Part(variance=1.0), 1) == draw
    nothing = Part(doubt=0.1)
    assert training_part(nothing, Part(variance=0.006), 3) == nothing


@pytest.mark.parametrize(("draw", "seed", "seeds"), [(0.02, 0.02, 5), (0, 0.02, 2)])
def test_equal_detectors_are_rarely_told_apart_whatever_varies(
    draw: float, seed: float, seeds: int
) -> None:
    """Few image errors, so that training sample and seeds decide: in 1,000 simulations at most 7 %
    of single cells, and at most 7 % of studies of six cells after Holm's first step.
    """
    rng = np.random.default_rng(10)
    label = np.repeat([0, 1], 50)
    groups, share = clusters(label, np.arange(100).astype(str)), np.full(100, 0.01)
    p = np.empty((1000, 6))
    for at in np.ndindex(p.shape):
        errors = rng.normal(size=100) * 0.0005
        values = draw * rng.normal() + seed * rng.normal(size=seeds)
        spread = math.hypot(draw, seed) * math.sqrt(2)
        part = draw_part(spread * rng.normal(size=10))
        value = float(values.mean() + errors.sum())
        halves = [errors[label == k].mean() for k in (0, 1)]
        one = sampled(errors - np.array(halves)[label], value * share, share, groups)
        p[at] = infer([one], training_part(part, seed_part(values), seeds)).p
    assert (p[:, 0] < ALPHA).mean() <= 0.07
    assert (6 * p.min(axis=1) < ALPHA).mean() <= 0.07


def test_own_noise_is_the_variance_of_a_difference() -> None:
    rng = np.random.default_rng(3)
    label = np.repeat([0, 1], 50)
    scores = [rng.normal(size=100) + label for _ in range(2)]
    each = np.stack([influence(label, score) for score in scores])
    groups = clusters(label, np.arange(100).astype(str))
    share = 0.5 / np.bincount(label)[label]
    of_difference = sampled(each[0] - each[1], 0 * share, share, groups).part.variance
    assert 2 * own_noise(each, groups) == pytest.approx(of_difference, rel=1e-12)


def test_a_sample_that_is_not_counted_says_so() -> None:
    rng = np.random.default_rng(4)
    label, group = np.repeat([0, 1], 100), np.arange(200).astype(str)
    one = of_scores(label, group, rng.normal(size=200) + label)
    without, with_it = (
        infer([one], part, kind="auc", null=0.5) for part in (None, draw_part([0.1, 0.1]))
    )
    assert not without.counted
    assert with_it.counted
    assert without.value == with_it.value  # what replicates find moves no estimate
    assert without.high - without.low < with_it.high - with_it.low


@pytest.mark.parametrize("m", [5, 30])
def test_what_does_not_vary_has_an_exact_bound(m: int) -> None:
    label, group = np.repeat([0, 1], m), np.arange(2 * m).astype(str)
    separated = of_scores(label, group, label * 1.0)
    perfect = infer([alike(separated)], NOTHING, kind="auc", null=0.5)
    agrees(perfect)
    assert perfect.high == 1
    # all of m pairs right, which an AUC of `low` gives with 2.5 %
    assert perfect.low == pytest.approx(0.025 ** (1 / m))
    against_chance = alike(of_scores(label, group, label * 1.0, np.zeros(2 * m)))
    found = infer([against_chance], NOTHING)
    agrees(found)
    assert found.value == 0.5
    assert found.low == pytest.approx(exact_low(0.5, m))
    assert found.p == pytest.approx(min(1, 2 * 1.5**-m))
    assert math.isnan(infer([separated], NOTHING).p)


def alike(one: Sampled) -> Sampled:
    return Sampled(**{**vars(one), "alike": True})


def test_the_smallest_lead_shows_four_times_in_five() -> None:
    """By the noncentral t of scipy, and by simulation."""
    rng = np.random.default_rng(6)
    label, group = np.repeat([0, 1], 100), np.arange(200).astype(str)
    one = of_scores(label, group, rng.normal(size=200), rng.normal(size=200))
    training = Part(variance=one.part.variance, doubt=one.part.variance**2 / 10)
    found = infer([one], training)
    threshold = float(t.ppf(0.975, found.degrees))
    shown = float(nct.sf(threshold, found.degrees, found.smallest / found.error))
    assert shown == pytest.approx(0.8, abs=1e-6)
    assert infer([one], training, tests=20).smallest > found.smallest
    assert math.isnan(infer([one], Part(variance=0.09, doubt=0.0081 / 10)).smallest)


def test_equal_detectors_whose_training_varies_are_rarely_told_apart() -> None:
    """Nominal 5 %, in 1,000 simulations at most 7 %; without the training sample it is a third."""
    rng = np.random.default_rng(7)
    label = np.repeat([0, 1], 50)
    groups, share = clusters(label, np.arange(100).astype(str)), np.full(100, 0.01)
    shown = {True: 0, False: 0}
    for _ in range(1000):
        errors = rng.normal(size=100) * 0.002
        value = float(errors.sum()) + 0.03 * rng.normal()
        halves = [errors[label == k].mean() for k in (0, 1)]
        one = sampled(errors - np.array(halves)[label], value * share, share, groups)
        part = draw_part(0.03 * math.sqrt(2) * rng.normal(size=10))
        for counted in (True, False):
            shown[counted] += infer([one], part if counted else None).p < ALPHA
    assert shown[True] <= 70
    assert shown[False] >= 200


def test_the_images_part_of_groups_is_the_cluster_bootstraps() -> None:
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(120), 5).astype(str)
    label = np.repeat(np.arange(120) % 2, 5)
    score = np.repeat(rng.normal(size=120), 5) + rng.normal(size=600) + label
    drawn = bootstrap_auc(label, score, group, rng_seed=0)
    found = of_scores(label, group, score).part.variance
    assert found == pytest.approx(drawn.var(ddof=1), rel=0.12)


def test_a_difference_of_correlated_scorings_counts_their_covariance() -> None:
    """The 1988 paper's covariance matrix, from all pairs."""
    rng, label = np.random.default_rng(10), np.arange(120) % 2
    common = rng.normal(size=120)
    scores = [common + rng.normal(size=120) + shift * label for shift in (1.0, 0.5)]
    beats = [(s[label == 1][:, None] > s[label == 0][None]) * 1.0 for s in scores]
    covariance = sum(np.cov([b.mean(axis=side) for b in beats]) / 60 for side in (0, 1))
    found = of_scores(label, np.arange(120).astype(str), *scores)
    assert found.part.variance == pytest.approx(np.array([1, -1]) @ covariance @ np.array([1, -1]))
