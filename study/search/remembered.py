"""Proposals that take seconds to make are kept: every command replays the search.

A proposal is a function of its arguments, so its file is named by their digest and the libraries'
versions. Removing the folder costs time and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from study.core.identity import digest, whole_file
from study.core.records import Params
from study.search.proposals import PastTrial, propose
from study.search.spaces import Space

SLOW = ("gp",)
# libraries whose version may change a slow sampler's proposals
DECIDING = ("optuna", "torch", "numpy", "scipy")


Propose = Callable[..., list[Params]]
"""What `proposals.propose` is."""


def remembered(folder: Path) -> Propose:
    """Return `propose` with a memory in `folder` for the samplers that are slow."""

    def ask(space: Space, history: Sequence[PastTrial], **choices: Any) -> list[Params]:
        if choices.get("sampler") not in SLOW:
            return propose(space, history, **choices)
        versions = [metadata.version(name) for name in DECIDING]
        file = folder / f"{digest('proposal', versions, space.digest, list(history), choices)}.json"
        if not file.is_file():
            proposed = propose(space, history, **choices)
            with whole_file(file) as path:
                path.write_text(json.dumps([dict(params) for params in proposed]), encoding="utf-8")
        kept: list[Params] = json.loads(file.read_text(encoding="utf-8"))
        return kept

    return ask
