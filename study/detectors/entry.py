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
CLIP_MEAN: RGB = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: RGB = (0.26862954, 0.26130258, 0.27577711)
Schedule = Literal["head", "last_stage", "full", "progressive", "lp_ft", "lora"]
FrozenHead = Literal["logistic", "cosine", "knn"]  # of a frozen body (frozen_heads.py)
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
HEAD_FIRST: tuple[Schedule, ...] = ("head", "progressive", "lp_ft")  # begin with the head alone
# options of a spec: how many outputs of its blocks a frozen body gives, and which a head reads
LAYERS, LAYER = "layers", "layer"
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
class Claim:
    """A number that the authors of a published detector report, and the protocol behind it.

    metric, threshold: as in matrix.csv. test_set: a dataset's name as a study has it, "" for a mean
    over several or for data without such a name; `data` says which images in words.
    n_real, n_fake: how many images of that set; 0 where it is not known. images_sha256: the digest
    of the list of its images (`study.ledger` prints that of a study's), "" where it is not known.
    step: of the last digit that is reported. preprocessing: "" where it is the detector's own.
    of: "" where the claim is of these very weights. source: where the number stands.
    """

    metric: str
    value: float
    data: str
    source: str
    threshold: str = ""
    test_set: str = ""
    n_real: int = 0
    n_fake: int = 0
    images_sha256: str = ""
    step: float = 0.001
    preprocessing: str = ""
    of: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is known of a detector that is taken with its authors' weights.

    trained_on: a dataset's name, by which its cells are in-domain or not. training: of what that is
    a part, in words. released: the month of the paper, or of the weights. preprocessing: of an
    image, in words. head: the file of what stands on a library's backbone, None where one file
    has all.
    """

    title: str
    page: str
    licence: str
    trained_on: str
    training: str
    released: str
    preprocessing: str
    claims: tuple[Claim, ...]
    head: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A detector's line in the registry. `arguments` go to the family's `create` and are fixed by
    the name.

    schedules: the unfreezing schedules that make sense; () for a detector that is not trained by
    gradient. A library's line has `lora` whatever the network: `registry.schedules_of` looks.
    own_head: the family gives the head, so there is no choice of one.
    prompts: the set of prompts (study/detectors/prompts.py) that a detector which reads some takes
    by default, or "".
    published: of a detector with its authors' weights. licence: of the weights, where it is on
    record. space: the file of search_spaces/ that it shares with others, "" where it has one of its
    name. blocks: of a frozen transformer, any of which a head may read; 0: the network's output
    alone.
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
    published: Published | None = None
    licence: str = ""
    space: str = ""
    blocks: int = 0
