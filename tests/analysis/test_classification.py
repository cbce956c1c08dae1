"""The names of the files of predictions: each of one cell alone."""

from __future__ import annotations

from dataclasses import replace

from study.analysis.classification import CellPredictions
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
