"""The metrics of one sample: against scikit-learn, against hand-computed cases, and what PROTOCOL
section 4 says must hold.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from study.core.errors import ScoreError
from study.statistics import metrics, thresholds


def close(value: float):
    return pytest.approx(value, abs=1e-12)


@st.composite
def samples(draw, both_classes=True):
    """Labels and logits, many of them tied, in any proportion of the classes; whole numbers, so
    that transforms stay exact.
    """
    n = draw(st.integers(2, 60))
    logit = draw(st.lists(st.integers(-6, 6), min_size=n, max_size=n))
    label = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    if both_classes:
        label[:2] = [0, 1]
    return np.array(label, np.uint8), np.array(logit, np.float64)


def random_sample(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(50, 400))
    label = (rng.random(n) < {"random": 0.5, "tied": 0.4, "imbalanced": 0.02}[kind]).astype(
        np.uint8
    )
    label[:2] = [0, 1]
    logit = rng.normal(size=n) * 2 + label
    return label, (np.round(logit) if kind == "tied" else logit).astype(np.float32)


def sklearn_eer(label, logit) -> float:
    """Where the ROC that scikit-learn gives (collinear points dropped) crosses FPR = FNR, by its
    linear interpolation.
    """
    fpr, tpr, _ = sk.roc_curve(label, logit)
    at = int(np.flatnonzero(1 - tpr - fpr <= 0)[0])
    ahead, behind = 1 - tpr[at - 1] - fpr[at - 1], 1 - tpr[at] - fpr[at]
    return fpr[at - 1] + (fpr[at] - fpr[at - 1]) * ahead / (ahead - behind)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["random", "tied", "imbalanced"])
def test_agrees_with_scikit_learn(kind, seed):
    label, logit = random_sample(kind, seed)
    probability = metrics.sigmoid(logit)
    assert metrics.auc(label, logit) == close(sk.roc_auc_score(label, logit))
    assert metrics.average_precision(label, logit) == close(
        sk.average_precision_score(label, logit)
    )
    assert metrics.brier(label, logit) == close(sk.brier_score_loss(label, probability))
    assert metrics.nll(label, logit) == close(sk.log_loss(label, probability))
    assert metrics.eer(label, logit)[0] == close(sklearn_eer(label, logit))
    for mine, theirs in zip(
        metrics.roc(label, logit), sk.roc_curve(label, logit, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
    fpr, tpr, _ = sk.roc_curve(label, logit, drop_intermediate=False)
    for limit in (0.01, 0.05, 0.5):
        assert metrics.tpr_at_fpr(label, logit, limit) == close(tpr[fpr <= limit].max())
    for threshold in (-1.0, 0.0, float(np.median(logit))):
        called, found = logit >= threshold, metrics.at_threshold(label, logit, threshold)
        assert found["accuracy"] == close(sk.accuracy_score(label, called))
        assert found["balanced_accuracy"] == close(sk.balanced_accuracy_score(label, called))
        assert found["f1"] == close(sk.f1_score(label, called))
        assert found["recall"] == found["fake_accuracy"] == close(sk.recall_score(label, called))
        assert found["real_accuracy"] == close(sk.recall_score(label, called, pos_label=0))
        if called.any():
            assert found["precision"] == close(sk.precision_score(label, called))
        assert [found[key] for key in ("tn", "fp", "fn", "tp")] == sk.confusion_matrix(
            label, called
        ).ravel().tolist()


@settings(max_examples=60, deadline=None)
@given(samples())
def test_ties_agree_with_scikit_learn_and_with_counting_pairs(sample):
    label, logit = sample
    fakes, reals = logit[label == 1], logit[label == 0]
    pairs = (fakes[:, None] > reals).mean() + (fakes[:, None] == reals).mean() / 2
    assert metrics.auc(label, logit) == close(pairs)
    assert metrics.average_precision(label, logit) == close(
        sk.average_precision_score(label, logit)
    )
    assert metrics.eer(label, logit)[0] == close(sklearn_eer(label, logit))


@settings(max_examples=40, deadline=None)
@given(samples(), st.randoms(use_true_random=False))
def test_permutation_and_increasing_transform_change_nothing(sample, random):
    label, logit = sample
    order = list(range(len(label)))
    random.shuffle(order)
    transformed = np.exp(logit / 3) * 10 - 4
    for metric in (metrics.auc, metrics.average_precision, lambda y, z: metrics.eer(y, z)[0]):
        assert metric(label[order], logit[order]) == metric(label, logit)
        assert metric(label, transformed) == metric(label, logit)


def test_constant_scores_are_chance():
    label, logit = np.array([0, 0, 0, 1], np.uint8), np.full(4, 3.0)
    assert metrics.auc(label, logit) == 0.5
    assert metrics.eer(label, logit) == (0.5, 3.0)
    assert metrics.average_precision(label, logit) == 0.25
    assert metrics.tpr_at_fpr(label, logit, 0.05) == 0
    best = thresholds.best_balanced_accuracy(label, logit)
    assert metrics.at_threshold(label, logit, best)["balanced_accuracy"] == 0.5


def test_saturated_scores_that_separate_have_a_perfect_oracle():
    rng = np.random.default_rng(0)
    scores = np.sort(rng.uniform(0, 0.005, 50)).astype(np.float32)
    label = np.arange(50) >= 20
    assert metrics.auc(label, scores) == 1 and metrics.eer(label, scores)[0] == 0
    oracle = metrics.at_threshold(label, scores, thresholds.best_balanced_accuracy(label, scores))
    assert oracle["balanced_accuracy"] == 1 and oracle["accuracy"] == 1
    assert metrics.at_threshold(label, scores, 0.5)["recall"] == 0


def test_scores_far_out_keep_their_order_and_their_loss():
    label, logit = np.array([0, 1, 1, 0]), np.array([90.0, 100.0, 110.0, -800.0])
    assert metrics.auc(label, logit) == 1
    assert metrics.nll(label, logit) == close(90 / 4)
    assert np.isfinite(metrics.nll(label, -logit))


def test_confusion_by_hand():
    #          real  real  real  fake  fake ; the threshold itself is called fake
    label = np.array([0, 0, 0, 1, 1])
    logit = np.array([-1.0, 0.0, 2.0, 0.0, -3.0])
    found = metrics.at_threshold(label, logit, 0.0)
    assert (found["tp"], found["fp"], found["tn"], found["fn"]) == (1, 2, 1, 1)
    assert (
        found["accuracy"] == close(2 / 5)
        and found["precision"] == close(1 / 3)
        and found["recall"] == 0.5
    )
    assert found["real_accuracy"] == close(1 / 3) and found["balanced_accuracy"] == close(5 / 12)
    assert found["f1"] == close(2 / 5)


def test_infinite_thresholds():
    label, logit = np.array([0, 0, 1]), np.array([-50.0, 1.0, 2.0])
    everything, nothing = (metrics.at_threshold(label, logit, t) for t in (-math.inf, math.inf))
    assert (everything["recall"], everything["real_accuracy"], everything["precision"]) == (
        1,
        0,
        close(1 / 3),
    )
    assert (nothing["recall"], nothing["real_accuracy"], nothing["f1"]) == (0, 1, 0)
    assert math.isnan(nothing["precision"])


def test_threshold_between_neighbouring_float32_scores():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    label, logit = np.array([0, 1]), np.array([low, high])
    between = thresholds.best_balanced_accuracy(label, logit)
    assert float(low) < between < float(high)
    assert metrics.at_threshold(label, logit, between)["accuracy"] == 1


def test_average_precision_and_roc_by_hand():
    # ranked: F(4)  [F R](3)  R(2)  F(1)
    label, logit = np.array([1, 1, 0, 0, 1]), np.array([4.0, 3.0, 3.0, 2.0, 1.0])
    assert metrics.average_precision(label, logit) == close((1 + 2 / 3 + 3 / 5) / 3)
    assert metrics.auc(label, logit) == close((2 + 1.5 + 0) / 6)
    fpr, tpr, cut = metrics.roc(label, logit)
    assert fpr.tolist() == [0, 0, 0.5, 1, 1]
    np.testing.assert_allclose(tpr, [0, 1 / 3, 2 / 3, 2 / 3, 1])
    assert cut.tolist() == [math.inf, 4, 3, 2, 1]
    # FNR - FPR falls from 2/3 at score 4 to -1/6 at score 3: four fifths of the way.
    assert metrics.eer(label, logit) == (close(0.4), close(3.2))


def test_tpr_at_fpr_takes_the_limit_itself():
    label = np.r_[np.zeros(100), np.ones(2)]
    # 4 reals lie above the first fake, 6 above the second
    logit = np.r_[np.arange(100.0), 95.5, 93.5]
    assert metrics.tpr_at_fpr(label, logit, 0.04) == 0.5
    assert metrics.tpr_at_fpr(label, logit, 0.06) == 1
    assert metrics.tpr_at_fpr(label, logit, 0.0399) == 0
    for count in (1, 7, 29, 57, 58):  # products such as 0.29 * 100 fall below the whole number
        above = np.r_[np.arange(100.0), 100 - count - 0.5]
        assert metrics.tpr_at_fpr(np.r_[np.zeros(100), 1], above, count / 100) == 1


def ece_by_hand(label, logit, bins):
    """Walk down the distinct scores; each goes whole into the bin of its middle image."""
    n, taken, bin_sums = len(label), 0, [0.0] * bins
    for score in sorted(set(logit.tolist()), reverse=True):
        tied = label[logit == score]
        middle = taken + len(tied) / 2
        bin_sums[min(int(bins * middle / n + 1e-12), bins - 1)] += (
            len(tied) / (1 + math.exp(-score)) - tied.sum()
        )
        taken += len(tied)
    return sum(map(abs, bin_sums)) / n


@settings(max_examples=60, deadline=None)
@given(samples(both_classes=False), st.sampled_from([1, 4, 15]))
def test_ece_never_parts_ties(sample, bins):
    label, logit = sample
    assert metrics.ece(label, logit, bins) == close(ece_by_hand(label, logit, bins))


def test_ece_bins_hold_equal_mass_without_ties():
    rng = np.random.default_rng(1)
    logit, label = rng.normal(size=150), rng.integers(0, 2, 150)
    falling = np.argsort(-logit)
    parts = [
        (metrics.sigmoid(logit[part]).mean() - label[part].mean())
        for part in falling.reshape(15, 10)
    ]
    assert metrics.ece(label, logit) == close(np.abs(parts).mean())


def test_ece_of_calibrated_constant_scores_is_zero():
    assert metrics.ece(np.array([0, 1] * 20), np.zeros(40)) == 0


@pytest.mark.parametrize("label", [[], [0, 0, 0], [1, 1, 1]])
def test_undefined_is_nan(label):
    logit = np.arange(len(label), dtype=np.float64)
    for value in (
        metrics.auc(label, logit),
        metrics.average_precision(label, logit),
        *metrics.eer(label, logit),
    ):
        assert math.isnan(value)
    assert math.isnan(metrics.tpr_at_fpr(label, logit, 0.05))
    assert math.isnan(thresholds.best_balanced_accuracy(label, logit)) and math.isnan(
        thresholds.at_fpr(label, logit, 0.05)
    )
    found = metrics.at_threshold(label, logit, 1.0)
    undefined = {"balanced_accuracy", "f1", "precision"}
    undefined |= {"ppv_at_prevalence1", "ppv_at_prevalence10"}
    undefined |= {"real_accuracy"} if 0 not in label else set()
    undefined |= {"recall", "fake_accuracy"} if 1 not in label else set()
    undefined |= {"accuracy"} if not label else set()
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
    for loss in (metrics.brier, metrics.nll, metrics.ece):
        assert math.isnan(loss(label, logit)) is (not label)


def test_an_undefined_threshold_defines_nothing():
    assert all(
        math.isnan(value) for value in metrics.at_threshold([0, 1], [0.0, 1.0], math.nan).values()
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error(bad):
    for metric in (
        metrics.auc,
        metrics.ece,
        metrics.nll,
        thresholds.best_balanced_accuracy,
        thresholds.fit_temperature,
    ):
        with pytest.raises(ScoreError, match="image 1 of 3"):
            metric([0, 1, 1], [0.0, bad, 1.0])
    with pytest.raises(ScoreError, match="shape"):
        metrics.auc([0, 1], [0.5])
