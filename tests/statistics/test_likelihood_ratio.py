"""Likelihood ratios against the Netherlands Forensic Institute's `lir`, scikit-learn, and hand
computations.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from study.statistics.likelihood_ratio import (
    LN10,
    UNKNOWN,
    Evidence,
    Judged,
    cllr,
    cllr_min,
    elub,
    fit_evidence,
    invalid_p,
    risk_by_coverage,
)

SHARED = Path(__file__).parents[3] / "shared" / "data"


def against_lir(label: np.ndarray, log_lr: np.ndarray) -> None:
    pytest.importorskip("lir", reason="lir is not installed: pip install 'fake-image-study[test]'")
    from lir.algorithms.bayeserror import elub as lir_elub
    from lir.data.models import LLRData
    from lir.metrics import cllr as lir_cllr
    from lir.metrics import cllr_min as lir_cllr_min

    log10 = np.asarray(log_lr, dtype=np.float64) / LN10
    theirs = LLRData(features=log10.copy(), labels=label)
    assert cllr(label, log_lr) == pytest.approx(lir_cllr(theirs), abs=1e-6)
    assert cllr_min(label, log_lr) == pytest.approx(lir_cllr_min(theirs), abs=1e-6)
    assert elub(label, log_lr) == pytest.approx(lir_elub(log10.copy(), label), abs=1e-6)


def test_random_scores_agree_with_lir() -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        n = int(rng.integers(8, 800))
        label = (np.arange(n) < max(2, rng.uniform(0.1, 0.9) * n)).astype(int)
        s = (rng.normal(size=n) + rng.uniform(0, 3) * (label - 0.5)) * rng.choice([0.3, 1, 4])
        against_lir(label, np.round(s, 1) if number % 3 == 0 else s)


@pytest.mark.parametrize(
    "of",
    [
        lambda label: np.linspace(0, 0.005, len(label)),
        lambda label: -np.linspace(0, 0.005, len(label)),
        np.zeros_like,
        lambda label: np.where(label, 30.0, -30.0),
        lambda label: np.where(label, -30.0, 30.0),
        lambda label: np.where(label, 300.0, -300.0) + np.arange(len(label)),
    ],
    ids=["saturated", "saturated and reversed", "equal", "separated", "reversed", "extreme"],
)
def test_scores_at_the_edges_agree_with_lir(of) -> None:
    label = np.repeat([0, 1], [200, 300])
    against_lir(label, of(label.astype(float)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real datasets are not in ../shared/data")
@pytest.mark.parametrize("name", ["faces_140k", "dfdc_faces224", "shoes_midjourney"])
def test_real_images_agree_with_lir(name: str) -> None:
    """Scores by brightness and contrast; the LR is fitted on the one half of the images."""
    with (SHARED / name / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::4]
    label = np.array([row["label"] in ("1", "fake") for row in rows], dtype=int)
    traits = []
    for row in rows:
        with Image.open(SHARED / name / row["path"]) as image:
            pixels = np.asarray(image.convert("L").resize((32, 32)), dtype=float)
        traits.append((pixels.mean(), pixels.std(), np.abs(np.diff(pixels)).mean()))
    x = np.array(traits)
    half = np.arange(len(label)) % 2 == 0
    logit = (x - x.mean(axis=0)) / x.std(axis=0) @ np.array([1.0, 0.5, -1.0])
    evidence = fit_evidence(label[half], logit[half])
    against_lir(label[~half], evidence.log_lr(logit[~half]))


def test_the_lr_is_that_of_scikit_learns_logistic_regression_at_equal_priors() -> None:
    """Each image twice, as fake and as real, weighted by its smoothed target."""
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1], [150, 40])
    logit = rng.normal(size=190) + 1.2 * label
    n = np.where(label, 40, 150)
    target = np.where(label, 41 / 42, 1 / 152)
    twice = np.concatenate([logit, logit])[:, None]
    weight = np.concatenate([target / n, (1 - target) / n])
    # weights that add up to the images, so that scikit-learn's own tolerance suffices
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(
        twice, np.repeat([1, 0], 190), sample_weight=weight * 95
    )
    found = fit_evidence(label, logit)
    assert found.slope == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert found.offset == pytest.approx(fitted.intercept_[0], abs=1e-4)


def test_the_lr_of_normal_scores_is_the_ratio_of_their_densities() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], [40_000, 4_000])  # equal priors whatever the classes' sizes
    logit = 5 * (rng.normal(size=44_000) + 2 * label) + 3
    found = fit_evidence(label, logit)
    assert found.slope == pytest.approx(2 / 5, rel=0.05)
    assert found.log_lr([3 + 5])[0] == pytest.approx(0, abs=0.08)  # halfway
    moved = fit_evidence(label, 1e-3 * logit + 7)
    assert moved.log_lr(1e-3 * logit + 7) == pytest.approx(found.log_lr(logit), abs=1e-5)


def test_scores_that_say_nothing_or_the_opposite_have_the_lr_1() -> None:
    label = np.repeat([0, 1], 50)
    for logit in (np.zeros(100), np.full(100, 7.3), -label.astype(float)):
        assert fit_evidence(label, logit) == Evidence(0.0, 0.0)
        assert cllr(label, fit_evidence(label, logit).log_lr(logit)) == 1
    assert not fit_evidence(np.ones(5), np.arange(5.0)).is_known
    separated = fit_evidence(label, np.where(label, 3.0, -3.0))
    assert np.isfinite(separated.slope) and separated.slope > 0
    assert separated.log_lr([3.0])[0] == pytest.approx(np.log(51), rel=1e-4)  # Platt's targets


def test_cllr_by_hand() -> None:
    """LRs of 4 and 1/2 for fakes, 1 and 1/8 for reals."""
    label, lr = [1, 1, 0, 0], np.array([4, 0.5, 1, 0.125])
    expected = (np.log2([1.25, 3]).mean() + np.log2([2, 1.125]).mean()) / 2
    assert cllr(label, np.log(lr)) == pytest.approx(expected, abs=1e-12)
    # best: LRs of (1 fake), then 1 of each class pooled, then (1 real)
    assert cllr_min(label, np.log(lr)) == pytest.approx(0.5, abs=1e-12)
    assert np.isnan([cllr([1, 1], [0.0, 1.0]), cllr_min([0, 0], [0.0, 1.0])]).all()
    assert np.isnan(elub([1, 1], [0.0, 1.0])).all()


def test_risk_by_hand() -> None:
    """Wrong: the fake at -1, and one of the two reals that tie at 1 in size."""
    coverage, risk = risk_by_coverage([1, 0, 1, 0, 0], [3.0, -2.0, -1.0, 1.0, -1.0])
    assert coverage.tolist() == [0.2, 0.4, 1.0]
    assert risk.tolist() == [0, 0, 0.4]
    assert [len(part) for part in risk_by_coverage([], [])] == [0, 0]


def judged(rng: np.random.Generator, n: int, *, slope: float = 1, shift: float = 0) -> Judged:
    """Scores of 2 n groups of two images, of which the calibrated LR is 1.5 * logit at slope 1 and
    shift 0.
    """
    label = np.repeat([0, 1], 2 * n)
    group = np.repeat(np.arange(2 * n), 2)
    logit = 1.5 * (label - 0.5) + np.repeat(rng.normal(size=2 * n), 2)
    logit += 0.3 * rng.normal(size=4 * n)
    return Judged(label=label, logit=slope * logit + shift, group=group.astype(str))


def test_lrs_that_hold_are_rarely_called_invalid_and_others_nearly_always() -> None:
    """Groups of two images and a fitted slope: without their variance a third would be."""
    rng = np.random.default_rng(3)
    alarms = [invalid_p([judged(rng, 60)], [judged(rng, 60)]) < 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(alarms) <= 0.08
    overstated = [invalid_p([judged(rng, 200)], [judged(rng, 200, slope=2)]) for _ in range(20)]
    shifted = [invalid_p([judged(rng, 200)], [judged(rng, 200, shift=1)]) for _ in range(20)]
    assert np.mean(np.array([overstated, shifted]) < 0.05, axis=1).min() >= 0.8


def test_what_cannot_be_tested_has_no_p() -> None:
    rng = np.random.default_rng(4)
    good = judged(rng, 40)
    same = Judged(label=good.label, logit=np.zeros(160), group=good.group)
    assert np.isnan(invalid_p([same], [good]))
    assert np.isnan(invalid_p([good], [judged(rng, 3)]))
    assert not UNKNOWN.is_known
