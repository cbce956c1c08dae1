"""Proposals are a function of the history: repeatable anywhere, the default first, conditional
settings kept apart.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.core.records import Params
from study.search import proposals
from study.search.proposals import (
    SAMPLERS,
    SHOWN,
    STARTUP_TRIALS,
    PastTrial,
    grid_size,
    propose,
    shown_trials,
)
from study.search.remembered import remembered
from study.search.spaces import WIDE, Parameter, Space, load_space

SPACE = load_space("mobilenetv2_035", WIDE)
FIRST = [SPACE.default()]


def past(values: list[float | None], *, seed: int = 0) -> list[PastTrial]:
    """A history of configurations drawn by the sampler itself."""
    params = propose(SPACE, [], count=len(values), seed=seed, first=FIRST[: len(values)])
    return [
        PastTrial(number=n, params=p, value=v)
        for n, (p, v) in enumerate(zip(params, values, strict=True))
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_given_comes_first_and_is_not_repeated_on_purpose(sampler: str) -> None:
    given = [SPACE.default(), {**SPACE.default(), "lr": 3e-3}]
    proposed = propose(SPACE, [], count=5, seed=3, sampler=sampler, first=given)
    assert proposed[:2] == given
    assert len(proposed) == 5
    assert not any(params in given for params in proposed[2:])
    assert propose(SPACE, [], count=2, seed=4, sampler=sampler, first=given) == given


@pytest.mark.parametrize("n", [0, 3, STARTUP_TRIALS, 12])
def test_same_arguments_same_proposals_and_another_seed_others(n: int) -> None:
    history = past([0.5 + 0.01 * i for i in range(n)])
    assert propose(SPACE, history, count=4, seed=7) == propose(SPACE, history, count=4, seed=7)
    assert (
        propose(SPACE, history, count=4, seed=7)[1:] != propose(SPACE, history, count=4, seed=8)[1:]
    )


def test_of_a_long_history_the_best_and_the_latest_are_shown() -> None:
    rng = random.Random(0)
    values: list[float | None] = [rng.random() for _ in range(400)]
    values[7] = values[399] = None
    history = [PastTrial(number=n, params={}, value=v) for n, v in enumerate(values)]
    shown = list(shown_trials(history))
    assert len(shown) == len({*shown}) == SHOWN and shown == sorted(shown)
    ranked = sorted((v, n) for n, v in enumerate(values) if v is not None)
    best = {n for _, n in ranked[-25:]}
    assert best <= {*shown}
    others = [n for n in range(400) if n not in best]
    assert {*shown} - best == {*others[-225:]}
    assert list(shown_trials(history[:SHOWN])) == list(range(SHOWN))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_what_is_not_shown_changes_no_proposal(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "SHOWN", 30)
    monkeypatch.setattr(proposals, "good_trials", lambda n: 5)
    history = past([0.9 + 0.001 * n if n < 5 else 0.5 for n in range(40)])
    # the sixth is neither good nor late; the first is the least of the good ones
    other = history[11].params
    forgotten = [*history[:5], replace(history[5], params=other), *history[6:]]
    seen = [replace(history[0], params=other), *history[1:]]
    first = propose(SPACE, history, count=4, seed=7, sampler=sampler)
    assert propose(SPACE, forgotten, count=4, seed=7, sampler=sampler) == first
    assert propose(SPACE, seen, count=4, seed=7, sampler=sampler) != first


def test_a_smaller_generation_is_the_beginning_of_a_larger_one() -> None:
    history = past([0.6, 0.7, 0.65, 0.8, 0.5])
    assert propose(SPACE, history, count=4, seed=1)[:2] == propose(SPACE, history, count=2, seed=1)


def test_results_matter_and_their_failures_do_not_teach() -> None:
    better_first = propose(SPACE, past([0.9, 0.6, 0.6, 0.6, 0.6]), count=3, seed=1)
    better_last = propose(SPACE, past([0.6, 0.6, 0.6, 0.6, 0.9]), count=3, seed=1)
    assert better_first != better_last
    nothing = propose(SPACE, past([None] * 5), count=3, seed=1)
    assert nothing == propose(SPACE, past([math.nan] * 5), count=3, seed=1)


def test_conditional_settings_appear_under_their_schedule_only() -> None:
    seen: set[object] = set()
    for sampler in SAMPLERS:
        history: list[PastTrial] = []
        for generation in range(4):
            for params in propose(SPACE, history, count=4, seed=3, sampler=sampler):
                assert ("last_stage_share" in params) == (params["schedule"] == "progressive")
                assert ("head_share" in params) == (params["schedule"] in ("progressive", "lp_ft"))
                assert ("jpeg" in params) == (params["schedule"] != "head")
                value = 0.5 + 0.4 * (params["schedule"] == "lp_ft")
                history.append(
                    PastTrial(
                        number=len(history), params=params, value=value, generation=generation
                    )
                )
                seen.add(params["schedule"])
    assert seen == {"head", "last_stage", "full", "progressive", "lp_ft"}


def test_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propose(SPACE, past([0.5] * 6), count=2, seed=0)
    assert capfd.readouterr() == ("", "")


def test_proposals_do_not_depend_on_the_process() -> None:
    """Python's string hashes differ between processes, and sets of names with them."""
    code = """
import json
from study.search.proposals import PastTrial, propose
from study.search.remembered import remembered
from study.search.spaces import WIDE, Parameter, Space, load_space
history = []
for generation in range(4):
    for params in propose(load_space("mobilenetv2_035", WIDE), history, count=3, seed=generation):
        value = params["lr"] ** 0.1 if len(history) % 5 else None
        history.append(PastTrial(number=len(history), params=params, value=value))
print(json.dumps([dict(t.params) for t in history]))
"""
    outputs = []
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        outputs.append(json.loads(run.stdout))
    assert len(outputs[0]) == 12 and outputs[0] == outputs[1]


