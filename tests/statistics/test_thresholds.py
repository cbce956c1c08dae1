"""The named thresholds and the temperature: by exhaustive search, by hand, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from study.statistics import metrics, thresholds


@st.composite
def samples(draw):
    n = draw(st.integers(2, 30))
    logit = draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n))
    label = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))]
    return np.array(label, np.uint8), np.array(logit, np.float64)


def search(label, logit) -> float:
    """The midpoint of the lowest plateau, by trying every threshold interval in turn, from the
    lowest.
    """
    score = sorted(set(logit.tolist()))
    edges = [-math.inf, *score, math.inf]
    # In the interval (edges[i], edges[i + 1]] everything that scores edges[i + 1] or more is called
    # fake.
    value = []
    for high in edges[1:]:
        tp, fp = ((logit >= high) & (label == 1)).sum(), ((logit >= high) & (label == 0)).sum()
        value.append(int(tp) * int((label == 0).sum()) - int(fp) * int(label.sum()))
    start = value.index(max(value))
    stop = start
    while stop + 1 < len(value) and value[stop + 1] == max(value):
        stop += 1
    low, high = edges[start], edges[stop + 1]
    if low == -math.inf:
        return low
    return high if high == math.inf else (low + high) / 2


@settings(max_examples=120, deadline=None)
@given(samples())
def test_best_balanced_accuracy_is_the_midpoint_of_the_lowest_plateau(sample):
    label, logit = sample
    assert thresholds.best_balanced_accuracy(label, logit) == search(label, logit)


def test_plateaus_by_hand():
    best = thresholds.best_balanced_accuracy
    assert best([0, 0, 1, 1], [1, 2, 4, 5]) == 3
    assert best([0, 1, 0, 1], [1, 2, 3, 4]) == 1.5  # equally good at 3.5: the lowest is taken
    assert best([0, 0, 1, 1, 1], [1, 2, 2, 4, 5]) == 3  # (2, 4] beats (1, 2] ...
    # ... and here the tied pair cancels: one plateau, (1, 4]
    assert best([0, 0, 1, 1], [1, 2, 2, 4]) == 2.5
    # constant: calling everything fake is as good as anything
    assert best([0, 1], [7, 7]) == -math.inf
    assert best([1, 0], [1, 2]) == -math.inf
    assert best([1, 1, 0, 0, 1], [1, 1, 2, 3, 3]) == -math.inf


def test_midpoints_of_neighbouring_floats_fall_on_the_upper():
    low = 1.0
    high = np.nextafter(low, 2)
    assert thresholds.best_balanced_accuracy([0, 1], [low, high]) == high
    assert thresholds.best_balanced_accuracy([0, 1], [-1.7e308, 1.7e308]) == 0


@settings(max_examples=80, deadline=None)
@given(samples(), st.sampled_from([0.0, 0.05, 0.25, 0.5, 1.0]))
def test_at_fpr_reaches_the_tpr_of_its_metric(sample, fpr):
    label, logit = sample
    found = metrics.at_threshold(label, logit, thresholds.at_fpr(label, logit, fpr))
    assert 1 - found["real_accuracy"] <= fpr + 1e-12
    assert found["recall"] == metrics.tpr_at_fpr(label, logit, fpr)


def test_at_fpr_by_hand():
    label, logit = np.r_[np.zeros(20), 1, 1], np.r_[np.arange(20.0), 17.5, 40]
    # only 19 may be called fake: midway between 18 and 19
    assert thresholds.at_fpr(label, logit, 0.05) == 18.5
    assert thresholds.at_fpr(label, logit, 0.1) == 17.25
    assert thresholds.at_fpr(label, logit, 0.0) == 29.5
    assert thresholds.at_fpr(label, logit, 1.0) == -math.inf
    assert thresholds.at_fpr([0, 1], [3.0, 3.0], 0.05) == math.inf


def test_source_thresholds_are_the_named_ones_less_the_oracle():
    found = thresholds.source_thresholds([0, 0, 1, 1], [-3, -1, 1, 2])
    assert found == {"fixed": 0.0, "source": 0.0, "source_fpr5": 0.0}
    # that with 1 % false positives is made of the scores on val (analysis/calibrations.py)
    assert {*found, "source_fpr1", "oracle"} == {*thresholds.THRESHOLDS}


@pytest.mark.parametrize("true", [0.2, 1.0, 7.0])
def test_temperature_recovers_the_scale_of_the_logits(true):
    rng = np.random.default_rng(3)
    z = rng.normal(size=20_000) * 1.5
    label = (rng.random(len(z)) < metrics.sigmoid(z)).astype(np.uint8)
    found = thresholds.fit_temperature(label, (z * true).astype(np.float32))
    assert found == pytest.approx(true, rel=0.05)
    plain = minimize_scalar(
        lambda t: metrics.nll(label, z * true / math.exp(t)), bounds=(-4, 4), method="bounded"
    )
    assert found == pytest.approx(math.exp(plain.x), rel=1e-3)


def test_temperature_minimises_the_smoothed_loss():
    label, z = np.array([0, 0, 1, 1, 1, 0]), np.array([-2.0, 1.0, 3.0, -0.5, 1.5, -1.0])
    target = np.where(label == 1, 4 / 5, 1 / 5)

    def loss(log_t):
        return float(np.sum(np.logaddexp(0, z / math.exp(log_t)) - target * z / math.exp(log_t)))

    best = minimize_scalar(loss, bounds=(-4, 6), method="bounded", options={"xatol": 1e-10})
    assert thresholds.fit_temperature(label, z) == pytest.approx(math.exp(best.x), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 50.0, 1e30])
def test_temperature_of_separated_scores_is_finite_and_leaves_room_for_error(scale):
    label = np.r_[np.zeros(40), np.ones(40)]
    z = np.r_[-np.linspace(1, 2, 40), np.linspace(1, 2, 40)]
    t = thresholds.fit_temperature(label, z * scale)
    assert 0 < t < math.inf
    # As sure as 40 images of a class allow, at any scale: neither certain nor undecided.
    assert 0.9 < metrics.sigmoid(z * scale / t).max() < 0.999


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-(2.0**100), 2.0**100, width=32)), max_size=20)
)
def test_temperature_is_always_finite_and_positive(sample):
    t = thresholds.fit_temperature([y for y, _ in sample], [z for _, z in sample])
    assert 0 < t < math.inf


def test_temperature_where_there_is_nothing_to_fit():
    assert thresholds.fit_temperature([], []) == 1
    assert thresholds.fit_temperature([0, 1], [0.0, 0.0]) == 1
    wrong_way = thresholds.fit_temperature([1, 1, 0, 0], [-4.0, -2.0, 2.0, 4.0])
    assert wrong_way == pytest.approx(4000)
