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
from pathlib import Path

import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from study.core.log import set_up
from study.search.spaces import load_space
from study.tracking import views
from study.tracking.mlflow_tracker import Tracker
from study.tracking.set_aside import set_aside_damaged
from study.tracking.views import Views
from tests.tracking.mlflow_helpers import make_trial, make_winner

START = views.start  # replaced in tests of other things
SPACE = load_space("npr", "wide")
DRIVER = """
import os, signal, sys
from pathlib import Path
from study.tracking.views import Views
views = Views()
views.open("faces", Path(sys.argv[1]), remedy="again")
print(views._process.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def deaf() -> subprocess.Popen[bytes]:
    """A process that reads nothing and answers nothing."""
    code = "import signal; signal.pause()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Views]:
    """Begin views of a study by a process, the real one if no other is given."""

    def begun(start: Callable[[], subprocess.Popen[bytes]] = START) -> Views:
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
        written.add_trial(*make_trial(), SPACE)
        written.add_winner(*make_winner(tmp_path))
        assert written.wait()
        assert written._process.wait(60) == 0
    tracker = Tracker("faces", results=results)
    found = tracker._client.search_runs([tracker._experiment])
    assert {run.data.tags["study.kind"] for run in found} == {"trial", "winner", "pairing"}
    assert [str(model.status) for model in tracker._models()] == ["READY"]
    assert (results / "optuna.journal").is_file()
    assert capsys.readouterr().err == ""


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
        "warning: nothing more is written to MLflow and Optuna's storage: their process has ended;"
        " the results are not touched. To write what is missing there: study.track faces\n"
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
    assert said.err.startswith("warning: 2001 records are missing in MLflow and Optuna's storage")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


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
