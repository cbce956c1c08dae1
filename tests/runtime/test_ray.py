"""The launcher on Ray, really run: the same results as without it, reused workers, interruptions.
See tests/contract too.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from study.core.errors import ConfigError
from study.core.records import EpochRecord, TrialResult
from study.runtime.cluster import Cluster
from study.runtime.interface import Launcher
from study.runtime.launcher import open_launcher
from tests.runtime.leftovers import nothing_is_held
from tests.runtime.small_work import (
    PAIRINGS,
    Piece,
    RecordedSearch,
    SmallJob,
    compute,
    epoch,
    interrupting,
    terms,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def launcher(ray_address: str, tmp_path: Path) -> Launcher:
    return open_launcher(
        local=False,
        address=ray_address,
        terms=terms(tmp_path),
        slots=2,
        scratch=tmp_path / "scratch",
    )


def traced(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """Compute, and say which process did it."""
    result = compute(job, report)
    (job.folder / f"pid-{job.trial.pairing.train_on}-{job.trial.key}").write_text(str(os.getpid()))
    return result


def test_same_proposals_and_results_as_without_ray(
    launcher: Launcher, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """12 trials over 3 pairings, 2 slots, workers reused over generations and pairings; nothing
    printed, nothing left.
    """
    runs = []
    for runner in (
        launcher,
        open_launcher(
            local=True, address=None, terms=terms(tmp_path), slots=None, scratch=tmp_path
        ),
    ):
        history = RecordedSearch(tmp_path, trials=4, generation=2)
        with runner:
            runner.run_trials(history.driver, traced)
        assert history.driver.finished()
        runs.append(
            {
                place: (params, dataclasses.replace(r, seconds=0.0))
                for place, (params, r) in history.by_place().items()
            }
        )
        workers = {path.read_text() for path in tmp_path.glob("pid-*")}
    assert len(runs[0]) == 12
    assert runs[0] == runs[1]
    assert len(workers - {str(os.getpid())}) <= 2
    assert nothing_is_held()
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "scratch").exists()


def watched(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """Three epochs; writes down its process, the threads of other trials that live there, and every
    epoch that it goes on from.
    """
    me, number = threading.current_thread(), job.trial.number
    me.name = f"trial-{number}"
    others = [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("trial-") and thread is not me
    ]
    log = job.folder / f"log-{number}"
    log.write_text(f"{os.getpid()} {others}\n")
    history = tuple(epoch(e, value) for e, value in enumerate((0.6, float("nan"), 0.5)))
    for record in history:
        report(record)
        with log.open("a") as file:
            file.write(f"on from {record.epoch}\n")
    return TrialResult(
        key=job.trial.key, state="done", val_auc=0.6, val_nll=0.5, best_epoch=0, history=history
    )


def test_stopped_trials_leave_their_worker_to_the_next(
    ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One actor for six trials, three of them stopped at an epoch: their threads have ended when
    the next one begins.
    """
    history = RecordedSearch(
        tmp_path, pairings=PAIRINGS[1:2], trials=6, generation=3, stop={0: 0, 1: 1, 4: 2}
    )
    launcher = open_launcher(
        local=False,
        address=ray_address,
        terms=terms(tmp_path),
        slots=1,
        scratch=tmp_path / "scratch",
    )
    with launcher:
        launcher.run_trials(history.driver, watched)
    results = [history.by_place()[PAIRINGS[1], number][1] for number in range(6)]
    assert [r.state for r in results] == ["stopped", "stopped", "done", "done", "stopped", "done"]
    assert [r.reason for r in results[:2]] == ["stopped after 1 epochs", "stopped after 2 epochs"]
    assert [len(r.history) for r in results] == [1, 2, 3, 3, 3, 3]
    assert all((r.val_auc, r.val_nll, r.best_epoch) == (0.6, 0.5, 0) for r in results)
    assert [round(r.seconds, 6) for r in results] == [0.1, 0.2, 0.0, 0.0, 0.3, 0.0]
    logs = [(tmp_path / f"log-{number}").read_text().splitlines() for number in range(6)]
    assert len({log[0].split()[0] for log in logs}) == 1
    assert [log[0].split()[1] for log in logs] == ["[]"] * 6
    assert [len(log) - 1 for log in logs] == [0, 1, 3, 3, 2, 3]
    assert nothing_is_held()
    assert capfd.readouterr() == ("", "")


