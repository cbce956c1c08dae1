"""A trial of several workers: a Ray Train group of its own, watched over by a small Tune actor.

Every worker does the trial's work in one torch.distributed group. What they have to say they write
into files in a folder that all nodes see. The group's failures are decided here, not by Ray Train,
which cannot tell an exception (the trial failed) from a death (the trial is begun again).
"""

from __future__ import annotations

import contextlib
import re
import uuid
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
from ray import tune

# There is no public way to stop a group from outside; pyproject.toml pins Ray.
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune.result import DONE
from ray.util.placement_group import PlacementGroup

from study.core.failures import Failure
from study.core.records import EpochRecord, TrialResult
from study.runtime.attempt import Deaths, attempt_trial
from study.runtime.group import Group, SharedFiles, use_own_gpu
from study.runtime.interface import NO_RESULT, Terms
from study.runtime.payload import RECORD, RESULT, Payload
from study.runtime.places import Places

# a byte: Tune refuses nothing at all, and a part of a CPU would be missing to the workers
WATCHER = {"memory": 1.0}
STOP_SECONDS = 20.0  # to wait for a group that is stopped
POLL_SECONDS = 0.1


class Mail(SharedFiles):
    """What the workers of a group write to the one who watches over it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._sent = self._received = 0

    def send(self, record: EpochRecord) -> None:
        """Send an epoch's record. One worker of a group does."""
        self.write(f"record-{self._sent}", record)
        self._sent += 1

    def receive(self) -> EpochRecord | None:
        """Return the next record, in the order in which they were sent, or None."""
        record: EpochRecord | None = self.read(f"record-{self._received}")
        self._received += record is not None
        return record

    def end(self, rank: int, result: TrialResult) -> None:
        """Write down what a worker's work came to."""
        self.write(f"end-{rank}", result)

    def ends(self, workers: int) -> dict[int, TrialResult]:
        """Return what was written down, by rank."""
        found = {rank: self.read(f"end-{rank}") for rank in range(workers)}
        return {rank: result for rank, result in found.items() if result is not None}

    def take_places(self) -> None:
        """Write down which places this worker's group has."""
        held = ray.util.get_current_placement_group()
        self.write("places", None if held is None else held.id.hex())

    def give_back_places(self) -> None:
        """Give back the group's places if they are still held; whoever sits there is killed."""
        name = self.read("places")
        if name is not None:
            ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))


def _worker(config: dict[str, Any]) -> None:
    """What each worker of the group does. A failed one raises, which ends the others: they may wait
    for it for ever. The first worker's reports are the trial's.
    """
    use_own_gpu()
    rank = ray.train.get_context().get_world_rank()
    work, job = config["payload"].open()
    mail = Mail(Path(config["mail"]))
    if rank == 0:
        mail.take_places()
    report = mail.send if rank == 0 else lambda _: None
    result = attempt_trial(work, job, report, config["terms"], rank=rank, several=True)
    if rank == 0 or result.state == "failed":
        mail.end(rank, result)
    if result.state == "failed":
        raise RuntimeError(str(result.failure))


class _Trainer(DataParallelTrainer):
    """A trainer of a group whose controller can be reached, and which leaves no watchman of Ray's
    behind.

    That is a detached actor which looks after the places of a controller that dies. Without
    `ray[default]` it cannot see whether one has died, and stays for ever; `given_back` does its
    work.
    """

    controller: Any = None

    def _create_default_callbacks(self) -> list[Any]:
        return [
            each
            for each in super()._create_default_callbacks()
            if not isinstance(each, PlacementGroupCleanerCallback)
        ]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        actor = ray.remote(num_cpus=0, runtime_env={"env_vars": get_env_vars_to_propagate()})(
            TrainController
        )
        self.controller = actor.remote(**arguments)
        try:
            ray.get(self.controller.run.remote())
            return ray.get(self.controller.get_result.remote())
        finally:
            # its handle may live as long as the watcher, in the traceback of an error
            ray.kill(self.controller)


