"""The recorded table is whole, answers come from the row nearest to a proposal, and the search
learns on it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # scripts, not a package

from record_trials import BENCHMARKS, Benchmark, read_table
from samplers import Answers, replay

ROWS = read_table()
each = pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=str)


def rows_of(benchmark: Benchmark) -> list[dict]:
    return [row for row in ROWS if row["benchmark"] == benchmark.name]


@each
def test_every_configuration_is_recorded_once(benchmark: Benchmark) -> None:
    names = list(benchmark.levels)
    recorded = [tuple(row[name] for name in names) for row in rows_of(benchmark)]
    assert len(recorded) == math.prod(len(values) for values in benchmark.levels.values())
    assert len(set(recorded)) == len(recorded)
    for row in recorded:
        assert all(value in benchmark.levels[name] for name, value in zip(names, row, strict=True))


@each
def test_recorded_values_are_possible(benchmark: Benchmark) -> None:
    for row in rows_of(benchmark):
        diverged = math.isnan(row["val_auc"])
        assert diverged == math.isnan(row["val_nll"])
        assert diverged or (
            0 <= row["val_auc"] <= 1
            and row["val_nll"] > 0
            and 1 <= row["epochs"] <= benchmark.epochs
        )


@each
def test_a_proposal_is_answered_by_the_nearest_row(benchmark: Benchmark) -> None:
    rows, answers = rows_of(benchmark), Answers(benchmark, ROWS)
    rng, rates = np.random.default_rng(0), benchmark.levels["lr"]
    for _ in range(50):
        wanted = rows[rng.integers(len(rows))]
        lr = 10 ** rng.uniform(np.log10(min(rates)), np.log10(max(rates)))
        same = [
            row
            for row in rows
            if all(row[name] == wanted[name] for name in benchmark.levels if name != "lr")
        ]
        distance = np.abs(np.log10([row["lr"] for row in same]) - np.log10(lr))
        assert answers.of({**wanted, "lr": lr}) == same[int(distance.argmin())]["val_auc"]


def searches(benchmark: Benchmark) -> tuple[np.ndarray, np.ndarray]:
    """TPE and random draws with the same 15 seeds, (15, 24) each."""
    answers = Answers(benchmark, ROWS)
    tpe, random = (
        replay(benchmark, answers, sampler, seeds=15, trials=24) for sampler in ("tpe", "random")
    )
    assert np.array_equal(tpe[:, 0], random[:, 0])  # the default
    return tpe, random


def test_the_search_learns_where_to_look_on_mobilenet() -> None:
    """What TPE proposes is better. Its best is not, by a margin that could be asserted: see
    benchmarks/README.md.
    """
    tpe, random = searches(BENCHMARKS["mobilenet"])
    assert np.nanmean(tpe[:, 12:]) > np.nanmean(random[:, 12:]) + 0.01


def test_the_search_beats_random_draws_on_npr() -> None:
    tpe, random = searches(BENCHMARKS["npr"])
    assert np.nanmean(tpe[:, 12:]) > np.nanmean(random[:, 12:]) + 0.01
    assert np.nanmax(tpe, axis=1).mean() > np.nanmax(random, axis=1).mean()
