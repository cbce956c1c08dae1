"""What a study's choices were worth, on a small real one: tuned minus default, moved
configurations, leak price, selection gap.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from sklearn.metrics import roc_auc_score

from study import cross_eval, sweep
from study.analysis.leak_price import kept_epochs, leak_prices
from study.analysis.leakage import NO_LEAKS
from study.analysis.score_set import open_scores
from study.core.failures import Failure
from study.core.records import NO_TRAINING, Pairing
from study.jobs.cell import load_detector, score_cell
from study.planning.cells import plan_cells
from study.planning.open_study import OpenStudy, open_study
from study.planning.searches import replay
from study.planning.study_file import load_study
from study.planning.variants import DEFAULT, variant_jobs, variants
from study.search.spaces import load_space
from study.store.store import Store
from tests.commands.conftest import StudyRun, run_both

ASKED = [
    "budget.trials=3",
    "budget.replicates=0",
    "budget.transfer=true",
    "run.keep_epochs=true",
    'train_on=["alpha", "beta"]',
    "budget.epochs=3",
]


@pytest.fixture(scope="module")
def run(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The small study with everything switched on."""
    asked = [word for key in ASKED for word in ("--set", key)]
    return run_both(study_file, tmp_path_factory.mktemp("choices"), "--local", *asked)


@pytest.fixture(scope="module")
def setup(run: StudyRun) -> OpenStudy:
    study = load_study(str(run.store.study_file))
    return open_study(study, results=run.store.results, weights_root=None, firewall=False)


@pytest.fixture(scope="module")
def table(run: StudyRun) -> list[dict[str, str]]:
    with (run.store.folder / "tuning.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_pairing_has_its_default_and_the_others_configurations(
    run: StudyRun, setup: OpenStudy
) -> None:
    history = replay(setup)
    found = {(v.pairing, v.source): v for v in variants(setup.jobs, history)}
    pairings = [
        Pairing(detector=d, train_on=x) for d in ("spectrum", "npr") for x in ("alpha", "beta")
    ]
    other = {"alpha": "beta", "beta": "alpha"}
    assert set(found) == {(p, source) for p in pairings for source in (DEFAULT, other[p.train_on])}
    winners = {p: setup.jobs.winners(p, history[p]) for p in pairings}
    for (pairing, source), variant in found.items():
        expected = (
            load_space(pairing.detector).default()
            if source == DEFAULT
            else winners[Pairing(detector=pairing.detector, train_on=source)][0].trial.params
        )
        for job, winner in zip(variant.jobs, winners[pairing], strict=True):
            trained = run.store.model(job.trial.key)
            assert (
                dict(trained.trial.params) == dict(expected)
                and trained.trial.seed == winner.trial.seed
            )
            assert trained.trial.pairing == pairing
            same = dict(expected) == dict(winner.trial.params)
            # the same configuration is not trained twice
            assert (job.trial.key == winner.trial.key) == same
    models = {folder.name for folder in (run.store.folder / "models").iterdir()}
    assert models == {job.trial.key for jobs in winners.values() for job in jobs} | {
        j.trial.key for j in variant_jobs(setup.jobs, history, setup.store.failures())
    }
    assert any(
        job.trial.key != winners[p][0].trial.key
        for (p, s), v in found.items()
        if s == DEFAULT
        for job in v.jobs[:1]
    )


