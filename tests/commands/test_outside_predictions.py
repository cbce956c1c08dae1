"""`cross_eval --predictions`: a detector that was run elsewhere stands in the matrix, is compared,
and is remembered.
"""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from study import cross_eval
from study.core.errors import ConfigError
from study.core.records import ELSEWHERE, Scores
from study.statistics.delong import placements
from study.store.store import Store
from tests.commands.conftest import StudyRun
from tests.commands.test_study_runs import matrix, scored_cells


@pytest.fixture(scope="module")
def copy(
    local_run: StudyRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Store, Scores]:
    """The small study with a third detector's scores of `alpha`, two images missing; its arguments,
    store, and the full scores.
    """
    results = tmp_path_factory.mktemp("outside") / "results"
    shutil.copytree(local_run.store.results, results)
    arguments = [local_run.arguments[0], "--results", str(results), "--local"]
    store = Store(results, "small")
    base = next(
        scores for place, scores in scored_cells(store) if place == ("npr", "alpha", "alpha", "0")
    )
    logit = np.random.default_rng(3).normal(size=len(base.label)) + base.label
    path = results / "theirs.csv"
    majority = int(base.label.mean() >= 0.5)
    kept = np.delete(np.arange(len(base.label)), np.flatnonzero(base.label == majority)[:2])
    lines = [
        f"{str(base.sample_id[i]).removeprefix('alpha/')},{1 / (1 + math.exp(-logit[i]))!r}\n"
        for i in kept
    ]
    path.write_text("path,score\n" + "".join(lines), encoding="utf-8")
    asked = ["--predictions", f"theirs={path}", "--test-on", "alpha", "--probability"]
    assert cross_eval.main([*arguments, *asked]) == 0
    columns = {
        name: getattr(base, name)[kept]
        for name in ("sample_id", "group", "unit", "method", "label")
    }
    theirs = Scores(**columns, logit=logit[kept], listed=len(base.label))
    return arguments, store, theirs


def test_its_row_has_the_numbers_of_scikit_learn(copy: tuple[list[str], Store, Scores]) -> None:
    _, store, theirs = copy
    rows = {
        (r["metric"], r["threshold"]): r
        for r in matrix(store)
        if (r["detector"], r["level"], r["subset"], r["seed"]) == ("theirs", "image", "", "mean")
    }
    assert {r["train_on"] for r in rows.values()} == {ELSEWHERE} and {
        r["test_on"] for r in rows.values()
    } == {"alpha"}
    assert float(rows["auc", ""]["value"]) == pytest.approx(
        roc_auc_score(theirs.label, theirs.logit), abs=1e-12
    )
    assert float(rows["accuracy", "fixed"]["value"]) == pytest.approx(
        accuracy_score(theirs.label, theirs.logit >= 0), abs=1e-12
    )
    assert {threshold for _, threshold in rows} == {"", "fixed", "oracle"}
    assert float(rows["auc", ""]["coverage"]) == pytest.approx(1 - 2 / theirs.listed)


def test_it_is_compared_on_the_images_that_both_have(copy: tuple[list[str], Store, Scores]) -> None:
    _, store, theirs = copy
    with (store.folder / "comparisons.csv").open(encoding="utf-8", newline="") as file:
        pairs = [r for r in csv.DictReader(file) if "theirs" in (r["first"], r["second"])]
    assert {(r["train_on"], r["test_on"], r["first"]) for r in pairs} == {
        (x, "alpha", d) for x in ("alpha", "beta", "alpha+beta") for d in ("spectrum", "npr")
    }
    cells = [
        scores for place, scores in scored_cells(store) if place[:3] == ("npr", "beta", "alpha")
    ]
    kept = np.isin(cells[0].sample_id, theirs.sample_id)
    aucs = [roc_auc_score(theirs.label, scores.logit[kept]) for scores in cells]
    expected = np.mean(aucs) - roc_auc_score(theirs.label, theirs.logit)
    places = [placements(theirs.label, scores.logit[kept]) for scores in cells]
    variance = 0.0
    for mine, other in zip(
        (np.mean(of, axis=0) for of in zip(*places, strict=True)),
        placements(theirs.label, theirs.logit),
        strict=True,
    ):
        variance += np.var(mine - other, ddof=1) / len(other)
    found = next(r for r in pairs if (r["train_on"], r["first"]) == ("beta", "npr"))
    assert int(found["n_real"]) + int(found["n_fake"]) == len(theirs.label)
    assert float(found["difference"]) == pytest.approx(expected, abs=1e-9)
    assert len(np.unique(theirs.group)) == len(theirs.group)
    assert float(found["images_variance"]) == pytest.approx(variance, rel=1e-6)
    assert float(found["low"]) <= expected <= float(found["high"])


def test_the_others_are_compared_as_without_it(
    copy: tuple[list[str], Store, Scores], local_run: StudyRun
) -> None:
    def others(store: Store) -> list[list[str]]:
        with (store.folder / "comparisons.csv").open(encoding="utf-8", newline="") as file:
            rows = [r for r in csv.DictReader(file) if "theirs" not in (r["first"], r["second"])]
        # Holm counts the further comparisons
        return [[v for k, v in row.items() if k not in ("p_holm", "verdict")] for row in rows]

    assert others(copy[1]) == others(local_run.store)


def test_it_is_remembered_and_can_be_taken_out(
    copy: tuple[list[str], Store, Scores], tmp_path: Path, capsys
) -> None:
    arguments, store, _ = copy
    shutil.copytree(store.results, tmp_path / "r")
    arguments[2], store = str(tmp_path / "r"), Store(tmp_path / "r", "small")
    (tmp_path / "r" / "theirs.csv").unlink()
    assert cross_eval.main(arguments) == 0
    assert any(r["detector"] == "theirs" and r["metric"] == "auc" for r in matrix(store))
    shown = capsys.readouterr().out
    assert "theirs @ (elsewhere)" in shown or "trained elsewhere" in shown
    assert cross_eval.main([*arguments, "--predictions", "theirs="]) == 0
    assert all(r["detector"] != "theirs" for r in matrix(store))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--predictions", "npr=x.csv", "--test-on", "alpha"], "'npr' is a detector of the study"),
        (["--predictions", "theirs", "--test-on", "alpha"], "is not NAME=FILE.csv"),
        (["--predictions", "theirs=x.csv"], "--test-on 0 times"),
        (["--predictions", "theirs=x.csv", "--test-on", "alhpa"], "did you mean 'alpha'"),
        (["--predictions", "stranger="], "unknown detector run elsewhere 'stranger'"),
        (["--test-on", "alpha"], "belongs to --predictions"),
    ],
)
def test_what_does_not_fit_is_refused(local_run: StudyRun, asked: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cross_eval.main([*local_run.arguments, *asked])
