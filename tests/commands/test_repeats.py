"""A study in folds, by its commands: nothing anew for fold 0, resumed where it was stopped, and the
mean of what the folds have.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from sklearn.metrics import roc_auc_score

import study as api
from study import cross_eval, report, sweep, track, verify
from study.analysis.results import ResultRow
from study.analysis.results_csv import read_matrix, read_results
from study.core.records import Pairing
from study.jobs import trial as trial_job
from study.planning.cells import plan_cells
from study.planning.open_study import open_study
from study.planning.repeats import repeats_of
from study.planning.study_file import load_study
from study.store.store import Store
from tests.commands.test_report import data_of
from tests.factories import write_dataset
from tests.render.report_here import held_by_page

STUDY = """
name = "folded"
detectors = ["spectrum"]
train_on = ["alpha"]
test_on = ["alpha", "beta"]
[budget]
trials = 2
seeds = 2
generation = 1
replicates = 3
null_models = 3
[detector.spectrum]
size_px = 16
"""
FOLDS = ("--set", "data.folds=2")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A study of fakes that are hard to tell, with its results beside it."""
    folder = tmp_path_factory.mktemp("folds")
    for seed, name in enumerate(("alpha", "beta"), start=1):
        write_dataset(folder / "data" / name, n=60, size=16, seed=seed)
    file = folder / "folded.toml"
    file.write_text(f'{STUDY}[data]\nroot = "{folder / "data"}"\n', encoding="utf-8")
    return [str(file), "--results", str(folder / "results"), "--local"]


def store_of(arguments: list[str]) -> Store:
    return Store(Path(arguments[2]), "folded")


def auc_rows(store: Store) -> dict[tuple[str, str], ResultRow]:
    """(repeat, test set) -> the AUC, mean over seeds, of the detector."""
    rows = [r for r in read_matrix(store.matrix_file) if r.role == "detector" and r.is_plain]
    return {(r.repeat, r.test_on): r for r in rows if (r.metric, r.seed) == ("auc", "mean")}


