"""What stands between the driver and Tune, without a cluster: errors that Tune would swallow, kills
by the memory monitor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError

from study.core.records import EpochRecord, Pairing, TrialResult
from study.runtime import tune
from study.runtime.interface import Terms
from study.runtime.places import Places
from tests.runtime.small_work import PAIRINGS, RecordedSearch, SmallJob, compute, epoch, terms

PLACES = Places(slots=2, cpus=1, gpus=0)


def memory_kill() -> RuntimeError:
    """What comes out of Tune when the memory monitor has killed an actor."""
    error = RuntimeError("Caught unexpected exception")
    error.__cause__ = OutOfMemoryError(
        "1 worker(s) were killed due to the node running low on memory."
    )
    return error


class FakeTune:
    """Runs a table as Tune would with two slots; `kills` says, given the jobs in flight, whether
    memory runs out now.
    """

    def __init__(
        self, kills: Callable[[list[SmallJob]], bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.kills, self.together, self.runs, self.trials = kills, list[list[str]](), 0, 0
        monkeypatch.setattr(tune, "_fit", self.fit)
        monkeypatch.setattr(tune, "given_back", contextlib.nullcontext)

    def fit(self, table: Any, places: Places, terms: Terms, folder: Path) -> None:
        self.runs += 1
        searcher, running = tune._Searcher(table, {}), dict[str, SmallJob]()
        while True:
            while len(running) < places.slots:
                self.trials += 1
                config = searcher.suggest(str(self.trials))
                if config == tune.Searcher.FINISHED:
                    assert not running or table.error is not None
                    return
                if config is None:
                    break
                running[str(self.trials)] = config["payload"].open()[1]
            self.together.append([job.trial.key for job in running.values()])
            if self.kills(list(running.values())):
                raise memory_kill()
            trial_id, job = running.popitem()
            searcher.on_trial_complete(trial_id, {tune.RESULT: compute(job, lambda _: None)})


def run(history: RecordedSearch, tmp_path: Path) -> None:
    tune.run_trials(history.driver, compute, terms(tmp_path), places=PLACES, storage=tmp_path)


def test_a_trial_that_is_too_large_fails_alone_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(job: SmallJob) -> bool:
        return (job.trial.pairing, job.trial.number) == (PAIRINGS[1], 1)

    fake = FakeTune(lambda jobs: any(large(job) for job in jobs), monkeypatch)
    history = RecordedSearch(tmp_path, trials=3)
    run(history, tmp_path)
    assert history.driver.finished()
    failed = [
        (j.trial.pairing, j.trial.number, r.failure.message)
        for j, r in history.results
        if r.failure is not None
    ]
    assert failed == [
        (
            PAIRINGS[1],
            1,
            (
                "its worker was killed 2 times by Ray's memory monitor: the machine has not enough"
                " memory for it"
            ),
        ),
    ]
    assert len(history.results) == 9
    assert fake.runs == 4  # together with an innocent one, twice alone, and the rest


def test_what_was_in_flight_begins_again_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([False, True])
    fake = FakeTune(lambda _: next(kills, False), monkeypatch)
    history = RecordedSearch(tmp_path, trials=3)
    run(history, tmp_path)
    assert all(r.state == "done" for _, r in history.results)
    assert len(history.results) == 9
    killed = fake.together[1]
    assert len(killed) == 2
    assert sorted(fake.together[2] + fake.together[3]) == sorted(killed)
    assert [len(jobs) for jobs in fake.together[2:5]] == [1, 1, 2]


def test_another_error_of_tune_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTune(lambda _: False, monkeypatch)
    monkeypatch.setattr(tune, "_fit", _raise(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        run(RecordedSearch(tmp_path, trials=1), tmp_path)


def test_what_a_callback_of_the_dealer_raises_comes_through_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTune(lambda _: False, monkeypatch)
    monkeypatch.setattr(RecordedSearch, "add", _raise(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run(RecordedSearch(tmp_path, trials=2), tmp_path)


def test_a_run_that_returns_early_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTune(lambda _: False, monkeypatch)
    monkeypatch.setattr(tune, "_fit", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run(RecordedSearch(tmp_path, trials=1), tmp_path)


def table_of(history: RecordedSearch) -> tuple[Any, Any, Any]:
    table: Any = tune._Table(history.driver, compute)
    return table, tune._Searcher(table, {}), tune._Scheduler(table, PLACES)


def tell(scheduler: Any, trial_id: str, record: EpochRecord) -> str:
    return str(
        scheduler.on_trial_result(
            None, SimpleNamespace(trial_id=trial_id), {tune.RECORD: record, "training_iteration": 1}
        )
    )


def test_a_trial_that_was_stopped_from_outside_is_not_told(tmp_path: Path) -> None:
    history = RecordedSearch(tmp_path, pairings=[Pairing(detector="npr", train_on="a")], trials=1)
    _, searcher, scheduler = table_of(history)
    assert "payload" in searcher.suggest("x")
    assert tell(scheduler, "x", epoch(0, 0.5)) == "CONTINUE"
    searcher.on_trial_complete("x", {"epoch": 1})
    searcher.on_trial_complete("x", None)
    searcher.on_trial_complete("x", None, error=True)
    assert history.results == []
    searcher.on_trial_complete("x", {tune.RESULT: TrialResult(key="k", state="done", val_auc=0.5)})
    assert len(history.results) == 1
    assert searcher.suggest("y") == tune.Searcher.FINISHED


def test_a_trial_that_the_dealer_wants_stopped_is_told_with_all_its_epochs(tmp_path: Path) -> None:
    """Its worker dies after two epochs, and the second attempt repeats them; the driver hears of
    each epoch once.
    """
    history = RecordedSearch(
        tmp_path, pairings=[Pairing(detector="npr", train_on="a")], trials=1, stop={0: 2}
    )
    _, searcher, scheduler = table_of(history)
    searcher.suggest("x")
    again = [
        dataclasses.replace(epoch(n, value), seconds=7.0) for n, value in enumerate((0.5, 0.8, 0.6))
    ]
    for record in (epoch(0, 0.5), epoch(1, 0.8), *again[:2]):
        assert tell(scheduler, "x", record) == "CONTINUE"
    assert tell(scheduler, "x", again[2]) == "STOP"
    assert history.reported == [(0, 0), (0, 1), (0, 2)]
    searcher.on_trial_complete("x", {"record": again[2], "done": True})
    ((_, result),) = history.results
    assert (result.state, result.reason, result.best_epoch, result.val_auc) == (
        "stopped",
        "stopped after 3 epochs",
        1,
        0.8,
    )
    assert result.history == tuple(again)
    assert result.seconds == 21.0


def test_epochs_are_remembered_over_a_kill_by_the_memory_monitor(tmp_path: Path) -> None:
    history = RecordedSearch(
        tmp_path, pairings=[Pairing(detector="npr", train_on="a")], trials=1, stop={0: 1}
    )
    table, searcher, scheduler = table_of(history)
    searcher.suggest("x")
    tell(scheduler, "x", epoch(0, 0.5))
    table.after_memory_kill(memory_kill())
    searcher.suggest("y")
    assert [tell(scheduler, "y", epoch(number, 0.5)) for number in (0, 1)] == ["CONTINUE", "STOP"]
    assert history.reported == [(0, 0), (0, 1)]


def test_what_the_dealer_raises_on_a_report_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordedSearch, "report", _raise(OSError("disk full")))
    history = RecordedSearch(tmp_path, trials=1)
    table, searcher, scheduler = table_of(history)
    searcher.suggest("x")
    searcher.suggest("y")
    assert [tell(scheduler, trial, epoch(0, 0.5)) for trial in ("x", "y")] == ["STOP", "STOP"]
    assert repr(table.error) == "OSError('disk full')"
    searcher.on_trial_complete("x", {"done": True})
    assert history.results == []
    assert searcher.suggest("z") == tune.Searcher.FINISHED


def _raise(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


def test_tune_can_write_down_what_it_is_given(tmp_path: Path) -> None:
    """Whatever the driver's callbacks hold: a lock, the process that writes the views."""
    search = RecordedSearch(tmp_path, trials=1)
    search.driver.report = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="lock"):
        cloudpickle.dumps(search.driver)
    searcher = tune._Searcher(tune._Table(search.driver, compute), {})
    assert cloudpickle.loads(cloudpickle.dumps(searcher)) is not None


def test_a_trial_whose_node_is_lost_is_begun_again_and_goes_on_counting(tmp_path: Path) -> None:
    """It is dealt before new ones, and told when it loses a worker of its own once too often."""
    history = RecordedSearch(
        tmp_path, pairings=[Pairing(detector="npr", train_on="a")], trials=2, stop={0: 1}
    )
    table, searcher, scheduler = table_of(history)
    first = searcher.suggest("x")["payload"].open()[1]
    tell(scheduler, "x", epoch(0, 0.5))
    table.settle_lost("x", RuntimeError("The actor died because its node has died."))
    assert searcher.suggest("y")["payload"].open()[1] == first
    assert [tell(scheduler, "y", epoch(number, 0.5)) for number in (0, 1)] == ["CONTINUE", "STOP"]
    assert history.reported == [(0, 0), (0, 1)]
    table.settle_lost("y", RuntimeError("Worker exit type: SYSTEM_ERROR"))
    assert searcher.suggest("z")["payload"].open()[1] == first
    assert history.results == []
    table.settle_lost("z", RuntimeError("Worker exit type: SYSTEM_ERROR"))
    ((job, result),) = history.results
    assert job == first and result.failure is not None and result.failure.type == "WorkerDied"