def test_tuned_minus_default_is_what_the_store_holds(
    run: StudyRun, setup: OpenStudy, table: list[dict[str, str]]
) -> None:
    history = replay(setup)
    for variant in variants(setup.jobs, history):
        winners = setup.jobs.winners(variant.pairing, history[variant.pairing])
        mine = [
            r
            for r in table
            if (r["detector"], r["train_on"], r["source"])
            == (variant.pairing.detector, variant.pairing.train_on, variant.source)
        ]
        tests = ["alpha", "beta"] if variant.is_default else [variant.pairing.train_on]
        assert [r["test_on"] for r in mine] == ["", *tests]
        for row in mine:
            sides = []
            for jobs in (winners, variant.jobs):
                if row["test_on"]:
                    scored = [
                        run.store.scores(setup.jobs.cell(j.trial.key, row["test_on"]).scores_key)
                        for j in jobs
                    ]
                    sides.append([roc_auc_score(s.label, s.logit) for s in scored])
                else:
                    val = [run.store.val_scores(j.trial.key) for j in jobs]
                    sides.append([roc_auc_score(s.label, s.logit) for s in val])
            difference = np.subtract(*sides)
            assert float(row["tuned"]) == pytest.approx(np.mean(sides[0]), abs=1e-12)
            assert float(row["other"]) == pytest.approx(np.mean(sides[1]), abs=1e-12)
            assert float(row["difference"]) == pytest.approx(difference.mean(), abs=1e-12)
            if difference.std() > 0:
                low, high = stats.t.interval(
                    0.95, 1, loc=difference.mean(), scale=stats.sem(difference)
                )
                assert (float(row["seeds_low"]), float(row["seeds_high"])) == pytest.approx(
                    (low, high)
                )
            assert (row["same"] == "true") == (
                [j.trial.key for j in winners] == [j.trial.key for j in variant.jobs]
            )


def test_the_matrix_and_the_ranking_know_nothing_of_them(run: StudyRun, setup: OpenStudy) -> None:
    rows = [
        r
        for r in csv.DictReader(run.store.matrix_file.open(encoding="utf-8"))
        if (r["metric"], r["level"], r["subset"]) == ("auc", "image", "")
        and r["train_on"] != NO_TRAINING
    ]
    # detectors, training sets, test sets, two seeds and their mean
    assert len(rows) == 2 * 2 * 2 * 3
    shown = (run.store.folder / "tuning.md").read_text(encoding="utf-8")
    assert (
        "| configuration from \\ trained on | alpha | beta |" in shown
        and "# Tuned minus default" in shown
    )


def test_the_leak_price_is_the_best_epoch_on_the_test_set(run: StudyRun, setup: OpenStudy) -> None:
    cells = plan_cells(setup)
    kept = kept_epochs(setup, cells)
    jobs = {one.cell.scores_key: one.job for one in kept}
    mine = [c for c in cells if c.cell.pairing.detector == "npr"]
    # spectrum is a logistic regression and has no epochs
    assert set(jobs) == {c.cell.scores_key for c in mine}
    by_place: dict[tuple[Pairing, str], list[tuple[float, float]]] = {}
    for planned in mine:
        job, key, best = (
            jobs[planned.cell.scores_key],
            planned.winner.key,
            planned.winner.best_epoch,
        )
        assert sorted([best, *job.epochs]) == run.store.epochs(key) == [0, 1, 2]
        aucs = {}
        for epoch in (0, 1, 2):
            scores = run.store.scores(
                planned.cell.scores_key if epoch == best else job.scores_key(epoch)
            )
            aucs[epoch] = roc_auc_score(scores.label, scores.logit)
        by_place.setdefault((planned.cell.pairing, planned.cell.test_on), []).append(
            (aucs[best], max(aucs.values()))
        )
    keys = [key for one in kept for key in one.keys.values()]
    for price in leak_prices(open_scores(setup, keys, NO_LEAKS), kept):
        honest, claimed = np.transpose(by_place.pop((price.pairing, price.test_on)))
        assert (price.honest, price.claimed) == pytest.approx(
            (honest.mean(), claimed.mean()), abs=1e-12
        )
        assert (
            price.price.mean == pytest.approx((claimed - honest).mean(), abs=1e-12)
            and price.price.mean >= 0
        )
    assert not by_place
    assert "an upper bound" in (run.store.folder / "tables.md").read_text(encoding="utf-8")


def test_the_selected_epochs_weights_are_the_winners(run: StudyRun, setup: OpenStudy) -> None:
    planned = next(c for c in plan_cells(setup) if c.cell.pairing.detector == "npr")
    whole = load_file(run.store.model_folder(planned.winner.key) / "detector.safetensors")
    kept = load_file(run.store.epoch_file(planned.winner.key, planned.winner.best_epoch))
    assert kept and all(torch.equal(whole[name], value) for name, value in kept.items())
    detector = load_detector(run.store.model_folder(planned.winner.key))
    np.testing.assert_array_equal(
        score_cell(planned.job, detector).logit, run.store.scores(planned.cell.scores_key).logit
    )


