"""Confusion tables, reports, metrics and predictions of cells, against counts by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import cross_eval
from study.analysis.cells_csv import read_cells
from tests.commands.conftest import StudyRun


@pytest.fixture(scope="module")
def written(local_run: StudyRun) -> Path:
    assert cross_eval.main([*local_run.arguments, "--predictions-csv"]) == 0
    return local_run.store.folder


def test_predictions_of_every_cell_are_the_stored_scores(
    written: Path, local_run: StudyRun
) -> None:
    cells = [c for c in read_cells(written / "cells.csv") if c.degradation == "none"]
    assert len([*written.glob("predictions/*.csv")]) == len(cells) > 1
    cell = next(c for c in cells if (c.detector, c.train_on, c.test_on) == ("npr", "alpha", "beta"))
    file = written / "predictions" / f"npr__alpha__beta__seed{cell.seed}.csv"
    table, held = pd.read_csv(file), local_run.store.scores(cell.scores)
    np.testing.assert_array_equal(table["sample_id"], held.sample_id)
    np.testing.assert_array_equal(table["logit"], held.logit.astype(np.float64))
    np.testing.assert_array_equal(table["label"] == "fake", held.label == 1)
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-table["logit"])))
    np.testing.assert_array_equal(table["fixed"] == "fake", table["logit"] >= 0)


def test_confusion_counts_and_rates_are_those_of_the_scores(
    written: Path, local_run: StudyRun
) -> None:
    with (written / "confusion.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    cells = {
        (c.detector, c.train_on, c.test_on, str(c.seed)): c
        for c in read_cells(written / "cells.csv")
    }
    assert {row["threshold"] for row in rows} == {"fixed", "source"}
    for row in rows:
        cell = cells[row["detector"], row["train_on"], row["test_on"], row["seed"]]
        held = local_run.store.scores(cell.scores)
        called, fake = held.logit.astype(float) >= float(row["cut"]), held.label == 1
        counts = [(~called & ~fake), (called & ~fake), (~called & fake), (called & fake)]
        tn, fp, fn, tp = (int(one.sum()) for one in counts)
        assert [int(row[name]) for name in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
        assert float(row["accuracy"]) == pytest.approx((tn + tp) / len(fake))
        assert row["fake_precision"] == "" if not tp + fp else True
        if tp + fp:
            assert float(row["fake_precision"]) == pytest.approx(tp / (tp + fp))
        assert float(row["fake_recall"]) == pytest.approx(tp / (tp + fn))
        assert float(row["real_support"]) == tn + fp
    text = (written / "classification.txt").read_text(encoding="utf-8")
    assert text.count("macro avg") == len(rows)


def test_metrics_are_those_of_the_matrix(written: Path) -> None:
    found = json.loads((written / "metrics.json").read_text(encoding="utf-8"))
    matrix = pd.read_csv(written / "matrix.csv")
    for metric, threshold in (("auc", ""), ("accuracy", "source")):
        row = matrix[
            (matrix.detector == "npr")
            & (matrix.train_on == "alpha+beta")
            & (matrix.test_on == "beta")
            & (matrix.metric == metric)
            & (matrix.threshold.fillna("") == threshold)
            & (matrix.seed == "mean")
            & (matrix.level == "image")
            & matrix.subset.isna()
            & ~matrix.leak_free
            & (matrix.degradation == "none")
        ].iloc[0]
        name = f"{metric}@{threshold}" if threshold else metric
        given = found["npr"]["alpha+beta"]["beta"][name]
        assert [given["value"], given["low"], given["high"]] == pytest.approx(
            [row.value, row.low, row.high]
        )


def test_the_readme_of_the_results_has_the_answer_and_names_files_that_are_there(
    written: Path,
) -> None:
    text = (written / "README.md").read_text(encoding="utf-8")
    assert "# Results of the study small" in text and "python -m study.predict small" in text
    assert "> " in text and "generalises best" in text
    named = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    for name in (one for entry in named for one in entry.split(", ")):
        assert (written / name).exists(), name


def test_predictions_that_are_there_are_kept_true(
    written: Path, local_run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of cells that are gone go, the others are written anew, and other files stay."""
    folder = written / "predictions"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    old, own = folder / "npr__alpha__gone__seed0.csv", folder / "mine.csv"
    own.write_text("mine", encoding="utf-8")
    for file in (old, folder / min(before)):
        file.write_text("of an earlier matrix", encoding="utf-8")
    assert cross_eval.main(local_run.arguments) == 0
    said = f"removed predictions that are not of this matrix: {old.name}"
    assert said in capsys.readouterr().out
    own.unlink()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
