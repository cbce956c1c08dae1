"""The cluster bootstrap and DeLong's interval against slow, direct implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm
from sklearn import metrics as sk

from study.statistics import metrics, resampling, thresholds
from study.statistics.delong import auc_variance, delong_interval
from study.statistics.intervals import LOSSES, columns_of, values_of
from study.statistics.replicates import Sample
from study.statistics.resampling import bootstrap_auc, clusters, draws, percentile_interval


def grouped_sample(kind: str, seed: int):
    """80 images whose groups hold one image, several of one class, or both classes; `tied` scores
    repeat across classes.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 80).astype(np.uint8)
    logit = rng.normal(size=80) * 2 + label
    group = rng.integers(0, 25, 80)
    names = {
        "single": np.arange(80),
        "by class": group * 2 + label,
        "mixed": group,
        "tied": np.where(group < 8, group, 100 + 2 * group + label),
    }
    return (
        label,
        np.round(logit) if kind == "tied" else logit,
        np.array([f"g{name:03d}" for name in names[kind]]),
    )


@pytest.mark.parametrize("kind", ["single", "by class", "mixed", "tied"])
def test_draws_keep_each_kind_of_group_at_its_number(kind):
    label, _, group = grouped_sample(kind, 0)
    groups = clusters(label, group)
    count = np.concatenate(list(draws(groups, replicates=50, rng_seed=1)))
    assert count.shape == (50, len(np.unique(group)))
    for name, stratum in zip(["real only", "fake only", "mixed"], groups.strata, strict=True):
        assert (count[:, stratum].sum(axis=1) == len(stratum)).all(), name
    assert sum(map(len, groups.strata)) == len(groups)
    assert count.min() == 0 and count.max() > 1


def test_each_group_is_drawn_once_on_average_with_the_multinomials_variance():
    groups = clusters(np.repeat([0, 1], [30, 50]), np.arange(80).astype(str))
    count = np.concatenate(list(draws(groups, replicates=4000, rng_seed=7)))
    np.testing.assert_allclose(count.mean(axis=0), 1, atol=0.08)
    for stratum in groups.strata[:2]:
        assert count[:, stratum].var() == pytest.approx(1 - 1 / len(stratum), rel=0.02)


def test_draws_depend_on_the_seed_alone(monkeypatch):
    label, logit, group = grouped_sample("mixed", 3)

    def all_draws(seed):
        return np.concatenate(list(draws(clusters(label, group), replicates=300, rng_seed=seed)))

    first = all_draws(5)
    np.random.default_rng().random()
    assert (all_draws(5) == first).all() and (all_draws(6) != first).any()
    monkeypatch.setattr(resampling, "BLOCK", 1000)
    assert (all_draws(5) == first).all()
    found = bootstrap_auc(label, logit, group, replicates=300, rng_seed=5)
    np.testing.assert_allclose(found, aucs_of(label, logit, group, first), rtol=0, atol=1e-12)


def aucs_of(label, logit, group, count):
    """AUC of each replicate from its images, written out one by one."""
    member = np.unique(group, return_inverse=True)[1]
    repeated = (np.repeat(np.arange(len(label)), row[member]) for row in count)
    return np.array([metrics.auc(label[images], logit[images]) for images in repeated])


def direct(label, logit, given: dict[str, float], temperature: float) -> dict[tuple, float]:
    """Columns for one written-out replicate, by scikit-learn where it has the metric."""
    probability, scaled = metrics.sigmoid(logit), logit / temperature
    fpr, tpr, _ = sk.roc_curve(label, logit, drop_intermediate=False)
    plain = {
        "auc": sk.roc_auc_score(label, logit),
        "ap": sk.average_precision_score(label, logit),
        "eer": metrics.eer(label, logit)[0],
        "eer_threshold": metrics.eer(label, logit)[1],
        "tpr_at_fpr1": tpr[fpr <= 0.01].max(),
        "tpr_at_fpr5": tpr[fpr <= 0.05].max(),
        "brier": sk.brier_score_loss(label, probability),
        "nll": sk.log_loss(label, probability),
        "ece": metrics.ece(label, logit),
        "brier_scaled": sk.brier_score_loss(label, metrics.sigmoid(scaled)),
        "nll_scaled": sk.log_loss(label, metrics.sigmoid(scaled)),
        "ece_scaled": metrics.ece(label, scaled),
    }
    found = {(name, ""): value for name, value in plain.items()}
    oracle = thresholds.best_balanced_accuracy(label, logit)
    for name, threshold in (given | {"oracle": oracle}).items():
        called = logit >= threshold
        (tn, fp), (fn, tp) = sk.confusion_matrix(label, called)
        at = {
            "accuracy": sk.accuracy_score(label, called),
            "balanced_accuracy": sk.balanced_accuracy_score(label, called),
            "f1": sk.f1_score(label, called),
            "precision": sk.precision_score(label, called, zero_division=np.nan),
            "recall": sk.recall_score(label, called),
            "real_accuracy": sk.recall_score(label, called, pos_label=0),
            "fake_accuracy": sk.recall_score(label, called),
            **{"tp": tp, "fp": fp, "tn": tn, "fn": fn},
        }
        found |= {(metric, name): value for metric, value in at.items()}
    return found


