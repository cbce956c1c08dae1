"""A trial's workers: how many come together, and what a reader is told. The work itself is tested with the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study import jobs
from study.data.catalog import DataConfig
from study.errors import ConfigError
from study.jobs import TrialJob, Workspace, run_trial
from study.records import EpochRecord, Pairing, Trial
from study.training.session import FitResult
from study.training.world import ALONE, World
from tests.training.fakes import tiny

RECORD = EpochRecord(epoch=0, phase="full", train_loss=0.5, val_auc=0.75, val_nll=0.6, learning_rate=0.1, seconds=2.0)
RESULT = FitResult(
    history=(RECORD,), best_epoch=0, val_auc=0.75, val_nll=0.6, val_logit=np.zeros(2, np.float32), note="micro-batch 8 of 32"
)


def job(workers: int, tmp_path: Path) -> TrialJob:
    trial = Trial(key="abc", pairing=Pairing(detector="tiny", train_on="set"), number=0, params={}, seed=0, epochs=1)
    workspace = Workspace(
        results=tmp_path, study="s", data=DataConfig(root=tmp_path, cache=tmp_path), weights_root=None, threads=1,
        precision="float32", firewall=True,
    )  # fmt: skip
    return TrialJob(workspace=workspace, spec=tiny().spec, trial=trial, data_key="", workers=workers)


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    """The worlds that fits are given; a group of two stands around every call."""
    seen: list[World] = []

    def fit(job: Any, report: Any, world: World) -> tuple[None, None, FitResult, float]:
        seen.append(world)
        return None, None, RESULT, 2.0

    monkeypatch.setattr(jobs, "_fit", fit)
    monkeypatch.setattr(World, "current", classmethod(lambda cls: cls(rank=1, size=2)))
    return seen


def test_a_trial_of_one_worker_is_alone_whatever_stands_around_it(worlds: list[World], tmp_path: Path) -> None:
    result = run_trial(job(1, tmp_path), lambda _: None)
    assert worlds == [ALONE]
    assert (result.state, result.note, result.seconds, result.history) == ("done", "micro-batch 8 of 32", 2.0, (RECORD,))


def test_a_trial_of_several_workers_takes_its_place_among_them(worlds: list[World], tmp_path: Path) -> None:
    run_trial(job(2, tmp_path), lambda _: None)
    assert worlds == [World(rank=1, size=2)]


def test_a_group_of_another_size_is_refused(worlds: list[World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="trial abc needs 3 workers and 2 came together"):
        run_trial(job(3, tmp_path), lambda _: None)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="trial abc needs 2 workers and 1 came together"):
        run_trial(job(2, tmp_path), lambda _: None)
    assert not worlds
