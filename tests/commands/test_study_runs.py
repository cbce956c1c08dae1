"""The commands from end to end on a small real study: matrix, second run, restart, firewall,
launchers that agree.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from study import cli, cross_eval, plan, prepare, sweep
from study.core.errors import DataError, FirewallError
from study.core.records import CONTROLS, Scores, TrainedDetector
from study.data.catalog import Catalog
from study.planning.open_study import open_study
from study.planning.study_file import load_study
from study.store.store import Store
from tests.commands.conftest import StudyRun, run_both
from tests.factories import files_of, truncate, write_image


def matrix(store: Store) -> list[dict[str, str]]:
    """The rows of matrix.csv that are of detectors; tests/commands/test_audit.py looks at the
    others.
    """
    with store.matrix_file.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["detector"] not in CONTROLS]


def same_store(a: Store, b: Store) -> None:
    """Both stores hold the same proposals, outcomes, winners, draws, weights and scores (bitwise);
    times may differ.
    """

    def trials(store: Store) -> list[tuple[object, ...]]:
        return sorted(
            (t.pairing, t.number, t.key, str(t.params), r.state, r.val_auc, r.val_nll, r.best_epoch)
            for t, r in store.trials()
        )

    assert trials(a) == trials(b)
    models = sorted(p.name for p in (a.folder / "models").iterdir())
    assert models == sorted(p.name for p in (b.folder / "models").iterdir())
    for key in models:
        ours, theirs = (load_file(s.model_folder(key) / "detector.safetensors") for s in (a, b))
        assert all(ours[name].equal(theirs[name]) for name in ours)
    names = sorted(p.stem for p in (a.folder / "scores").iterdir())
    assert names == sorted(p.stem for p in (b.folder / "scores").iterdir())
    for name in names:
        assert np.array_equal(a.scores(name).logit, b.scores(name).logit)
    draws = sorted(p.stem for p in (a.folder / "draws").iterdir())
    assert draws == sorted(p.stem for p in (b.folder / "draws").iterdir())
    for key in draws:
        mine, others = a.draws(key), b.draws(key)
        assert mine.keys() == others.keys()
        assert all(mine[name].equal(others[name]) for name in mine)
    names = sorted(p.stem for p in (a.folder / "draw_scores").iterdir())
    assert names == sorted(p.stem for p in (b.folder / "draw_scores").iterdir())
    for name in names:
        assert np.array_equal(a.draw_scores(name).logits, b.draw_scores(name).logits)


def place(row: dict[str, str]) -> tuple[str, str, str, str]:
    return row["detector"], row["train_on"], row["test_on"], row["seed"]


def winners(store: Store) -> list[TrainedDetector]:
    """What was trained as a winner, and not as another configuration to compare it with."""
    found = (store.model(folder.name) for folder in (store.folder / "models").iterdir())
    return [trained for trained in found if trained.trial.origin.startswith("winner")]


def scored_cells(store: Store) -> list[tuple[tuple[str, str, str, str], Scores]]:
    """Every scores file with the cell it belongs to, found by its images and by scoring's own key,
    not by the matrix.
    """
    setup = open_study(
        load_study(str(store.study_file)), results=store.results, weights_root=None, firewall=False
    )
    cells = []
    for trained in winners(store):
        for test_on in ("alpha", "beta"):
            scores = store.scores(setup.jobs.cell(trained.key, test_on).scores_key)
            assert {str(name).split("/")[0] for name in scores.sample_id} == {test_on}
            cells.append(
                (
                    (
                        trained.spec.name,
                        trained.trial.pairing.train_on,
                        test_on,
                        str(trained.winner_seed),
                    ),
                    scores,
                )
            )
    return cells


def test_the_matrix_holds_every_cell_and_agrees_with_scikit_learn(local_run: StudyRun) -> None:
    store = local_run.store
    rows = [r for r in matrix(store) if r["metric"] == "auc"]
    places = {(r["detector"], r["train_on"], r["test_on"]) for r in rows}
    assert len(places) == 2 * 3 * 2
    assert {r["seed"] for r in rows} == {"0", "1", "mean"}
    assert {r["state"] for r in rows} == {"done"}
    for cell, scores in scored_cells(store):
        ours = next(float(r["value"]) for r in rows if place(r) == cell)
        assert ours == pytest.approx(roc_auc_score(scores.label, scores.logit), abs=1e-12)
    for r in rows:
        assert float(r["low"]) <= float(r["value"]) <= float(r["high"])
        assert int(r["n_real"]) > 0
        assert int(r["n_fake"]) > 0


def test_every_metric_stands_at_every_named_threshold(local_run: StudyRun) -> None:
    rows = matrix(local_run.store)
    assert {"auc", "ap", "eer", "accuracy", "balanced_accuracy", "f1", "precision", "recall"} <= {
        r["metric"] for r in rows
    }
    assert {r["threshold"] for r in rows if r["metric"] == "f1"} == {
        "fixed",
        "source",
        "source_fpr1",
        "source_fpr5",
        "oracle",
    }


def test_fixed_threshold_accuracy_by_hand(local_run: StudyRun) -> None:
    store = local_run.store
    rows = [r for r in matrix(store) if (r["metric"], r["threshold"]) == ("accuracy", "fixed")]
    for cell, scores in scored_cells(store):
        ours = next(float(r["value"]) for r in rows if place(r) == cell)
        assert ours == pytest.approx(float(np.mean((scores.logit >= 0) == scores.label)), abs=1e-12)


def test_figures_and_tables_are_there(local_run: StudyRun) -> None:
    for name in ("heat_map_npr_auc.png", "heat_map_spectrum_auc.png", "roc.png"):
        assert (local_run.store.figures / name).read_bytes().startswith(b"\x89PNG")
    assert "alpha+beta" in (local_run.store.folder / "tables.md").read_text(encoding="utf-8")


def test_winners_are_the_best_on_source_val(local_run: StudyRun) -> None:
    store = local_run.store
    trials = store.trials()
    for trained in winners(store):
        own = [
            (-r.val_auc, r.val_nll, t.number)
            for t, r in trials
            if t.pairing == trained.trial.pairing
        ]
        assert trained.winner_trial == min(own)[2]


def test_trial_0_is_the_default_and_budgets_are_equal(local_run: StudyRun) -> None:
    from study.search.spaces import load_space

    trials = [t for t, _ in local_run.store.trials()]
    pairings = {t.pairing for t in trials}
    assert len(pairings) == 6
    for pairing in pairings:
        own = sorted((t for t in trials if t.pairing == pairing), key=lambda t: t.number)
        assert [t.number for t in own] == [0, 1, 2]
        assert dict(own[0].params) == dict(load_space(pairing.detector).default())


def test_a_second_run_trains_nothing_scores_nothing_and_says_so(
    local_run: StudyRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        p: p.stat().st_mtime_ns
        for p in local_run.store.folder.rglob("*")
        if p.suffix in (".parquet", ".safetensors")
    }
    monkeypatch.setattr("study.jobs.trial.fit", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr("study.jobs.cell.score", lambda *a, **k: pytest.fail("scored"))
    keys = [
        local_run.store.trials()[0][0].key,
        next((local_run.store.folder / "models").iterdir()).name,
    ]
    left = [local_run.store.checkpoint_file(key) for key in keys]
    for checkpoint in left:  # as if killed just after the record was written
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.touch()
    capsys.readouterr()
    assert sweep.main(local_run.arguments) == 0
    said = capsys.readouterr().out
    assert "Nothing to train" in said and "kinds of device" not in said
    assert not any(checkpoint.exists() for checkpoint in left)
    assert cross_eval.main(local_run.arguments) == 0
    assert "Nothing to score" in capsys.readouterr().out
    assert files == {p: p.stat().st_mtime_ns for p in files}


def test_trials_of_two_kinds_of_device_are_told_apart(
    local_run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = local_run.store.trials()
    assert {result.device_kind for _, result in trials} == {"cpu"}
    moved = [(trial, replace(result, device_kind="cuda")) for trial, result in trials[1:]]
    local_run.store.save_trials([trials[0], *moved])
    try:
        assert sweep.main(local_run.arguments) == 0
    finally:
        local_run.store.save_trials(trials)
    assert f"several kinds of device (1 on cpu, {len(moved)} on cuda)" in capsys.readouterr().out


@pytest.mark.ray
def test_ray_gives_the_same_winners_and_scores(
    study_file: Path, local_run: StudyRun, ray_address: str, tmp_path: Path
) -> None:
    run = run_both(study_file, tmp_path / "ray", "--address", ray_address)
    same_store(run.store, local_run.store)


@pytest.mark.parametrize("stop_after", [2, pytest.param(9, marks=pytest.mark.slow)])
def test_interrupted_anywhere_the_result_is_the_same(
    stop_after: int,
    study_file: Path,
    local_run: StudyRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process dies in the middle of an epoch's bookkeeping, again and again, until the sweep is
    through.
    """
    from study.jobs import trial as trial_job

    save, count, arguments = (
        trial_job._StoreSession.save,
        iter(range(10**6)),
        [str(study_file), "--results", str(tmp_path), "--local"],
    )

    def dying(self: trial_job._StoreSession, state: dict[str, object]) -> None:
        save(self, state)
        if next(count) % stop_after == stop_after - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(trial_job._StoreSession, "save", dying)
    for _ in range(100):
        try:
            assert sweep.main(arguments) == 0
            break
        except KeyboardInterrupt:
            continue
    monkeypatch.undo()
    assert cross_eval.main(arguments) == 0
    same_store(Store(tmp_path, "small"), local_run.store)


