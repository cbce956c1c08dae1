"""Threshold transfer and the selection gap, from made-up rows with numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from study.analysis.selection_gap import selection_gaps
from study.core.records import Pairing, Scores
from study.planning.cells import PlannedCell
from study.render.figures.search import best_so_far
from study.render.selection_gap import gap_line, markdown_gaps
from study.render.thresholds import markdown_transfer, text_transfer, transfers
from tests.analysis.score_sets import score_set
from tests.render.synthetic_matrix import results, row, without_number

VALUES = {"fixed": 0.6, "source": 0.7, "source_fpr1": 0.55, "source_fpr5": 0.65, "oracle": 0.82}


def cell(train_on: str, test_on: str) -> list:
    place = {"detector": "npr", "train_on": train_on, "test_on": test_on}
    rows = [
        row(**place, value=v, metric="balanced_accuracy", threshold=t) for t, v in VALUES.items()
    ]
    kept = [
        row(
            **place,
            value=v,
            metric="real_accuracy",
            threshold=f"source_fpr{at}",
            low=low,
            high=high,
        )
        for at, v, low, high in ((1, 0.9, 0.8, 0.95), (5, 0.7, 0.6, 0.75))
    ]
    return [row(**place, value=0.9), *rows, *kept]


def test_thresholds_stand_side_by_side_and_the_promised_rates_are_what_they_became() -> None:
    rows = [
        *cell("a", "a"),
        *cell("a", "b"),
        without_number("npr", "a", "c", "failed", "the disk is on fire"),
    ]
    _home, away, lost = transfers(results(rows), "npr")
    assert away.balanced_accuracy == VALUES
    assert away.lost == pytest.approx(0.12)
    assert away.fpr[0] == pytest.approx((0.1, 0.05, 0.2))
    assert away.fpr[1] == pytest.approx((0.3, 0.25, 0.4))
    assert lost.state == "failed" and math.isnan(lost.fpr[0][0])
    text = text_transfer(results(rows), "npr").splitlines()
    assert text[1].split()[:4] == ["train", "on", "test", "on"]
    assert text[3].split() == [
        "a",
        "b",
        "0.600",
        "0.700",
        "0.550",
        "0.650",
        "0.820",
        "+0.120",
        "0.100",
        "[0.050,",
        "0.200]",
        "0.300",
        "[0.250,",
        "0.400]",
    ]
    shown = markdown_transfer(results(rows))
    assert (
        r"| a | a \* | 0.600 | 0.700 | 0.550 | 0.650 | 0.820 | +0.120 | 0.100 [0.050, 0.200]"
        in shown
    )
    assert "| +0.120 | 0.100 [0.050, 0.200] | 0.300 [0.250, 0.400] |" in shown
    assert "| a | c | failed |" in shown


def test_a_detector_without_a_source_has_no_source_threshold() -> None:
    rows = [r for r in cell("(none)", "b") if r.threshold in ("", "fixed", "oracle")]
    (found,) = transfers(results(rows), "npr")
    assert math.isnan(found.balanced_accuracy["source"]) and math.isnan(found.lost)
    shown = ["0.600", *["undefined"] * 3, "0.820", *["undefined"] * 3]
    assert f"| (none) | b | {' | '.join(shown)} |" in markdown_transfer(results(rows))


def of_auc(auc: float) -> Scores:
    """Scores of one fake and 200 reals, of which so many lie below it."""
    ids = np.array([f"{i:03d}" for i in range(201)])
    label = (np.arange(201) == 200).astype(np.uint8)
    logit = np.append(np.arange(200), 200 * auc - 0.5).astype(np.float32)
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=ids, label=label, logit=logit, listed=201
    )


def test_selection_gap_by_hand() -> None:
    pairing = Pairing(detector="npr", train_on="a+b")
    places = [("a", 0, 0.8), ("a", 1, 0.9), ("b", 0, 0.685), ("c", 0, 0.5)]
    scores, cells = score_set((y, pairing, of_auc(auc), seed) for y, seed, auc in places)
    winners = [cast(Any, SimpleNamespace(val_auc=auc)) for auc in (0.95, 0.92)]
    planned = [PlannedCell(cell=c, winner=winners[c.winner_seed], job=None) for c in cells]
    gaps = selection_gaps(scores, planned)
    assert [(g.test_on, g.seeds) for g in gaps] == [("a", 2), ("b", 1)]
    assert [g.gap for g in gaps] == pytest.approx([0.935 - 0.85, 0.265])
    assert gaps[0].sd == pytest.approx((0.15 - 0.02) / math.sqrt(2)) and math.isnan(gaps[1].sd)
    assert "| npr | a+b | a | 0.935 | 0.850 | +0.085 | 0.092 |" in markdown_gaps(gaps)
    assert gap_line(gaps, "npr").endswith("+0.175, mean of 2 in-domain cells")
    assert gap_line(gaps, "spectrum") == ""


def test_best_so_far_curves_are_drawn(tmp_path: Path) -> None:
    curves = {
        Pairing(detector=d, train_on=x): [None, 0.6, 0.7]
        for d in ("npr", "spectrum")
        for x in ("a", "b", "c", "d")
    }
    best_so_far(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
