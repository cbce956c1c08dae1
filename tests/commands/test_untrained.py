"""Detectors that there is nothing to train for, through the commands: ensembles of winners, and
CLIP as it comes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from study import cross_eval, ledger, plan, prepare, sweep
from study.analysis.cells_csv import read_cells
from study.core.errors import ConfigError, StoreError
from study.core.records import NO_TRAINING
from study.jobs.cell import load_detector
from study.planning.cells import plan_cells
from study.planning.open_study import open_study
from study.planning.study_file import load_study
from study.store.store import Store
from tests.commands.conftest import StudyRun, run_both
from tests.commands.test_study_runs import matrix
from tests.contract.stand_ins import make_case

ENSEMBLES = 'detectors = ["ensemble", "spectrum", "npr", "ensemble_stacked"]'
ALONE = ["--set", 'detectors=["clip_zero_shot"]']


@pytest.fixture(scope="module")
def run(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The small study with both ensembles, two training sets and one trial a pairing."""
    folder = tmp_path_factory.mktemp("ensembles")
    text = study_file.read_text(encoding="utf-8").replace(
        'detectors = ["spectrum", "npr"]', ENSEMBLES
    )
    assert ENSEMBLES in text
    (folder / "small.toml").write_text(text, encoding="utf-8")
    return run_both(
        folder / "small.toml",
        folder,
        "--local",
        "--set",
        "budget.trials=1",
        "--set",
        'train_on=["alpha", "alpha+beta"]',
    )


def test_ensembles_fill_the_matrix_beside_their_members(run: StudyRun) -> None:
    rows = [r for r in matrix(run.store) if r["metric"] == "auc"]
    assert {r["state"] for r in rows} == {"done"}
    places = {(r["detector"], r["train_on"], r["test_on"], r["seed"]) for r in rows}
    # detectors, training sets, test sets, two seeds and their mean
    assert len(places) == 4 * 2 * 2 * 3
    assert list(dict.fromkeys(r["detector"] for r in rows)) == [
        "ensemble",
        "spectrum",
        "npr",
        "ensemble_stacked",
    ]
    assert all(
        (run.store.figures / f"heat_map_{name}_auc.png").is_file()
        for name in ("ensemble", "ensemble_stacked")
    )


def test_an_ensembles_cell_is_made_of_the_same_cell_of_its_members(run: StudyRun) -> None:
    cells = plan_cells(
        open_study(
            load_study(str(run.store.study_file)),
            results=run.store.results,
            weights_root=None,
            firewall=False,
        )
    )
    found = {
        (c.cell.pairing.detector, c.cell.pairing.train_on, c.cell.test_on, c.cell.winner_seed): c
        for c in cells
    }
    assert len(found) == 4 * 2 * 2 * 2
    for (detector, *place), planned in found.items():
        if detector == "ensemble":
            parts = [found[name, *place] for name in ("npr", "spectrum")]
            logits = [
                run.store.scores(p.cell.scores_key).logit.astype(np.float64) / p.winner.temperature
                for p in parts
            ]
            ours = run.store.scores(planned.cell.scores_key).logit
            np.testing.assert_allclose(ours, np.mean(logits, axis=0), rtol=1e-5, atol=1e-5)


def test_nothing_of_an_ensemble_is_searched(run: StudyRun) -> None:
    assert {trial.pairing.detector for trial, _ in run.store.trials()} == {"npr", "spectrum"}
    assert '"ensemble' not in (run.store.folder / "search.json").read_text(encoding="utf-8")


def test_a_second_run_makes_nothing_again(
    run: StudyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        p: p.stat().st_mtime_ns
        for p in run.store.folder.rglob("*")
        if p.suffix in (".parquet", ".safetensors", ".json")
    }
    for work in ("study.jobs.trial.fit", "study.jobs.cell.score", "study.jobs.ensemble._make"):
        monkeypatch.setattr(work, lambda *a, **k: pytest.fail("done again"))
    assert sweep.main(run.arguments) == 0
    shown = capsys.readouterr().out
    assert "Nothing to train: 4 trials and all their winners" in shown
    assert "ensemble: nothing to train for it; cross_eval makes it of npr, spectrum" in shown
    assert cross_eval.main(run.arguments) == 0
    shown = capsys.readouterr().out
    assert "Nothing to score: 16 cells" in shown and "cells of ensembles" not in shown
    for name in ("search.json", "metrics.json"):
        files.pop(run.store.folder / name)
    assert files == {p: p.stat().st_mtime_ns for p in files}


