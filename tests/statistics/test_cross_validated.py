"""Folds by group and the AUC over them: scikit-learn, DeLong's interval, the bootstrap, and a
simulation.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from study.core.errors import ScoreError
from study.statistics.cross_validated import cross_validated_auc, folds_by_group
from study.statistics.delong import auc_variance
from study.statistics.resampling import bootstrap_auc


def sample(seed: int, n: int = 300, groups: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """label, score, group: images of a group share an effect; both classes in each group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=n)
    label = (np.arange(n) % 2).astype(np.uint8)
    return (
        label,
        rng.normal(size=n) + rng.normal(size=groups)[group] + 0.7 * label,
        group.astype(str),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mixed", [True, False])
def test_a_group_lies_in_one_fold_and_every_fold_has_both_classes(seed: int, mixed: bool) -> None:
    label, _, group = sample(seed)
    label = label if mixed else (group.astype(int) % 3 == 0).astype(np.uint8)
    fold = folds_by_group(label, group, rng_seed=seed)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[group == name])) == 1 for name in set(group))
    for k in range(5):
        assert all(len(set(group[(fold == k) & (label == value)])) >= 2 for value in (0, 1))


def test_folds_hang_on_the_seed_and_the_groups_and_on_no_order() -> None:
    label, _, group = sample(0)
    fold = folds_by_group(label, group, rng_seed=1)
    assert not np.array_equal(fold, folds_by_group(label, group, rng_seed=2))
    shuffled = np.random.default_rng(0).permutation(len(label))
    assert np.array_equal(
        folds_by_group(label[shuffled], group[shuffled], rng_seed=1), fold[shuffled]
    )


@pytest.mark.parametrize(
    ("groups", "folds"), [(40, 5), (39, 4), (24, 3), (20, 2), (8, 2), (4, 2), (3, 1), (1, 1)]
)
def test_fewer_groups_give_fewer_folds(groups: int, folds: int) -> None:
    """`groups` of each class: eight a fold where that gives two folds or more, two at least."""
    label = np.repeat([0, 1], groups)
    found = folds_by_group(label, np.arange(2 * groups).astype(str), rng_seed=0)
    assert len(set(found)) == folds


def test_the_value_is_the_mean_of_scikit_learns_aucs() -> None:
    label, score, group = sample(3)
    fold = folds_by_group(label, group, rng_seed=0)
    expected = np.mean([roc_auc_score(label[fold == k], score[fold == k]) for k in range(5)])
    found = cross_validated_auc(label, score, group, fold)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high
    assert (found.n_real, found.n_fake) == (150, 150)


def test_one_fold_of_single_images_has_delongs_variance() -> None:
    """And Student's quantile."""
    label, score, _ = sample(4)
    found = cross_validated_auc(label, score, np.arange(300).astype(str), np.zeros(300))
    _, variance = auc_variance(label, [score])
    assert found.value - found.low == pytest.approx(
        math.sqrt(variance) * t.ppf(0.975, 149), rel=1e-9
    )


def test_five_folds_are_corrected_for_what_their_models_share() -> None:
    """Nadeau and Bengio: 1/5 + 1/4 of a fold's variance, here from DeLong's variances of the
    folds.
    """
    label, score, _ = sample(5)
    group = np.arange(300).astype(str)
    fold = folds_by_group(label, group, rng_seed=0)
    variances = [auc_variance(label[fold == k], [score[fold == k]])[1] for k in range(5)]
    expected = math.sqrt(np.mean(variances) * (1 / 5 + 1 / 4)) * t.ppf(0.975, 149)
    found = cross_validated_auc(label, score, group, fold)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=1e-9)


def test_groups_widen_the_interval_as_the_cluster_bootstrap_does() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 10)
    label = (group % 2).astype(np.uint8)
    score = rng.normal(size=600) + 2 * rng.normal(size=60)[group] + label
    grouped = cross_validated_auc(label, score, group.astype(str), np.zeros(600))
    alone = cross_validated_auc(label, score, np.arange(600).astype(str), np.zeros(600))
    ours = (grouped.high - grouped.low) / 2 / t.ppf(0.975, 29)
    assert ours == pytest.approx(
        bootstrap_auc(label, score, group.astype(str), rng_seed=1).std(), rel=0.1
    )
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_perfect_separation_has_an_exact_bound() -> None:
    label = np.repeat([0, 1], 20)
    group = np.arange(40).astype(str)
    # Clopper-Pearson, 20 of 20: 0.025 ** (1 / 20)
    for sign, ends in ((1, (0.8315665, 1.0)), (-1, (0.0, 0.1684335))):
        found = cross_validated_auc(
            label, sign * (label + np.arange(40) / 100), group, np.zeros(40)
        )
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-6)
        assert "exact bound" in found.note


def test_undefined_cases_say_why() -> None:
    group = np.arange(6).astype(str)
    one = cross_validated_auc(np.ones(6), np.arange(6), group, np.zeros(6))
    assert math.isnan(one.value) and one.reason == "no real images"
    none = cross_validated_auc(np.zeros(0), np.zeros(0), np.zeros(0, dtype=str), np.zeros(0))
    assert math.isnan(none.value) and none.reason == "no images"
    torn = cross_validated_auc([0, 1, 1, 1, 1, 1], np.arange(6), group, [0, 0, 0, 1, 1, 1])
    assert math.isnan(torn.value) and torn.reason == "a fold lacks a class"
    single = cross_validated_auc(
        [0, 0, 0, 1, 1, 1], np.arange(6) % 3, np.array(list("aaabcd")), np.zeros(6)
    )
    assert single.value == 0.5 and math.isnan(single.low) and "one group" in single.note
    with pytest.raises(ScoreError):
        cross_validated_auc([0, 1], [0.0, np.nan], group[:2], [0, 0])


@pytest.mark.parametrize("frames", [1, 5])
def test_where_there_is_nothing_to_learn_the_interval_holds_one_half(frames: int) -> None:
    """300 samples of noise, a linear model fitted on four folds and judged on the fifth; the frames
    of a group are much alike.

    Variances of folds that are only added up would cover about 85 %.
    """
    held, n = 0, 300
    for seed in range(n):
        rng = np.random.default_rng([seed, frames])
        group = np.repeat(np.arange(80), frames)
        label = (group % 2).astype(np.uint8)
        x = rng.normal(size=(80, 8))[group] + 0.5 * rng.normal(size=(len(group), 8))
        fold = folds_by_group(label, group.astype(str), rng_seed=seed)  # five: forty groups a class
        score = np.zeros(len(group))
        for k in range(5):
            seen = fold != k
            direction = x[seen & (label == 1)].mean(axis=0) - x[seen & (label == 0)].mean(axis=0)
            score[~seen] = x[~seen] @ direction
        found = cross_validated_auc(label, score, group.astype(str), fold)
        held += found.low <= 0.5 <= found.high
    assert 0.92 <= held / n <= 1.0
