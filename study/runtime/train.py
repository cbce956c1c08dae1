"""Winners and cells on Ray Train: one group of workers takes jobs from one list until it is empty.


The group's start is paid once. A worker takes the next job that nobody has taken, so that long and
short jobs balance, and does nothing together with the others. Where one dies, the group is started
again for what is left; the store is the memory.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from study.runtime.attempt import attempt_job, death_of, reason_of
from study.runtime.launcher import W
from study.runtime.local import NO_RESULT
from study.runtime.payload import pack
from study.runtime.places import Places, given_back, use_own_gpu

RETRIES = 1  # of a job whose worker died
START_ATTEMPTS = 20  # to find places for all workers, on a cluster that others use
STOP_SECONDS = 10.0  # to wait for a group that was interrupted


class Ledger:
    """Who has taken which job of one group, and how it ended: small files in a folder that all
    workers see.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

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

    def end(self, index: int, reason: str) -> None:
        """Write down that a job has ended: well, or for a reason."""
        temporary = self.folder / f"ending-{index}"
        temporary.write_text(reason, encoding="utf-8")
        temporary.rename(self.folder / f"ended-{index}")

    def reason(self, index: int) -> str | None:
        """Return how a job ended, "" for well, None where it has not."""
        path = self.folder / f"ended-{index}"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def held_by(self, rank: int, jobs: int) -> int | None:
        """Return the job that a worker has taken and not ended."""
        for index in range(jobs):
            path = self.folder / f"taken-{index}"
            if path.exists() and path.read_text() == str(rank) and self.reason(index) is None:
                return index
        return None


def run_jobs(
    jobs: Sequence[W],
    work: Callable[[W], None],
    done: Callable[[W], bool],
    *,
    places: Places,
    threads: int,
    storage: Path,
) -> list[tuple[W, str]]:
    """Do the jobs that are not done; see `Launcher.run_jobs`. storage: an empty folder that all
    nodes see.
    """
    reasons: dict[int, str] = {}
    deaths: Counter[int] = Counter()
    fruitless = 0
    for group in itertools.count(1):
        todo = [i for i, job in enumerate(jobs) if i not in reasons and not done(job)]
        if not todo:
            break
        ledger = Ledger(storage / f"jobs-{group}")
        died = _run_group(
            [jobs[i] for i in todo], work, ledger, places=places, threads=threads, storage=storage
        )
        ended = {
            i: reason
            for place, i in enumerate(todo)
            if (reason := ledger.reason(place)) is not None
        }
        reasons |= {
            i: reason or NO_RESULT for i, reason in ended.items() if reason or not done(jobs[i])
        }
        blamed = {
            todo[place]: error
            for rank, error in died.items()
            if (place := ledger.held_by(rank, len(todo))) is not None
        }
        deaths.update(blamed.keys())
        reasons |= {
            i: death_of(error, times=deaths[i])
            for i, error in blamed.items()
            if deaths[i] > RETRIES
        }
        fruitless = 0 if ended or blamed else fruitless + 1
        if fruitless > RETRIES:
            cause = next((reason_of(error) for error in died.values()), "no worker took a job")
            reasons |= dict.fromkeys(todo, f"the workers do not start ({cause})")
    return [(jobs[i], reasons[i]) for i in sorted(reasons)]


def _run_group(
    jobs: Sequence[W],
    work: Callable[[W], None],
    ledger: Ledger,
    *,
    places: Places,
    threads: int,
    storage: Path,
) -> dict[int, Exception]:
    """Run one group until its list is empty or a worker dies; return the ranks that died, each with
    Ray's error.

    A group that does not start, or whose controller dies, is rank -1.
    """
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"parcel": pack(work, list(jobs), threads), "ledger": str(ledger.folder)},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=min(places.slots, len(jobs)),
            use_gpu=places.gpus > 0,
            resources_per_worker={"CPU": places.cpus}
            | ({"GPU": places.gpus} if places.gpus else {}),
        ),
        run_config=ray.train.RunConfig(
            name=f"train-{ledger.folder.name}",
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(
                max_failures=0, controller_failure_limit=START_ATTEMPTS
            ),
        ),
    )
    return _fit(trainer, ledger)


def _fit(trainer: TorchTrainer, ledger: Ledger) -> dict[int, Exception]:
    """Run the group to its end; see `_run_group`. An interruption stops it.

    Ray Train would install a handler for Ctrl-C that it never takes away, that waits for a group
    which is only starting, and that ends this process with exit code 0. In a thread it installs
    none, and the main thread is interrupted as ever.
    """
    ended, errors = threading.Event(), list[Exception]()

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    try:
        with given_back():
            try:
                threading.Thread(target=fit, daemon=True).start()
                ended.wait()
            finally:
                ledger.close()  # a group that gets its places only now finds nothing to do
    finally:
        ended.wait(STOP_SECONDS)
    return _deaths(errors[0]) if errors else {}


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
    """What each worker of the group does."""
    use_own_gpu()
    work, jobs, threads = config["parcel"].open()
    ledger, rank = Ledger(Path(config["ledger"])), ray.train.get_context().get_world_rank()
    for index, job in enumerate(jobs):
        if ledger.take(index, rank):
            ledger.end(index, attempt_job(work, job, threads=threads))
