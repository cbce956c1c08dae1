"""Proposals that take seconds to make are kept: every command replays the search.

A proposal is a function of its arguments. Removing the folder costs time and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from study.core.cache import Cache
from study.core.records import Params
from study.search.proposals import PastTrial, propose
from study.search.spaces import Space

SLOW = ("gp",)
# libraries whose version may change a slow sampler's proposals
PROPOSALS = Cache("proposals", [propose], libraries=("optuna", "torch", "numpy", "scipy"))

Propose = Callable[..., list[Params]]
"""What `proposals.propose` is."""


def remembered(cache: Path) -> Propose:
    """Return `propose` with a memory in a cache folder for the samplers that are slow."""

    def ask(space: Space, history: Sequence[PastTrial], **choices: Any) -> list[Params]:
        def make() -> list[Params]:
            return [dict(params) for params in propose(space, history, **choices)]

        if choices.get("sampler") not in SLOW:
            return propose(space, history, **choices)
        kept: list[Params] = PROPOSALS.get(cache, (space.digest, list(history), choices), make)
        return kept

    return ask
