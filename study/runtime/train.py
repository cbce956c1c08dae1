"""Winners and cells on Ray Train: one group of workers takes jobs from one list until it is empty.

The group's start is paid once. A worker takes the next job that nobody has taken, so that long and
short jobs balance, and does nothing together with the others. Where one dies, the group is started
again for what is left; the store is the memory.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray.exceptions
import ray.train
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)

from study.core.failures import Failure, stop_all
from study.runtime.attempt import Deaths, attempt_job
from study.runtime.group import START_ATTEMPTS, Group, SharedFiles, use_own_gpu
from study.runtime.interface import NO_RESULT, RETRIES, Terms, W, Work
from study.runtime.payload import Payload, pack
from study.runtime.places import Places, given_back

STOP_SECONDS = 10.0  # to wait for a group that was interrupted
# A group finds no places: they are others', or on a node that was lost while it started.
NO_PLACES = (WorkerGroupStartupTimeoutError, WorkerGroupStartupFailedError)


class Ledger(SharedFiles):
    """Who has taken which job of one group, and how it ended."""

    def close(self) -> None:
        """Give out no more jobs."""
        (self.folder / "closed").touch()

    def take(self, index: int, rank: int) -> bool:
        """Take a job for a worker; False where another has it. One of several that try at the same
        time succeeds.
        """
        if (self.folder / "closed").exists():
            return False
        try:
            with (self.folder / f"taken-{index}").open("x") as file:
                file.write(str(rank))
        except FileExistsError:
            return False
        return True

    def end(self, index: int, failures: dict[str, Failure]) -> None:
        """Write down that a job has ended, and its failures."""
        self.write(f"ended-{index}", failures)

    def failures(self, index: int) -> dict[str, Failure] | None:
        """Return the failures of a job, {} where it ended well, None where it has not ended."""
        failures: dict[str, Failure] | None = self.read(f"ended-{index}")
        return failures

    def held_by(self, rank: int, jobs: int) -> int | None:
        """Return the job that a worker has taken and not ended."""
        for index in range(jobs):
            path = self.folder / f"taken-{index}"
            if path.exists() and path.read_text() == str(rank) and self.failures(index) is None:
                return index
        return None


def run_jobs(
    jobs: Sequence[W],
    work: Work[W],
    terms: Terms,
    *,
    places: Callable[[], Places],
    storage: Path,
) -> dict[str, Failure]:
    """Do the jobs that are not done; see `Launcher.run_jobs`. places: what the cluster has, asked
    for each group, as nodes come and go. storage: an empty folder that all nodes see.
    """
    failures: dict[int, dict[str, Failure]] = {}  # by the place in the list
    deaths = Deaths()
    fruitless = 0
    for group in itertools.count(1):
        todo = [i for i, job in enumerate(jobs) if i not in failures and not job.is_done()]
        if not todo:
            break
        ledger = Ledger(storage / f"jobs-{group}")
        payload = pack(work, [jobs[i] for i in todo], terms)
        held = places()
        died = _run_group(payload, ledger, workers=min(held.slots, len(todo)), places=held)
        ended = {
            i: failed for n, i in enumerate(todo) if (failed := ledger.failures(n)) is not None
        }
        for i, failed in ended.items():
            stop_all(failed.values(), debug=terms.debug)
            if failed or not jobs[i].is_done():
                failures[i] = failed or {jobs[i].result_key: NO_RESULT}
        blamed = {
            todo[place]: error
            for rank, error in died.items()
            if (place := ledger.held_by(rank, len(todo))) is not None
        }
        for i, error in blamed.items():
            if not deaths.again(i, error):
                failures[i] = {jobs[i].result_key: deaths.failure(i, error)}
        fruitless = 0 if ended or blamed else fruitless + 1
        waits = any(isinstance(error, NO_PLACES) for error in died.values())
        if fruitless > (START_ATTEMPTS if waits else RETRIES):
            failures |= {i: {jobs[i].result_key: _no_start(died)} for i in todo}
    return {name: failure for i in sorted(failures) for name, failure in failures[i].items()}


def _no_start(died: dict[int, Exception]) -> Failure:
    cause = next((Failure.of(error).text for error in died.values()), "no worker took a job")
    return Failure(type="NoStart", message=f"the workers do not start ({cause})")


def _run_group(
    payload: Payload, ledger: Ledger, *, workers: int, places: Places
) -> dict[int, Exception]:
    """Run one group until its list is empty or a worker dies; return the ranks that died, each with
    Ray's error.

    A group that does not start, or whose controller dies, is rank -1. An interruption stops it.
    """
    config = {"payload": payload, "ledger": str(ledger.folder)}
    folder = ledger.folder.with_name(f"train-{ledger.folder.name}")
    with contextlib.ExitStack() as at_last, given_back():
        group = Group(_worker, config, workers=workers, places=places, folder=folder, waits=0)
        at_last.callback(group.ended.wait, STOP_SECONDS)  # once its places are given back
        try:
            group.ended.wait()
        finally:
            ledger.close()  # a group that gets its places only now finds nothing to do
    return {} if group.error is None else _deaths(group.error)


def _deaths(error: Exception) -> dict[int, Exception]:
    """Return the ranks whose end a group's error reports; -1 for the group as a whole. What is not
    Ray's is raised.
    """
    if isinstance(error, ray.train.WorkerGroupError):
        return dict(error.worker_failures)
    if isinstance(error, ray.train.ControllerError):
        return {-1: error.controller_failure}
    if isinstance(error, ray.exceptions.RayError):  # the group's controller was killed
        return {-1: error}
    raise error


def _worker(config: dict[str, Any]) -> None:
    """What each worker of the group does. With `debug` the first failure ends the list,
    a full disk always.
    """
    use_own_gpu()
    rank = ray.train.get_context().get_world_rank()
    work, jobs, terms = config["payload"].open()
    ledger, quiet = Ledger(Path(config["ledger"])), replace(terms, debug=False)
    for index, job in enumerate(jobs):
        if ledger.take(index, rank):
            failures = attempt_job(work, job, quiet)
            ledger.end(index, failures)
            if any(terms.debug or failure.ends_all for failure in failures.values()):
                ledger.close()
