"""Which jobs are done again and which are given up, when workers of a training group die. Groups
are played here, not started.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from study.runtime import train
from study.runtime.payload import Payload
from study.runtime.places import Places
from study.runtime.train import Ledger, run_jobs
from tests.runtime.small_work import Piece, begun, do_piece, terms

DEATH = RuntimeError("Worker exit type: SYSTEM_ERROR Worker exit detail: End of file. And more.")
Group = Callable[[Sequence[Piece], Ledger], dict[int, Exception]]


def play(
    group: Group, names: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, str]]:
    """Run jobs with a played group; return the failures by name."""

    def run_group(payload: Payload, ledger: Ledger, **_: Any) -> dict[int, Exception]:
        _, jobs, _ = payload.open()
        return group(jobs, ledger)

    monkeypatch.setattr(train, "_run_group", run_group)
    storage = folder / "storage"
    storage.mkdir()
    pieces = [Piece(folder, name) for name in names]
    failed = run_jobs(
        pieces,
        do_piece,
        terms(folder),
        places=lambda: Places(slots=2, cpus=1, gpus=0),
        storage=storage,
    )
    return [(name, failure.message) for name, failure in failed.items()]


def two_workers(jobs: Sequence[Piece], ledger: Ledger) -> dict[int, Exception]:
    """Two workers that take turns; `die` kills the one that takes it and ends the group, the other
    is at its own job.
    """
    for index, job in enumerate(jobs):
        rank = index % 2
        assert ledger.take(index, rank)
        if job.result_key.startswith("die"):
            if index + 1 < len(jobs):
                ledger.take(index + 1, 1 - rank)
            return {rank: DEATH}
        ledger.end(index, train.attempt_job(do_piece, job, terms(job.folder)))
    return {}


def test_a_job_that_kills_its_worker_twice_is_given_up_and_all_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "die1", "b", "raise", "c", "die2", "d"]
    failed = play(two_workers, names, tmp_path, monkeypatch)
    died = (
        "its worker process died 2 times, most often for want of memory (SYSTEM_ERROR: End of file)"
    )
    assert failed == [("die1", died), ("raise", "bad piece"), ("die2", died)]
    assert all(Piece(tmp_path, name).is_done() for name in "abcd")
    assert [begun(tmp_path, name) for name in ("a", "b", "raise", "c", "d")] == [1, 1, 1, 1, 1]


def test_an_interrupted_neighbour_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`b` is under way beside `die1`, twice, and is done at the third time."""
    assert [name for name, _ in play(two_workers, ["die1", "b"], tmp_path, monkeypatch)] == ["die1"]
    assert Piece(tmp_path, "b").is_done()


def test_work_that_leaves_nothing_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert play(two_workers, ["a", "empty"], tmp_path, monkeypatch) == [
        ("empty", "the work ended without leaving a result")
    ]


def test_a_result_without_an_end_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies after its result is written, and before it says so, has done its job."""

    def group(jobs: Sequence[Piece], ledger: Ledger) -> dict[int, Exception]:
        ledger.take(0, 0)
        do_piece(jobs[0])
        return {0: DEATH}

    assert play(group, ["a", "b"], tmp_path, monkeypatch) == []
    assert [begun(tmp_path, name) for name in "ab"] == [1, 1]


def test_groups_that_do_not_start_are_tried_twice_then_all_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def group(jobs: Sequence[Piece], ledger: Ledger) -> dict[int, Exception]:
        tried.append(len(jobs))
        return {-1: TimeoutError("no places")}

    reason = "the workers do not start (TimeoutError: no places)"
    assert play(group, ["a", "b"], tmp_path, monkeypatch) == [("a", reason), ("b", reason)]
    assert tried == [2, 2]


def test_what_is_done_already_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do_piece(Piece(tmp_path, "b"))
    assert play(two_workers, ["a", "b", "c"], tmp_path, monkeypatch) == []
    assert [begun(tmp_path, name) for name in "abc"] == [1, 1, 1]


def test_an_error_that_is_not_rays_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        train._deaths(ZeroDivisionError())


def test_places_are_counted_anew_for_every_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes, one is lost, and a group waits for places that others have."""
    slots, workers, ends = iter([3, 3, 2, 2]), list[int](), ["lost", "waits", "waits", "done"]
    timeout = WorkerGroupStartupTimeoutError(3)

    def run_group(payload: Payload, ledger: Ledger, **given: Any) -> dict[int, Exception]:
        workers.append(given["workers"])
        end = ends.pop(0)
        if end == "lost":
            ledger.take(0, 1)
            return {1: RuntimeError("The actor died because its node has died.")}
        return two_workers(payload.open()[1], ledger) if end == "done" else {-1: timeout}

    monkeypatch.setattr(train, "_run_group", run_group)
    failed = run_jobs(
        [Piece(tmp_path, name) for name in "abcd"],
        do_piece,
        terms(tmp_path),
        places=lambda: Places(slots=next(slots), cpus=1, gpus=0),
        storage=tmp_path / "storage",
    )
    assert failed == {} and workers == [3, 3, 2, 2] and not ends
