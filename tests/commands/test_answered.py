"""A finished study answers at once, with what a whole run says, and runs whole where anything that
its answer rests on has changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from study import cli, cross_eval, sweep
from study.core import snapshot
from study.data.catalog import Catalog
from study.data.datasets import Dataset
from study.store.store import Store
from tests.commands.conftest import StudyRun


class OpenedError(Exception):
    """In place of opening the study: the command did not answer at once."""


def refuse(*_: object, **__: object) -> None:
    raise OpenedError


@pytest.fixture
def finished(local_run: StudyRun, data_copy: Path, tmp_path: Path) -> tuple[list[str], Store]:
    """The finished small study, with data, results and a working folder of this test's own."""
    shutil.copytree(local_run.store.results, tmp_path / "results")
    arguments = [local_run.arguments[0], "--local", "--data-root", str(data_copy)]
    arguments += ["--results", str(tmp_path / "results")]
    return arguments, Store(tmp_path / "results", "small")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command as a shell starts it; return what it prints. at_once: opening the study is an
    error.
    """

    def run(command: str, *arguments: str, at_once: bool = False) -> str:
        main = {"sweep": sweep.main, "cross_eval": cross_eval.main}[command]
        begun = dict(os.environ)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [command, *arguments])
            if at_once:
                patch.setattr(cli, "open_study", refuse)
                patch.setattr(cli, "views", contextlib.nullcontext)
            try:
                assert main(None) == 0
            finally:  # what libraries have added to that of this process
                for name in os.environ.keys() - begun.keys():
                    del os.environ[name]
        return capsys.readouterr().out

    return run


@contextlib.contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """A file with other content of the same time; afterwards as it was, its time included."""
    before, status = path.read_bytes(), path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    yield
    path.write_bytes(before)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


def test_a_finished_sweep_answers_at_once_until_something_changes(
    finished: tuple[list[str], Store], call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, store = finished
    trained = call("sweep", *arguments)
    assert "Nothing to train" in trained
    assert call("sweep", *arguments, at_once=True) == trained

    def asks(*more: str) -> None:
        with pytest.raises(OpenedError):
            call("sweep", *arguments, *more, at_once=True)

    with changed(store.trials_file, flipped(store.trials_file)):
        asks()
    asks("--quiet")
    with store.lock():  # by its own message
        asks()
    for name in ("STUDY_WEIGHTS", "MLFLOW_TRACKING_URI"):
        with monkeypatch.context() as patch:
            patch.setenv(name, f"sqlite:///{store.results}/mlflow.db")
            asks()
    with monkeypatch.context() as patch:
        patch.setattr("study.tracking.answered.program_state", lambda: "another")
        asks()
    assert call("sweep", *arguments, at_once=True) == trained
    for stage in ("deleted", "active"):
        with contextlib.closing(sqlite3.connect(store.results / "mlflow.db")) as opened, opened:
            opened.execute("UPDATE runs SET lifecycle_stage = ?", (stage,))
        if stage == "deleted":
            asks()
    assert call("sweep", *arguments, at_once=True) == trained
    with monkeypatch.context() as patch:  # Python that calls it may have other code loaded
        patch.setattr(cli, "open_study", refuse)
        with pytest.raises(OpenedError):
            sweep.main(arguments)
    image = next(Path(arguments[3]).rglob("*.png"))
    with changed(image, image.read_bytes()):
        asks()


@pytest.mark.slow
def test_a_warning_that_the_inputs_give_every_time_is_said_again(
    finished: tuple[list[str], Store], call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, store = finished
    lacks, whole = ("7 of 9 images are missing",), Catalog.dataset

    def lacking(self: Catalog, name: str) -> Dataset:
        return replace(whole(self, name), incomplete=lacks)

    monkeypatch.setattr(Catalog, "dataset", lacking)
    said = call("sweep", *arguments)
    log = store.folder / "run.log"
    warned = log.read_text(encoding="utf-8").count(lacks[0])
    assert warned > 0
    assert call("sweep", *arguments, at_once=True) == said
    assert log.read_text(encoding="utf-8").count(lacks[0]) == 2 * warned


@pytest.mark.slow
def test_a_finished_matrix_answers_at_once_until_something_changes(
    finished: tuple[list[str], Store], call: Callable[..., str]
) -> None:
    arguments, store = finished
    trained = call("sweep", *arguments)
    scored = call("cross_eval", *arguments)
    log = store.run_log.read_text(encoding="utf-8")
    assert "Nothing to train" in trained
    assert "Nothing to score" in scored
    matrix = store.matrix_file.stat()
    for command, before in (("sweep", trained), ("cross_eval", scored)):
        assert call(command, *arguments, at_once=True) == before
    assert store.matrix_file.stat() == matrix  # nothing is written anew
    assert (
        store.run_log.read_text(encoding="utf-8").count("Nothing to") == log.count("Nothing to") + 2
    )

    def asks(command: str, *more: str) -> None:
        with pytest.raises(OpenedError):
            call(command, *arguments, *more, at_once=True)

    scores = sorted((store.folder / "scores").glob("*.parquet"))[0]
    for path in (store.matrix_file, scores, store.trials_file):
        with changed(path, flipped(path)):
            asks("cross_eval")
    asks("cross_eval", "--full")
    (store.folder / "new.csv").write_text("", encoding="utf-8")
    asks("cross_eval")
    (store.folder / "new.csv").unlink()
    figure = next(store.figures.iterdir())
    figure.rename(store.results / figure.name)
    asks("cross_eval")
    (store.results / figure.name).rename(figure)
    assert call("cross_eval", *arguments, at_once=True) == scored
    image = next(Path(arguments[3]).rglob("*.png"))
    with changed(image, image.read_bytes()):
        asks("cross_eval")


def test_the_state_of_a_tree_changes_with_every_file(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    first = snapshot.tree_state(tmp_path)
    assert snapshot.tree_state(tmp_path) == first
    assert snapshot.changed_since(tmp_path, 0)
    assert not snapshot.changed_since(tmp_path, 1e12)
    seen = {first}
    for change in (
        lambda: (tmp_path / "a" / "b" / "c").write_bytes(b"22"),
        (tmp_path / "a" / "d").touch,
        lambda: (tmp_path / "a" / "d").rename(tmp_path / "a" / "e"),
        lambda: (tmp_path / "a" / "e").chmod(0o600),
    ):
        change()
        seen.add(snapshot.tree_state(tmp_path))
    assert len(seen) == 5
    assert snapshot.tree_state(tmp_path / "none") == snapshot.ABSENT


@pytest.mark.slow
def test_the_run_that_did_the_work_leaves_the_answer_of_a_run_without_any(
    study_file: Path, tmp_path: Path
) -> None:
    """In processes of their own; the oracle is a whole run, for which the answers are removed."""
    results = tmp_path / "results"
    words = ["--local", "--set", 'detectors=["spectrum"]', "--results", str(results)]

    def run(command: str) -> str:
        line = [sys.executable, "-m", f"study.{command}", str(study_file), *words]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        return re.sub("runs/[0-9a-f]{32}", "runs/ID", done.stdout)

    first = {command: run(command) for command in ("sweep", "cross_eval")}
    written = {path: path.stat() for path in (results / "small").rglob("*.csv")}
    quick = {command: run(command) for command in first}
    assert written == {path: path.stat() for path in written}
    shutil.rmtree(results / "cache" / "answers")
    whole = {command: run(command) for command in first}
    assert written != {path: path.stat() for path in written}
    assert quick == whole
    assert all(quick[command] != said for command, said in first.items())
