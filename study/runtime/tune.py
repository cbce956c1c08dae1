"""Trials on Ray Tune: one run for all pairings, its searcher deals the driver's jobs, its scheduler
stops them.

A trial of one worker is a function in a Tune actor that is reused, so a trial costs Ray some
hundredths of a second after the first, and what a worker keeps (packs, features) serves its next
trial. A trial of several workers is a training group of its own (several.py). Tune's own state is
never restored: the store is the memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from ray import cloudpickle, tune
from ray.exceptions import OutOfMemoryError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.core.failures import Failure, stop_all
from study.core.records import EpochRecord, Report, TrialResult
from study.runtime.attempt import Deaths, attempt_trial, death_of
from study.runtime.interface import RETRIES, J, Terms
from study.runtime.payload import RECORD, RESULT, Payload, pack
from study.runtime.places import Places, given_back
from study.runtime.trial_run import TrialRun

if TYPE_CHECKING:
    from study.search.driver import SearchDriver


def run_trials(
    driver: SearchDriver[J],
    work: Callable[[J, Report], TrialResult],
    terms: Terms,
    *,
    places: Places,
    storage: Path,
) -> None:
    """Run everything that the driver deals; see `Launcher.run_trials`. storage: an empty folder
    that all nodes see.
    """
    table = _Table(driver, work, debug=terms.debug)
    attempts = itertools.count(1)
    while not driver.finished():
        folder = storage / f"tune-{next(attempts)}"
        try:
            with given_back():
                _fit(table, places, replace(terms, debug=False), folder)
        except Exception as error:
            killed = _out_of_memory(error)
            if killed is None:
                raise
            table.after_memory_kill(killed)
            continue
        if table.error is not None:
            raise table.error
        if not driver.finished():
            raise KeyboardInterrupt  # Tune was told to stop by a signal that it takes for itself


def _fit(table: _Table[J], places: Places, terms: Terms, folder: Path) -> None:
    tuner = tune.Tuner(
        _trainable(places),
        tune_config=tune.TuneConfig(
            num_samples=-1,  # until the searcher says that it has finished
            search_alg=_Searcher(table, {"places": places, "terms": terms, "folder": str(folder)}),
            scheduler=_Scheduler(table, places),
            max_concurrent_trials=places.slots,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),  # the table begins them again
            # the work has its own
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Failures(table)],
        ),
    )
    tuner.fit()


def _trainable(places: Places) -> Any:
    if places.workers == 1:
        return tune.with_resources(_trial, places.resources)
    from study.runtime.several import WATCHER, SeveralWorkers

    return tune.with_resources(SeveralWorkers, WATCHER)


def _trial(config: dict[str, Any]) -> None:
    """What an actor does for each trial of one worker.

    Where Tune stops it, the thread of this function waits in `_report`, and leaves it by SystemExit
    when the actor is given its next trial. Tune waits for the thread's end, 2 s by default, and
    drops the next trial without a word if that is not enough.
    """
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "600"
    work, job = config["payload"].open()
    keep_to_share(config["places"].gpus)
    result = attempt_trial(work, job, _report, config["terms"])
    tune.report({RESULT: result})


def _report(record: EpochRecord) -> None:
    """Report an epoch and wait until Tune lets the trial go on."""
    tune.report({RECORD: record})


def keep_to_share(gpus: float) -> None:
    """Where this process has a part of a GPU, let it take no more than that part of its memory.

    What it wants beyond is then its own OutOfMemoryError, and never a neighbour's.
    """
    if 0 < gpus < 1:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(gpus)


def _out_of_memory(error: BaseException | None) -> OutOfMemoryError | None:
    """Return what Ray's memory monitor said, if it is at the bottom of an error. Tune does not
    expect it and ends the run.
    """
    while error is not None and not isinstance(error, OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


class _Table(Generic[J]):
    """What is in flight, between the driver and Tune. `error`: what a callback of the driver
    raised, or with `debug` a failed trial; Tune would lose its type.
    """

    def __init__(
        self,
        driver: SearchDriver[J],
        work: Callable[[J, Report], TrialResult],
        *,
        debug: bool = False,
    ) -> None:
        self._driver, self._work, self._debug = driver, work, debug
        self._in_flight: dict[str, TrialRun[J]] = {}
        self._suspects: deque[TrialRun[J]] = deque()
        self._again: deque[TrialRun[J]] = deque()
        self._deaths = Deaths()
        self._alone = False
        self._kills: dict[str, int] = {}
        self.error: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune writes down what it is given, to restore a run, and none ever is."""
        return {}

    @contextlib.contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep what the block raises as `error`."""
        try:
            yield
        except Exception as error:
            self.error = error

    def deal(self, trial_id: str) -> Payload | None:
        """Return the next job's payload, or None while there is nothing to begin."""
        if self._in_flight and (self._alone or self._suspects):
            return None
        self._alone = bool(self._suspects)
        if self._suspects:
            trial_run = self._suspects.popleft()
        elif self._again:
            trial_run = self._again.popleft()
        elif (job := self._driver.next()) is not None:
            trial_run = TrialRun(self._driver, job)
        else:
            return None
        self._in_flight[trial_id] = trial_run
        return pack(self._work, trial_run.job)

    def report(self, trial_id: str, record: EpochRecord) -> bool:
        """Take in an epoch of a trial in flight; tell whether it is to go on."""
        return not self._in_flight[trial_id].report(record)

    def finished(self) -> bool:
        """Tell whether there is nothing left to begin or to wait for."""
        return self.error is not None or self._driver.finished()

    def settle(self, trial_id: str, result: TrialResult) -> None:
        """Tell the driver how a trial in flight has ended."""
        self._tell(self._in_flight.pop(trial_id).job, result)

    def settle_lost(self, trial_id: str, error: Exception) -> None:
        """Begin a trial in flight again whose worker died; tell the driver where that was too
        often.
        """
        trial_run = self._in_flight.pop(trial_id)
        key = trial_run.job.trial.key
        if self._deaths.again(key, error):
            self._again.append(trial_run)
        else:
            self._tell_lost(trial_run.job, self._deaths.failure(key, error))

    def _tell_lost(self, job: J, failure: Failure) -> None:
        self._tell(job, TrialResult(key=job.trial.key, state="failed", failure=failure))

    def _tell(self, job: J, result: TrialResult) -> None:
        failures = [result.failure] if result.failure else []
        stop_all(failures)  # before it is on record
        self._driver.tell(job, result)
        stop_all(failures, debug=self._debug)

    def settle_stopped(self, trial_id: str) -> None:
        """Tell the driver of a trial that ended without a result, if it was the driver that wanted
        it stopped.
        """
        trial_run = self._in_flight[trial_id]
        if trial_run.reason:
            self.settle(trial_id, trial_run.stopped())

    def after_memory_kill(self, error: Exception) -> None:
        """Take back what was in flight: each is begun again alone. Ray does not say whose worker it
        killed; a second kill does.
        """
        trial_runs = list(self._in_flight.values())
        self._in_flight.clear()
        self._alone = False
        for trial_run in trial_runs:
            key = trial_run.job.trial.key
            self._kills[key] = self._kills.get(key, 0) + (len(trial_runs) == 1)
            if self._kills[key] > RETRIES:
                self._tell_lost(trial_run.job, death_of(error, times=self._kills[key]))
            else:
                self._suspects.append(trial_run)


