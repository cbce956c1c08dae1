"""Two studies that run at once in one fresh results folder: the numbers of one alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from study.store.store import Store


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
