"""MLflow and Optuna's storage never decide what a command gives: not when their process is killed,
when a database is damaged, or when it cannot be written. `track` makes them whole again.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import optuna
import pytest
from mlflow import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study import cross_eval, sweep, track
from study.store.store import Store
from study.tracking import views
from tests.tracking.test_views import START

SMALL = (
    'detectors=["spectrum"]',
    'train_on=["alpha"]',
    "budget.trials=2",
    "budget.seeds=1",
    "budget.replicates=0",
    "budget.null_models=0",
    "budget.default_winners=false",
)


def run(study_file: Path, results: Path) -> list[str]:
    """Both commands, which must succeed; returns their arguments."""
    arguments = [str(study_file), "--results", str(results)]
    arguments += [word for text in SMALL for word in ("--set", text)]
    assert sweep.main([*arguments, "--local"]) == 0
    assert cross_eval.main([*arguments, "--local"]) == 0
    return arguments


def found(results: Path) -> tuple[str, list[dict[str, Any]]]:
    """What the study came to."""
    store = Store(results, "small")
    same = [{**vars(r), "seconds": 0, "history": len(r.history)} for _, r in store.trials()]
    return store.matrix_file.read_text(encoding="utf-8"), same


def shown(results: Path) -> dict[str, int]:
    """How many runs of each kind MLflow has, and how many trials Optuna."""
    # a copy, because this process may hold an older file of the same name open
    copy = shutil.copy(results / "mlflow.db", results / f"{time.monotonic_ns()}.db")
    client = MlflowClient(f"sqlite:///{copy}")
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    kinds = [run.data.tags["study.kind"] for run in runs if "study.state" in run.data.tags]
    storage = JournalStorage(JournalFileBackend(str(results / "optuna.journal")))
    trials = sum(s.n_trials for s in optuna.get_all_study_summaries(storage))
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))} | {"optuna": trials}


WHOLE = {"matrix": 1, "trial": 2, "winner": 1, "optuna": 2}


@pytest.fixture(scope="module")
def undisturbed(
    study_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(study_file, folder)
    assert shown(folder) == WHOLE
    yield found(folder)


def kill_at_first_trial(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def start(errors: IO[bytes]) -> Any:
        started.append(START(errors))
        return started[-1]

    def say(*_: object) -> None:
        started[0].send_signal(signal.SIGKILL)  # does nothing to one that has ended

    monkeypatch.setattr(views, "start", start)
    monkeypatch.setattr(sweep, "_say", say)


def damage(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.mkdir()
    (results / "mlflow.db").write_bytes(b"what is left after a crash" * 300)


def damage_journal(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.mkdir()
    (results / "optuna.journal").write_bytes(b'{"op_co\n{"op_code": 0}\n')


def forbid(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/mlflow.db")


@pytest.mark.parametrize(
    ("trouble", "view"),
    [
        (kill_at_first_trial, "MLflow and Optuna's storage"),
        (damage, "MLflow"),
        (damage_journal, "Optuna's storage"),
        (forbid, "MLflow"),
    ],
)
def test_a_view_in_trouble_costs_its_view_alone(
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
    view: str,
    study_file: Path,
    tmp_path: Path,
    undisturbed: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = tmp_path / "results"
    with monkeypatch.context() as patch:
        trouble(results, patch)
        arguments = run(study_file, results)
    matrix, trials = found(results)
    assert (matrix, trials) == undisturbed
    every = capsys.readouterr().err.splitlines()
    lines = [line for line in every if not line.startswith("  ... ")]  # a slow machine's life signs
    warned = [
        line for line in lines if line.startswith(f"warning: nothing more is written to {view}:")
    ]
    assert len(warned) == len(lines) and warned
    remedy = warned[0].rpartition("To write what is missing there: ")[2]
    assert remedy.startswith(f"python -m study.track {study_file} ")
    if trouble is damage:  # this process still holds the damaged file open
        monkeypatch.setattr(views, "start", START)
    assert track.main(arguments) == 0
    assert shown(results) == WHOLE
    assert "2 trials, 1 winners, the matrix" in capsys.readouterr().out
