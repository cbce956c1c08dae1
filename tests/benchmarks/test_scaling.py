"""The simulated sweep ends when a calculation by hand says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # scripts, not a package

import scaling
from scaling import AWAY_SECONDS, Sweep, simulated


@pytest.mark.parametrize(
    ("seconds", "generation", "slots", "expected"),
    [
        ([[10.0] * 4], 2, 2, 20),
        ([[10.0] * 4], 4, 3, 20),  # three, and then one alone
        ([[10.0, 30.0, 10.0]], 2, 2, 40),  # the third waits for both
        ([[10.0, 30.0], [10.0, 10.0]], 2, 2, 30),  # another pairing fills the gap
    ],
)
def test_generations_wait_and_pairings_fill_gaps(
    seconds: Sequence[Sequence[float]], generation: int, slots: int, expected: float
) -> None:
    sweep = Sweep(seconds=seconds, generation=generation, overhead=0.0)
    assert simulated(sweep, slots) == expected


def test_the_driver_deals_one_at_a_time() -> None:
    sweep = Sweep(seconds=[[10.0] * 3], generation=3, overhead=0.5)
    assert simulated(sweep, 3) == 11.5


def test_a_lost_node_costs_an_epoch_and_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50 s half is done; the epoch under way is done again."""
    monkeypatch.setattr(scaling, "losses", lambda *_: iter([(25.0, 0)]))
    sweep = Sweep(seconds=[[50.0]], generation=1, overhead=0.0)
    assert simulated(sweep, 8, per_node_hour=1.0) == 25 + AWAY_SECONDS + 25 + 10
    # on another node it goes on at once
    assert simulated(sweep, 16, per_node_hour=1.0) == 25 + 25 + 10
