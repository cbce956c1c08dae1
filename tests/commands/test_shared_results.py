"""Several studies in one results folder: at once the numbers of one alone, and no trial twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from study import sweep
from study.core.records import Pairing
from study.store.store import Store
from tests.commands.conftest import StudyRun


def begin(command: str, study: Path, results: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", f"study.{command}", str(study), "--results", str(results)]
    return subprocess.Popen(
        [*words, "--local"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(studies: list[Path], results: Path) -> None:
    for command in ("sweep", "cross_eval"):
        begun = [begin(command, study, results) for study in studies]
        said = [one.communicate()[0] for one in begun]
        assert [one.returncode for one in begun] == [0] * len(studies), said


@pytest.mark.slow
def test_two_studies_at_once_are_each_alone(study_file: Path, tmp_path: Path) -> None:
    text = study_file.read_text(encoding="utf-8").replace("trials = 3", "trials = 1")
    text = text.replace('"alpha", "beta", "alpha+beta"', '"alpha", "beta"')
    studies = []
    for name in ("first", "second"):
        studies.append(tmp_path / f"{name}.toml")
        studies[-1].write_text(text.replace('name = "small"', f'name = "{name}"'), encoding="utf-8")
    run(studies, tmp_path / "together")
    run(studies[:1], tmp_path / "alone")
    alone = Store(tmp_path / "alone", "first").matrix_file.read_text()
    for name in ("first", "second"):  # they ask for the same
        assert Store(tmp_path / "together", name).matrix_file.read_text() == alone
    left = [p for p in (tmp_path / "together").rglob("*") if p.name.endswith(".tmp")]
    assert not left and not list((tmp_path / "together").glob(".mlflow-*"))


def test_trials_of_another_study_in_the_folder_are_not_trained_again(
    local_run: StudyRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same keys whatever the study is called, tests on, and trains on besides."""
    before = {
        trial.key: (trial, result)
        for trial, result in local_run.store.trials()
        if trial.pairing == Pairing(detector="spectrum", train_on="beta")
    }
    for name in ("small", "damaged"):
        (tmp_path / name).mkdir()
        shutil.copy(local_run.store.trials_file, tmp_path / name)
    (tmp_path / "damaged" / local_run.store.trials_file.name).write_bytes(b"no record\n")
    monkeypatch.setattr("study.jobs.trial.run_trial", lambda *a: pytest.fail("trained again"))
    arguments = [local_run.arguments[0], "--results", str(tmp_path), "--local"]
    for setting in ('name="other"', 'detectors=["spectrum"]', 'train_on=["beta"]'):
        arguments += ["--set", setting]
    arguments += ["--set", 'test_on=["alpha"]', "--set", "budget.seeds=1"]
    assert sweep.main([*arguments, "--set", "budget.replicates=0"]) == 0
    said = capsys.readouterr()
    assert "reused from study small" in said.out and "damaged" not in said.err
    found = {trial.key: (trial, result) for trial, result in Store(tmp_path, "other").trials()}
    assert found.keys() == before.keys() and len(found) == 3
    for key, (trial, result) in found.items():
        assert trial == before[key][0]
        assert replace(result, note="") == replace(before[key][1], note="")
        assert result.note == "reused from study small"