def test_folds_are_added_to_a_study_and_resumed_where_it_was_stopped(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, train = store_of(arguments), trial_job.run_trial
    assert sweep.main(arguments) == cross_eval.main(arguments) == 0
    before = {path: path.read_bytes() for path in store.folder.glob("[mds]*/**/*.*")}
    plain = auc_rows(store)
    assert before and {repeat for repeat, _ in plain} == {""}
    begun = []

    def killed(job: trial_job.TrialJob, report: trial_job.Report) -> trial_job.TrialResult:
        if begun:
            raise KeyboardInterrupt
        begun.append(job.trial)
        return train(job, report)

    monkeypatch.setattr(trial_job, "run_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep.main([*arguments, *FOLDS])
    monkeypatch.setattr(trial_job, "run_trial", train)
    # of fold 0 nothing was trained; of fold 1 one trial was, and is kept
    assert [(trial.number, len(store.trials())) for trial in begun] == [(0, 3)]
    assert begun[0].key == store.trials()[-1][0].key
    capsys.readouterr()
    assert sweep.main([*arguments, *FOLDS]) == 0
    said = capsys.readouterr().out
    assert "fold 0: selected on source val" in said and "fold 1: selected on source val" in said
    assert [trial.number for trial, _ in store.trials()] == [0, 1, 0, 1]
    assert cross_eval.main([*arguments, *FOLDS]) == 0
    assert all(path.read_bytes() == held for path, held in before.items() if path.exists())
    assert {path for path in before if path.suffix in (".safetensors", ".parquet")} <= {
        path for path in before if path.exists()
    }
    # fold 0 has the numbers that the study had without folds
    folded = auc_rows(store)
    for test_on in ("alpha", "beta"):
        first, alone = folded["fold 0", test_on].estimate, plain["", test_on].estimate
        assert (first.value, first.low, first.high) == (alone.value, alone.low, alone.high)


@pytest.fixture(scope="module")
def folded(arguments: list[str]) -> Store:
    """The study in folds, finished, whichever test ran first."""
    store = store_of(arguments)
    if not store.matrix_file.exists():
        assert sweep.main([*arguments, *FOLDS]) == cross_eval.main([*arguments, *FOLDS]) == 0
    return store


def test_cells_of_every_fold_are_scored_anew_by_verify(
    folded: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(folded.folder), "--deep", "100"]) == 0
    said = capsys.readouterr().out
    assert "8 cells anew; logits differ by at most 0\n" in said  # 2 folds, test sets and seeds


def test_the_matrix_is_the_mean_of_the_folds(folded: Store) -> None:
    """By scikit-learn, from the scores of each fold's winners."""
    study = load_study(str(folded.study_file))
    setup = open_study(study, results=folded.results, weights_root=None, firewall=False)
    found = auc_rows(folded)
    images: dict[str, list[set[str]]] = {"alpha": [], "beta": []}
    for test_on, of_test in images.items():
        values = []
        for one in repeats_of(setup):
            cells = [c.cell for c in plan_cells(one) if c.cell.test_on == test_on]
            held = [folded.scores(cell.scores_key) for cell in cells]
            values.append(fmean(roc_auc_score(s.label, s.logit) for s in held))
            assert found[one.name, test_on].estimate.value == pytest.approx(values[-1])
            of_test.append(set(held[0].sample_id.tolist()))
        mean = found["mean", test_on].estimate
        assert mean.value == pytest.approx(fmean(values))
        assert mean.low < mean.value < mean.high or mean.value == 1
    assert images["alpha"][0] != images["alpha"][1]
    assert images["beta"][0] == images["beta"][1]  # tested whole


def test_what_is_shown_are_the_means_and_each_fold_is_kept(
    folded: Store, arguments: list[str]
) -> None:
    results = read_results(folded.folder)
    assert {row.repeat for row in results.rows if row.role == "detector"} == {"mean"}
    assert {row.repeat for row in results.repeats} == {"fold 0", "fold 1"}
    numbers = [(r.detector, r.role, r.test_on, r.metric, r.threshold, r.seed) for r in results.rows]
    assert len(numbers) == len({*numbers})
    mean = auc_rows(folded)["mean", "beta"].estimate
    table = (folded.folder / "tables.md").read_text(encoding="utf-8")
    assert "## Repeats" in table and "| fold 0 | fold 1 |" in table
    assert f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]" in table
    assert "2 folds (data.folds)" in (folded.folder / "README.md").read_text(encoding="utf-8")
    frame = api.load(folded.folder).frame()
    assert {*frame["repeat"]} == {"", "mean", "fold 0", "fold 1"}
    # winners that are asked for by name are those of the study itself
    study = load_study(str(folded.study_file))
    setup = open_study(study, results=folded.results, weights_root=None, firewall=False)
    pairing = Pairing(detector="spectrum", train_on="alpha")
    keys = {c.winner.key for c in plan_cells(setup) if c.winner and c.cell.pairing == pairing}
    text = (folded.folder / "cells.csv").read_text(encoding="utf-8")
    assert all(key in text for key in keys)
    assert track.main([*arguments[:3], *FOLDS]) == 0


def test_the_page_that_is_made_later_has_the_means_and_each_fold(
    folded: Store, arguments: list[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert report.main([*arguments[:3], *FOLDS, "--out", str(page)]) == 0
    found = held_by_page(data_of(page)["matrix"], folded.matrix_file)
    mean = auc_rows(folded)["mean", "beta"].estimate
    assert [mean.value, mean.low, mean.high] in [numbers[:3] for numbers in found.values()]
    assert {repeat for *_, repeat, _, _, _ in found} == {"mean", "fold 0", "fold 1"}
    assert data_of(page)["matrix"]["own_repeat"] == "fold 0"
    assert "2 folds (data.folds)" in page.read_text(encoding="utf-8")
