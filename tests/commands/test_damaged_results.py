"""A finished study whose files are damaged or swapped: never another matrix with exit code 0."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from study import cross_eval, sweep
from study.core.errors import StoreError
from study.store.store import Store
from tests.commands.conftest import StudyRun


@pytest.fixture
def run(local_run: StudyRun, tmp_path: Path) -> tuple[list[str], Store]:
    shutil.copytree(local_run.store.results, tmp_path / "results")
    arguments = list(local_run.arguments)
    arguments[2] = str(tmp_path / "results")
    return arguments, Store(tmp_path / "results", local_run.store.study_file.parent.name)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def swap(first: Path, second: Path) -> None:
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def test_damaged_scores_are_made_again(run: tuple[list[str], Store]) -> None:
    arguments, store = run
    matrix = store.matrix_file.read_text(encoding="utf-8")
    files = sorted((store.folder / "scores").glob("*.parquet"))
    swap(files[0], files[1])
    files[2].write_bytes(files[2].read_bytes()[:-7])
    for _ in range(3):  # each is named, and then made again
        with pytest.raises(StoreError, match="set aside"):
            cross_eval.main(arguments)
    assert cross_eval.main(arguments) == 0
    assert store.matrix_file.read_text(encoding="utf-8") == matrix


def test_a_damaged_line_of_the_record_costs_its_trial_and_the_sweep_runs_it_again(
    run: tuple[list[str], Store],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, store = run
    matrix, before = store.matrix_file.read_text(encoding="utf-8"), store.trials()
    flip(store.trials_file)
    assert sweep.main(arguments) == 0
    said = capsys.readouterr()
    assert "is not what was written: its trial is lost" in said.err
    assert said.out.count("val AUC") == 1
    assert {trial.key for trial, _ in store.trials()} == {trial.key for trial, _ in before}
    assert len(store.trials()) == len(before)
    assert cross_eval.main(arguments) == 0
    assert store.matrix_file.read_text(encoding="utf-8") == matrix


def test_damaged_weights_are_trained_again(
    run: tuple[list[str], Store], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, store = run
    matrix = store.matrix_file.read_text(encoding="utf-8")
    shutil.rmtree(store.folder / "scores")
    first, second, third = sorted((store.folder / "models").glob("*/detector.safetensors"))[:3]
    swap(first, second)
    flip(third)
    assert cross_eval.main(arguments) == 1
    assert capsys.readouterr().err.count("run the sweep again") >= 1
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    assert store.matrix_file.read_text(encoding="utf-8") == matrix