def merit(params: Params) -> float:
    """Highest at 1 for head-first training near a learning rate of 1e-3 with small batches."""
    distance = abs(math.log10(float(params["lr"])) + 3)
    return (
        1
        - 0.2 * distance
        - 0.1 * (params["schedule"] not in ("head", "lp_ft"))
        - 0.001 * float(params["batch_size"])
    )


def test_the_search_learns() -> None:
    """Later generations are better than the first draws, on average over seeds."""
    early, late = [], []
    for seed in range(5):
        history: list[PastTrial] = []
        for generation in range(6):
            for params in propose(SPACE, history, count=4, seed=100 * seed + generation):
                history.append(PastTrial(number=len(history), params=params, value=merit(params)))
        values = [t.value or 0.0 for t in history]
        early.append(sum(values[1:8]) / 7)  # the default left out
        late.append(sum(values[-8:]) / 8)
    assert sum(late) / 5 > sum(early) / 5 + 0.05


def test_order_within_past_params_does_not_matter() -> None:
    history = past([0.6, 0.7, 0.65, 0.8, 0.5])
    shuffled = []
    for trial in history:
        items = list(trial.params.items())
        random.Random(trial.number).shuffle(items)
        shuffled.append(PastTrial(number=trial.number, params=dict(items), value=trial.value))
    assert propose(SPACE, history, count=3, seed=5) == propose(SPACE, shuffled, count=3, seed=5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_repeats_itself_and_follows_its_seed(sampler: str) -> None:
    """Eight proposals in generations of two, made twice: what is asked again after a restart is the
    same.
    """
    runs = []
    for seed in (1, 1, 2):
        history: list[PastTrial] = []
        for generation in range(4):
            for params in propose(
                SPACE, history, count=2, seed=seed, sampler=sampler, first=[] if history else FIRST
            ):
                history.append(
                    PastTrial(
                        number=len(history),
                        params=params,
                        value=merit(params),
                        generation=generation,
                    )
                )
        runs.append([t.params for t in history])
    assert runs[0] == runs[1]
    assert runs[0][1:] != runs[2][1:]
    assert all(SPACE.adopt(params) == params for run in runs for params in run)


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_the_models_beat_random_on_a_slope(sampler: str) -> None:
    """Two numbers, best at (3e-3, 0.1): the mean of the last eight of 32 proposals, over three
    seeds.
    """
    space = Space(
        "slope",
        {},
        (
            Parameter(name="lr", kind="float", default=1e-4, low=1e-5, high=1e-1, log=True),
            Parameter(name="dropout", kind="float", default=0.5, low=0.0, high=0.9),
        ),
    )

    def value(params: Params) -> float:
        return (
            -((math.log10(float(params["lr"])) + 2.5) ** 2)
            - 4 * (float(params["dropout"]) - 0.1) ** 2
        )

    means = {}
    for name in (sampler, "random"):
        late: list[float] = []
        for seed in range(3):
            history: list[PastTrial] = []
            for generation in range(8):
                for params in propose(space, history, count=4, seed=seed, sampler=name):
                    history.append(
                        PastTrial(
                            number=len(history),
                            params=params,
                            value=value(params),
                            generation=generation,
                        )
                    )
            late += [t.value or 0.0 for t in history[-8:]]
        means[name] = sum(late) / len(late)
    # values are below 0: half of random's distance or less
    assert means[sampler] > means["random"] / 2


GRID = Space(
    "grid",
    {"patience": 3},
    (
        Parameter(name="schedule", kind="categorical", default="full", choices=("head", "full")),
        Parameter(name="lr", kind="float", default=1e-3, low=1e-4, high=1e-2, log=True),
        Parameter(
            name="dropout",
            kind="float",
            default=0.5,
            low=0.1,
            high=0.9,
            grid=(0.1, 0.9),
            when={"schedule": ("full",)},
        ),
        Parameter(name="batch_size", kind="int", default=4, low=2, high=4),
    ),
)


def test_a_grid_is_the_product_of_its_points_by_hand() -> None:
    lrs, batches = (1e-4, 1e-3, 1e-2), (2, 3, 4)
    expected = [{"schedule": "head", "lr": lr, "batch_size": b} for lr in lrs for b in batches]
    full = [{"schedule": "full", "lr": lr, "dropout": drop} for lr in lrs for drop in (0.1, 0.9)]
    expected += [{**params, "batch_size": b} for params in full for b in batches]
    found = [dict(GRID.grid_point(n)) for n in range(GRID.grid_size())]
    assert len(found) == len(expected) == 27
    for params in found:
        assert params.pop("patience") == 3
        assert any(
            {**params, "lr": e["lr"]} == e and params["lr"] == pytest.approx(e["lr"], rel=1e-12)
            for e in expected
        )


def test_a_grid_search_tries_every_point_once_after_what_is_given_and_then_ends() -> None:
    # the default is no point, the other is one
    first = [GRID.default(), {**GRID.default(), "lr": 1e-3, "dropout": 0.1}]
    history: list[PastTrial] = []
    while new := propose(
        GRID, history, count=5, seed=0, sampler="grid", first=[] if history else first
    ):
        history += [
            PastTrial(number=len(history) + n, params=params, value=0.5)
            for n, params in enumerate(new)
        ]
    tried = [json.dumps(dict(t.params), sort_keys=True) for t in history]
    assert len(tried) == len(set(tried)) == grid_size(GRID, first) == 28
    assert [t.params for t in history[:2]] == first
    in_order = [json.dumps(dict(GRID.grid_point(n)), sort_keys=True) for n in range(27)]
    # drawn, so that a budget smaller than the grid covers all of it
    assert [t for t in tried if t in in_order] != in_order


def test_a_grid_of_millions_is_drawn_from_without_being_written_out() -> None:
    assert SPACE.grid_size() > 1_000_000
    history: list[PastTrial] = []
    for generation in range(3):
        for params in propose(SPACE, history, count=4, seed=1, sampler="grid"):
            assert SPACE.is_on_grid(params)
            history.append(
                PastTrial(number=len(history), params=params, value=0.5, generation=generation)
            )
    assert len({json.dumps(dict(t.params), sort_keys=True) for t in history}) == 12
    with pytest.raises(IndexError):
        GRID.grid_point(27)


def test_running_trials_are_not_proposed_again() -> None:
    history = past([0.6, 0.7, 0.65, 0.8, 0.5])
    (first,) = propose(SPACE, history, count=1, seed=1)
    assert propose(SPACE, history, count=1, seed=1, running=[first]) != [first]


def test_a_stopped_trial_counts_for_less_than_one_that_was_done() -> None:
    """Optuna's own rule: stopped trials rank below the others, whatever their last value."""
    stopped = [
        PastTrial(number=t.number, params=t.params, value=t.value, stopped_after=1)
        for t in past([0.9, 0.9, 0.9])
    ]
    others = past([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], seed=5)[1:]
    history = stopped + [
        PastTrial(number=3 + n, params=t.params, value=0.5 + n / 100) for n, t in enumerate(others)
    ]
    plain = [PastTrial(number=t.number, params=t.params, value=t.value) for t in history]
    assert propose(SPACE, history, count=2, seed=2) != propose(SPACE, plain, count=2, seed=2)


def test_slow_proposals_are_made_once_and_the_others_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = past([0.6, 0.7, 0.65, 0.8, 0.5])
    made = []

    def counted(*arguments: Any, **more: Any) -> list[Params]:
        made.append(more["sampler"])
        return propose(*arguments, **more)

    monkeypatch.setattr("study.search.remembered.propose", counted)
    expected = {s: propose(SPACE, history, count=2, seed=4, sampler=s) for s in ("gp", "tpe")}
    for _ in range(2):
        for sampler in ("gp", "tpe"):
            assert (
                remembered(tmp_path)(SPACE, history, count=2, seed=4, sampler=sampler)
                == expected[sampler]
            )
    assert sorted(made) == ["gp", "tpe", "tpe"]
    assert len(list(tmp_path.glob("proposals/*/*"))) == 1
    other = [*history[:-1], PastTrial(number=4, params=history[4].params, value=0.51)]
    remembered(tmp_path)(SPACE, other, count=2, seed=4, sampler="gp")
    assert made.count("gp") == 2
