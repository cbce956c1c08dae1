"""What a study may choose of its search, through the commands: limits of time, warm starts,
searches that depend on order.
"""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study import cross_eval, plan, sweep
from study.core.errors import ConfigError, DivergedError
from study.core.records import Pairing, Trial, TrialResult
from study.search.spaces import Space, load_space
from study.store.store import Store
from study.tracking import recording
from study.tracking.optuna_record import OptunaRecord
from tests.commands.conftest import StudyRun

ONE_SET = ["--set", 'train_on=["alpha"]', "--set", "budget.seeds=1"]
ONE_SET += ["--set", "budget.replicates=0", "--set", "budget.null_models=0"]
PAIRINGS = [Pairing(detector=d, train_on="alpha") for d in ("spectrum", "npr")]


def arguments(study_file: Path, results: Path, *extra: str) -> list[str]:
    return [str(study_file), "--results", str(results), *ONE_SET, *extra]


def places(store: Store) -> list[tuple[Pairing, int]]:
    return sorted((t.pairing, t.number) for t, _ in store.trials())


def test_a_budget_of_hours_is_held_against_the_measured_trial_0(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(study_file, tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"no trial of spectrum @ alpha is timed yet .*study\.sweep .*--budget-hours 1 runs",
    ):
        plan.main([*args, "--budget-hours", "1"])
    with pytest.raises(
        ConfigError,
        match=r"may train for .* 1 slot\(s\).*more than --budget-hours 1e-06: lower budget\.trials",
    ):
        sweep.main([*args, "--local", "--budget-hours", "1e-6"])
    store = Store(tmp_path, "small")
    assert places(store) == sorted((p, 0) for p in PAIRINGS)
    measured = {t.pairing: r for t, r in store.trials()}
    # By hand, of each pairing two trials, a winner and perhaps the default are left; npr's epochs
    # are two, spectrum is fitted once.
    epochs = {"npr": 2, "spectrum": 1}
    longest = sum(4 * r.seconds / len(r.history) * epochs[p.detector] for p, r in measured.items())
    capsys.readouterr()
    just_enough, too_little = longest / 3600 * 1.001, longest / 3600 * 0.999
    assert plan.main([*args, "--slots", "1", "--budget-hours", str(just_enough)]) == 0
    with pytest.raises(ConfigError, match="may train for"):
        plan.main([*args, "--slots", "1", "--budget-hours", str(too_little)])
    with pytest.raises(ConfigError, match="must be above 0"):
        plan.main([*args, "--budget-hours", "0"])
    capsys.readouterr()
    assert sweep.main([*args, "--local", "--budget-hours", "100"]) == 0
    assert "2 of 6 trials are in the store" in capsys.readouterr().out
    assert {t.pairing: r for t, r in store.trials() if t.number == 0} == measured


def test_search_json_is_what_the_trials_say(local_run: StudyRun) -> None:
    table = json.loads((local_run.store.folder / "search.json").read_text())
    assert table["order_dependent"] == []
    assert len(table["pairings"]) == 6
    for name, entry in table["pairings"].items():
        rows = sorted(
            ((t, r) for t, r in local_run.store.trials() if t.pairing.name == name),
            key=lambda row: row[0].number,
        )
        best, curve = -math.inf, []
        for _, result in rows:
            best = max(best, result.val_auc)
            curve.append(best)
        assert [t["best_so_far"] for t in entry["trials"]] == curve
        assert [t["seconds"] for t in entry["trials"]] == [round(r.seconds, 3) for _, r in rows]
        then = "portfolio" if name.startswith("npr") else "tpe"
        assert [t["origin"] for t in entry["trials"]] == ["default", then, then]
        assert entry["complete"]
        assert entry["importances"] is None
        assert "needs 4 trials that were done, not 3" in entry["importances_reason"]


def test_every_trial_is_in_optunas_storage_and_in_mlflow_before_the_search_has_ended(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live: the second trial is not told before the views hold the first."""
    logged = threading.Event()
    seen: list[int] = []

    def say(said: Any, place: str, trial: Trial, result: TrialResult, best: float) -> None:
        if trial.number == 1:
            assert logged.wait(60)
            storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
            seen.append(sum(s.n_trials for s in optuna.get_all_study_summaries(storage)))

    add = OptunaRecord.add

    def added(self: OptunaRecord, trial: Trial, result: TrialResult, space: Space) -> None:
        add(self, trial, result, space)
        logged.set()  # MLflow has it by then

    monkeypatch.setattr(sweep, "_say", say)
    monkeypatch.setattr(OptunaRecord, "add", added)
    assert (
        sweep.main([*arguments(study_file, tmp_path, "--local"), "--set", 'detectors=["spectrum"]'])
        == 0
    )
    assert seen == [1]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small").experiment_id
    found = client.search_runs([experiment], "tags.`study.kind` = 'trial'")
    assert sorted(run.data.tags["study.number"] for run in found) == ["0", "1", "2"]


def test_an_interrupted_asynchronous_search_goes_on_and_is_marked(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = arguments(study_file, tmp_path, "--local", "--set", "search.mode=async")
    add = recording.TrialRecord.add

    def interrupted(self: recording.TrialRecord, *pair: object) -> None:
        add(self, *pair)  # type: ignore[arg-type]
        if self.ran == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recording.TrialRecord, "add", interrupted)
        sweep.main(args)
    store = Store(tmp_path, "small")
    before = {(t.pairing, t.number): (t.params, r) for t, r in store.trials()}
    assert len(before) == 3
    assert sweep.main(args) == 0
    printed = capsys.readouterr().out
    assert (
        'search.mode = "async": the search depends on the machine and on which trial ends first'
        in printed
    )
    after = {(t.pairing, t.number): (t.params, r) for t, r in store.trials()}
    assert sorted(after) == sorted((p, n) for p in PAIRINGS for n in range(3))
    assert {place: after[place] for place in before} == before
    for pairing in PAIRINGS:
        assert after[pairing, 0][0] == load_space(pairing.detector).default()
    assert sweep.main(args) == 0
    assert "Nothing to train" in capsys.readouterr().out
    assert json.loads((store.folder / "search.json").read_text())["order_dependent"] == [
        'search.mode = "async"'
    ]
    assert cross_eval.main(args) == 0
    assert "another run may select other configurations" in capsys.readouterr().out
    assert "another run may select other configurations" in (store.folder / "tables.md").read_text()


def test_an_asynchronous_search_in_a_store_that_other_rules_filled(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default configuration is on record already: it is remembered, not trained again, and the
    search is whole.
    """
    args = arguments(study_file, tmp_path, "--local", "--set", 'detectors=["spectrum"]')
    assert sweep.main(args) == 0
    first = Store(tmp_path, "small").trials()
    other = [*args, "--set", "search.mode=async"]
    assert sweep.main(other) == 0
    capsys.readouterr()
    assert sweep.main(other) == 0
    assert "Nothing to train" in capsys.readouterr().out
    assert sweep.main(args) == 0
    assert "Nothing to train" in capsys.readouterr().out
    trials = Store(tmp_path, "small").trials()
    assert trials[: len(first)] == first
    defaults = [(t, r) for t, r in trials if t.number == 0]
    # one result, remembered by both searches
    assert len(defaults) == 2 and defaults[0][1] == defaults[1][1]


def test_a_failure_stands_once_later_generations_build_on_it(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Generations of two: trial 1 loses its disk. Alone it is tried again; after the second
    generation it is not.
    """
    from study.jobs import trial as trial_job

    train = trial_job.run_trial

    def unlucky(job: trial_job.TrialJob, report: trial_job.Report) -> TrialResult:
        if job.trial.number == 1:
            raise OSError("disk full")
        return train(job, report)

    args = arguments(
        study_file,
        tmp_path,
        "--local",
        "--set",
        'detectors=["spectrum"]',
        "--set",
        "budget.trials=2",
    )
    with monkeypatch.context() as patch:
        patch.setattr(trial_job, "run_trial", unlucky)
        assert sweep.main(args) == 0
        assert sweep.main(args) == 0  # tried again, in vain
        assert "failed: OSError: disk full" in capsys.readouterr().err
        assert sweep.main([*args, "--set", "budget.trials=4"]) == 0
    store = Store(tmp_path, "small")
    before = store.trials()
    assert [(t.number, r.state) for t, r in sorted(before, key=lambda row: row[0].number)] == [
        (0, "done"),
        (1, "failed"),
        (2, "done"),
        (3, "done"),
    ]
    capsys.readouterr()
    assert sweep.main([*args, "--set", "budget.trials=4"]) == 0
    assert (
        "1 failed trials stand: later generations were proposed knowing them"
        in capsys.readouterr().out
    )
    assert repr(store.trials()) == repr(before)  # NaN is not itself


def test_hours_are_counted_without_a_pairing_whose_trial_0_failed(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from study.jobs import trial as trial_job

    train = trial_job.run_trial

    def diverging(job: trial_job.TrialJob, report: trial_job.Report) -> TrialResult:
        if job.trial.pairing.detector == "npr" and job.trial.number == 0:
            raise DivergedError("the loss is nan")
        return train(job, report)

    monkeypatch.setattr(trial_job, "run_trial", diverging)
    args = arguments(study_file, tmp_path, "--local", "--budget-hours", "100")
    assert sweep.main(args) == 0
    captured = capsys.readouterr()
    assert (
        "warning: trial 0 of npr @ alpha failed, so its time is unknown and not counted"
        in captured.err
    )
    assert "failed -> " in captured.out


def test_a_study_that_this_machine_cannot_run_can_be_planned(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan.main([*arguments(study_file, tmp_path), "--set", "run.workers_per_trial=1000"]) == 0
    printed = capsys.readouterr().out
    assert "not on this machine alone: one trial needs 1000 workers" in printed
    assert "cells: " in printed


def test_a_warm_start_is_recorded_and_kept(
    study_file: Path, local_run: StudyRun, tmp_path: Path
) -> None:
    source = str(local_run.store.folder)
    args = arguments(study_file, tmp_path, "--local", "--set", "name=warm")
    assert sweep.main([*args, "--warm-start", source]) == 0
    store = Store(tmp_path, "warm")
    best = min(
        ((r, t) for t, r in local_run.store.trials() if t.pairing == PAIRINGS[1] and t.number > 0),
        key=lambda row: (-row[0].val_auc, row[0].val_nll, row[1].number),
    )[1]
    origins = {
        t.number: (t.origin, t.params) for t, _ in store.trials() if t.pairing == PAIRINGS[1]
    }
    assert origins[0][0] == "default"
    assert origins[1] == (f"warm start: small/npr @ alpha trial {best.number}", best.params)
    assert origins[2][0] == "portfolio"
    kept = store.trials()
    assert sweep.main(args) == 0  # without the option it goes on with what it was begun with
    assert store.trials() == kept


def test_seconds_of_device_time_end_a_pairing(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(study_file, tmp_path, "--local", "--set", "budget.gpu_seconds=1e-6")
    assert sweep.main(args) == 0
    assert "budget.gpu_seconds = 1e-06" in capsys.readouterr().out
    store = Store(tmp_path, "small")
    assert places(store) == sorted((p, 0) for p in PAIRINGS)  # the first trial of each used them up
    assert len(list((store.folder / "models").iterdir())) == 2
    assert sweep.main(args) == 0
    assert "Nothing to train" in capsys.readouterr().out


def test_a_grid_that_is_smaller_than_the_budget_is_tried_whole_and_said(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(
        study_file,
        tmp_path,
        "--local",
        "--set",
        'detectors=["spectrum"]',
        "--set",
        "search.sampler=grid",
    )
    assert sweep.main([*args, "--set", "budget.trials=9"]) == 0
    points = {1e-4, 1.0, 1e4}  # both ends of C and their middle, which is the default
    assert (
        "spectrum @ alpha: its grid has 3 points, fewer than 9; all are tried"
        in capsys.readouterr().out
    )
    assert {round(float(t.params["C"]), 9) for t, _ in Store(tmp_path, "small").trials()} == points


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ("search.sampler=tpee", ["search.sampler", "'tpee'", "did you mean 'tpe'?", "cmaes"]),
        ("search.mode=asynchronous", ["search.mode", "did you mean 'async'?"]),
        ("search.scheduler=hyperband", ["search.scheduler", "asha", "patience"]),
        ("search.sampelr=tpe", ["unknown key 'sampelr'", "did you mean 'sampler'?"]),
        ("run.gpus_per_trial=2", ["run.gpus_per_trial = 2", "run.workers_per_trial"]),
        ("budget.gpu_seconds=-1", ["budget.gpu_seconds = -1", "from 0 on"]),
    ],
)
def test_choices_that_are_not_there(
    change: str, fragments: list[str], study_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        plan.main(arguments(study_file, tmp_path, "--set", change))
    for fragment in fragments:
        assert fragment in str(error.value)


def test_cmaes_does_not_search_asynchronously(study_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learns from whole generations"):
        plan.main(
            arguments(
                study_file, tmp_path, "--set", "search.mode=async", "--set", "search.sampler=cmaes"
            )
        )
