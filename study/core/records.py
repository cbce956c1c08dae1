"""The records that travel between the parts of a study. Frozen, keyword-only; the words are those
of docs/protocol.md.

Numpy only. Arrays inside records are read by everybody and written by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from study.core.failures import Failure
from study.core.validation import MustBe

REAL, FAKE = 0, 1
SPLITS = ("train", "val", "test")
NO_DEGRADATION = "none"
NO_TRAINING = "(none)"  # the training set of a detector that is not trained
# the shortcut baselines: classifiers of what gives a class away beside the picture. They stand in
# the matrix as detectors do
SHORTCUTS = ("(metadata only)", "(border and brightness)")
PROCESSING = "(processing history)"  # a reference: of pixels, but of no content
CONTROLS = (*SHORTCUTS, PROCESSING)
# that of a detector whose scores were made elsewhere: it is not known here
ELSEWHERE = "(elsewhere)"


def published_on(train_on: str) -> str:
    """Return the training set of a published detector, as a pairing has it: in parentheses, since
    the study does not train on it.
    """
    return f"({train_on})"


def is_given(train_on: str) -> bool:
    """Tell whether a training set is none of the study's: `(none)`, `(elsewhere)`, or that of a
    published detector, `(cnnspot:progan)`.
    """
    return train_on.startswith("(") and train_on.endswith(")")


Params = Mapping[str, float | int | str | bool]
Split = Literal["train", "val", "test"]
# what is drawn alike often in training: images, classes, the classes of each dataset
Balance = Literal["none", "class", "dataset"]
Label = Annotated[int, MustBe("0 (real) or 1 (fake)", ge=REAL, le=FAKE)]
Text = Annotated[str, MustBe("a text", min_length=1)]
Learner = Literal["gradient", "logistic", "none", "published", "members"]
UNTRAINED = ("none", "published")  # the learners that train nothing


Mode = Literal["squash", "resize_crop", "crop", "crop_black", "pad", "native"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a decoded image becomes a square of `size_px`: the part of preprocessing that several
    detectors may share in one pack.

    mode:
        `squash`: both sides resized to `size_px`, aspect ratio not kept.
        `resize_crop`: the shorter side resized to `resize_px`, then the centre `size_px` square.
        `crop`: the centre square, never resized (pixel traces survive); a smaller image is
        continued by reflection.
        `crop_black`: the same, but a smaller image is padded with black, as torchvision does it.
        `pad`: the longer side resized to `size_px`, what is missing black on both sides.
        `native`: never resized, what is missing black on both sides; a larger image has no square.
    interpolation: `bicubic` or `bilinear` (antialiased, as PIL does); unused by crops.
    """

    size_px: int
    mode: Mode
    resize_px: int | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What is known of a published dataset before a file of it is read
    (`study/data/sources/cards/NAME.toml`).
    """

    name: str
    title: str
    source: Literal["kaggle", "huggingface", "demo", "folder"]
    handle: str = ""  # kaggle, huggingface: owner/dataset
    subfolder: str = ""  # where under the download the splits begin
    homepage: str = ""
    licence: str = ""
    citation: str = ""
    size_gb: Annotated[float, MustBe("a number of gigabytes", ge=0)] = 0.0
    access: str = ""  # what to accept or request before it can be downloaded
    # folders by which a person sees that it was put in the right place
    holds: Annotated[tuple[str, ...], MustBe("a list of folders")] = ()
    # folder name -> label, beyond the recognised ones
    class_folders: Mapping[str, Label] = field(default_factory=dict)
    # class folder name -> method
    methods: Annotated[Mapping[str, Text], MustBe("class folder names with a method each")] = field(
        default_factory=dict
    )
    # the archives it comes in and that are unpacked: a glob below the folder, or below a folder in
    # it
    archives: str = ""
    # class folders that lie deeper, and what their names say (data/layouts/folders.py)
    folders: tuple[Mapping[str, str], ...] = ()
    # folder name -> split, where it is not what its name says
    splits: Annotated[Mapping[str, Split], MustBe("folder names with train, val or test")] = field(
        default_factory=dict
    )
    # the file that says what is real in a folder of fakes (data/layouts/reals.py)
    reals: Annotated[
        Mapping[Annotated[str, MustBe("a key", pattern="^(file|path|target|group|below)$")], Text],
        MustBe(
            "a table of three texts, a file in each folder of fakes and its columns path and"
            " target",
            min_length=3,
        ),
    ] = field(default_factory=dict)
    # the file that lists the test split, beside the class folders (data/layouts/published_lists.py)
    test_list: str = ""
    # how many files were published: `train`, `test/real`, `all/fake/METHOD` -> number
    expected: Annotated[
        Mapping[
            Annotated[
                str,
                MustBe(
                    "SPLIT, SPLIT/CLASS or SPLIT/CLASS/METHOD, with train, val, test or all, and"
                    " real or fake",
                    pattern="^(train|val|test|all)(/(real|fake)(/[^/]+)?)?$",
                ),
            ],
            Annotated[int, MustBe("a number of files", ge=1)],
        ],
        MustBe("a table of numbers of files"),
    ] = field(default_factory=dict)
    # of the paths of all published files, sorted, one a line
    names_sha256: Annotated[str, MustBe("64 hexadecimal digits", pattern="^([0-9a-f]{64})?$")] = ""
    # when it was published (`dataset`), and when each method was: 2024, 2024-08 or 2024-08-01
    released: Annotated[
        Mapping[str, Annotated[str, MustBe("a date", pattern=r"^(19|20)\d\d(-\d\d){0,2}$")]],
        MustBe("a table of dates, 2024-08-01 or less of it"),
    ] = field(default_factory=dict)
    # what columns of tables with images inside mean (data/layouts/tables.py): our name -> theirs
    columns: Annotated[
        Mapping[
            Annotated[
                str, MustBe("a key", pattern="^(image|label|method|group|video|split|released)$")
            ],
            Text,
        ],
        MustBe("a table of texts, the name of a column for each"),
    ] = field(default_factory=dict)
    # regular expression on the relative path; its group "group" is the split key (data/groups.py)
    group_pattern: str = ""
    hazards: Annotated[tuple[str, ...], MustBe("a list of sentences")] = ()


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """A detector recipe, resolved: everything that decides what is built, so that its digest may
    stand in a key.

    weights: the digest of the pretrained file that is loaded, or "" for a detector trained from
    scratch.
    mean, std: per RGB channel, on pixels scaled to [0, 1].
    learner: `gradient` (the training loop), `logistic` (logistic regression of the head on fixed
    features), `none` (nothing is trained: there is nothing to search, and every seed is the same),
    `published` (the same, with the weights of its authors), or `members` (an ensemble: it sees the
    logits of other detectors and no image, so its geometry has size 0, and its mean and std mean
    nothing).
    """

    name: str
    family: str
    geometry: Geometry
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    learner: Learner
    backbone: str = ""
    pretrained: str = ""
    weights: str = ""
    options: Params = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, order=True)
class Pairing:
    """A detector and the training set it learns from; `train_on` may be a union, written `a+b`, or
    `NO_TRAINING`, `ELSEWHERE`, or what a published detector was trained on (`published_on`).
    """

    detector: str
    train_on: str

    @property
    def name(self) -> str:
        """How the pairing is shown: `detector @ training set`."""
        return f"{self.detector} @ {self.train_on}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration of one pairing, to be trained once.

    number: the place in the pairing's search, 0 is the default configuration; -1 - s for the
    winner's seed s.
    key: the digest of everything that decides the outcome (spec, data, params, seed, epochs,
    threads, precision, workers).
    origin: where the configuration comes from: `default`, a sampler's name, `portfolio`, `as
    <pairing> trial <n>`, or `warm start: <study>/<pairing> trial <n>`.
    search: the digest of the rules under which it was proposed. An order-dependent search is
    remembered by it, not repeated.
    """

    key: str
    pairing: Pairing
    number: int
    params: Params
    seed: int
    epochs: int
    origin: str = ""
    search: str = ""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch gave. Losses are means over images; `val_nll` from logits, in nats; `seconds`
    of wall time.
    """

    epoch: int
    phase: str
    train_loss: float
    val_auc: float
    val_nll: float
    learning_rate: float
    seconds: float


Report = Callable[[EpochRecord], None]  # what a fit tells of each epoch
DrawKind = Literal["half", "permuted"]


@dataclass(frozen=True, kw_only=True, order=True)
class Draw:
    """A training set drawn anew, by which it is seen what the training sample decides
    (study/data/draws.py).

    kind: `half`, one of two disjoint halves of the training groups; `permuted`, the labels of train
    and val dealt out anew. number: of the pair of halves, or of the permutation. half: 0 or 1; 0
    for a permutation.
    """

    kind: DrawKind
    number: int
    half: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended.

    state: `done`; `stopped` by a scheduler before its epochs were used, `reason` says where;
    `failed`, and `failure` says why.
    note: what a reader of a trial that was done should know (a smaller micro-batch after running
    out of memory), or "".
    device_kind: `cpu` or `cuda`, where a trial that was done was computed; "" for the others.
    """

    key: str
    state: Literal["done", "stopped", "failed"]
    reason: str = ""
    note: str = ""
    device_kind: str = ""
    failure: Failure | None = None
    val_auc: float = float("nan")
    val_nll: float = float("nan")
    best_epoch: int = -1
    history: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0

    @property
    def why(self) -> str:
        """Why it was stopped, or failed, in one line; "" for one that was done."""
        return self.failure.text if self.failure else self.reason

    @property
    def permanent(self) -> bool:
        """Whether it failed for good (a diverged loss), and is not tried again."""
        return self.failure is not None and self.failure.permanent


