"""Warm starts: which configurations are taken over, how they are named, and that they do not change
once a study is begun.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from study.core.errors import ConfigError
from study.core.records import Pairing, Params, Trial, TrialResult
from study.planning.study import Study
from study.planning.study_file import parse_study
from study.planning.warm_start import find_starts, save_starts, settled_sources
from study.search.spaces import load_space
from study.store.store import Store

SPACES = {name: load_space(name) for name in ("npr", "spectrum")}
NPR_A, NPR_B = (Pairing(detector="npr", train_on=x) for x in "ab")


def study(*sources: str, generation: int = 4, trials: int = 12) -> Study:
    table = {
        "name": "new",
        "detectors": ["npr", "spectrum"],
        "train_on": ["a", "c"],
        "budget": {"generation": generation, "trials": trials},
        "search": {"warm_start": list(sources)} if sources else {},
    }
    return parse_study(table, where="new.toml")


def npr(lr: float) -> Params:
    return {**SPACES["npr"].default(), "lr": lr}


def held(store: Store, *trials: tuple[Pairing, Params, float]) -> Store:
    """A store that holds trials with these val AUCs; NaN stands for a failure."""
    store.prepare()
    numbers: dict[Pairing, int] = {}
    rows = []
    for pairing, params, auc in trials:
        number = numbers[pairing] = numbers.get(pairing, -1) + 1
        key = f"{pairing.name} {number}"
        trial = Trial(key=key, pairing=pairing, number=number, params=params, seed=0, epochs=1)
        done = math.isfinite(auc)
        rows.append(
            (
                trial,
                TrialResult(key=key, state="done" if done else "failed", val_auc=auc, val_nll=0.5),
            )
        )
    store.save_trials(rows)
    return store


@pytest.fixture
def old(tmp_path: Path) -> Store:
    return held(
        Store(tmp_path, "old"),
        (NPR_A, npr(3e-3), 0.70),
        (NPR_A, npr(1e-3), 0.90),
        (NPR_A, npr(4e-3), 0.80),
        (NPR_A, npr(6e-3), float("nan")),
        (NPR_B, npr(5e-4), 0.99),
        (NPR_B, npr(9e-1), 0.999),  # outside today's range
        # constants are today's, so this is a's best again
        (NPR_B, {**npr(1e-3), "patience": 9}, 0.98),
    )


@pytest.fixture
def new(tmp_path: Path) -> Store:
    return Store(tmp_path, "new")


def test_the_best_of_each_pairing_in_turn_the_same_training_set_first(
    old: Store, new: Store
) -> None:
    starts = find_starts(study("old"), SPACES, new)
    assert [(s.params, s.origin) for s in starts[NPR_A]] == [
        (npr(1e-3), "warm start: old/npr @ a trial 1"),
        (npr(5e-4), "warm start: old/npr @ b trial 0"),
        (npr(4e-3), "warm start: old/npr @ a trial 2"),
    ]
    # nothing there, and nothing invented
    assert starts[Pairing(detector="spectrum", train_on="a")] == ()


def test_the_default_is_not_repeated_and_the_budget_is_kept(old: Store, new: Store) -> None:
    everything = find_starts(study("old", generation=9), SPACES, new)[NPR_A]
    assert [s.params["lr"] for s in everything] == [1e-3, 5e-4, 4e-3]  # 3e-3 is the default itself
    assert len(find_starts(study("old", generation=2), SPACES, new)[NPR_A]) == 1
    assert len(find_starts(study("old", trials=3), SPACES, new)[NPR_A]) == 2
    assert len(find_starts(study("old", generation=1), SPACES, new)[NPR_A]) == 1
    with pytest.raises(ConfigError, match=r"budget\.trials = 1"):
        find_starts(study("old", trials=1), SPACES, new)


def test_one_pairing_of_a_study_and_a_path(old: Store, new: Store, tmp_path: Path) -> None:
    for source in ("old/npr @ b", f"{tmp_path}/old/npr @ b"):
        assert [s.params["lr"] for s in find_starts(study(source), SPACES, new)[NPR_A]] == [
            5e-4,
            1e-3,
        ]
    first, *_ = find_starts(study("old/npr @ b"), SPACES, new)[NPR_A]
    assert first.origin == "warm start: old/npr @ b trial 0"


def test_a_pairing_does_not_start_from_itself(new: Store) -> None:
    held(new, (NPR_A, npr(1e-3), 0.9), (NPR_B, npr(5e-4), 0.9))
    starts = find_starts(study("new"), SPACES, new)
    assert [s.params["lr"] for s in starts[NPR_A]] == [5e-4]
    assert [s.params["lr"] for s in starts[Pairing(detector="npr", train_on="c")]] == [1e-3, 5e-4]


def test_once_begun_it_stays_while_the_older_study_grows_or_goes(old: Store, new: Store) -> None:
    new.prepare()
    wanted = study("old")
    before = find_starts(wanted, SPACES, new)
    save_starts(before, wanted, new)
    held(old, (NPR_A, npr(4e-3), 0.999))
    assert find_starts(wanted, SPACES, new) == before
    old.trials_file.unlink()
    assert find_starts(wanted, SPACES, new) == before
    # a command that does not say it goes on with it
    assert settled_sources(study(), new) == ("old",)


def test_another_warm_start_in_a_store_that_was_begun_is_refused(old: Store, new: Store) -> None:
    new.prepare()
    save_starts(find_starts(study("old"), SPACES, new), study("old"), new)
    with pytest.raises(ConfigError, match=r"begun with warm_start = \['old'\], not \['other'\]"):
        settled_sources(study("other"), new)
    with pytest.raises(ConfigError, match="was begun without a warm start"):
        settled_sources(study("old"), held(Store(new.results, "plain"), (NPR_A, npr(1e-3), 0.5)))


@pytest.mark.parametrize("source", ["ald", "/nowhere/old", "old/npr @ zz", "old/resnet50 @ a"])
def test_a_source_that_is_not_there_or_fits_nothing_is_refused_in_one_line(
    source: str, old: Store, new: Store
) -> None:
    with pytest.raises(ConfigError) as error:
        find_starts(study(source), SPACES, new)
    assert source.split("/npr", maxsplit=1)[0].split("/resnet", maxsplit=1)[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_each_of_several_sources_must_have_something(old: Store, new: Store) -> None:
    with pytest.raises(
        ConfigError, match=r"'old/npr @ typo' has no finished trial.*its pairings: npr @ a, npr @ b"
    ):
        find_starts(study("old", "old/npr @ typo"), SPACES, new)


def test_without_one_there_is_none(old: Store, new: Store) -> None:
    assert find_starts(replace(study("old"), search=study().search), SPACES, new) == {}
    assert settled_sources(study(), new) == ()