def test_what_the_dealer_raises_on_a_report_comes_through(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(RecordedSearch, "report", full)
    with launcher, pytest.raises(OSError, match="disk full"):
        launcher.run_trials(RecordedSearch(tmp_path, trials=1).driver, compute)
    assert nothing_is_held()


def test_ctrl_c_ends_a_search_with_what_was_told(launcher: Launcher, tmp_path: Path) -> None:
    history = RecordedSearch(tmp_path, pairings=PAIRINGS[1:2], trials=3)
    with launcher, pytest.raises(KeyboardInterrupt):
        launcher.run_trials(history.driver, interrupting)
    assert {j.trial.number for j, _ in history.results} <= {0, 2}
    assert nothing_is_held()


def test_another_address_than_the_connected_one_is_refused(
    ray_address: str, tmp_path: Path
) -> None:
    with (
        open_launcher(
            local=False,
            address="127.0.0.1:1",
            terms=terms(tmp_path),
            slots=None,
            scratch=tmp_path,
        ) as launcher,
        pytest.raises(ConfigError, match=r"cannot join the Ray cluster at '127\.0\.0\.1:1'"),
    ):
        launcher.run_jobs([Piece(tmp_path, "a")], print)


SCRIPT = """
import os, signal, sys, threading
from pathlib import Path
from typing import NamedTuple
from study.runtime.interface import Terms
from study.runtime.launcher import open_launcher

class Job(NamedTuple):
    driver: int
    result_key: str = "k"

    def is_done(self):
        return False

def press_ctrl_c(job):
    print("a worker's own words")
    os.kill(job.driver, signal.SIGINT)
    threading.Event().wait()

try:
    scratch = Path(sys.argv[1])
    terms = Terms(threads=1, failures=scratch)
    given = dict(local=False, address=None, terms=terms, slots=2, scratch=scratch)
    with open_launcher(**given) as launcher:
        launcher.run_jobs([Job(os.getpid())], press_ctrl_c)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_cluster_of_its_own_is_quiet_and_gone_after_ctrl_c(tmp_path: Path) -> None:
    """A script starts Ray for itself, a worker interrupts it, and nothing of it is left: no output,
    process, or file.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "STUDY_TEST_MARK": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, script, tmp_path / "scratch"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "interrupted\n", "")
    assert not (tmp_path / "scratch").exists()
    for _ in range(100):  # the last of Ray's processes may still be on its way out
        if not (left := marked_processes(str(tmp_path))):
            break
        time.sleep(0.1)
    assert left == []


def marked_processes(mark: str) -> list[str]:
    """Command lines of processes that inherited the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"STUDY_TEST_MARK={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_what_keeps_ray_from_starting_is_one_line_with_the_variables_that_may_be_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook that another platform exports, whose module is not here."""

    def init(self: Cluster, **_: object) -> None:
        raise ModuleNotFoundError("No module named 'platform_of_others'")

    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", "platform_of_others.hook")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(Cluster, "_init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with pytest.raises(ConfigError, match=r"No module named .*RAY_RUNTIME_ENV_HOOK") as error:
        Cluster()
    assert "\n" not in str(error.value) and "--local runs without it" in str(error.value)


def test_ray_that_starts_too_slowly_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine, on which it takes longer than Ray itself waits."""
    tries = []

    def init(self: Cluster, **options: object) -> None:
        tries.append(options["_temp_dir"])
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(Cluster, "_init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with pytest.raises(ConfigError, match="Ray does not start on this machine"):
        Cluster()
    assert len({*tries}) == len(tries) == 2, "each in a folder of its own"
    assert not [folder for folder in map(Path, tries) if folder.parent.exists()]
