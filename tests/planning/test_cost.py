"""The outlook's seconds: what is left never exceeds what it takes at most."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from study.planning.cost import _longest_fit, _seconds_per_fit


def history(*trials: tuple[str, float, int]) -> Any:
    return [
        (None, SimpleNamespace(state=state, seconds=seconds, history=[0.5] * epochs))
        for state, seconds, epochs in trials
    ]


@pytest.mark.parametrize(
    ("trials", "about", "most"),
    [
        (history(("done", 4.0, 2), ("done", 6.0, 2)), 5.0, 8.0),  # trial 0: 2 s an epoch, 4 epochs
        # a larger configuration
        (history(("done", 4.0, 4), ("done", 30.0, 4), ("stopped", 99.0, 1)), 17.0, 30.0),
        (history(("failed", 50.0, 0), ("done", 3.0, 1)), 3.0, 12.0),
        (history(("done", 3.0, 0)), 3.0, 3.0),
    ],
)
def test_at_most_is_no_less_than_about(trials: Any, about: float, most: float) -> None:
    assert _seconds_per_fit(trials) == about
    assert _longest_fit(trials, 4) == most >= about
