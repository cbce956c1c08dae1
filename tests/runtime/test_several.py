"""Trials of several workers: what their group's end means, and Ctrl-C. The suite of all launchers
(tests/contract) runs them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.train

from study.core.errors import ConfigError
from study.core.failures import Failure
from study.core.records import EpochRecord, TrialResult
from study.runtime import several
from study.runtime.interface import NO_RESULT
from study.runtime.launcher import open_launcher
from study.runtime.payload import pack
from study.runtime.places import Places
from study.runtime.several import Mail, SeveralWorkers, outcome
from tests.runtime.leftovers import left_processes, nothing_is_left
from tests.runtime.small_work import (
    PAIRINGS,
    RecordedSearch,
    SmallJob,
    compute,
    epoch,
    meet,
    terms,
)

# NaN, which a failure has, is not equal to itself
NUMBERS = {"key": "k", "val_auc": 0.5, "val_nll": 0.5}
DONE = TrialResult(state="done", **NUMBERS)
RAISED = TrialResult(state="failed", failure=Failure(type="ValueError", message="x"), **NUMBERS)
DIVERGED = TrialResult(
    state="failed", failure=Failure(type="DivergedError", message="nan"), **NUMBERS
)
GLOO = Failure.of(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]"))
ALONE = TrialResult(state="failed", failure=GLOO, **NUMBERS)
DEATH = RuntimeError("Worker exit type: SYSTEM_ERROR Worker exit detail: End of file. And more.")


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({0: DONE}, DONE),
        ({0: DONE, 1: RAISED}, RAISED),
        ({1: DIVERGED}, DIVERGED),  # the others waited for it, and were ended
        ({0: RAISED, 1: DIVERGED}, RAISED),
        ({0: ALONE, 1: DIVERGED}, DIVERGED),
        ({0: ALONE}, None),  # the one that it lost has died
        ({0: ALONE, 2: ALONE}, None),
        ({}, None),
    ],
)
def test_what_workers_come_to(ends: dict[int, TrialResult], expected: TrialResult | None) -> None:
    assert outcome(ends) is expected


def test_mail_arrives_in_order_and_whole(tmp_path: Path) -> None:
    sender, reader = Mail(tmp_path), Mail(tmp_path)
    assert reader.receive() is None
    for number in range(12):
        sender.send(epoch(number, 0.5))
    (tmp_path / "record-12").with_suffix(".tmp").write_bytes(b"half")
    assert [reader.receive() for _ in range(13)] == [*(epoch(n, 0.5) for n in range(12)), None]
    sender.end(1, DIVERGED)
    assert reader.ends(3) == {1: DIVERGED}


class PlayedAttempt:
    """A group that is over: what it wrote down, and what Ray says of it."""

    def __init__(
        self, folder: Path, ends: dict[int, TrialResult], records: int, error: Exception | None
    ) -> None:
        self.mail, self.error, self.ended = Mail(folder), error, threading.Event()
        writer = Mail(folder)
        for number in range(records):
            writer.send(epoch(number, 0.5))
        for rank, result in ends.items():
            writer.end(rank, result)
        self.ended.set()


Play = tuple[dict[int, TrialResult], int, Exception | None]


def steps(
    plays: list[Play], history: RecordedSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """Play groups to a watcher; return what its steps report, up to the result."""
    waiting = iter(plays)
    monkeypatch.setattr(
        several,
        "_Attempt",
        lambda payload, places, terms, folder: PlayedAttempt(folder, *next(waiting)),
    )
    watcher = SeveralWorkers.__new__(SeveralWorkers)
    watcher._trial_info = None
    watcher.setup(
        {
            "payload": pack(compute, history.driver.next()),
            "places": Places(slots=1, cpus=1, gpus=0, workers=2),
            "terms": terms(tmp_path),
            "folder": str(tmp_path / "groups"),
        }
    )
    seen = []
    while not seen or "result" not in seen[-1]:
        seen.append(watcher.step())
    assert seen[-1]["done"]
    assert next(waiting, None) is None
    return [next(iter(step.values())) for step in seen]


def lost(rank: int) -> ray.train.WorkerGroupError:
    return ray.train.WorkerGroupError("a worker failed", {rank: DEATH})


@pytest.mark.parametrize(
    ("plays", "records", "result"),
    [
        ([({0: DONE}, 2, None)], [0, 1], DONE),
        ([({0: DONE}, 2, lost(1))], [0, 1], DONE),  # its work was done
        ([({1: DIVERGED}, 1, lost(1))], [0], DIVERGED),
        ([({}, 1, lost(1)), ({0: DONE}, 2, None)], [0, 0, 1], DONE),
        ([({0: ALONE}, 1, lost(0)), ({0: DONE}, 2, None)], [0, 0, 1], DONE),
    ],
)
def test_a_group_that_lost_a_worker_is_begun_again_once(
    plays: list[Play],
    records: list[int],
    result: TrialResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = steps(plays, RecordedSearch(tmp_path, trials=1), tmp_path, monkeypatch)
    assert [record.epoch for record in seen[:-1]] == records
    assert seen[-1] == result


def test_a_second_death_fails_the_trial_with_the_death_as_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = RecordedSearch(tmp_path, trials=1)
    error = ray.train.WorkerGroupError("two failed", {0: RuntimeError("gloo"), 1: DEATH})
    result = steps(
        [({0: ALONE}, 0, error), ({0: ALONE}, 0, error)], history, tmp_path, monkeypatch
    )[-1]
    assert result.state == "failed" and not result.permanent
    assert (
        result.failure is not None
        and result.failure.message
        == "its worker process died 2 times, most often for want of memory (SYSTEM_ERROR: End of"
        " file)"
    )


def test_workers_that_lose_each_other_twice_fail_with_their_own_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ray.train.WorkerGroupError(
        "both failed", {0: RuntimeError(GLOO.text), 1: RuntimeError(GLOO.text)}
    )
    result = steps(
        [({0: ALONE, 1: ALONE}, 0, error)] * 2,
        RecordedSearch(tmp_path, trials=1),
        tmp_path,
        monkeypatch,
    )[-1]
    assert result == ALONE


def test_a_group_that_leaves_no_result_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = steps([({}, 0, None)], RecordedSearch(tmp_path, trials=1), tmp_path, monkeypatch)
    assert (result.state, result.failure) == ("failed", NO_RESULT)
    assert NO_RESULT.message == "the work ended without leaving a result"


def interrupting_together(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """The first of two workers presses Ctrl-C in the driver's process; both go on for long."""
    import torch.distributed as dist

    meet()
    if dist.get_rank() == 0:
        os.kill(job.driver, signal.SIGINT)
    threading.Event().wait()
    raise AssertionError


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_ends_a_trial_of_several_workers_and_nothing_is_left(
    ray_address: str, tmp_path: Path
) -> None:
    before, history = left_processes(), RecordedSearch(tmp_path, pairings=PAIRINGS[1:2], trials=2)
    launcher = open_launcher(
        local=False,
        address=ray_address,
        terms=terms(tmp_path),
        slots=None,
        scratch=tmp_path / "scratch",
        workers=2,
    )
    with launcher, pytest.raises(KeyboardInterrupt):
        launcher.run_trials(history.driver, interrupting_together)
    assert history.results == []
    assert nothing_is_left(before)
    assert not (tmp_path / "scratch").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_too_small_for_a_trial_is_refused_before_any_work(
    ray_address: str, tmp_path: Path
) -> None:
    history = RecordedSearch(tmp_path, pairings=PAIRINGS[1:2], trials=1)
    launcher = open_launcher(
        local=False,
        address=ray_address,
        terms=terms(tmp_path, threads=2),
        slots=None,
        scratch=tmp_path / "scratch",
        workers=2,
    )
    with (
        launcher,
        pytest.raises(
            ConfigError,
            match="one trial needs 2 workers with 2 CPUs each; the cluster has a node with 2 CPU",
        ),
    ):
        launcher.run_trials(history.driver, compute)
    assert history.results == []
    assert not (tmp_path / "scratch").exists()