def test_plan_counts_winners_and_cells_of_ensembles_and_no_trials(
    run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan.main([a for a in run.arguments if a != "--local"]) == 0
    shown = capsys.readouterr().out
    assert "2 detectors x 2 training sets = 4 pairings" in shown
    assert "4 trials" in shown and "16 winners (2 seeds), 32 cells" in shown
    assert "cells: 32 done" in shown and "nothing left to train" in shown
    line = next(line for line in shown.splitlines() if line.startswith("ensemble @ alpha+beta"))
    # trials, failed, winners, draws, scored, best val AUC, left
    assert line.split()[-7:] == ["-", "0", "2/2", "-", "4/4", "-", "-"]


def test_an_ensemble_is_a_model_in_mlflow_and_no_network_of_the_store(
    run: StudyRun, study_file: Path
) -> None:
    import mlflow.pyfunc
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.store.results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    models = [
        m
        for m in client.search_logged_models([experiment.experiment_id])
        if m.tags["study.detector"] == "ensemble"
    ]
    assert {(m.tags["study.pairing"], m.tags["study.seed"]) for m in models} == {
        (f"ensemble @ {x}", seed) for x in ("alpha", "alpha+beta") for seed in "01"
    }
    for model in models:
        assert {"source_val_auc", "auc/beta"} <= {m.key for m in model.metrics or ()}
        assert {"weight_npr", "bias"} <= set(model.params or ())
        with pytest.raises(
            StoreError, match=r"is an ensemble and has no network: load its members \(npr "
        ):
            load_detector(run.store.model_folder(model.tags["study.key"]))
    # in MLflow its members are with it
    (cell,) = (
        c
        for c in read_cells(run.store.folder / "cells.csv")
        if (c.detector, c.train_on, c.test_on, c.seed) == ("ensemble", "alpha", "beta", 0)
    )
    (model,) = (m for m in models if m.tags["study.key"] == cell.model)
    held = run.store.scores(cell.scores)
    paths = [str(study_file.parent / "datasets" / name) for name in held.sample_id.tolist()]
    answer = mlflow.pyfunc.load_model(model.artifact_location).predict(paths)
    np.testing.assert_allclose(answer.logit, held.logit, rtol=1e-5, atol=1e-5)


def test_a_missing_or_failed_member_is_named(
    study_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from study.jobs import winner as winner_job

    original = winner_job.run_winner

    def failing(job: winner_job.WinnerJob) -> None:
        if job.spec.name == "npr" and job.winner_seed == 1:
            raise RuntimeError("the disk is on fire")
        original(job)

    monkeypatch.setattr(winner_job, "run_winner", failing)
    detectors = 'detectors=["spectrum", "npr", "ensemble"]'
    arguments = [
        str(study_file),
        "--results",
        str(tmp_path),
        "--local",
        "--set",
        "budget.trials=1",
        "--set",
        detectors,
    ]
    arguments += ["--set", 'train_on=["alpha"]', "--set", 'test_on=["beta"]']
    assert sweep.main(arguments) == 1
    assert cross_eval.main(arguments) == 1
    shown = capsys.readouterr()
    expected = (
        "FAILED ensemble @ alpha -> beta seed 1: its member npr: RuntimeError: the disk is on fire"
    )
    (line,) = [line for line in shown.err.splitlines() if line.startswith(expected)]
    assert line.count("(traceback: ") == 1
    rows = [
        r
        for r in matrix(Store(tmp_path, "small"))
        if (r["detector"], r["metric"]) == ("ensemble", "auc")
    ]
    assert {r["seed"]: r["state"] for r in rows} == {"0": "done", "1": "failed", "mean": "done"}


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that find a small CLIP checkpoint."""
    (tmp_path / "weights").mkdir()
    case = make_case("clip_zero_shot", tmp_path / "weights", monkeypatch)
    return ["--weights-root", str(case.folder)]


def test_a_study_of_an_untrained_detector_needs_no_sweep(
    study_file: Path,
    tmp_path: Path,
    clip: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = [str(study_file), "--results", str(tmp_path / "results"), *ALONE, *clip]
    assert plan.main(arguments) == 0
    assert "0 trials" in capsys.readouterr().out
    assert prepare.main(arguments) == 0
    assert sweep.main([*arguments, "--local"]) == 0
    shown = capsys.readouterr().out
    assert "clip_zero_shot: nothing to train for it; cross_eval builds and scores it" in shown
    assert "Nothing to train in this study" in shown
    assert cross_eval.main([*arguments, "--local", "--full"]) == 0
    shown = capsys.readouterr().out
    assert "scoring 2 cells" in shown
    assert "gap undefined (not trained: no test set is in-domain)" in shown
    store = Store(tmp_path / "results", "small")
    rows = matrix(store)
    assert {(r["train_on"], r["state"]) for r in rows} == {(NO_TRAINING, "done")}
    assert {r["seed"] for r in rows} == {"0", "mean"}
    source = [r for r in rows if r["threshold"] == "source" and r["metric"] == "accuracy"]
    assert {(r["value"], r["undefined"]) for r in source} == {
        ("", "the source does not define this threshold")
    }
    scaled = [r for r in rows if r["metric"] in ("nll_scaled", "ece_scaled")]
    assert {(r["value"], r["undefined"]) for r in scaled} == {
        ("", "the source defines no temperature")
    }
    defined = [
        ("auc", ""),
        ("ap", ""),
        ("nll", ""),
        ("accuracy", "fixed"),
        ("balanced_accuracy", "oracle"),
    ]
    assert all(r["value"] for r in rows if (r["metric"], r["threshold"]) in defined)
    monkeypatch.setattr(
        "study.jobs.winner.registry.build", lambda *a, **k: pytest.fail("built again")
    )
    monkeypatch.setattr("study.jobs.cell.score", lambda *a, **k: pytest.fail("scored again"))
    assert cross_eval.main([*arguments, "--local"]) == 0
    assert "Nothing to score: 2 cells" in capsys.readouterr().out


def test_its_model_rests_on_the_checkpoint_and_the_prompts_and_on_no_data(
    study_file: Path, tmp_path: Path, clip: list[str]
) -> None:
    def key(*overrides: str) -> str:
        study = load_study(str(study_file), ['detectors=["clip_zero_shot"]', *overrides])
        setup = open_study(
            study, results=tmp_path / "results", weights_root=Path(clip[1]), firewall=True
        )
        (pairing,) = setup.study.pairings()
        return setup.jobs.untrained(pairing).trial.key

    assert key() == key('train_on=["beta"]', "budget.seeds=5", "seed=7")
    assert key() != key('detector.clip_zero_shot.prompts="faces"')
    assert key() != key("run.threads=2")


def test_it_stands_beside_trained_detectors_in_every_view(
    study_file: Path, tmp_path: Path, clip: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    arguments = [str(study_file), "--results", str(tmp_path / "results"), "--local", *clip]
    arguments += [
        "--set",
        "budget.trials=1",
        "--set",
        'train_on=["alpha"]',
        "--set",
        'test_on=["alpha", "beta"]',
    ]
    arguments += ["--set", 'detectors=["clip_zero_shot", "spectrum"]']
    assert sweep.main(arguments) == 0
    assert "1 detector x 1 training set = 1 pairing" in capsys.readouterr().out
    assert cross_eval.main(arguments) == 0
    store = Store(tmp_path / "results", "small")
    tables = (store.folder / "tables.md").read_text(encoding="utf-8")
    line = next(line for line in tables.splitlines() if line.startswith("| clip_zero_shot |"))
    assert "undefined (not trained" in line
    client = MlflowClient(f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    models = {
        m.tags["study.pairing"]: m for m in client.search_logged_models([experiment.experiment_id])
    }
    assert set(models) == {"spectrum @ alpha", f"clip_zero_shot @ {NO_TRAINING}"}
    model = models[f"clip_zero_shot @ {NO_TRAINING}"]
    keys = {m.key for m in model.metrics or ()}
    assert "auc/beta" in keys and "source_val_auc" not in keys
    assert not any(math.isnan(m.value) for m in model.metrics or ())
    (run,) = client.search_runs([experiment.experiment_id], "tags.`study.kind` = 'matrix'")
    assert run.data.metrics["auc/clip_zero_shot/.x28.none.x29./beta"] > 0


def test_a_study_of_published_detectors_alone_trains_on_nothing_and_tests_whole(
    study_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "weights").mkdir()
    make_case("ferretnet_s", tmp_path / "weights", monkeypatch)
    text = study_file.read_text(encoding="utf-8")
    data = text[text.index("[data]") :]
    file = tmp_path / "mine.toml"
    head = 'name = "mine"\ndetectors = ["ferretnet_s"]\n'
    file.write_text(head + data, encoding="utf-8")
    arguments = [str(file), "--results", str(tmp_path), "--weights-root", str(tmp_path / "weights")]
    with pytest.raises(ConfigError, match="the key 'test_on' is missing: no detector is trained"):
        load_study(str(file))
    file.write_text(f'{head}test_on = ["alpha", "beta"]\n{data}', encoding="utf-8")
    with pytest.raises(ConfigError, match="the key 'train_on' is missing"):
        load_study(str(file), ['detectors=["ferretnet_s", "npr"]'])
    assert sweep.main([*arguments, "--local"]) == 0
    assert cross_eval.main([*arguments, "--local"]) == 0
    shown = capsys.readouterr().out
    assert "ferretnet_s @ (cnnspot:progan) -> alpha" in shown
    store = Store(tmp_path, "mine")
    rows = [r for r in matrix(store) if r["metric"] == "auc" and r["role"] == "detector"]
    assert {(r["train_on"], r["test_on"], r["domain"], r["seed"]) for r in rows} == {
        ("(cnnspot:progan)", y, "cross", seed) for y in ("alpha", "beta") for seed in ("0", "mean")
    }
    assert {(r["n_real"], r["n_fake"]) for r in rows} == {("30", "30")}
    assert all(0 <= float(r["low"]) < float(r["high"]) <= 1 for r in rows), rows
    assert ledger.main(["mine", "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ferretnet_s: untestable here: other test data")
    auc = next(float(r["value"]) for r in rows if r["test_on"] == "beta")
    assert f"beta AUC {auc:.3f} [" in shown
    tables = (store.folder / "tables.md").read_text(encoding="utf-8")
    assert "# Claims" in tables and "| untestable here |" in tables
