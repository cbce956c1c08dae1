"""The names of the files of predictions: each of one cell alone. Reports against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics

from study.analysis.classification import CellPredictions, classification_report, report_text
from study.core.records import Pairing
from tests.store.test_store import TRAINED, some_scores


def file_name(detector: str, train_on: str, test_on: str) -> str:
    pairing = Pairing(detector=detector, train_on=train_on)
    winner = replace(TRAINED, trial=replace(TRAINED.trial, pairing=pairing), winner_seed=0)
    return CellPredictions(winner=winner, test_on=test_on, scores=some_scores()).file_name


def test_a_name_that_the_disk_takes_stays_as_it_is() -> None:
    assert file_name("npr", "a+b", "c_d") == "npr__a+b__c_d__seed0.csv"


def test_cells_whose_names_look_alike_on_disk_have_files_of_their_own() -> None:
    cells = [
        ("npr", "ffpp:a", "b"),
        ("npr", "ffpp-a", "b"),
        ("npr", "ffpp a", "b"),
        ("npr", "ffpp-a", "b:"),
        ("npr", "a", "b__c"),
        ("npr", "a__b", "c"),
        ("npr", "a_", "b"),
        ("npr", "a", "_b"),
    ]
    names = {file_name(*cell) for cell in cells}
    assert len(names) == len(cells)
    assert all(c.isalnum() or c in "._-+" for name in names for c in name)
    assert all(name.startswith("npr__") and name.endswith(".csv") for name in names)


@pytest.mark.parametrize(
    "counts",
    [(40, 10, 5, 45), (0, 10, 0, 5), (3, 0, 4, 0), (7, 0, 0, 0), (0, 0, 1, 9), (0, 6, 0, 0)],
)
def test_a_report_is_scikit_learns(counts: tuple[int, int, int, int]) -> None:
    tn, fp, fn, tp = counts
    label = [0] * (tn + fp) + [1] * (fn + tp)
    called = [0] * tn + [1] * fp + [0] * fn + [1] * tp
    how = {"labels": [0, 1], "target_names": ["real", "fake"], "zero_division": np.nan}
    expected = sklearn.metrics.classification_report(label, called, output_dict=True, **how)
    report = classification_report(*counts)
    assert list(report) == list(expected)
    for name, row in expected.items():
        assert report[name] == pytest.approx(row, nan_ok=True, abs=1e-12)
    text = sklearn.metrics.classification_report(label, called, digits=3, **how)
    if min(tn + fp, fn + tp):
        assert report_text(report) == text
    else:  # where a class is missing, scikit-learn may print counts as 6.0
        assert report_text(report).split() == text.replace(".0\n", "\n").split()