@pytest.mark.parametrize("kind", ["single", "by class", "mixed", "tied"])
def test_replicates_agree_with_writing_them_out(kind, make_scores):
    label, logit, group = grouped_sample(kind, 11)
    scores = make_scores(label, logit, group)
    given = {"fixed": 0.0, "low": -math.inf, "none": math.inf, "high": 3.0}
    groups = clusters(label, group)
    scored = Sample(scores=scores, groups=groups, thresholds=given, temperature=1.7, losses=LOSSES)
    drawn = np.concatenate(list(draws(groups, replicates=5, rng_seed=2)))
    count = np.concatenate([np.ones((1, len(groups)), np.uint8), drawn])  # first the sample itself
    found = values_of(scored, count)
    assert found.shape == (6, len(columns_of(scored)))
    exact = scores.logit.astype(np.float64)
    for row, values in zip(count, found, strict=True):
        images = np.repeat(np.arange(len(label)), row[groups.member])
        mine = dict(zip(columns_of(scored), values, strict=True))
        for column, value in direct(label[images], exact[images], given, 1.7).items():
            assert mine[column] == pytest.approx(value, rel=0, abs=1e-12, nan_ok=True), column


@pytest.mark.parametrize("kind", ["single", "by class", "mixed", "tied"])
def test_bootstrap_auc_agrees_with_writing_replicates_out(kind):
    label, logit, group = grouped_sample(kind, 4)
    count = np.concatenate(list(draws(clusters(label, group), replicates=40, rng_seed=9)))
    fast = bootstrap_auc(label, logit, group, replicates=40, rng_seed=9)
    np.testing.assert_allclose(fast, aucs_of(label, logit, group, count), rtol=0, atol=1e-12)


def test_bootstrap_auc_without_both_classes_is_undefined():
    assert np.isnan(bootstrap_auc([1, 1], [0.0, 1.0], ["a", "b"], replicates=5, rng_seed=0)).all()


def test_percentiles_leave_undefined_replicates_out():
    values = np.random.default_rng(0).normal(size=(101, 3))
    values[::7, 1] = np.nan
    values[:, 2] = np.nan
    low, high, defined = percentile_interval(values)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(low[:2], np.nanquantile(values[:, :2], 0.025, axis=0))
        np.testing.assert_allclose(high[:2], np.nanquantile(values[:, :2], 0.975, axis=0))
    assert defined.tolist() == [101, 86, 0] and np.isnan(low[2]) and np.isnan(high[2])


def slow_delong(label, logits) -> tuple[float, float]:
    """DeLong by every pair: kernel matrix, its row and column means, their covariance over
    scorings.
    """
    rows, columns, aucs = [], [], []
    for logit in logits:
        fakes, reals = logit[label == 1], logit[label == 0]
        kernel = (fakes[:, None] > reals) + 0.5 * (fakes[:, None] == reals)
        rows.append(kernel.mean(axis=1))
        columns.append(kernel.mean(axis=0))
        aucs.append(kernel.mean())
    covariance = np.cov(rows) / len(rows[0]) + np.cov(columns) / len(columns[0])
    return float(np.mean(aucs)), float(np.mean(covariance))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_scorings", [1, 3])
def test_delong_agrees_with_every_pair(seed, n_scorings):
    rng = np.random.default_rng(seed)
    label = (rng.random(90) < 0.3).astype(np.uint8)
    logits = [np.round(rng.normal(size=90) + label, seed % 3) for _ in range(n_scorings)]
    value, variance = auc_variance(label, logits)
    slow_value, slow_variance = slow_delong(label, logits)
    assert value == pytest.approx(slow_value, abs=1e-12) and variance == pytest.approx(
        slow_variance, abs=1e-12
    )
    low, high = delong_interval(label, logits)
    # of log(A / (1 - A)), by the delta method
    scale = math.sqrt(slow_variance) / (slow_value * (1 - slow_value))
    ends = [
        math.log(slow_value / (1 - slow_value)) + sign * norm.ppf(0.975) * scale for sign in (-1, 1)
    ]
    assert (low, high) == tuple(pytest.approx(1 / (1 + math.exp(-end))) for end in ends)


def test_delong_and_bootstrap_agree_on_single_images():
    rng = np.random.default_rng(8)
    label = np.arange(600) % 2
    logit = rng.normal(size=600) + label
    low, high = delong_interval(label, [logit])
    found, found_high, _ = percentile_interval(
        bootstrap_auc(label, logit, np.arange(600).astype(str), rng_seed=3)
    )
    assert low == pytest.approx(found, abs=0.004) and high == pytest.approx(found_high, abs=0.004)


def test_clusters_of_twenty_images_need_the_cluster_bootstrap():
    """Images of a group share half of their variance: intervals over images are much too narrow,
    over groups they are not.
    """
    shift, n_groups, size, trials = 1.0, 40, 20, 120
    true = ndtr(shift / math.sqrt(2 * 2))  # both classes: variance 1 between groups and 1 within
    label = np.repeat(np.arange(n_groups) % 2, size)
    by_group, by_image = (
        np.repeat(np.arange(n_groups), size).astype(str),
        np.arange(n_groups * size).astype(str),
    )
    held, width = {"group": 0, "image": 0}, {"group": 0.0, "image": 0.0}
    for trial in range(trials):
        rng = np.random.default_rng([1, trial])
        logit = (
            np.repeat(rng.normal(size=n_groups), size) + rng.normal(size=len(label)) + shift * label
        )
        for name, group in (("group", by_group), ("image", by_image)):
            low, high, _ = percentile_interval(
                bootstrap_auc(label, logit, group, replicates=200, rng_seed=trial)
            )
            held[name] += bool(low <= true <= high)
            width[name] += float(high - low) / trials
    assert held["group"] >= 0.87 * trials
    assert held["image"] <= 0.65 * trials
    assert width["group"] > 2 * width["image"]
