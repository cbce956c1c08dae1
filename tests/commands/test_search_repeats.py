"""The same study on one slot, on two with trials delayed at random, and stopped after every
generation: the same search.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from study import sweep
from study.core.records import EpochRecord, TrialResult
from study.jobs import trial as trial_job
from study.store.store import Store
from study.tracking import recording
from tests.commands.test_study_runs import same_store

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CHOICES = [
    "--set",
    'train_on=["alpha"]',
    "--set",
    "budget.seeds=1",
    "--set",
    "budget.trials=4",
    "--set",
    "budget.generation=2",
]
train = trial_job.run_trial


def delayed(job: trial_job.TrialJob, report: trial_job.Report) -> TrialResult:
    """Keep the worker busy for a random part of half a second before every epoch's end and the
    trial's, then go on as ever.
    """
    until = random.SystemRandom()

    def wait() -> None:
        end = time.monotonic() + until.random() / 2
        while time.monotonic() < end:
            pass

    def late(record: EpochRecord) -> None:
        wait()
        report(record)

    result = train(job, late)
    wait()
    return result


@pytest.fixture(scope="module")
def reference(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The study without Ray."""
    results = tmp_path_factory.mktemp("reference")
    assert sweep.main([str(study_file), "--results", str(results), *CHOICES, "--local"]) == 0
    return Store(results, "small")


def on_ray(study_file: Path, results: Path, *extra: str) -> int:
    return sweep.main([str(study_file), "--results", str(results), *CHOICES, *extra])


def same_search(a: Store, b: Store) -> None:
    """The same proposals, results, winners and weights."""
    for store in (a, b):
        for folder in ("scores", "draw_scores"):  # nothing is scored here
            (store.folder / folder).mkdir(exist_ok=True)
    same_store(a, b)


@pytest.mark.parametrize("slots", ["1", "2"])
def test_slots_and_delays_change_nothing(
    slots: str,
    study_file: Path,
    reference: Store,
    ray_address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if slots == "2":
        monkeypatch.setattr(trial_job, "run_trial", delayed)
    assert on_ray(study_file, tmp_path, "--slots", slots) == 0
    same_search(reference, Store(tmp_path, "small"))


def test_stopped_after_every_generation_it_changes_nothing(
    study_file: Path,
    reference: Store,
    ray_address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add, stops = recording.TrialRecord.add, 0

    def interrupted(
        self: recording.TrialRecord, job: trial_job.TrialJob, result: TrialResult
    ) -> None:
        add(self, job, result)
        if self.ran and (self.held + self.ran) % 4 == 0:  # a generation of each of the two pairings
            raise KeyboardInterrupt

    while True:
        with monkeypatch.context() as patch:
            patch.setattr(recording.TrialRecord, "add", interrupted)
            try:
                assert on_ray(study_file, tmp_path, "--slots", "2") == 0
            except KeyboardInterrupt:
                stops += 1
                continue
        break
    assert stops == 2
    same_search(reference, Store(tmp_path, "small"))
