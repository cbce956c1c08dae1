"""Folds and searches: what a repeat of a study shares with it, and what it has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study import plan
from study.core.errors import ConfigError, DataError, StoreError
from study.core.records import Pairing, Trial, TrialResult
from study.planning.frozen import freeze
from study.planning.open_study import OpenStudy, open_study
from study.planning.repeats import repeats_line, repeats_of
from study.planning.selection import SearchHistory
from study.planning.study_file import parse_study
from tests.factories import write_dataset

MINE = Pairing(detector="spectrum", train_on="mine")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data" / "mine", n=60, size=16, seed=1)
    write_dataset(tmp_path / "data" / "other", n=30, size=16, seed=2)
    write_dataset(tmp_path / "data" / "given", layout="train_test", n=40, size=16, seed=3)
    return tmp_path / "data"


def table_of(root: Path, *, train: str = "mine", **tables: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "s",
        "detectors": ["spectrum"],
        "train_on": [train],
        "test_on": [*dict.fromkeys((train, "other", "given"))],
        **tables,
        "data": {"root": str(root), **tables.get("data", {})},
    }


def opened(root: Path, *, firewall: bool = False, **words: Any) -> OpenStudy:
    study = parse_study(table_of(root, **words), where="s.toml")
    return open_study(study, results=root.parent / "r", weights_root=None, firewall=firewall)


def split_of(setup: OpenStudy, name: str) -> dict[str, str]:
    samples = setup.workspace.catalog.dataset(name).samples
    return dict(zip(samples["path"].to_pylist(), samples["split"].to_pylist(), strict=True))


def keys_of(setup: OpenStudy) -> list[str]:
    space = setup.searches[MINE].space.default()
    trials = [setup.keys.trial(MINE, number, space) for number in (0, 1, -1, -2)]
    draws = setup.jobs.draws(MINE, history(setup))
    return [*trials, *(job.trial.key for job in draws)]


def history(setup: OpenStudy) -> SearchHistory:
    params = setup.searches[MINE].space.default()
    key = setup.keys.trial(MINE, 0, params)
    trial = Trial(key=key, pairing=MINE, number=0, params=params, seed=0, epochs=1)
    result = TrialResult(key=key, state="done", val_auc=0.9, val_nll=0.3, history=())
    return SearchHistory(trials=[(trial, result)], complete=True)


def test_fold_0_has_the_keys_of_a_study_without_folds(root: Path) -> None:
    plain, folded = opened(root), opened(root, data={"folds": 3})
    first, second, third = repeats_of(folded)
    assert keys_of(first) == keys_of(plain)
    cells = [one.jobs.cell("0" * 16, "mine").scores_key for one in (plain, first, second)]
    assert cells[0] == cells[1] != cells[2]
    assert not {*keys_of(first)} & {*keys_of(second)}
    assert not {*keys_of(second)} & {*keys_of(third)}
    # nested: what three folds have is the beginning of what five have
    more = repeats_of(opened(root, data={"folds": 5}))
    assert [keys_of(one) for one in more[:3]] == [keys_of(o) for o in (first, second, third)]


def test_each_fold_has_a_split_of_its_own_by_group_and_of_one_kind_for_all_sets(
    root: Path,
) -> None:
    folds = repeats_of(opened(root, data={"folds": 3, "test_whole": False}))
    splits = [split_of(one, "mine") for one in folds]
    assert splits[0] != splits[1] != splits[2] != splits[0]
    for one in splits:
        share = [*one.values()].count("train") / len(one)
        assert 0.55 < share < 0.85
    # independent: a test image of one fold is in test of another no more often than any
    both = [path for path, name in splits[0].items() if name == splits[1][path] == "test"]
    assert len(both) < [*splits[0].values()].count("test")
    assert len({str(split_of(one, "given")) for one in folds}) == 1  # its official split
    assert len({str(split_of(one, "other")) for one in folds}) == 3
    assert "Split anew: mine, other. One split for all folds" in repeats_line(folds[0])


def test_a_set_that_is_tested_whole_is_the_same_in_all_folds(root: Path) -> None:
    folds = repeats_of(opened(root, data={"folds": 2}))
    assert all({*split_of(one, "other").values()} == {"test"} for one in folds)
    cells = {one.jobs.cell("0" * 16, "other").scores_key for one in folds}
    assert len(cells) == 1
    assert repeats_line(folds[0]).endswith("all is tested: other, given")


def test_searches_share_data_and_halves_and_no_seed(root: Path) -> None:
    plain, searched = opened(root), opened(root, budget={"searches": 2})
    first, second = repeats_of(searched)
    assert keys_of(first) == keys_of(plain) and not {*keys_of(first)} & {*keys_of(second)}
    assert first.keys.data == second.keys.data
    assert {first.keys.seed(n) for n in (0, -1)}.isdisjoint(second.keys.seed(n) for n in (0, -1))
    for setup in (*repeats_of(opened(root, data={"folds": 2})), second):
        halved = setup.jobs.draws(MINE, history(setup))[0]
        assert (halved.draw_seed, halved.draws[0].kind) == (plain.study.seed, "half")
    # one null band is enough
    kinds = [[job.draws[0].kind for job in s.jobs.draws(MINE, history(s))] for s in (first, second)]
    assert kinds == [["half", "permuted"], ["half"]]


def test_folds_stay_behind_the_firewall(root: Path) -> None:
    for one in repeats_of(opened(root, firewall=True, data={"folds": 3})):
        assert "test" not in split_of(one, "mine").values()


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"data": {"folds": 0}}, "data.folds = 0 must be a whole number of at least 1"),
        ({"data": {"folds": 2.5}}, "data.folds = 2.5 must be a whole number of at least 1"),
        ({"budget": {"searches": -1}}, "budget.searches = -1 must be a whole number of at least 1"),
        (
            {"data": {"folds": 2}, "budget": {"searches": 3}},
            "budget.searches = 3 with data.folds = 2: every fold has a search of its own",
        ),
    ],
)
def test_bad_values_are_refused(root: Path, tables: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_study(table_of(root, **tables), where="s.toml")
    assert words in str(error.value)


def test_folds_of_data_that_comes_split_are_refused(root: Path) -> None:
    setup = opened(root, train="given", data={"folds": 2})
    with pytest.raises(ConfigError, match=r"data.folds = 2: no training set is split here .given:"):
        repeats_of(setup)


def test_a_fold_without_a_class_is_named(root: Path) -> None:
    write_dataset(root / "few", n=7, size=16, seed=5)
    with pytest.raises(DataError, match=r"fold \d+ of data.folds = 200: dataset 'few': its"):
        repeats_of(opened(root, train="few", data={"folds": 200}))


def test_the_plan_says_what_folds_cost(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root.parent / "s.toml"
    file.write_text(
        'name = "s"\ndetectors = ["spectrum"]\ntrain_on = ["mine"]\ntest_on = ["mine", "given"]\n'
        f'[data]\nroot = "{root}"\nfolds = 3\n',
        encoding="utf-8",
    )
    assert plan.main([str(file), "--results", str(root.parent / "r")]) == 0
    said = capsys.readouterr().out
    assert "6 cells and at most 6 of other configurations (2 test sets); all of it 3 times" in said
    assert "Split anew: mine. One split for all folds" in said
    for fold in ("fold 1", "fold 2"):
        assert f"  {fold}: 0/12 trials, 0/3 winners, 0/100 draws, 0/6 cells\n" in said
    assert "cells: 18 planned" in said


def test_a_plan_frozen_before_there_were_folds_or_faces_still_matches(root: Path) -> None:
    plain = opened(root)
    frozen, _ = freeze(plain)
    assert not {"data.faces", "data.folds", "budget.searches"} & {*frozen.study}
    with pytest.raises(StoreError, match=r"data\.folds was None and is 2"):
        freeze(opened(root, data={"folds": 2}))
