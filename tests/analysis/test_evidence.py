"""Scores as evidence: bounds, validity on another dataset, and the table."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from study.analysis.evidence import EvidenceRow, evidence_rows
from study.core.records import Estimate, Pairing, Scores
from study.planning.cells import PlannedCell
from study.render.evidence import evidence_markdown, tippett_csv, valid_words
from study.render.figures.tippett import tippett_plots
from tests.analysis.score_sets import score_set

N = 400
PAIRING = Pairing(detector="npr", train_on="x")


def scored(seed: int, *, shift: float = 0.0, name: str = "y") -> Scores:
    """Logits of which ln LR = 2 z: fakes at +1, reals at -1, sd 1; all moved by `shift`."""
    rng = np.random.default_rng(seed)
    label = (np.arange(N) % 2).astype(np.uint8)
    ids = np.array([f"{name}/{i:03d}" for i in range(N)])
    logit = (rng.normal(size=N) + 2.0 * label - 1 + shift).astype(np.float32)
    method = np.array(["real", "fake"])[label]
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=method, label=label, logit=logit, listed=N
    )


def rows_of(shifts: dict[str, float], seeds: int = 2) -> dict[str, EvidenceRow]:
    given = [
        (y, PAIRING, scored(10 * seed + i, shift=shift, name=y), seed)
        for i, (y, shift) in enumerate(shifts.items())
        for seed in range(seeds)
    ]
    scores, cells = score_set(given)
    winners = {
        seed: SimpleNamespace(key=f"w{seed}", winner_seed=seed, temperature=1.0)
        for seed in range(seeds)
    }
    val = {f"w{seed}": scored(2000 + seed, name="x") for seed in range(seeds)}
    store = SimpleNamespace(val_scores=val.__getitem__)
    planned = [
        PlannedCell(cell=cell, winner=cast(Any, winners[cell.winner_seed]), job=None)
        for cell in cells
    ]
    return {row.test_on: row for row in evidence_rows(scores, cast(Any, store), planned, [])}


def test_ratios_that_are_calibrated_on_x_hold_where_scores_mean_the_same() -> None:
    found = rows_of({"alike": 0.0, "moved": 1.5})
    assert found["alike"].p_holm > 0.05 and valid_words(found["alike"]).startswith("not refuted")
    assert found["moved"].p_holm < 0.001 and valid_words(found["moved"]).startswith("no ")
    assert found["alike"].p_holm == pytest.approx(
        max(found["alike"].p, min(2 * found["moved"].p, 1)), abs=1e-12
    )


def test_bounds_are_the_narrowest_over_seeds_and_within_what_n_can_show() -> None:
    """With 200 images a class no LR beyond 201 or below 1 / 201 rests on data."""
    both = rows_of({"alike": 0.0})["alike"]
    one = rows_of({"alike": 0.0}, seeds=1)["alike"]
    assert -math.log10(201) <= one.low <= both.low < 0 < both.high <= one.high <= math.log10(201)


def test_a_tippett_plot_has_the_share_of_each_class_with_at_least_that_ratio(
    tmp_path: Path,
) -> None:
    row = rows_of({"y": 0.0})["y"]
    val = [scored(2000 + seed, name="x") for seed in range(2)]
    pooled: dict[int, list[float]] = {0: [], 1: []}
    for seed, source in enumerate(val):
        # Platt's targets, as each image once of either class with weights
        target = np.where(source.label == 1, (N / 2 + 1) / (N / 2 + 2), 1 / (N / 2 + 2))
        # lbfgs ends a ten-thousandth short of the minimum, which moves a ratio over a threshold
        fitted = LogisticRegression(C=np.inf, tol=1e-8, solver="newton-cholesky").fit(
            np.tile(source.logit, 2)[:, None],
            np.repeat([1, 0], N),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        of = scored(10 * seed, name="y")
        ratios = (fitted.coef_[0, 0] * of.logit + fitted.intercept_[0]) / math.log(10)
        for k in (0, 1):
            pooled[k] += ratios[of.label == k].tolist()
    lines = [*csv.DictReader(tippett_csv([row]).splitlines())]
    assert len(lines) == 101 and lines[0]["log10_lr"] == "-5.0"
    for line in lines:
        at = float(line["log10_lr"])
        for k, name in ((0, "reals_at_least"), (1, "fakes_at_least")):
            share = float(np.mean(np.array(pooled[k]) >= at))
            assert float(line[name]) == pytest.approx(share, abs=1e-9)
    tippett_plots([row], tmp_path / "tippett.png")
    with Image.open(tmp_path / "tippett.png") as image:
        assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 10


def test_a_detector_without_a_source_has_no_row() -> None:
    scores, cells = score_set([("y", PAIRING, scored(0), 0)])
    winner = cast(Any, SimpleNamespace(key="w", winner_seed=0, temperature=math.nan))
    planned = [PlannedCell(cell=cells[0], winner=winner, job=None)]
    assert evidence_rows(scores, cast(Any, None), planned, []) == ()
    assert evidence_markdown(()) == ""


def test_the_table_has_bounds_and_words() -> None:
    row = rows_of({"moved": 1.5})["moved"]
    half = Estimate(value=0.5, low=0.4, high=0.6, n_real=N // 2, n_fake=N // 2)
    shown = EvidenceRow(
        detector="npr",
        train_on="x",
        test_on="y",
        numbers={**row.numbers, "cllr": half},
        low=-1.5,
        high=2.0,
        p=0.2,
        p_holm=0.2,
    )
    text = evidence_markdown([shown])
    assert "-1.50 to 2.00" in text and "not refuted (p 0.200)" in text
    assert "0.500 [0.40, 0.60]" in text and "undefined" in text
