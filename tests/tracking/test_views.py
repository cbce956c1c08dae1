"""The process that writes the views: waited for only at the end, and never left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from study.core.log import set_up
from study.search.spaces import load_space
from study.tracking import views
from study.tracking.mlflow_tracker import Tracker
from study.tracking.set_aside import set_aside_damaged
from study.tracking.view_process import Writers
from study.tracking.views import Views
from tests.render.synthetic_matrix import row
from tests.tracking.mlflow_helpers import make_trial, make_winner

START = views.start  # replaced in tests of other things
SPACE = load_space("npr", "wide")
DRIVER = """
import os, signal, sys
from pathlib import Path
from study.tracking.view_process import Writers
from study.tracking.views import Views
views = Views()
views.open("faces", Path(sys.argv[1]), remedy="again")
print(views._process.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def deaf(errors: IO[bytes], code: str = "import signal; signal.pause()") -> subprocess.Popen[bytes]:
    """A process that reads nothing and answers nothing."""
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)


def broken(errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process that ends at once, with an error."""
    return deaf(errors, code="import sys; print('first', file=sys.stderr); import no_such_library")


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Views]:
    """Begin views of a study by a process, the real one if no other is given."""

    def begun(start: Callable[[IO[bytes]], subprocess.Popen[bytes]] = START) -> Views:
        monkeypatch.setattr(views, "start", start)
        set_up()
        begun = Views()
        begun.open("faces", tmp_path / "results", remedy="study.track faces")
        return begun

    return begun


def test_a_process_of_its_own_writes_all(
    begin: Callable[..., Views], results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with begin() as written:
        trial, result = make_trial()
        written.add_epoch(trial, result.history[0])
        written.add_trial(trial, result, SPACE)
        written.add_winner(*make_winner(tmp_path))
        assert written.wait()
        assert written._process.wait(60) == 0
    tracker = Tracker("faces", results=results)
    found = tracker._client.search_runs([tracker._experiment])
    assert {run.data.tags["study.kind"] for run in found} == {"trial", "winner", "pairing"}
    assert [str(model.status) for model in tracker._models()] == ["READY"]
    assert (results / "optuna.journal").is_file()
    assert capsys.readouterr().err == ""


def test_a_part_that_fails_costs_itself_alone(results: Path, tmp_path: Path) -> None:
    """A registered model of somebody else: the matrix is there all the same, and where it is."""
    Tracker("faces", results=results)._client.create_registered_model("faces")
    told: list[tuple[str, ...]] = []
    writers = Writers("faces", results, False, {}, {}, told=lambda *words: told.append(words))
    writers.winner(*make_winner(tmp_path))
    writers.matrix([row(train_on="a+b"), row(train_on="a+b", seed="0")], [], "npr @ a+b", "")
    (page, where), (lost, what, why, _) = told
    assert (page, lost, what) == ("page", "lost", "MLflow's model registry")
    assert where.startswith("/#/experiments/") and why.startswith("there is a registered model")


def test_a_killed_process_is_one_line(
    begin: Callable[..., Views], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with begin() as written:
        written.add_trial(*make_trial(), SPACE)
        os.kill(written._process.pid, signal.SIGKILL)
        written._process.wait()
        for number in range(1, 4):
            written.add_trial(*make_trial(number=number), SPACE)
        assert not written.wait()
    said = capsys.readouterr().err
    assert said == (
        "warning: nothing more is written to MLflow and Optuna's storage: their process has ended"
        " (Killed); the results are not touched. To write what is missing there: study.track"
        " faces\n"
    )


def test_one_that_hangs_keeps_nobody_waiting(
    begin: Callable[..., Views], capsys: pytest.CaptureFixture[str]
) -> None:
    """Far more than a pipe holds is handed over; the end waits as long as it says."""
    with begin(deaf) as written:
        for number in range(2000):
            written.add_trial(*make_trial(number=number), SPACE)
        assert not written.wait(seconds=0.01)
        pid = written._process.pid
    said = capsys.readouterr()
    assert "writing the last records to MLflow and Optuna's storage" in said.out
    assert said.err.startswith("warning: 2000 records are missing in MLflow and Optuna's storage")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_fails_is_quoted(
    begin: Callable[..., Views], capsys: pytest.CaptureFixture[str]
) -> None:
    with begin(broken) as written:
        written.add_trial(*make_trial(), SPACE)
        assert not written.wait()
    said = capsys.readouterr().err
    assert "ended (ModuleNotFoundError: No module named 'no_such_library'); the results" in said
    assert said.count("\n") == 1


def test_what_an_interruption_leaves_unwritten_is_said(
    begin: Callable[..., Views], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), begin(deaf) as written:
        for number in range(3):
            written.add_trial(*make_trial(number=number), SPACE)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == (
        "warning: 3 records are not yet written to MLflow and Optuna's storage; the results are not"
        " touched. To write what is missing there: study.track faces\n"
    )
    with pytest.raises(KeyboardInterrupt), begin(deaf):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""  # no record was on its way


def test_a_record_that_cannot_be_sent_keeps_nobody_waiting(
    begin: Callable[..., Views], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those before it are written."""
    with begin() as written:
        written.add_trial(*make_trial(), SPACE)
        trial, result = make_trial(number=1)
        written.add_trial(trial, replace(result, val_auc=cast(float, lambda: 0.0)), SPACE)
        written.add_trial(*make_trial(number=2), SPACE)
        assert not written.wait()
        assert written._written == 2  # the opening and one
    said = capsys.readouterr().err
    assert said.startswith("warning: nothing more is written to MLflow and Optuna's storage: ")
    assert "pickle" in said and said.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux to watch a process")
def test_a_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    """Killed while the database is made: no half of it stays either."""
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "results")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as driver:  # type: ignore[call-overload]
        watched = os.pidfd_open(int(driver.stdout.readline()))
        while not any(tmp_path.glob("results/.mlflow-*/new.db")):
            assert driver.poll() is None
            os.sched_yield()
        driver.communicate("now\n")
        assert driver.returncode == -signal.SIGKILL
    ended, *_ = select.select([watched], [], [], 60)
    os.close(watched)
    assert ended
    assert not any(tmp_path.glob("results/.mlflow-*"))


