"""The launcher without Ray, and what every launcher has in common: attempts, reasons, lazy
imports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from study.core.errors import ConfigError, DivergedError, TrialStopped
from study.core.failures import LONGEST, Failure
from study.core.records import EpochRecord, Report, Trial, TrialResult
from study.runtime import cluster
from study.runtime.attempt import attempt_job, attempt_trial, death_of
from study.runtime.interface import Launcher
from study.runtime.launcher import open_launcher
from tests.runtime.small_work import (
    PAIRINGS,
    Piece,
    RecordedSearch,
    SmallJob,
    compute,
    do_piece,
    epoch,
    interrupting,
    terms,
)

NOWHERE = terms(Path("/nowhere"))  # of work that does not fail


def local(tmp_path: Path) -> Launcher:
    return open_launcher(
        local=True, address=None, terms=terms(tmp_path), slots=None, scratch=tmp_path / "scratch"
    )


def test_every_trial_is_told_with_its_history(tmp_path: Path) -> None:
    history = RecordedSearch(tmp_path, trials=4)
    with local(tmp_path) as launcher:
        launcher.run_trials(history.driver, compute)
    assert history.driver.finished()
    assert sorted(history.by_place()) == [(p, n) for p in sorted(PAIRINGS) for n in range(4)]
    assert all(r.state == "done" and len(r.history) == 2 for _, r in history.results)


def test_an_interruption_comes_through_and_what_was_told_stays(tmp_path: Path) -> None:
    history = RecordedSearch(tmp_path, pairings=PAIRINGS[1:2], trials=3)
    with local(tmp_path) as launcher, pytest.raises(KeyboardInterrupt):
        launcher.run_trials(history.driver, interrupting)
    assert [j.trial.number for j, _ in history.results] == [0]


def test_what_a_callback_raises_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(RecordedSearch, "add", full)
    with local(tmp_path) as launcher, pytest.raises(OSError, match="disk full"):
        launcher.run_trials(RecordedSearch(tmp_path, trials=1).driver, compute)


def test_what_the_dealer_raises_on_a_report_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordedSearch, "report", lambda *_: 1 / 0)
    history = RecordedSearch(tmp_path, trials=1)
    with local(tmp_path) as launcher, pytest.raises(ZeroDivisionError):
        launcher.run_trials(history.driver, compute)
    assert history.results == []


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5, 0.7), (0.9, 0.6), (0.8, 0.1)], 1),
        ([(0.9, 0.7), (0.9, 0.6), (0.9, 0.6)], 1),  # a tie: the lower NLL, then the earlier epoch
        ([(float("nan"), 0.1), (0.1, 0.9)], 1),
        ([(0.5, float("nan")), (0.5, 9.0)], 1),
        ([(float("nan"), float("nan")), (float("nan"), float("nan"))], 0),
    ],
)
def test_a_stopped_trial_has_the_scores_of_its_best_epoch(
    scores: list[tuple[float, float]], best: int
) -> None:
    history = [
        dataclasses.replace(epoch(n, auc), val_nll=nll, seconds=n + 1.0)
        for n, (auc, nll) in enumerate(scores)
    ]

    def work(job: SmallJob, report: Report) -> TrialResult:
        for record in history:
            report(record)
        raise AssertionError("it goes on")

    def report(record: EpochRecord) -> None:
        if record.epoch == len(history) - 1:
            raise TrialStopped("by hand")

    trial = Trial(key="k", pairing=PAIRINGS[0], number=0, params={}, seed=0, epochs=9)
    result = attempt_trial(work, SmallJob(trial=trial, folder=Path(), driver=0), report, NOWHERE)
    assert (result.key, result.state, result.reason, result.permanent) == (
        "k",
        "stopped",
        "by hand",
        False,
    )
    assert result.history == tuple(history)
    assert (result.best_epoch, result.seconds) == (best, sum(range(1, len(scores) + 1)))
    np.testing.assert_equal((result.val_auc, result.val_nll), scores[best])


def test_a_worker_that_reports_nothing_is_stopped_with_the_first() -> None:
    def work(job: SmallJob, report: Report) -> TrialResult:
        raise TrialStopped("the first worker of this trial was told to stop")

    trial = Trial(key="k", pairing=PAIRINGS[0], number=0, params={}, seed=0, epochs=9)
    result = attempt_trial(
        work, SmallJob(trial=trial, folder=Path(), driver=0), lambda _: None, NOWHERE
    )
    assert (result.state, result.reason, result.history) == (
        "stopped",
        "the first worker of this trial was told to stop",
        (),
    )
    assert np.isnan(result.val_auc) and result.best_epoch == -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"local": True, "workers": 2},
            (
                r"run\.workers_per_trial = 2 needs Ray: leave --local away, or --set"
                r" run\.workers_per_trial=1"
            ),
        ),
        (
            {"gpus_per_trial": 2.0},
            r"run\.gpus_per_trial = 2: one worker holds a part of a GPU, above 0 and at most 1",
        ),
        ({"gpus_per_trial": 0.0}, r"run\.gpus_per_trial = 0: one worker"),
        ({"gpus_per_trial": -0.5}, r"run\.gpus_per_trial = -0\.5: one worker"),
        ({"gpus_per_trial": float("nan")}, r"run\.gpus_per_trial = nan: one worker"),
        (
            {"gpus_per_trial": 0.5, "workers": 2},
            r"run\.gpus_per_trial = 0\.5 with run\.workers_per_trial = 2: every worker has",
        ),
    ],
)
def test_options_that_cannot_be_had_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_launcher(
            **{
                "local": False,
                "address": None,
                "terms": terms(tmp_path),
                "slots": None,
                "scratch": tmp_path,
                **options,
            }
        )


def test_reasons_are_one_short_line() -> None:
    assert Failure.of(ValueError("two\n  lines")).text == "ValueError: two lines"
    assert Failure.of(DivergedError("nan")).text == "DivergedError: nan"
    assert Failure.of(RuntimeError()).text == "RuntimeError"
    assert len(Failure.of(ValueError("x" * 1000)).text) == LONGEST


def test_a_death_is_told_in_rays_words_without_its_advice() -> None:
    text = (
        "The actor died.\n\tpid: 3\nWorker exit type: SYSTEM_ERROR Worker exit detail: End of file."
        " Some common causes include: ..."
    )
    assert (
        death_of(RuntimeError(text), times=2).message
        == "its worker process died 2 times, most often for want of memory (SYSTEM_ERROR: End of"
        " file)"
    )
    assert death_of(ValueError("lost"), times=2).message.endswith("(ValueError: lost)")


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2])
def test_blas_has_the_threads_of_the_study_during_the_work_only(threads: int) -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    before, seen = blas_threads(), list[set[int]]()
    given = terms(Path("/nowhere"), threads)
    piece = Piece(Path("/nowhere"), "k")
    assert attempt_job(lambda _: seen.append(blas_threads()), piece, given) == {}
    assert seen == [{threads}]
    assert blas_threads() == before


def test_opening_a_launcher_imports_nothing_heavy() -> None:
    code = """