MEMBERS = "members"  # the folder of an ensemble's members, where they went along with it


@dataclass(frozen=True, kw_only=True)
class TrainedDetector:
    """A detector on disk: `models/<key>/`. Thresholds are logits, all from source val;
    `temperature` > 0 divides logits.

    A detector that is not trained has no source: its thresholds but for `fixed`, its temperature
    and its val metrics are NaN. An ensemble's weights are options of its spec. `winner_trial` is -1
    where nothing was searched.
    """

    key: str
    trial: Trial
    spec: DetectorSpec
    winner_seed: int
    winner_trial: int = -1
    thresholds: Mapping[str, float]
    temperature: float = float("nan")
    val_auc: float = float("nan")
    val_nll: float = float("nan")
    best_epoch: int = -1
    provenance: Mapping[str, str]

    @property
    def members(self) -> list[tuple[str, str]]:
        """The members of an ensemble, (name, key); none of another detector."""
        if self.spec.learner != "members":
            return []
        texts = self.provenance["members"].split(", ")
        return [(text.split(" ")[0], text.split(" ")[1]) for text in texts]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One logit per image, sorted by `sample_id`; higher is more fake.

    sample_id, group, unit, method: (N,) str; label: (N,) uint8, 1 = fake; logit: (N,) float32,
    finite; float64 where they were read from somebody's file.
    listed: images that the dataset lists in this split; N of them could be decoded.
    excluded: (sample id, reason) of the others.
    """

    sample_id: NDArray[np.str_]
    group: NDArray[np.str_]
    unit: NDArray[np.str_]
    method: NDArray[np.str_]
    label: NDArray[np.uint8]
    logit: NDArray[np.float32] | NDArray[np.float64]
    listed: int
    excluded: tuple[tuple[str, str], ...] = ()

    @property
    def coverage(self) -> float:
        """Scored images / listed images, in [0, 1]; NaN where nothing is listed."""
        return len(self.logit) / self.listed if self.listed else float("nan")


@dataclass(frozen=True, kw_only=True)
class DrawScores:
    """Logits of the models of K draws on the same N images, (K, N) float32; NaN in the row of a
    model whose training failed. sample_id: (N,) str, sorted.
    """

    sample_id: NDArray[np.str_]
    logits: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval. Undefined is NaN with a `reason`, never 0 or 0.5.

    note: a flag that does not make the value undefined (`exact bound`, `1/FPR exceeds the number of
    reals`).
    sd: sample standard deviation across seeds; NaN for one seed, and then `seeds` is 1.
    """

    value: float
    low: float
    high: float
    n_real: int
    n_fake: int
    seeds: int = 1
    sd: float = float("nan")
    reason: str = ""
    note: str = ""


CellState = Literal["planned", "running", "done", "failed", "stale", "not_applicable"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One winner, one seed, one test set, one degradation: what the matrix is made of. repeat: of
    the study; 0 is the study itself.
    """

    pairing: Pairing
    winner_seed: int
    test_on: str
    degradation: str
    state: CellState
    reason: str = ""
    scores_key: str = ""
    seconds: float = 0.0
    repeat: int = 0