def test_the_sweep_cannot_open_a_test_split(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = open_study(
        load_study(str(study_file)), results=tmp_path, weights_root=None, firewall=True
    )
    catalog = Catalog(setup.workspace.data, firewall=True)
    with pytest.raises(FirewallError, match="test split of 'alpha' cannot be opened"):
        catalog.open("alpha", "test", setup.keys.specs["npr"].geometry)
    assert set(catalog.dataset("alpha").samples["split"].to_pylist()) == {"train", "val"}
    with pytest.raises(FirewallError):
        setup.jobs.cell("any", "alpha")
    opened: list[str] = []
    original = Catalog.open
    monkeypatch.setattr(
        Catalog,
        "open",
        lambda self, name, split, geometry: (
            opened.append(split) or original(self, name, split, geometry)
        ),
    )
    monkeypatch.setattr("study.jobs.workspace._CATALOGS", {})
    assert (
        sweep.main(
            [str(study_file), "--results", str(tmp_path), "--local", "--set", "budget.trials=1"]
        )
        == 0
    )
    assert set(opened) == {"train", "val"}


def test_the_sweep_does_not_depend_on_what_test_images_show(
    study_file: Path, local_run: StudyRun, data_copy: Path, tmp_path: Path
) -> None:
    """Every test image is replaced by noise; trials stay bitwise what they were."""
    setup = open_study(
        load_study(str(study_file)), results=tmp_path / "a", weights_root=None, firewall=False
    )
    manifest = data_copy / "alpha" / "manifest.csv"
    samples = Catalog(setup.workspace.data, firewall=False).dataset("alpha").samples.to_pylist()
    manifest.write_text(
        "path,label,method,group\n"
        + "".join(f"{s['path']},{s['label']},{s['method']},{s['group']}\n" for s in samples),
        encoding="utf-8",
    )
    for sample in samples:
        if sample["split"] == "test":
            noise = np.random.default_rng(int(sample["label"])).integers(
                0, 256, (32, 32, 3), dtype=np.uint8
            )
            write_image(data_copy / "alpha" / sample["path"], noise)
    arguments = [
        str(study_file),
        "--results",
        str(tmp_path / "b"),
        "--data-root",
        str(data_copy),
        "--local",
        "--set",
        'train_on=["alpha"]',
    ]
    assert sweep.main([*arguments, "--set", 'test_on=["beta"]']) == 0
    ours = {
        (t.pairing, t.number): (r.val_auc, r.val_nll)
        for t, r in Store(tmp_path / "b", "small").trials()
    }
    theirs = {
        (t.pairing, t.number): (r.val_auc, r.val_nll)
        for t, r in local_run.store.trials()
        if t.pairing.train_on == "alpha"
    }
    assert ours == theirs


def test_plan_shows_states_before_and_after(
    study_file: Path, local_run: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # at one a second the cost is the time
    price = ["--hourly-price", "3600"]
    assert plan.main([str(study_file), "--results", str(tmp_path), *price]) == 0
    before = capsys.readouterr().out
    (cost,) = re.findall(r"cost:  about (\d+\.\d\d), at most \d+\.\d\d, at 3600 ", before)
    assert f"time:  {cli.seconds_text(float(cost))} of training on one slot" in before
    assert "6 pairings" in before
    assert "18 trials" in before
    assert "cells: 24 planned" in before
    assert "by a few steps on random images, until trials have run: spectrum, npr" in before
    # every fit is expected to use its epochs: there is no other "at most"
    assert re.search(r"time:  \d.* of training on one slot$", before, re.MULTILINE)
    assert re.search(r"; models at most \d+\.\d MB, of which 0 B are made$", before, re.M)
    assert plan.main([a for a in local_run.arguments if a != "--local"]) == 0
    after = capsys.readouterr().out
    assert "cells: 24 done" in after
    most, made = (
        float(one)
        for one in re.findall(r"models at most (\d+\.\d) MB, of which (\d+\.\d) MB", after)[0]
    )
    assert made <= most <= 3 * made + 0.2  # other configurations may be the winners'
    assert "random images" not in after and "not timed yet" not in before + after


@pytest.mark.slow
def test_prepare_makes_every_pack_that_the_study_needs(
    study_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert prepare.main([str(study_file), "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "split by image: no groups known" in printed
    assert "split by group" not in printed
    monkeypatch.setattr(
        "study.data.images.packs._build", lambda *a, **k: pytest.fail("a pack was missing")
    )
    assert run_both(study_file, tmp_path, "--local").store.matrix_file.is_file()


def test_a_diverging_trial_is_a_recorded_failure_and_the_others_go_on(
    study_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from study.core.errors import DivergedError
    from study.jobs import trial as trial_job

    original = trial_job.fit

    def sometimes(detector: object, *args: object, **kwargs: object) -> object:
        if detector.spec.name == "npr" and kwargs["seed"] == trial_seed:  # type: ignore[attr-defined]
            raise DivergedError("the training loss is nan in epoch 1")
        return original(detector, *args, **kwargs)  # type: ignore[arg-type]

    setup = open_study(
        load_study(str(study_file)), results=tmp_path, weights_root=None, firewall=True
    )
    trial_seed = setup.keys.seed(0)
    monkeypatch.setattr(trial_job, "fit", sometimes)
    arguments = [str(study_file), "--results", str(tmp_path), "--local", "--set", "budget.trials=2"]
    assert sweep.main(arguments) == 1
    shown = capsys.readouterr()
    assert "FAILED npr @ alpha: no trial gave a result" in shown.err
    assert cross_eval.main(arguments) == 1
    rows = [
        r for r in matrix(Store(tmp_path, "small")) if r["metric"] == "auc" and r["seed"] == "mean"
    ]
    assert {r["state"] for r in rows if r["detector"] == "npr"} == {"failed"}
    assert {r["state"] for r in rows if r["detector"] == "spectrum"} == {"done"}
    assert all(math.isnan(float(r["value"] or "nan")) for r in rows if r["detector"] == "npr")


def test_a_broken_image_is_left_out_and_counted(
    study_file: Path, data_copy: Path, tmp_path: Path
) -> None:
    setup = open_study(
        load_study(str(study_file)), results=tmp_path / "probe", weights_root=None, firewall=False
    )
    samples = Catalog(setup.workspace.data, firewall=False).dataset("beta").samples.to_pylist()
    lines = [f"{s['path']},{s['label']},{s['method']},{s['group']}\n" for s in samples]
    (data_copy / "beta" / "manifest.csv").write_text(
        "path,label,method,group\n" + "".join(lines), encoding="utf-8"
    )
    tested = [s for s in samples if s["split"] == "test"]
    truncate(data_copy / "beta" / tested[0]["path"])
    arguments = [
        "--local",
        "--data-root",
        str(data_copy),
        "--set",
        'detectors=["spectrum"]',
        "--set",
        "budget.trials=1",
    ]
    run = run_both(study_file, tmp_path / "run", *arguments)
    on_beta = [
        s
        for s in (run.store.scores(p.stem) for p in (run.store.folder / "scores").iterdir())
        if s.excluded
    ]
    assert len(on_beta) == 3 * 2  # training sets x seeds
    for scores in on_beta:
        assert scores.listed == len(tested)
        assert len(scores.logit) == len(tested) - 1
        assert [name for name, _ in scores.excluded] == [f"beta/{tested[0]['path']}"]
    coverage = {
        r["test_on"]: float(r["coverage"]) for r in matrix(run.store) if r["metric"] == "auc"
    }
    assert coverage == {"alpha": 1.0, "beta": 1 - 1 / len(tested)}


def test_a_worker_refuses_data_that_changed_since_its_key_was_made(
    study_file: Path, data_copy: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from study.jobs import trial as trial_job

    arguments = load_study(str(study_file), data_root=str(data_copy))
    setup = open_study(arguments, results=tmp_path, weights_root=None, firewall=True)
    job = setup.jobs.trial(setup.study.pairings()[0], 0, {})
    victim = next(files_of(data_copy / "alpha"))
    victim.write_bytes(victim.read_bytes() + b"\0")
    elsewhere = replace(
        job,
        workspace=replace(
            job.workspace, data=replace(job.workspace.data, cache=tmp_path / "another worker")
        ),
    )
    with pytest.raises(DataError, match="'alpha' changed while the command ran"):
        trial_job.run_trial(elsewhere, lambda _: None)


def test_scoring_sets_the_threads_of_the_study(
    local_run: StudyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A fresh process scores with torch's own default of threads unless it is told; the number is
    part of the scores' key.
    """
    import torch

    from study.jobs import cell as cell_job
    from study.planning.cells import plan_cells

    arguments = [a for a in local_run.arguments if a != "--local"]
    setup = open_study(
        load_study(arguments[0]), results=Path(arguments[2]), weights_root=None, firewall=False
    )
    job = next(c.job for c in plan_cells(setup) if c.job is not None)
    seen: list[int] = []
    monkeypatch.setattr(Store, "has_scores", lambda self, key: False)
    monkeypatch.setattr(
        Store, "save_scores", lambda self, key, scores: seen.append(torch.get_num_threads())
    )
    torch.set_num_threads(2)
    cell_job.run_cell(job)
    assert seen == [setup.workspace.threads]


def test_a_failed_winner_keeps_its_reason(
    study_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from study.jobs import winner as winner_job

    arguments = [
        str(study_file),
        "--results",
        str(tmp_path),
        "--local",
        "--set",
        "budget.trials=1",
        "--set",
        'train_on=["alpha"]',
    ]
    original = winner_job.run_winner

    def failing(job: winner_job.WinnerJob) -> None:
        if job.spec.name == "npr" and job.winner_seed == 1:
            raise RuntimeError("the disk is on fire")
        original(job)

    monkeypatch.setattr(winner_job, "run_winner", failing)
    assert sweep.main(arguments) == 1
    assert cross_eval.main(arguments) == 1
    assert (
        "FAILED npr @ alpha -> alpha seed 1: RuntimeError: the disk is on fire"
        in capsys.readouterr().err
    )
    rows = [
        r
        for r in matrix(Store(tmp_path, "small"))
        if (r["detector"], r["metric"], r["test_on"]) == ("npr", "auc", "alpha")
    ]
    assert {r["seed"]: r["state"] for r in rows} == {"0": "done", "1": "failed", "mean": "done"}
    monkeypatch.undo()
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
