"""What cells show beside their numbers, against scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_curve

from study.analysis.cell_curves import BINS, GRID, WORST, calibration_bins, cell_curves
from study.core.records import Pairing, Scores
from study.statistics.metrics import ece, tpr_at_fpr
from tests.analysis.score_sets import score_set

N = 300
PAIRING = Pairing(detector="npr", train_on="x")


def scored(seed: int, *, label: np.ndarray | None = None) -> Scores:
    rng = np.random.default_rng(seed)
    label = (np.arange(N) % 3 == 0).astype(np.uint8) if label is None else label
    logit = np.round(rng.normal(size=N) + 1.5 * label - 0.7, 1).astype(np.float32)  # with ties
    ids = np.array([f"y/{i:03d}.png" for i in range(N)])
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=ids, label=label, logit=logit, listed=N
    )


def test_a_curve_is_the_mean_over_seeds_inside_its_band() -> None:
    seeds = [scored(seed) for seed in range(3)]
    scores, cells = score_set([("y", PAIRING, one, seed) for seed, one in enumerate(seeds)])
    (found,) = cell_curves(scores, cells, most=9)
    each = []
    for one in seeds:
        fpr, tpr, _ = roc_curve(one.label, one.logit, drop_intermediate=False)
        each.append([max(tpr[fpr <= at]) for at in GRID])
    assert found.tpr == pytest.approx(np.mean(each, axis=0), abs=1e-12)
    known = np.isfinite(found.low)
    assert known.tolist() == (GRID * (seeds[0].label == 0).sum() >= 2).tolist()
    assert (found.low <= found.tpr)[known].all() and (found.tpr <= found.high)[known].all()
    at = GRID.tolist().index(0.05)  # a point of the matrix
    numbers = [tpr_at_fpr(one.label, one.logit, 0.05) for one in seeds]
    assert found.tpr[at] == pytest.approx(np.mean(numbers), abs=1e-12)
    assert found.seeds == 3


def test_a_histogram_holds_every_score_of_its_class_once() -> None:
    one = scored(1)
    scores, cells = score_set([("y", PAIRING, one, 0)])
    (found,) = cell_curves(scores, cells, most=9)
    assert len(found.reals) == len(found.fakes) == BINS
    assert found.reals.sum() == pytest.approx(1) and found.fakes.sum() == pytest.approx(1)
    middle = found.edges[BINS // 2]
    share = np.mean(one.logit[one.label == 1] < middle)
    assert found.fakes[: BINS // 2].sum() == pytest.approx(share)


def test_reliability_has_the_bins_of_the_ece() -> None:
    one = scored(2)
    bins = calibration_bins(one.label, one.logit.astype(np.float64))
    error = sum(n * abs(p - share) for p, share, n in bins) / N
    assert error == pytest.approx(ece(one.label, one.logit), abs=1e-12)
    assert sum(n for *_, n in bins) == N
    assert sum(n * share for _, share, n in bins) == pytest.approx(one.label.sum())
    assert sum(n * p for p, _, n in bins) == pytest.approx(expit(one.logit.astype(float)).sum())
    assert [p for p, *_ in bins] == sorted(p for p, *_ in bins)


def test_the_worst_errors_are_named_worst_first_and_no_right_call_is_among_them() -> None:
    one = scored(3)
    scores, cells = score_set([("y", PAIRING, one, 0)])
    (found,) = cell_curves(scores, cells, most=9)
    wrong = {
        str(name): (abs(float(z)), bool(label))
        for name, z, label in zip(one.sample_id, one.logit, one.label, strict=True)
        if (z > 0) != (label == 1) and z != 0
    }
    for is_fake in (True, False):
        mine = sorted((far for far, fake in wrong.values() if fake == is_fake), reverse=True)
        shown = [abs(image.logit) for image in found.worst if image.is_fake == is_fake]
        assert shown == pytest.approx(mine[:WORST])
    assert all(wrong[image.sample_id][1] == image.is_fake for image in found.worst)
    far = [abs(image.logit) for image in found.worst]
    assert far == sorted(far, reverse=True)


def test_a_test_set_of_one_class_has_no_error_curve() -> None:
    one = scored(4, label=np.ones(N, np.uint8))
    scores, cells = score_set([("y", PAIRING, one, 0)])
    (found,) = cell_curves(scores, cells, most=9)
    assert not found.tpr.size and found.reals.tolist() == [0] * BINS


def test_only_so_many_cells_are_drawn() -> None:
    given = [(name, PAIRING, scored(i), 0) for i, name in enumerate("abc")]
    scores, cells = score_set(given)
    assert [one.test_on for one in cell_curves(scores, cells, most=2)] == ["a", "b"]