import sys
from pathlib import Path
from types import SimpleNamespace
from study.runtime.interface import Terms
from study.runtime.launcher import open_launcher
terms = Terms(threads=1, failures=Path("x"))
given = dict(address=None, terms=terms, slots=None, scratch=Path("x"))
for local in (True, False):
    with open_launcher(local=local, **given) as launcher:
        assert launcher.run_jobs([SimpleNamespace(is_done=lambda: True)] * 2, print) == {}
print({"torch", "optuna", "ray"} & set(sys.modules))
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )


def test_results_are_equal_apart_from_seconds(tmp_path: Path) -> None:
    """The helper that other tests rely on: the same trials give the same results, bit for bit."""
    runs = []
    for _ in range(2):
        history = RecordedSearch(tmp_path, trials=2)
        with local(tmp_path) as launcher:
            launcher.run_trials(history.driver, compute)
        runs.append(
            {
                place: (params, dataclasses.replace(r, seconds=0.0))
                for place, (params, r) in history.by_place().items()
            }
        )
    assert runs[0] == runs[1]
    assert all(isinstance(r, TrialResult) for _, r in runs[0].values())


@pytest.mark.parametrize(
    ("address", "seconds", "here"),
    [
        (None, 1.0, True),
        (None, 1.3 * cluster.SMALL_SECONDS, True),  # four places save three quarters of it
        (None, 1.4 * cluster.SMALL_SECONDS, False),
        (None, math.inf, False),
        (None, math.nan, False),
        ("auto", 1.0, False),
    ],
)
def test_small_work_is_done_in_this_process_and_other_on_a_cluster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    seconds: float,
    here: bool,
) -> None:
    started: list[str | None] = []

    def start(address: str | None) -> None:
        started.append(address)
        raise ConfigError("no cluster here")

    monkeypatch.setattr(cluster, "Cluster", start)
    monkeypatch.setattr(cluster, "cpu_count", lambda: 4 * terms(tmp_path).threads)
    pieces = [Piece(tmp_path, name) for name in ("a", "b")]
    launcher = open_launcher(
        local=False, address=address, terms=terms(tmp_path), slots=None, scratch=tmp_path / "ray"
    )
    with contextlib.nullcontext() if here else pytest.raises(ConfigError, match="no cluster"):
        assert launcher.run_jobs(pieces, do_piece, seconds=seconds) == {}
    assert [piece.is_done() for piece in pieces] == [here, here]
    assert started == ([] if here else [address])
