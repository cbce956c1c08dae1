"""One suite for every way to run a study: in this process, inline in Tune's actors, as a group of
several workers a trial, and as the one group that does lists of jobs. The same work gives the same
scores, and every misfortune ends as a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from study.core.errors import DiskFullError
from study.core.failures import Failure
from study.core.records import EpochRecord, Pairing, Trial, TrialResult
from study.runtime.interface import NO_RESULT, Launcher
from study.runtime.launcher import open_launcher
from study.training.fit import fit
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import score
from study.training.session import FitResult
from tests.runtime.leftovers import left_processes, nothing_is_left
from tests.runtime.small_work import (
    PAIRINGS,
    Piece,
    RecordedSearch,
    SmallJob,
    befalls,
    begun,
    do_piece,
    terms,
)
from tests.training.fakes import FakeSession, Plain, images, plain

ON_RAY = [pytest.mark.ray, pytest.mark.slow]
# Shares of a batch are summed in another order than the batch, which changes the last digits of
# float32, over all steps.
SEVERAL_TOLERANCE = 1e-5


@pytest.fixture(
    params=["local", pytest.param("inline", marks=ON_RAY), pytest.param("several", marks=ON_RAY)]
)
def way(request: pytest.FixtureRequest) -> str:
    """How trials are run."""
    return str(request.param)


@pytest.fixture(params=["local", pytest.param("group", marks=ON_RAY)])
def way_of_jobs(request: pytest.FixtureRequest) -> str:
    """How a list of jobs is run."""
    return str(request.param)


@pytest.fixture
def open_way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Launcher]]:
    """Opens a launcher by its way; at the end nothing of its work may be left."""
    before: list[list[str]] = []

    def opened(way: str) -> Launcher:
        if way == "local":
            return open_launcher(
                local=True,
                address=None,
                terms=terms(tmp_path),
                slots=None,
                scratch=tmp_path / "scratch",
            )
        address = request.getfixturevalue("ray_address")
        before.append(left_processes())
        return open_launcher(
            local=False,
            address=address,
            terms=terms(tmp_path),
            slots=2,
            scratch=tmp_path / "scratch",
            workers=2 if way == "several" else 1,
        )

    yield opened
    assert not before or nothing_is_left(before[0])
    assert not (tmp_path / "scratch").exists()


# the same scores


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """A small detector to train: without live BatchNorm or dropout, which see a worker's share of a
    batch and not the batch.
    """

    trial: Trial
    workers: int


def train(
    seed: int, report: Callable[[EpochRecord], None], processes: ProcessGroup
) -> tuple[Plain, FitResult]:
    """Three epochs on 21 images in batches of 6."""
    detector, session = plain(seed), FakeSession()
    session.report = report  # type: ignore[method-assign]
    recipe = Recipe.from_params({"batch_size": 6, "lr": 0.02, "patience": 0})
    runtime = TorchRuntime(device="cpu", threads=1, precision="float32")
    result = fit(
        detector,
        images(21),
        images(15, seed=1),
        recipe,
        epochs=3,
        seed=seed,
        runtime=runtime,
        session=session,
        processes=processes,
    )
    return detector, result


def fit_trial(job: FitJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """What `study.jobs.trial.run_trial` does, on images in memory."""
    processes = ProcessGroup.current() if job.workers > 1 else ALONE
    assert processes.size == job.workers
    _, result = train(job.trial.seed, report, processes)
    return TrialResult(
        key=job.trial.key,
        state="done",
        val_auc=result.val_auc,
        val_nll=result.val_nll,
        best_epoch=result.best_epoch,
        history=result.history,
    )


class OneByOne:
    """A driver of one trial after the other."""

    def __init__(self, jobs: list[FitJob]) -> None:
        self.jobs, self.waiting = list(jobs), list(jobs)
        self.results: dict[int, TrialResult] = {}
        self.reported: list[EpochRecord] = []

    def next(self) -> FitJob | None:
        return self.waiting.pop(0) if self.waiting else None

    def finished(self) -> bool:
        return len(self.results) == len(self.jobs)

    def tell(self, job: FitJob, result: TrialResult) -> None:
        self.results[job.trial.number] = result

    def report(self, job: FitJob, record: EpochRecord) -> str:
        self.reported.append(record)
        return ""


def numbers(history: tuple[EpochRecord, ...]) -> NDArray[np.float64]:
    """What an epoch gave, apart from its seconds: (epochs, 4)."""
    return np.array([[r.train_loss, r.val_auc, r.val_nll, r.learning_rate] for r in history])


def test_same_seed_and_data_same_scores(way: str, open_way: Callable[[str], Launcher]) -> None:
    workers = 2 if way == "several" else 1
    seeds = [3] if way == "several" else [3, 4]
    trials = [
        Trial(
            key=f"fit-{seed}",
            pairing=Pairing(detector="plain", train_on="a"),
            number=n,
            params={},
            seed=seed,
            epochs=3,
        )
        for n, seed in enumerate(seeds)
    ]
    driver: Any = OneByOne([FitJob(trial=trial, workers=workers) for trial in trials])
    with open_way(way) as launcher:
        launcher.run_trials(driver, fit_trial)
    for number, seed in enumerate(seeds):
        result, (_, alone) = driver.results[number], train(seed, lambda _: None, ALONE)
        assert (result.state, result.reason, result.failure) == ("done", "", None)
        assert [record.phase for record in result.history] == [
            record.phase for record in alone.history
        ]
        if way == "several":
            np.testing.assert_allclose(
                numbers(result.history), numbers(alone.history), rtol=0, atol=SEVERAL_TOLERANCE
            )
            assert abs(result.val_nll - alone.val_nll) <= SEVERAL_TOLERANCE
        else:
            np.testing.assert_array_equal(numbers(result.history), numbers(alone.history))
            assert result.val_nll == alone.val_nll
        assert (result.val_auc, result.best_epoch) == (alone.val_auc, alone.best_epoch)
    in_results = [
        (r.epoch, r.seconds) for result in driver.results.values() for r in result.history
    ]
    assert sorted((r.epoch, r.seconds) for r in driver.reported) == sorted(in_results)


class ScoreJob(NamedTuple):
    folder: Path
    seed: int

    @property
    def result_key(self) -> str:
        return f"logit-{self.seed}"

    def is_done(self) -> bool:
        return logit_file(self).exists()


def logit_file(job: ScoreJob) -> Path:
    return job.folder / f"{job.result_key}.npy"


def score_job(job: ScoreJob) -> None:
    """Train, as a winner is, and score other images, as a cell is."""
    detector, _ = train(job.seed, lambda _: None, ALONE)
    np.save(
        logit_file(job),
        score(
            detector,
            images(70, seed=2),
            runtime=TorchRuntime(device="cpu", threads=1, precision="float32"),
        ),
    )


def test_the_same_weights_score_the_same(
    way_of_jobs: str, open_way: Callable[[str], Launcher], tmp_path: Path
) -> None:
    jobs = [ScoreJob(tmp_path, seed) for seed in (3, 4, 5)]
    with open_way(way_of_jobs) as launcher:
        assert launcher.run_jobs(jobs, score_job) == {}
    (tmp_path / "alone").mkdir()
    for job in jobs:
        alone = job._replace(folder=tmp_path / "alone")
        score_job(alone)
        np.testing.assert_array_equal(np.load(logit_file(job)), np.load(logit_file(alone)))


# misfortunes

DIED = "WorkerDied: its worker process died 2 times, most often for want of memory"
ENDS = {
    "": ("done", "", False),
    "raise": ("failed", "ValueError: bad value", False),
    "diverge": ("failed", "DivergedError: the loss is nan", True),
    "die": ("failed", DIED, False),
    "die_once": ("done", "", False),
    "stop": ("stopped", "stopped after 1 epochs", False),
}
FATES = {
    # a worker that dies there takes the study with it
    "local": ("", "raise", "diverge", "stop", ""),
    "inline": ("", "raise", "diverge", "die", "die_once", "stop", ""),
    "several": ("diverge", "stop", "die", "die_once"),
}


class Counting(RecordedSearch):
    """Counts, whenever a trial ends, the controllers of groups that are there."""

    controllers = 0

    def add(self, job: SmallJob, result: TrialResult) -> None:
        super().add(job, result)
        self.controllers = sum("TrainController" in title for title in left_processes())


def test_every_misfortune_ends_as_a_value(
    way: str, open_way: Callable[[str], Launcher], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fates = FATES[way]
    stop = {number: 0 for number, fate in enumerate(fates) if fate == "stop"}
    history = Counting(
        tmp_path,
        pairings=PAIRINGS[1:2],
        trials=len(fates),
        generation=len(fates),
        fates=fates,
        stop=stop,
    )
    with open_way(way) as launcher:
        launcher.run_trials(history.driver, befalls)
    results = [history.by_place()[PAIRINGS[1], number][1] for number in range(len(fates))]
    for fate, result in zip(fates, results, strict=True):
        state, reason, permanent = ENDS[fate]
        assert (result.state, result.permanent) == (state, permanent), (fate, result)
        why = result.failure.text if result.failure else result.reason
        assert why.startswith(reason) and bool(why) == bool(reason), (fate, result)
        raised = fate in ("raise", "diverge")
        assert raised == bool(result.failure and result.failure.traceback_file), (fate, result)
        assert len(result.history) == {"done": 2, "stopped": 1, "failed": 0}[state], (fate, result)
    stopped = results[fates.index("stop")]
    assert (stopped.val_auc, stopped.val_nll, stopped.best_epoch, stopped.seconds) == (
        0.25,
        0.5,
        0,
        0.1,
    )
    expected = [
        (n, e)
        for n, fate in enumerate(fates)
        for e in {"": (0, 1), "die_once": (0, 1), "stop": (0,)}.get(fate, ())
    ]
    # what a trial that was begun again repeats is heard once
    assert sorted(history.reported) == expected
    assert history.controllers <= 2  # the last group's, and one that is on its way out
    assert capfd.readouterr() == ("", "")


def test_jobs_that_fail_leave_nothing_or_lose_their_worker(
    way_of_jobs: str,
    open_way: Callable[[str], Launcher],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    names = ["a", "raise", "b", "empty", "c"] + ["die_once"] * (way_of_jobs != "local")
    do_piece(Piece(tmp_path, "b"))
    with open_way(way_of_jobs) as launcher:
        failed = launcher.run_jobs([Piece(tmp_path, name) for name in names], do_piece)
    file = tmp_path / "failures" / "raise.txt"
    bad = Failure(type="ValueError", message="bad piece", traceback_file=file)
    assert failed == {"raise": bad, "empty": NO_RESULT}
    assert file.read_text(encoding="utf-8").endswith("ValueError: bad piece\n")
    assert all(Piece(tmp_path, name).is_done() for name in names if name not in ("raise", "empty"))
    assert (begun(tmp_path, "b"), begun(tmp_path, "raise")) == (1, 1)
    assert "die_once" not in names or begun(tmp_path, "die_once") == 2
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_ends_a_search_and_is_no_result_of_a_trial(
    way: str, open_way: Callable[[str], Launcher], tmp_path: Path
) -> None:
    """Later generations would be proposed knowing it, and the search be another one."""
    history = RecordedSearch(
        tmp_path, pairings=PAIRINGS[1:2], trials=4, generation=2, fates=("", "full", "", "")
    )
    with (
        open_way(way) as launcher,
        pytest.raises(DiskFullError, match=r"the disk is full, at 'checkpoint.pt': free some room"),
    ):
        launcher.run_trials(history.driver, befalls)
    told = history.by_place()
    assert (PAIRINGS[1], 1) not in told and len(told) <= 1
    assert all(result.state == "done" for _, result in told.values())


def test_a_full_disk_ends_a_list_of_jobs(
    way_of_jobs: str, open_way: Callable[[str], Launcher], tmp_path: Path
) -> None:
    pieces = [Piece(tmp_path, name) for name in ("a", "full", "b", "c")]
    with (
        open_way(way_of_jobs) as launcher,
        pytest.raises(DiskFullError, match=r"the disk is full, at 'scores.parquet'"),
    ):
        launcher.run_jobs(pieces, do_piece)
    assert begun(tmp_path, "full") == 1 and pieces[0].is_done()
