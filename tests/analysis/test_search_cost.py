"""What the searches took, and the rank correlation of source val and other domains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from study.analysis.search_cost import ValAgreement, _agreement, search_costs
from study.core.failures import Failure
from study.core.records import Pairing, Trial, TrialResult
from study.planning.selection import SearchHistory
from study.render.search_cost import search_cost_markdown

PAIRING = Pairing(detector="npr", train_on="a")


def history(aucs: list[float | None]) -> SearchHistory:
    """Trials of ten seconds each; None failed."""
    trials = []
    for number, auc in enumerate(aucs):
        key = f"{number:016d}"
        trial = Trial(
            key=key,
            pairing=PAIRING,
            number=number,
            params={},
            seed=0,
            epochs=1,
            origin="",
        )
        result = (
            TrialResult(key=key, state="failed", failure=Failure(message="no"), seconds=10)
            if auc is None
            else TrialResult(key=key, state="done", val_auc=auc, val_nll=1, seconds=10)
        )
        trials.append((trial, result))
    return SearchHistory(trials=trials, complete=True)


def test_device_time_and_best_so_far() -> None:
    (cost,) = search_costs(
        {PAIRING: history([0.6, None, 0.7, 0.65, 0.9, 0.8, 0.8, 0.8])}, devices=2
    )
    assert (cost.trials, cost.failed, cost.seconds, cost.device_seconds) == (8, 1, 80, 160)
    # after trial 0, after 2, 4 and 8 of them
    assert cost.best == (0.6, 0.6, 0.7, 0.9)
    (none,) = search_costs({PAIRING: history([])}, devices=1)
    assert none.trials == 0 and all(map(math.isnan, none.best))
    text = search_cost_markdown([cost], [])
    assert "| npr" in text and "160.0 s" in text and "0.900" in text
    assert search_cost_markdown([], []) == ""


def test_rho_is_spearmans_within_a_training_set() -> None:
    rng = np.random.default_rng(0)
    val = rng.uniform(0.6, 0.9, 12)
    test = val + rng.normal(0, 0.1, 12)
    found = _agreement("a", [[*zip(val.tolist(), test.tolist(), strict=True)]])
    assert found.rho == pytest.approx(spearmanr(val, test).statistic)
    assert found.low < found.rho < found.high and found.configurations == 12


def test_training_sets_are_ranked_apart() -> None:
    """Within each the order is turned; between them the better val has the better test."""
    low = [(0.5 + i / 100, 0.6 - i / 100) for i in range(5)]
    high = [(0.8 + i / 100, 0.9 - i / 100) for i in range(5)]
    assert _agreement("", [low, high]).rho == pytest.approx(-1)
    both = spearmanr(*np.array([*low, *high]).T).statistic
    assert both > 0  # together they would say the opposite


def test_few_configurations_say_so() -> None:
    found = _agreement("a", [[(0.5, 0.6), (0.6, 0.7), (0.7, 0.8)]])
    assert math.isnan(found.rho) and found.reason.startswith("fewer than 4")
    alike = _agreement("a", [[(0.5, 0.1 * i) for i in range(5)]])
    assert math.isnan(alike.rho) and alike.reason.startswith("all configurations")
    costs = search_costs({PAIRING: history([0.6])}, devices=1)
    text = search_cost_markdown(
        costs,
        [found, ValAgreement(train_on="", configurations=9, rho=0.5, low=-0.2, high=0.9)],
    )
    assert "undefined (fewer than 4" in text and "0.500 [-0.200, 0.900]" in text
    assert "all, ranked within each" in text