class _Searcher(Searcher):
    """Deals the table's jobs to Tune. What it raises is kept in the table, and ends the run as if
    the search had finished.

    shared: what every trial's configuration holds beside its payload.
    """

    def __init__(self, table: _Table[Any], shared: dict[str, Any]) -> None:
        super().__init__()
        self._table, self._shared = table, shared

    def suggest(self, trial_id: str) -> Any:
        with self._table.keeping_errors():
            if not self._table.finished():
                payload = self._table.deal(trial_id)
                return None if payload is None else {"payload": payload, **self._shared}
        return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error or self._table.error is not None:
            return  # an error comes with its reason through the callback
        with self._table.keeping_errors():
            if result and RESULT in result:
                self._table.settle(trial_id, result[RESULT])
            else:
                self._table.settle_stopped(trial_id)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing is saved."""


class _Failures(tune.Callback):
    """Learns why a trial has no result: its worker died."""

    def __init__(self, table: _Table[Any]) -> None:
        self._table = table

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._table.keeping_errors():
            error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
            self._table.settle_lost(trial.trial_id, error)


class _Scheduler(FIFOScheduler):
    """First in, first out; asks the table at every epoch whether to go on; gives up no actor while
    the search goes on.

    Tune keeps one idle actor at most. At the end of a generation several wait, and each new one
    would cost seconds of imports and all that the old one had cached. Tune's cache has no public
    setting, hence the look inside; pyproject.toml pins Ray.
    """

    def __init__(self, table: _Table[Any], places: Places) -> None:
        super().__init__()
        self._table, self._places, self._told = table, places, False

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        table, goes_on = self._table, False
        with table.keeping_errors():
            goes_on = table.error is None and (
                RECORD not in result or table.report(trial.trial_id, result[RECORD])
            )
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if not self._told:
            self._told = True
            tune_controller._tune_controller._actor_cache.increase_max(
                trial.placement_group_factory, by=self._places.slots
            )

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tune puts the actor of a stopped trial aside as it is; a group of workers is ended at
        once.
        """
        if self._places.workers > 1 and RESULT not in result:
            trial.temporary_state.ray_actor.cleanup.remote()
