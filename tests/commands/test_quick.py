"""The embedded default study has a right answer: its traces are known, and the matrix must find
them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import mean

import pytest

from study import cross_eval, sweep
from study.data.sources.demo import FAMILIES
from study.planning.study_file import load_study

pytestmark = pytest.mark.slow
# Not the whole budget of the preset: the answer must not hang on tuning.
SMALLER = [
    "--set",
    'detectors=["spectrum", "npr"]',
    "--set",
    "budget.trials=1",
    "--set",
    "budget.seeds=1",
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> list[dict[str, str]]:
    """The AUC rows of the preset's matrix."""
    arguments = [
        "quick",
        "--results",
        str(tmp_path_factory.mktemp("quick")),
        "--address",
        ray_address,
        *SMALLER,
    ]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    with (Path(arguments[2]) / "quick" / "matrix.csv").open(encoding="utf-8", newline="") as file:
        return [
            r
            for r in csv.DictReader(file)
            if (r["metric"], r["seed"], r["subset"]) == ("auc", "mean", "")
        ]


@pytest.mark.ray
def test_every_dataset_is_learnt_by_some_detector(quick: list[dict[str, str]]) -> None:
    for name in load_study("quick").train_on:
        lows = [float(r["low"]) for r in quick if r["train_on"] == r["test_on"] == name]
        assert max(lows) > 0.5, f"{name}: {lows}"


@pytest.mark.ray
def test_related_traces_transfer_and_unrelated_ones_do_not(quick: list[dict[str, str]]) -> None:
    def cross(wanted: Callable[[str, str], bool]) -> float:
        pairs = [
            (x, y)
            for x, y in product(FAMILIES, repeat=2)
            if x != y and wanted(FAMILIES[x], FAMILIES[y])
        ]
        return mean(float(r["value"]) for r in quick if (r["train_on"], r["test_on"]) in pairs)

    related, unrelated = cross(lambda a, b: a == b), cross(lambda a, b: a != b)
    assert related >= unrelated + 0.1, (related, unrelated)
