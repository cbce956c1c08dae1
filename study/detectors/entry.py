"""What a line of the registry says of a detector. registry.py holds the lines of our own names,
library.py makes those of timm's and open_clip's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from study.core.records import Geometry, Learner
from study.detectors.weights import Source

RGB = tuple[float, float, float]
HALF: RGB = (0.5, 0.5, 0.5)
Schedule = Literal["head", "last_stage", "full", "progressive", "lp_ft", "lora"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
HEAD_FIRST: tuple[Schedule, ...] = ("head", "progressive", "lp_ft")  # begin with the head alone
UNFREEZING = SCHEDULES[:-1]  # `lora` is for a network with attention
WIDEST_HEAD = 8192


@dataclass(frozen=True, kw_only=True)
class Option:
    """A whole number that a study may choose: default, range, what it is a multiple of."""

    default: int
    low: int
    high: int
    multiple: int = 1


# The head of a pretrained backbone: linear, or with one hidden layer of this width.
HEAD_WIDTH: Mapping[str, Option] = {"head_width": Option(default=0, low=0, high=WIDEST_HEAD)}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A detector's line in the registry. `arguments` go to the family's `create` and are fixed by
    the name.

    schedules: the unfreezing schedules that make sense; () for a detector that is not trained by
    gradient. A library's line has `lora` whatever the network: `registry.schedules_of` looks.
    own_head: the family gives the head, so there is no choice of one.
    prompts: the set of prompts (study/detectors/prompts.py) that a detector which reads some takes
    by default, or "".
    """

    about: str
    family: str
    geometry: Geometry
    mean: RGB = HALF
    std: RGB = HALF
    learner: Learner = "gradient"
    source: Source | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    schedules: tuple[Schedule, ...] = UNFREEZING
    own_head: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    prompts: str = ""
