"""The end of a run: short enough for a terminal, and its numbers are those of matrix.csv."""

from __future__ import annotations

import csv
import re

import pytest

from study import cross_eval
from tests.commands.conftest import StudyRun


@pytest.fixture
def shown(
    local_run: StudyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("COLUMNS", "100")
    capsys.readouterr()
    assert cross_eval.main(local_run.arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    return lines[lines.index("") + 1 :]  # after what was done


def test_it_fits_a_terminal(shown: list[str]) -> None:
    """Two detectors, three training sets, two test sets. No command and no address is broken."""
    assert len(shown) <= 25
    whole = ("python -m study.", "matrix in MLflow: http")
    assert all(len(line) <= 100 for line in shown if not any(one in line for one in whole))
    assert any(line.startswith("next:   python -m study.predict small IMAGE") for line in shown)
    assert sum(line.startswith("files:") and "README.md" in line for line in shown) == 1
    assert "report.html is the page" in " ".join(line.strip() for line in shown)


def test_its_numbers_are_those_of_the_matrix(shown: list[str], local_run: StudyRun) -> None:
    with local_run.store.matrix_file.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["metric"], row["seed"], row["level"], row["subset"], row["degradation"])
            == ("auc", "mean", "image", "", "none")
            and row["leak_free"].lower() == "false"
            and row["detector"] in ("spectrum", "npr")
        ]
    at = next(number for number, line in enumerate(shown) if line.startswith("auc, trained on"))
    tests = [word for word in shown[at].split() if word in ("alpha", "beta")]
    controls = csv.DictReader(local_run.store.matrix_file.open(encoding="utf-8", newline=""))
    metadata = {
        row["test_on"]: f"{float(row['value']):.3f}"
        for row in controls
        if (row["detector"], row["metric"]) == ("(metadata only)", "auc")
    }
    of_files = re.sub(r" \[[^]]*\]", "", shown[at + 7])
    assert of_files.split() == ["(metadata", "only)", *(metadata[y] for y in tests)]
    found = {}
    for line in shown[at + 1 : at + 7]:
        detector, _, train_on, *cells = re.sub(r" \[[^]]*\]", "", line).split()
        found |= {(detector, train_on, y): cell for y, cell in zip(tests, cells, strict=True)}
    assert len(found) == len(rows) == 12
    for row in rows:
        cell = found[row["detector"], row["train_on"], row["test_on"]]
        assert cell.rstrip("*!") == f"{float(row['value']):.3f}"
        assert ("*" in cell) == (row["domain"] == "in")
        ends = f"[{float(row['low']):.2f}, {float(row['high']):.2f}]"
        assert f"{cell} {ends}" in " ".join(shown[at + 1 : at + 7])


def test_everything_is_there_on_request(
    local_run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cross_eval.main([*local_run.arguments, "--full"]) == 0
    full = capsys.readouterr().out
    assert "mean over seeds (n=2) [95 % interval]" in full and "selection gap" in full
