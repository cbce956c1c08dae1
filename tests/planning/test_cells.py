"""The rows of a scored cell: pooled and by method."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from study.planning import cells
from study.planning.cells import PlannedCell, matrix_rows
from study.records import Cell, Pairing, Scores

PAIRING = Pairing(detector="npr", train_on="a")
THRESHOLDS = {"fixed": 0.0, "source": 0.3, "source_fpr5": 1.4}


def scored(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    ids = np.array([f"b/{i:03d}.png" for i in range(120)])
    label = (np.arange(120) % 3 > 0).astype(np.uint8)
    method = np.where(label == 0, "real", np.where(np.arange(120) % 3 == 1, "gan", "diffusion"))
    logit = (rng.normal(size=120) + 2 * (method == "gan") + 0.5 * (method == "diffusion")).astype(np.float32)
    return Scores(sample_id=ids, group=ids, unit=ids, method=method, label=label, logit=logit, listed=121)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The matrix of one cell of two seeds, without a study around it."""
    monkeypatch.setattr(cells, "test_content", lambda setup, test_on: test_on)
    store = SimpleNamespace(scores=lambda key: scored(int(key)))
    study = SimpleNamespace(seed=0, pairings=lambda: [PAIRING], test_on=("b",))
    planned = []
    for seed in (0, 1):
        cell = Cell(pairing=PAIRING, winner_seed=seed, test_on="b", degradation="none", state="done", scores_key=str(seed))
        winner = SimpleNamespace(winner_seed=seed, thresholds=THRESHOLDS, temperature=1.0)
        planned.append(PlannedCell(cell=cell, winner=cast(Any, winner), job=None))
    return matrix_rows(
        cast(Any, SimpleNamespace(store=store, study=study, workspace=SimpleNamespace(data=SimpleNamespace(cache=tmp_path)))),
        planned,
    )


def test_rows_by_method_stand_beside_the_pooled_ones(rows: list[Any]) -> None:
    assert list(dict.fromkeys(row.level for row in rows)) == ["image", "method:diffusion", "method:gan"]
    found = {(r.level, r.seed, r.metric, r.threshold): r.estimate for r in rows}
    assert len(found) == len(rows)
    for seed in (0, 1):
        one = scored(seed)
        for method in ("gan", "diffusion"):
            kept = (one.label == 0) | (one.method == method)
            auc = found[f"method:{method}", str(seed), "auc", ""]
            assert auc.value == pytest.approx(roc_auc_score(one.label[kept], one.logit[kept]))
            assert (auc.n_real, auc.n_fake) == (40, 40)
            for name, threshold in THRESHOLDS.items():
                tn, fp, fn, tp = confusion_matrix(one.label[kept], one.logit[kept] >= threshold).ravel()
                counts = [found[f"method:{method}", str(seed), c, name].value for c in ("tp", "fp", "tn", "fn")]
                assert counts == [tp, fp, tn, fn]
    assert {row.coverage for row in rows} == {120 / 121}


def test_the_eers_threshold_and_the_counts_at_every_threshold_are_there(rows: list[Any]) -> None:
    found = {(r.metric, r.threshold): r.estimate for r in rows if r.level == "image" and r.seed == "mean"}
    low, high = (float(min(scored(0).logit)), float(max(scored(0).logit)))
    assert low < found["eer_threshold", ""].value < high
    for threshold in (*THRESHOLDS, "oracle"):
        tp, fp, tn, fn = (found[count, threshold].value for count in ("tp", "fp", "tn", "fn"))
        assert (tp + fn, fp + tn) == (80, 40)
