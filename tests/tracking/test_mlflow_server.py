"""A real MLflow server on 127.0.0.1, asked through its REST API: what the README's command shows,
and logging through a server.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from study.analysis.results import ResultRow
from study.tracking.metric_names import dataset_digest, metric_name
from study.tracking.mlflow_address import ui_command
from study.tracking.mlflow_tracker import Tracker
from tests.render.synthetic_matrix import matrix
from tests.tracking.mlflow_helpers import Server, make_trial, make_winner

pytestmark = pytest.mark.slow
DETECTORS, DATASETS = ("npr", "spectrum"), ("a", "b", "c d")
ROWS = matrix(DETECTORS, DATASETS, train_on=["a", "b", "a+b"])
MEANS = [row for row in ROWS if row.seed == "mean"]


@pytest.fixture(scope="module")
def logged(new_database: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a study that was logged without a server."""
    results = tmp_path_factory.mktemp("logged")
    shutil.copy(new_database[0], results / "mlflow.db")
    tracker = Tracker("faces", results=results)
    for train_on in ("a", "b", "a+b"):
        tracker.log_trial(*make_trial(train_on=train_on))
        tracker.log_winner(*make_winner(results / "models", train_on=train_on))
    table = results / "matrix.csv"
    table.write_text("detector,value\n", encoding="utf-8")
    tracker.log_matrix(ROWS, [table])
    return results


@pytest.fixture(scope="module")
def server(logged: Path, start_server: Callable[[str], Server]) -> Server:
    return start_server(ui_command(logged))


def metrics_of(run: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, float]:
    return {str(metric["key"]): metric["value"] for metric in run["data"]["metrics"]}


def test_the_matrix_run_has_one_metric_a_cell(server: Server) -> None:
    (run,) = server.runs(server.experiment("faces"), "tags.`study.kind` = 'matrix'")
    found = metrics_of(run)
    ends = {name for name in found if name.endswith(("/low", "/high"))}
    assert len(found) - len(ends) == len(MEANS) == 2 * 9 * 20
    assert {k: v for k, v in found.items() if k not in ends} == {
        metric_name(row): row.estimate.value for row in MEANS
    }
    for detector in DETECTORS:
        cells = [name for name in found if name.startswith(f"auc/{detector}/")]
        assert len(cells) == 3 * 9
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert "| c d |" in tags["mlflow.note.content"]


def test_trials_are_nested_and_have_curves(server: Server) -> None:
    experiment = server.experiment("faces")
    parents = {
        run["info"]["run_id"]: run["info"]["run_name"]
        for run in server.runs(experiment, "tags.`study.kind` = 'pairing'")
    }
    trials = server.runs(experiment, "tags.`study.kind` = 'trial'")
    assert sorted(parents.values()) == ["npr @ a", "npr @ a+b", "npr @ b"]
    for trial in trials:
        tags = {tag["key"]: tag["value"] for tag in trial["data"]["tags"]}
        assert parents[tags["mlflow.parentRunId"]] == tags["study.pairing"]
    history = server.ask(
        f"metrics/get-history?run_id={trials[0]['info']['run_id']}&metric_key=val_auc"
    )["metrics"]
    assert [point["step"] for point in history] == [0, 1, 2]


def test_files_can_be_opened(server: Server) -> None:
    (run,) = server.runs(server.experiment("faces"), "tags.`study.kind` = 'matrix'")
    run_id = run["info"]["run_id"]
    assert [file["path"] for file in server.ask(f"artifacts/list?run_id={run_id}")["files"]] == [
        "matrix.csv",
        "names.json",
    ]
    assert (
        server.text(f"/get-artifact?run_id={run_id}&path={quote('matrix.csv')}")
        == "detector,value\n"
    )


def test_the_best_model_on_a_test_set(server: Server) -> None:
    name = "c d"
    query = {
        "experiment_ids": [server.experiment("faces")],
        "datasets": [{"dataset_name": name, "dataset_digest": dataset_digest(name)}],
        "order_by": [
            {"field_name": "metrics.auc/c.x20.d", "ascending": False, "dataset_name": name}
        ],
    }
    found = server.ask("logged-models/search", query)["models"]
    ranked = [
        next(tag["value"] for tag in model["info"]["tags"] if tag["key"] == "study.train_on")
        for model in found
    ]
    mine = [
        r for r in ROWS if (r.detector, r.test_on, r.metric, r.seed) == ("npr", name, "auc", "0")
    ]
    assert ranked == [row.train_on for row in sorted(mine, key=lambda row: -row.estimate.value)]


def test_a_study_is_logged_through_a_server(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    rows: list[ResultRow] = matrix(["npr"], ["a", "b"], quantities=[("auc", "")])
    file = tmp_path / "matrix.csv"
    file.write_text("numbers", encoding="utf-8")
    for _ in range(2):
        tracker = Tracker("remote", results=tmp_path / "results")
        tracker.log_trial(*make_trial(train_on="a"))
        trained, folder = make_winner(tmp_path / f"models_{_}", train_on="a")
        tracker.log_winner(trained, folder)
        tracker.log_matrix(rows, [file])
    experiment = server.experiment("remote")
    assert len(server.runs(experiment, "tags.`study.kind` != ''")) == 4
    (run,) = server.runs(experiment, "tags.`study.kind` = 'matrix'")
    means = {metric_name(row): row.estimate for row in rows if row.seed == "mean"}
    assert metrics_of(run) == {
        **{name: one.value for name, one in means.items()},
        **{f"{name}/low": one.low for name, one in means.items()},
        **{f"{name}/high": one.high for name, one in means.items()},
    }
    (model,) = server.ask("logged-models/search", {"experiment_ids": [experiment]})["models"]
    assert model["info"]["status"] == "LOGGED_MODEL_READY"
    assert sorted(
        (m["dataset_name"], m["key"]) for m in model["data"]["metrics"] if "dataset_name" in m
    ) == [
        *(("a", "auc/a"), ("a", "auc/a/high"), ("a", "auc/a/low")),
        *(("b", "auc/b"), ("b", "auc/b/high"), ("b", "auc/b/low")),
    ]
    assert not (tmp_path / "results").exists()  # the server keeps the files
    assert capfd.readouterr().out == ""