def test_selection_gap_stands_in_the_tables(run: StudyRun, setup: OpenStudy) -> None:
    history, shown = replay(setup), (run.store.folder / "tables.md").read_text(encoding="utf-8")
    pairing = Pairing(detector="npr", train_on="alpha")
    jobs = setup.jobs.winners(pairing, history[pairing])
    val = np.mean(
        [roc_auc_score(s.label, s.logit) for s in (run.store.val_scores(j.trial.key) for j in jobs)]
    )
    scores = [run.store.scores(setup.jobs.cell(j.trial.key, "alpha").scores_key) for j in jobs]
    test = np.mean([roc_auc_score(s.label, s.logit) for s in scores])
    assert f"| npr | alpha | alpha | {val:.3f} | {test:.3f} | {val - test:+.3f} |" in shown


def test_a_second_run_does_nothing_again(
    run: StudyRun, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("study.jobs.trial.fit", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr("study.jobs.cell.score", lambda *a, **k: pytest.fail("scored"))
    assert sweep.main(run.arguments) == 0 and cross_eval.main([*run.arguments, "--full"]) == 0
    shown = capsys.readouterr().out
    assert (
        "Nothing to train" in shown
        and "tuned - default" in shown
        and "leak price" in shown
        and "selection gap" in shown
    )


def test_epochs_that_were_not_kept_are_trained_again_to_the_same_weights(
    run: StudyRun, tmp_path: Path
) -> None:
    """A study swept without keep_epochs, and then with it: the winners are what they were."""
    shutil.copytree(run.store.results, tmp_path / "r")
    store = Store(tmp_path / "r", "small")
    shutil.rmtree(store.folder / "epochs")
    before = {p: p.stat().st_mtime_ns for p in (store.folder / "models").rglob("*.safetensors")}
    arguments = [
        str(tmp_path / "r") if word == str(run.store.results) else word for word in run.arguments
    ]
    assert sweep.main([*arguments, "--set", 'train_on=["alpha"]']) == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}
    made = sorted((store.folder / "epochs").rglob("*.safetensors"))
    assert len(made) == 2 * 3  # seeds, epochs; npr on alpha
    for path in made:
        ours, theirs = load_file(path), load_file(run.store.folder / path.relative_to(store.folder))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_the_switches_nothing_further_is_trained(study_file: Path, tmp_path: Path) -> None:
    off = [
        "--set",
        "budget.default_winners=false",
        "--set",
        "budget.trials=2",
        "--set",
        'train_on=["alpha"]',
    ]
    only = run_both(study_file, tmp_path, "--local", *off, "--set", 'detectors=["spectrum"]').store
    assert (
        len(list((only.folder / "models").iterdir())) == 2
        and not (only.folder / "tuning.md").exists()
    )


def test_another_configuration_that_diverged_is_a_result_and_is_not_tried_again(
    run: StudyRun,
    setup: OpenStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(run.store.results, tmp_path / "r")
    store = Store(tmp_path / "r", "small")
    lost = variant_jobs(setup.jobs, replay(setup), setup.store.failures())[0].trial
    pairing, keys = (
        lost.pairing,
        [
            job.trial.key
            for job in variant_jobs(setup.jobs, replay(setup), setup.store.failures())
            if job.trial.params == lost.params
        ],
    )
    mine = [key for key in keys if run.store.model(key).trial.pairing == pairing]
    for key in mine:
        shutil.rmtree(store.model_folder(key))
    store.save_failures(
        mine, dict.fromkeys(mine, Failure(type="DivergedError", message="the loss is nan"))
    )
    monkeypatch.setattr("study.jobs.trial.fit", lambda *a, **k: pytest.fail("trained"))
    arguments = [
        str(tmp_path / "r") if word == str(run.store.results) else word for word in run.arguments
    ]
    assert sweep.main(arguments) == 0 and cross_eval.main(arguments) == 0
    capsys.readouterr()
    shown = (store.folder / "tuning.md").read_text(encoding="utf-8")
    assert (
        f"| {pairing.detector} | {pairing.train_on} | " in shown
        and "DivergedError: the loss is nan" in shown
    )
