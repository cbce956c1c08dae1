"""Exact bounds against scipy, against integration, and against the worst case that they allow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri
from scipy.stats import binomtest

from study.statistics.exact import Number, Support, clopper_pearson, separated_eer
from study.statistics.metrics import METRICS

# prevalence .4
SUPPORT = Support(groups=60, real=20, fake=40, pairs=20, n_real=90, n_fake=60)


def ranking_bound(metric, value, *, auc, support=SUPPORT):
    return METRICS[metric].bound.exact(Number(value=value, auc=auc, support=support))


def oracle_bound(metric, *, auc):
    """Of a number that is neither 0 nor 1."""
    number = Number(value=0.7, auc=auc, recall=0.7, real_accuracy=0.7, oracle=True, support=SUPPORT)
    return METRICS[metric].bound.exact(number)


def threshold_bound(metric, values, *, n_called):
    number = Number(
        value=values[metric],
        recall=values["recall"],
        real_accuracy=values["real_accuracy"],
        called=n_called,
        support=SUPPORT,
    )
    return METRICS[metric].bound.exact(number)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (999, 1000)]
)
def test_clopper_pearson_agrees_with_scipy(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(successes, n) == (
        pytest.approx(expected.low, abs=1e-12),
        pytest.approx(expected.high, abs=1e-12),
    )


@pytest.mark.parametrize("pairs", [1, 5, 20, 300])
def test_at_the_bound_separation_has_the_error_probability(pairs):
    """Integrate over where the highest of `pairs` reals falls, for the ROC most favourable to
    separation at that EER.
    """
    e = separated_eer(pairs)

    def density(u):
        return pairs * (1 - u) ** (pairs - 1) * (1 - e if u < e else 1.0) ** pairs

    assert quad(density, 0, 1, points=[e], limit=200)[0] == pytest.approx(0.025, rel=1e-6)


def test_separation_is_rarer_than_the_error_in_a_binormal_population_beyond_the_bound():
    pairs = 10
    shift = -2 * ndtri(separated_eer(pairs))  # binormal with just that EER
    rng = np.random.default_rng(0)
    reals, fakes = (
        rng.normal(size=(20_000, pairs)).max(axis=1),
        rng.normal(shift, size=(20_000, pairs)).min(axis=1),
    )
    assert (fakes > reals).mean() < 0.025


def test_auc_bound_is_clopper_pearson_on_disjoint_pairs():
    low, high, note = ranking_bound("auc", 1.0, auc=1.0)
    assert (
        (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1)
        and note.startswith("exact bound")
        and "20 disjoint pairs" in note
    )
    low, high, _ = ranking_bound("auc", 0.0, auc=0.0)
    assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert ranking_bound("auc", 0.9, auc=0.9) is None
    assert ranking_bound("nll", 0.0, auc=1.0) is None


def test_average_precision_bound_is_the_precision_of_the_worst_curve():
    e, pi = separated_eer(20), 0.4

    def precision(recall):
        fpr = e if recall <= 1 - e else 1.0
        return pi * recall / (pi * recall + (1 - pi) * fpr)

    low, high, _ = ranking_bound("ap", 1.0, auc=1.0)
    assert low == pytest.approx(quad(precision, 0, 1, points=[1 - e])[0]) and high == 1
    low, high, _ = ranking_bound("ap", 0.3, auc=0.0)
    assert (
        low == pytest.approx(quad(lambda t: pi * t / (pi * t + 1 - pi), 0, 1)[0])
        and low < 0.3 < high < 1
    )


def test_rates_of_a_separated_ranking():
    e = separated_eer(20)
    assert ranking_bound("eer", 0.0, auc=1.0)[:2] == (0, e)
    assert ranking_bound("eer", 1.0, auc=0.0)[:2] == (1 - e, 1)
    # 20 reals say nothing of 1 %
    assert ranking_bound("tpr_at_fpr1", 1.0, auc=1.0)[:2] == (0, 1)
    many = Support(groups=2000, real=1000, fake=1000, pairs=1000, n_real=1000, n_fake=1000)
    assert ranking_bound("tpr_at_fpr1", 1.0, auc=1.0, support=many)[:2] == (
        1 - separated_eer(1000),
        1,
    )
    assert ranking_bound("tpr_at_fpr5", 0.0, auc=0.0)[:2] == (0, e)
    assert oracle_bound("balanced_accuracy", auc=1.0)[:2] == (1 - e, 1)
    assert oracle_bound("recall", auc=1.0)[:2] == (
        pytest.approx(1 - 2 * e),
        1,
    )
    assert oracle_bound("recall", auc=0.99) is None


def values(recall: float, real_accuracy: float) -> dict[str, float]:
    fakes, reals = 40, 60
    tp, fp = recall * fakes, (1 - real_accuracy) * reals
    return {
        "accuracy": (tp + reals - fp) / 100,
        "balanced_accuracy": (recall + real_accuracy) / 2,
        "f1": 2 * tp / (fakes + tp + fp),
        "precision": tp / (tp + fp) if tp + fp else float("nan"),
        "recall": recall,
        "real_accuracy": real_accuracy,
        "fake_accuracy": recall,
    }


def test_threshold_bounds_of_proportions_count_their_own_groups():
    right = values(1.0, 1.0)
    for metric, n in {
        "accuracy": 60,
        "real_accuracy": 20,
        "recall": 40,
        "fake_accuracy": 40,
        "precision": 33,
    }.items():
        low, high, note = threshold_bound(metric, right, n_called=33)
        assert (low, high) == (pytest.approx(0.025 ** (1 / n)), 1) and f"{n} groups" in note
    low, high, _ = threshold_bound("recall", values(0.0, 0.7), n_called=9)
    assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / 40)))


def test_threshold_bounds_of_both_classes_share_the_error():
    recall, real = 0.0125 ** (1 / 40), 0.0125 ** (1 / 20)
    low, high, _ = threshold_bound("balanced_accuracy", values(1.0, 1.0), n_called=9)
    assert (low, high) == (pytest.approx((recall + real) / 2), 1)
    low, high, _ = threshold_bound("f1", values(1.0, 1.0), n_called=9)
    assert (low, high) == (
        pytest.approx(2 * 0.4 * recall / (0.4 + 0.4 * recall + 0.6 * (1 - real))),
        1,
    )
    # Everything is called fake: the accuracy is the prevalence in every replicate, but need not
    # stay there.
    low, high, _ = threshold_bound("accuracy", values(1.0, 0.0), n_called=60)
    assert (low, high) == (pytest.approx(0.4 * recall), pytest.approx(0.4 + 0.6 * (1 - real)))
    assert threshold_bound("balanced_accuracy", values(0.5, 0.5), n_called=9) is None


def test_every_bound_holds_its_value():
    for auc in (0.0, 1.0):
        for metric, value in {
            "auc": auc,
            "eer": 1 - auc,
            "ap": 1.0 if auc else 0.28,
            "tpr_at_fpr1": auc,
        }.items():
            low, high, _ = ranking_bound(metric, value, auc=auc)
            assert 0 <= low <= value <= high <= 1 and low < high
    for rates in (values(1.0, 1.0), values(0.0, 1.0), values(1.0, 0.0), values(0.0, 0.0)):
        for metric, value in rates.items():
            if not np.isnan(value):
                low, high, _ = threshold_bound(metric, rates, n_called=10)
                assert 0 <= low <= value <= high <= 1 and low < high, (metric, rates)
