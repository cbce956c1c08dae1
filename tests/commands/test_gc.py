"""`gc` on the small study: what is used stays, and what nothing refers to is listed and removed."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from study import cross_eval, gc, sweep
from study.core.errors import ConfigError, StoreError
from study.core.identity import this_machine
from study.store.store import Store, in_use, nobody_else
from tests.commands.conftest import StudyRun

NOBODY = 2**22 + 1  # the number of no process: Linux counts to 2^22


@pytest.fixture
def results(local_run: StudyRun, tmp_path: Path) -> Path:
    """The finished study's results folder, to be cleared by one test."""
    return Path(shutil.copytree(local_run.store.results, tmp_path / "results"))


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def clear(results: Path, *kinds: str) -> int:
    return gc.main(["--results", str(results), "--delete", *kinds])


def litter(results: Path) -> list[Path]:
    """Leave one thing of each sort that nobody needs; return them."""
    cache, study = results / "cache", results / "small"
    pack = next(iter((cache / "packs").glob("*/[!.]*/")))
    features = next(iter((cache / "features").glob("*/[!.]*/")))
    made = [pack.with_name("0" * 20), features.with_name("1" * 20)]
    shutil.copytree(pack, made[0])
    shutil.copytree(features, made[1])
    body, layer, _, *more = json.loads((features / "inputs.json").read_text())
    (made[1] / "inputs.json").write_text(json.dumps([body, layer, "gone", *more]))
    trained = next((study / "models").iterdir()).name
    for path in (
        cache / "estimates" / "of-other-code" / "one.json",
        study / "damaged" / "x.parquet-123456",
        study / f".matrix.csv.{this_machine()}-{NOBODY}-01234567.tmp",
        study / "checkpoints" / f"{trained}.pt",
        study / "ray" / "abc" / "tune-1",
        results / "mlflow.db.damaged-1",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"litter")
        made.append(path)
    return made


def test_only_what_nothing_refers_to_is_listed_and_removed(
    results: Path, local_run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    study = results / "small"
    # what goes on: a fit that is under way, a file that this process writes now
    (study / "checkpoints").mkdir(exist_ok=True)
    (study / "checkpoints" / "under-way.pt").write_bytes(b"half")
    (study / f".x.csv.{this_machine()}-{os.getpid()}-01234567.tmp").write_bytes(b"half")
    before = files(results)
    assert gc.main(["--results", str(results)]) == 0
    assert "is used" in capsys.readouterr().out
    made = litter(results)
    assert gc.main(["--results", str(results)]) == 0
    said = capsys.readouterr().out
    for path in made:
        entry = path.parent if path.name == "one.json" else path
        shown = entry.parents[1] if path.name == "tune-1" else entry
        assert f" {shown.relative_to(results)}  (" in said
    assert all(path.exists() for path in made)
    assert clear(results, "cache", "damaged", "leftovers", "results") == 0
    assert files(results) == before
    arguments = [local_run.arguments[0], "--results", str(results), "--local"]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    said = capsys.readouterr().out
    assert "Nothing to train" in said and "Nothing to score" in said


def test_results_of_other_settings_are_those_that_the_study_has_no_more(results: Path) -> None:
    """Of two seeds one is left: what says of itself that it is of the other is not used."""
    folder = results / "small"
    records = {p.parent.name: json.loads(p.read_text()) for p in folder.glob("models/*/*.json")}
    of_second = {key for key, record in records.items() if record["winner_seed"] == 1}
    with (folder / "cells.csv").open() as file:
        cells = [row for row in csv.DictReader(file) if row["seed"] == "1"]
    text = (folder / "study.toml").read_text(encoding="utf-8")
    assert "seeds = 2" in text and of_second and cells
    (folder / "study.toml").write_text(text.replace("seeds = 2", "seeds = 1"), encoding="utf-8")
    before = files(folder)
    assert clear(results, "cache", "damaged", "leftovers") == 0
    assert files(folder) == before
    assert clear(results, "results") == 0
    gone = before - files(folder)
    assert {p.parent.name for p in gone if p.parent.parent.name == "models"} == of_second
    scores = {path.stem for path in gone if path.parent.name == "scores"}
    named = {row["scores"] for row in cells}
    assert named <= scores and len(scores) == 2 * len(of_second)  # two test sets
    assert len(gone) == len(scores) + sum(p.parent.name in of_second for p in gone)


def test_nothing_is_removed_beside_a_command_at_work(results: Path) -> None:
    made = litter(results)
    with Store(results, "small").lock(), pytest.raises(StoreError, match="is at work in"):
        clear(results, "damaged")
    with in_use(results), in_use(results), pytest.raises(StoreError, match="is at work in"):
        clear(results, "damaged")
    with (
        nobody_else(results),
        pytest.raises(StoreError, match="is being removed"),
        Store(results, "small").lock(),
    ):
        pass
    assert all(path.exists() for path in made)


def test_what_an_unreadable_study_may_use_stays(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack, features, *others = litter(results)
    text = (results / "small" / "study.toml").read_text(encoding="utf-8")
    gone = text.replace('"alpha"', '"gone"')
    (results / "small" / "study.toml").write_text(gone, encoding="utf-8")
    assert clear(results, "cache", "results") == 0
    said = capsys.readouterr().err
    assert "the study small cannot be opened (" in said and "'gone'" in said
    assert pack.exists() and features.exists() and not others[0].exists()
    assert len(list((results / "small" / "models").iterdir())) > 0


def test_bad_input_is_named(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown kind 'caches': did you mean 'cache'"):
        clear(results, "caches")
    with pytest.raises(StoreError, match="there is no results folder"):
        clear(tmp_path / "none", "cache")
    with pytest.raises(ConfigError, match="is elsewhere"):
        gc.main(["--results", "s3://bucket/results"])
