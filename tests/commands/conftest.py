"""A small real study, run once by each launcher: every test of the commands reads from these
runs.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from study import cross_eval, sweep
from study.store.store import Store
from tests.factories import write_dataset

STUDY = """
name = "small"
detectors = ["spectrum", "npr"]
train_on = ["alpha", "beta", "alpha+beta"]
[budget]
trials = 3
epochs = 2
seeds = 2
generation = 2
replicates = 1
null_models = 1
[detector.spectrum]
size_px = 32
[detector.npr]
size_px = 32
"""


@dataclass(frozen=True)
class StudyRun:
    """A finished study: the arguments both commands were called with, and where its store is."""

    arguments: list[str]
    store: Store
    printed: str = ""


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study over two generated datasets, one of them with a broken test image."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "datasets" / "alpha", n=30, size=32, seed=1)
    write_dataset(folder / "datasets" / "beta", n=30, size=32, seed=2, suffix=".jpg")
    path = folder / "small.toml"
    path.write_text(f'{STUDY}[data]\nroot = "{folder / "datasets"}"\n', encoding="utf-8")
    return path


def run_both(study: Path, results: Path, *extra: str) -> StudyRun:
    arguments = [str(study), "--results", str(results), *extra]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    return StudyRun(arguments, Store(results, "small"))


@pytest.fixture(scope="session")
def local_run(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The small study by --local."""
    return run_both(study_file, tmp_path_factory.mktemp("local"), "--local")


@pytest.fixture
def data_copy(study_file: Path, tmp_path: Path) -> Path:
    """The small study's data, to be damaged by one test."""
    return Path(shutil.copytree(study_file.parent / "datasets", tmp_path / "datasets"))