class _Attempt(Group):
    """One group at work on a trial."""

    def __init__(self, payload: Payload, places: Places, terms: Terms, folder: Path) -> None:
        self.mail = Mail(folder)
        super().__init__(
            _worker,
            {"payload": payload, "mail": str(folder), "terms": terms},
            workers=places.workers,
            places=places,
            folder=folder,
            backend="nccl" if places.gpus else "gloo",
            trainer=_Trainer,
        )

    def abort(self) -> None:
        """End the group and give its places back; no harm where it has ended."""
        while not self.ended.wait(POLL_SECONDS) and self.trainer.controller is None:
            pass  # it is being started
        if self.ended.is_set():
            return
        with contextlib.suppress(ray.exceptions.RayError):  # the controller dies of it
            ray.get(self.trainer.controller.abort.remote(), timeout=STOP_SECONDS)
        if not self.ended.wait(STOP_SECONDS):
            ray.kill(self.trainer.controller)
        self.mail.give_back_places()


class SeveralWorkers(tune.Trainable):
    """Watches over one trial's group, and over a second one where a worker of the first died. Each
    step is an epoch, or the end.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin. Where an earlier watcher of this trial died, its group's places may still be
        held.
        """
        self._config, self._deaths = config, Deaths()
        self._key = config["payload"].open()[1].trial.key
        self._trial_folder = Path(config["folder"]) / f"groups-{self._key}"
        for folder in self._trial_folder.glob("*"):
            Mail(folder).give_back_places()
        self._begin()

    def _begin(self) -> None:
        terms = (self._config[name] for name in ("payload", "places", "terms"))
        self._attempt = _Attempt(*terms, self._trial_folder / uuid.uuid4().hex[:12])

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch's record, or for the result."""
        while True:
            attempt = self._attempt
            ended = attempt.ended.is_set()  # asked first: what was sent before the end is then seen
            record = attempt.mail.receive()
            if record is not None:
                return {RECORD: record}
            if ended:
                result = self._outcome()
                if result is not None:
                    return {RESULT: result, DONE: True}
                self._begin()
            attempt.ended.wait(POLL_SECONDS)

    def _outcome(self) -> TrialResult | None:
        """Return what the trial came to with the group that has ended; None where a worker died and
        it is to be begun again.
        """
        key, error = self._key, self._attempt.error
        workers = self._config["places"].workers
        ends = self._attempt.mail.ends(workers)
        result = outcome(ends)
        if result is not None:
            return result
        if error is None:
            return TrialResult(key=key, state="failed", failure=NO_RESULT)
        cause = _cause(error, ends)
        if self._deaths.again(key, cause):
            return None
        if len(ends) == workers:  # all live, and lost each other
            return ends[0]
        failure = self._deaths.failure(key, cause)
        return TrialResult(key=key, state="failed", failure=failure)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """End the group, wherever it stands."""
        self._attempt.abort()


def outcome(ends: dict[int, TrialResult]) -> TrialResult | None:
    """Return the trial's result from what its workers came to, by rank; None where it has none,
    because one of them died.

    Any failure is the trial's, the lowest rank's where there are several. Not those of workers that
    lost another, though: the one that was lost decides, and it has either written down its own
    failure or died.
    """
    failures = [ends[rank] for rank in sorted(ends) if ends[rank].state == "failed"]
    own = [result for result in failures if not _lost_another(result.failure)]
    if own:
        return own[0]
    return None if failures else ends.get(0)


def _lost_another(failure: Failure | None) -> bool:
    """Tell whether a failure is that of torch.distributed, whose other end has gone."""
    signs = r"gloo|nccl|Dist(Backend|Network)Error|Connection (closed|reset) by peer"
    return failure is not None and bool(re.search(signs, failure.text, re.IGNORECASE))


def _cause(error: Exception, ends: dict[int, TrialResult]) -> Exception:
    """Return, of what ended a group, the death of a worker that wrote nothing down."""
    if isinstance(error, ray.train.WorkerGroupError):
        died = [
            failure for rank, failure in sorted(error.worker_failures.items()) if rank not in ends
        ]
        return next(iter([*died, *error.worker_failures.values()]), error)
    return error.controller_failure if isinstance(error, ray.train.ControllerError) else error
