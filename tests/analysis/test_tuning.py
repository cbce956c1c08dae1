"""Tuned minus default on test sets: the winner's halves stand for both sides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.analysis.significance import Verdict
from study.analysis.tuning import Contrast, contrasts
from study.analysis.weighted_sums import cell_sum
from study.core.records import Pairing
from study.planning.cells import PlannedCell
from study.planning.variants import DEFAULT
from tests.analysis.score_sets import score_set
from tests.analysis.test_comparisons import halves, made

PAIRING = Pairing(detector="npr", train_on="x")
FAKE = np.arange(300) % 2


def contrast(better: float, sd: float, *, pairs: int = 10) -> tuple[Contrast, Any]:
    """Two seeds of a winner and two of the default; the winner is better by a shift of its fakes.
    And what its halves say of its own cell.
    """
    rng = np.random.default_rng(0)
    base = rng.normal(size=300)
    scores = [
        ("y", PAIRING, made("y", base + 0.2 * rng.normal(size=300) + shift * FAKE), seed)
        for shift in (1.0 + better, 1.0)
        for seed in (0, 1)
    ]
    drawn = halves(scores[:2], sd=sd, pairs=pairs) if pairs else {}
    opened, cells = score_set(scores, drawn=drawn)
    planned = [PlannedCell(cell=cell, winner=None, job=None) for cell in cells]
    variant = cast(Any, SimpleNamespace(pairing=PAIRING, source=DEFAULT, jobs=[]))
    job = SimpleNamespace(winner_seed=0, trial=SimpleNamespace(key="none"))
    variant.jobs.append(job)
    store = cast(Any, SimpleNamespace(failures=dict, has_model=lambda key: False))
    found = contrasts(opened, store, planned[:2], [(variant, planned[2:])])
    (on_test,) = (one for one in found if one.test_on == "y")
    aucs = [roc_auc_score(s.label, s.logit) for _, _, s, _ in scores]
    assert on_test.finding.value == pytest.approx((aucs[0] + aucs[1] - aucs[2] - aucs[3]) / 2)
    return on_test, cell_sum(opened, cells[:2]).training


def test_the_training_error_of_both_sides_is_twice_the_winners() -> None:
    found, part = contrast(0.5, 0.5)
    assert found.finding.training == pytest.approx(2 * part.variance) and part.variance > 0


def test_a_gain_is_more_than_noise_only_beyond_what_training_samples_change() -> None:
    steady, shaky = contrast(0.5, 0.02)[0], contrast(0.5, 1.0)[0]
    assert steady.verdict is Verdict.MORE_THAN_NOISE and steady.finding.low > 0
    assert shaky.verdict is Verdict.NOT_MORE and shaky.finding.low < 0
    assert contrast(0.0, 0.02)[0].verdict is Verdict.NOT_MORE
    unknown, part = contrast(0.5, 0.02, pairs=0)
    assert part is None and unknown.verdict is Verdict.NOT_COUNTED
