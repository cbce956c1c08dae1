"""Models on draws of the training set: trained by the sweep, scored by cross_eval, no seeds."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from study import cross_eval, plan, sweep
from study.analysis.cells_csv import read_cells
from study.analysis.leakage import NO_LEAKS
from study.analysis.results import IMAGES_ALONE
from study.analysis.score_set import ScoreSet, open_scores
from study.core.records import Draw, Pairing
from study.data.draws import drawn
from study.detectors import registry
from study.jobs.draws import DrawsJob
from study.planning.open_study import OpenStudy, open_study
from study.planning.searches import replay
from study.planning.study_file import load_study
from study.planning.variants import draw_cells
from study.store.store import Store
from study.training.runtime import TorchRuntime
from study.training.score import score
from tests.commands.conftest import StudyRun

NPR, SPECTRUM = (Pairing(detector=name, train_on="alpha") for name in ("npr", "spectrum"))


def opened(store: Store) -> OpenStudy:
    study = load_study(str(store.study_file))
    return open_study(study, results=store.results, weights_root=None, firewall=False)


def scores_of(setup: OpenStudy) -> ScoreSet:
    return open_scores(setup, [], NO_LEAKS, draw_cells(setup.jobs, replay(setup)))


def jobs_of(setup: OpenStudy, pairing: Pairing) -> list[DrawsJob]:
    return setup.jobs.draws(pairing, replay(setup)[pairing])


def ids_and_labels(setup: OpenStudy, name: str, detector: str) -> tuple[Any, Any]:
    images = setup.workspace.catalog.open(name, "test", setup.keys.specs[detector].geometry)
    return images.sample_id, images


def test_a_heads_draws_are_regressions_on_halves_and_on_permuted_labels(
    local_run: StudyRun,
) -> None:
    """By scikit-learn, from the images on."""
    setup = opened(local_run.store)
    winner = replay(setup)[SPECTRUM].winner
    assert winner is not None
    spec = setup.keys.specs["spectrum"]
    train, val = (setup.workspace.catalog.open("alpha", s, spec.geometry) for s in ("train", "val"))
    test = setup.workspace.catalog.open("beta", "test", spec.geometry)
    detector = registry.build(spec, weights_root=None, seed=0)

    def profiles(images: Any) -> Any:
        pixels = detector.prepare(torch.from_numpy(images.gather(np.arange(len(images)))))
        return detector.features(pixels).numpy().astype(np.float64)

    scaler = StandardScaler().fit(profiles(train))
    found = scores_of(setup)
    for kind, halves in (("half", 2), ("permuted", 1)):
        ours = found.drawn(SPECTRUM, "beta", kind, test.sample_id)  # type: ignore[arg-type]
        assert ours.numbers == (0,)
        assert ours.logits.shape == (1, halves, len(test))
        for half in range(halves):
            one, _ = drawn(train, val, Draw(kind=kind, number=0, half=half), 0)  # type: ignore[arg-type]
            model = LogisticRegression(C=winner.params["C"], tol=1e-12, max_iter=10**5)
            model.fit(scaler.transform(profiles(one)), one.label)
            expected = model.decision_function(scaler.transform(profiles(test)))
            assert ours.logits[0, half] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_networks_draw_is_a_fit_on_its_half(local_run: StudyRun) -> None:
    """Restored by hand from the tensors that are kept, it scores what is kept."""
    setup = opened(local_run.store)
    jobs = jobs_of(setup, NPR)
    assert [job.draws for job in jobs] == [
        (Draw(kind="half", number=0, half=0),),
        (Draw(kind="half", number=0, half=1),),
        (Draw(kind="permuted", number=0),),
    ]
    first, second, _ = jobs
    assert first.trial.seed != second.trial.seed
    test = setup.workspace.catalog.open("beta", "test", first.spec.geometry)
    runtime = TorchRuntime.resolve(device="cpu", threads=1, precision="float32")
    kept = scores_of(setup).drawn(NPR, "beta", "half", test.sample_id)
    for half, job in enumerate((first, second)):
        detector = registry.build(
            registry.with_head(job.spec, job.trial.params), weights_root=None, seed=job.trial.seed
        )
        detector.load_state_dict(local_run.store.draws(job.trial.key), strict=False)
        runtime.place(detector)
        assert np.array_equal(kept.logits[0, half], score(detector, test, runtime=runtime))
    assert not np.array_equal(kept.logits[0, 0], kept.logits[0, 1])


def test_images_are_given_in_the_order_that_is_asked_for(local_run: StudyRun) -> None:
    setup = opened(local_run.store)
    ids, _ = ids_and_labels(setup, "beta", "npr")
    found = scores_of(setup)
    whole = found.drawn(NPR, "beta", "half", ids)
    part = found.drawn(NPR, "beta", "half", ids[[4, 1]])
    assert np.array_equal(part.logits, whole.logits[:, :, [4, 1]])
    assert np.array_equal(whole.of([0]), whole.logits)
    none = found.drawn(Pairing(detector="x", train_on="alpha"), "beta", "half", ids)
    assert (len(none), none.logits.shape) == (0, (0, 2, len(ids)))


def test_draws_are_no_seeds(local_run: StudyRun) -> None:
    store = local_run.store
    with store.matrix_file.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["seed"] for r in rows if r["role"] == "detector"} == {"0", "1", "mean"}
    null = [r for r in rows if r["role"] == "null"]
    assert len(null) == 2 * 3 * 2
    assert {(r["metric"], r["subset"], r["seeds"]) for r in null} == {
        ("auc", "permuted labels", "1")
    }
    setup = opened(store)
    keys = {job.trial.key for pairing in setup.searches for job in jobs_of(setup, pairing)}
    assert {path.stem for path in (store.folder / "draws").iterdir()} == keys
    assert not keys & {path.name for path in (store.folder / "models").iterdir()}


def test_the_training_sample_counts_in_all_that_is_written(local_run: StudyRun) -> None:
    folder = local_run.store.folder
    with local_run.store.matrix_file.open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["role"] == "detector"]
    means = [r for r in rows if (r["seed"], r["metric"]) == ("mean", "auc") and r["value"]]
    assert means and not any(IMAGES_ALONE in r["note"] for r in means)
    with (folder / "comparisons.csv").open(encoding="utf-8", newline="") as file:
        assert {r["training_counted"] for r in csv.DictReader(file)} == {"true"}
    said = (folder / "comparisons.md").read_text(encoding="utf-8")
    assert "is not counted" not in said and "not more than noise" in said
    cells = read_cells(folder / "cells.csv")
    setup = opened(local_run.store)
    ids, images = ids_and_labels(setup, "beta", "npr")
    found = scores_of(setup).drawn(NPR, "beta", "half", ids)
    apart = np.diff([roc_auc_score(images.label, half) for half in found.logits[0]])[0]
    (mine,) = {
        (c.training, c.training_doubt) for c in cells if c.place == ("npr", "alpha", "beta", "none")
    }
    # of one pair; what the images alone give is taken out, so that it is at most the half square
    assert 0 <= mine[0] <= apart**2 / 2 + 1e-12
    assert mine[1] <= (apart**2 / 2) ** 2 + 1e-12
    assert not any(np.isnan(c.training) for c in cells if c.state == "done")


def test_plan_counts_them(local_run: StudyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main([a for a in local_run.arguments if a != "--local"]) == 0
    said = capsys.readouterr().out
    assert "spectrum 1, npr 1" in said
    assert "1 models on permuted labels, which show what chance gives, for every detector" in said
    assert said.count(" 3/3 ") >= 6


def test_a_damaged_file_is_made_anew(local_run: StudyRun, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(local_run.store.results, results)
    store = Store(results, "small")
    before = {p.name: p.read_bytes() for p in (store.folder / "draw_scores").iterdir()}
    spoilt = sorted((store.folder / "draw_scores").iterdir())[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-50])
    arguments = [
        str(results) if a == str(local_run.store.results) else a for a in local_run.arguments
    ]
    with pytest.raises(Exception, match="set aside"):
        cross_eval.main(arguments)
    assert cross_eval.main(arguments) == 0
    assert store.draw_scores(spoilt.stem).logits.dtype == np.float32
    assert before.keys() == {p.name for p in (store.folder / "draw_scores").iterdir()}


def test_without_replicates_none_are_trained(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(study_file), "--results", str(tmp_path), "--local"]
    for setting in (
        "budget.replicates=0",
        "budget.null_models=0",
        'detectors=["spectrum"]',
        "budget.trials=1",
        'train_on=["alpha"]',
    ):
        arguments += ["--set", setting]
    assert sweep.main(arguments) == 0
    assert "the training sample is not counted (budget.replicates = 0)" in capsys.readouterr().out
    assert not (tmp_path / "small" / "draws").exists()
