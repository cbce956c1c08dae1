"""Leave-one-out and balanced draws from end to end: what a study file asks for is what is trained,
kept and tabled.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from study import plan
from study.core.records import NO_TRAINING
from study.planning.open_study import open_study
from study.planning.study_file import load_study
from tests.commands.conftest import run_both
from tests.factories import write_dataset

STUDY = """
name = "small"
detectors = ["spectrum"]
train_on = ["all-but"]
test_on = ["alpha", "beta", "gamma"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
[data]
root = "{root}"
balance = "dataset"
[detector.spectrum]
size_px = 16
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    for number, name in enumerate(("alpha", "beta", "gamma")):
        write_dataset(tmp_path / "data" / name, n=(24, 40, 72)[number], size=16, seed=number)
    path = tmp_path / "unions.toml"
    path.write_text(STUDY.format(root=tmp_path / "data"), encoding="utf-8")
    return path


def test_leave_one_out_with_balanced_draws(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_both(study_file, tmp_path / "results", "--local")
    with run.store.matrix_file.open(encoding="utf-8", newline="") as file:
        cells = {
            (row["train_on"], row["test_on"])
            for row in csv.DictReader(file)
            if row["train_on"] != NO_TRAINING
        }
    unions = ["beta+gamma", "alpha+gamma", "alpha+beta"]
    assert cells == {(union, test) for union in unions for test in ("alpha", "beta", "gamma")}
    assert "all-but" not in run.store.study_file.read_text(encoding="utf-8")
    capsys.readouterr()
    assert plan.main([str(study_file), "--results", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr().out
    assert "drawn alike often in training: real and fake images of every dataset" in printed
    assert all(f"spectrum @ {union}" in printed for union in unions)
    assert "cells: 9 done" in printed


def test_balance_is_in_the_key_of_a_trial_and_of_no_score(study_file: Path, tmp_path: Path) -> None:
    def keys(balance: str) -> tuple[list[str], list[str]]:
        study = load_study(
            str(study_file), [f"data.balance={balance}", 'train_on=["alpha", "alpha+beta"]']
        )
        setup = open_study(study, results=tmp_path / "results", weights_root=None, firewall=False)
        trials = [
            setup.keys.trial(pairing, 0, setup.searches[pairing].space.default())
            for pairing in study.pairings()
        ]
        return trials, [setup.jobs.cell("model", name).scores_key for name in study.test_on]

    (none, scores), (by_class, same), (by_dataset, still) = (
        keys("none"),
        keys("class"),
        keys("dataset"),
    )
    assert scores == same == still
    assert by_class[0] == by_dataset[0]  # one dataset: its classes
    assert len({none[0], by_class[0], none[1], by_class[1], by_dataset[1]}) == 5