def test_a_line_that_another_command_is_writing_is_no_damage(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one holds Optuna's lock, and ends its line while it is waited for."""
    journal, asked = results / "optuna.journal", threading.Event()
    journal.write_text('{"op_code": 0}\n{"op_co')
    acquire = JournalFileSymlinkLock.acquire

    def ask(lock: JournalFileSymlinkLock) -> bool:
        asked.set()
        return acquire(lock)

    others = JournalFileSymlinkLock(str(journal))
    others.acquire()
    monkeypatch.setattr(JournalFileSymlinkLock, "acquire", ask)
    with ThreadPoolExecutor() as pool:
        found = pool.submit(set_aside_damaged, results)
        assert asked.wait(60)
        with journal.open("a") as lines:
            lines.write('de": 0}\n')
        others.release()
        assert found.result() == []
    assert journal.read_text() == '{"op_code": 0}\n' * 2
    assert not journal.with_name("optuna.journal.lock").is_symlink()


def test_what_is_damaged_is_set_aside(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set_aside_damaged(results) == []
    (results / "optuna.journal").write_text('{"op_code": 0}\n{"op_co\n{"op_code": 0}\n')
    assert set_aside_damaged(results) == [results / "optuna.journal.damaged-1"]
    whole = (results / "mlflow.db").read_bytes()
    damages = b"no database at all" * 1000, whole[: len(whole) // 2], whole[:5000] + whole[9000:]
    for number, damaged in enumerate(damages, start=1):
        (results / "mlflow.db").write_bytes(damaged)
        with monkeypatch.context() as patch:  # one of the user's is not touched
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{results}/mlflow.db")
            assert set_aside_damaged(results) == []
        assert set_aside_damaged(results) == [results / f"mlflow.db.damaged-{number}"]
        assert not (results / "mlflow.db").exists()
