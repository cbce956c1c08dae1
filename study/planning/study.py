"""A study: what is trained on what, tested on what, with which budget.

Records and what follows from them alone. Their annotations say what a study file may hold, their
defaults what it holds where a key is left out; study_file.py reads it and writes it back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from study.core.records import (
    NO_DEGRADATION,
    NO_TRAINING,
    Balance,
    Label,
    Pairing,
    TrialResult,
    is_given,
    published_on,
)
from study.core.validation import MustBe, Plain, Switch
from study.data.images.degradations import members_of
from study.data.images.faces import FaceName
from study.data.images.videos import FRAMES_PER_VIDEO
from study.data.names import overlap, split_union
from study.detectors import registry

# the learners that train something: what is searched, and what an ensemble may be made of
TRAINED = ("gradient", "logistic")
REPLICATES = {
    "gradient": 10,
    "logistic": 50,
    "none": 0,
    "published": 0,
    "members": 0,
}  # pairs, by learner
NULL_MODELS = 50  # of linear heads: next to nothing
STUDY_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
_NAMES = "a list of names, in quotes and brackets"

Value = float | int | str | bool
Name = Annotated[str, MustBe("a name", min_length=1)]
Names = Annotated[tuple[Name, ...], MustBe(_NAMES, min_length=1)]
AnyNames = Annotated[tuple[Name, ...], MustBe(_NAMES)]  # none, too
OpenedSpace = Annotated[
    Literal["small", "wide"] | tuple[Name, ...],
    MustBe('"small", "wide", or a list of settings to search as well'),
]
Range = Annotated[tuple[float, float], MustBe("a range of two numbers, as lr = [1e-4, 1e-2]")]
Count = Annotated[int, MustBe("a whole number of at least 1", ge=1)]
CountOrNone = Annotated[int, MustBe("a whole number of at least 0", ge=0)]
Amount = Annotated[float, MustBe("a number from 0 on", ge=0)]
CountOrAuto = Annotated[
    CountOrNone | Literal["auto"], MustBe('a whole number of at least 0, or "auto"')
]
Epochs = Annotated[
    Count | Literal["default", "auto"],
    MustBe('a whole number of at least 1, "default" or "auto"'),
]
# The default number of epochs: enough for a few thousand images, and as many as see so many images
# where there are fewer.
DEFAULT_EPOCHS, DEFAULT_IMAGES = 12, 12_000


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every pairing gets, the same for all.

    trials: configurations tried, the default one included. seeds: winners per pairing.
    epochs: of every trial and winner, at most: a number; `default`, 12, or as many as see 12,000
    images where a training set has fewer than 1,000; `auto`, until a plateau of source val, on
    which the learning rate falls. max_epochs: the most that the last two give.
    generation: proposals made at a time; part of the result, because the search learns only between
    generations.
    gpu_seconds: device time (of GPUs, or slots where there is none) after which a pairing is dealt
    no further trials; 0: no limit.
    default_winners: the default configuration is trained with the winners' seeds too, so that tuned
    minus default can be shown.
    transfer: the configuration found best on each training set is trained on the others, with the
    winners' seeds.
    replicates: pairs of disjoint halves of the training groups on which each winner's configuration
    is trained anew, so that intervals and tests count the training sample; `auto`: 50 for logistic
    regressions, 10 for what is trained by gradient. 0: the training sample is not counted, and
    nothing is claimed of other samples.
    null_models: models that are trained on permuted labels, for the null band; `auto`: 50 for
    linear heads on a frozen body, 0 for networks.
    searches: how often everything is searched and trained, with other seeds, on the same splits, so
    that intervals count what another search selects. Search 0 is that of 1.
    """

    trials: Count = 12
    epochs: Epochs = "default"
    max_epochs: Count = 60
    seeds: Count = 3
    generation: Count = 4
    gpu_seconds: Amount = 0.0
    default_winners: Switch = True
    transfer: Switch = False
    replicates: CountOrAuto = "auto"
    null_models: CountOrAuto = "auto"
    searches: Count = 1

    def epochs_on(self, images: int) -> int:
        """Return the most epochs of a fit on so many training images."""
        if isinstance(self.epochs, int):
            return self.epochs
        enough = max(DEFAULT_EPOCHS, math.ceil(DEFAULT_IMAGES / max(1, images)))
        return self.max_epochs if self.epochs == "auto" else min(enough, self.max_epochs)

    @property
    def epochs_text(self) -> str:
        """The epochs of a fit, in words."""
        if self.epochs == "auto":
            return f"epochs until a plateau, {self.max_epochs} at most"
        if self.epochs == "default":
            return (
                f"{min(DEFAULT_EPOCHS, self.max_epochs)} epochs at most (up to {self.max_epochs} on"
                f" a small training set, until {DEFAULT_IMAGES:,} images are seen)"
            )
        return f"{self.epochs} epochs at most"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, how configurations are proposed and trials ended, the same for all
    pairings.

    space: `small`, the settings that pay most (search_spaces/*.toml); `wide`, all that a space has;
    or the names of those to search besides the small one's. ranges: setting -> [low, high], in
    place of the range that a space has.
    sampler: `tpe`, `random`, `gp`, `cmaes` or `grid` (study/search/proposals.py).
    mode: `generations`, or `async`: each proposal is made from whatever has ended by then.
    scheduler: `patience`, which looks at one trial alone, or `asha`, which stops those that are
    behind the others.
    warm_start: studies, or single pairings of theirs, whose best configurations are tried first:
    `STUDY`, `STUDY/DETECTOR @ SET`.
    """

    space: OpenedSpace = "small"
    ranges: Mapping[str, Range] = field(default_factory=dict)
    sampler: Literal["tpe", "random", "gp", "cmaes", "grid"] = "tpe"
    mode: Literal["generations", "async"] = "generations"
    scheduler: Literal["patience", "asha"] = "patience"
    warm_start: AnyNames = ()

    def takes(self, result: TrialResult) -> bool:
        """Tell whether a result on record stands: done, stopped where this search has a scheduler
        that stops, or failed for good.

        A failure that need not happen again (a killed worker, a full disk) does not.
        """
        return (
            result.state == "done"
            or result.permanent
            or (result.state == "stopped" and self.scheduler == "asha")
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where images come from. root: a folder with one folder per dataset. max_per_class: images per
    class, 0 for all of them.

    class_folders: label (0 or 1) of class folders that are named otherwise than real/fake.
    manifests: dataset -> its list of images, where that does not lie in its folder as manifest.csv.
    frames_per_video: how many frames are taken of a video file, evenly.
    balance: what an epoch of training draws alike often: `none`, every image once; `class`, real
    and fake; `dataset`, real and fake of every dataset of a union. Validation and test images are
    scored once each, whatever it says.
    faces: every image becomes the largest face in it, cut out by this step (data/images/faces.py).
    unify: re-encode both classes alike before anything else (same size, same JPEG quality;
    data/images/unify.py).
    shuffle_labels: the null control: labels of train and val are dealt out anew by the study's seed
    (data/shuffled.py).
    test_whole: a dataset that comes without a split and shares no group with a training set is
    tested whole; false: on the 15 % that would be its test split.
    folds: how often the split by group is drawn. Everything is searched and trained in each fold,
    with other seeds, and the matrix has the mean. Fold 0 is the split of 1.
    """

    root: Annotated[str, MustBe("a path in quotes")] = ""
    max_per_class: CountOrNone = 0
    frames_per_video: Count = FRAMES_PER_VIDEO
    class_folders: Mapping[str, Label] = field(default_factory=dict)
    manifests: Mapping[str, Annotated[str, MustBe("a path in quotes")]] = field(
        default_factory=dict
    )
    balance: Balance = "none"
    faces: FaceName = "none"
    unify: Switch = False
    shuffle_labels: Switch = False
    test_whole: Switch = True
    folds: Count = 1

    @property
    def face_step(self) -> str:
        """The step by which every image becomes its face; "" where none does."""
        return "" if self.faces == "none" else self.faces


@dataclass(frozen=True, kw_only=True)
class Run:
    """Constants that change results in the last digits, and are therefore of the study and not of
    the machine.

    threads: CPU threads of one trial. precision: `float32`, `bfloat16`, or `auto` (bfloat16 where
    the device computes it natively).
    workers_per_trial: processes that train one trial together, each with `threads` threads and a
    share of every batch.
    gpus_per_trial: 0.5 lets two trials share a GPU and its memory; 0 stands for one a worker, where
    there are any. It changes no result but that of a trial whose memory runs out: that goes on with
    a smaller micro-batch, and says so.
    keep_epochs: winners keep the weights of every epoch, for the leak price; it changes no result,
    and takes disk and scoring.
    """

    threads: Count = 1
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    workers_per_trial: Count = 1
    gpus_per_trial: Annotated[
        float, MustBe("a number from 0 to 1; several GPUs are run.workers_per_trial", ge=0, le=1)
    ] = 0.0
    keep_epochs: Switch = False

    @property
    def devices_per_trial(self) -> float:
        """How many devices a trial holds: GPUs, or slots where there is none."""
        return (self.gpus_per_trial or 1.0) * self.workers_per_trial


@dataclass(frozen=True, kw_only=True)
class Study:
    """A resolved study file. `detector` holds per-detector options such as `size_px`, and training
    settings that are given: a value fixes one, a list is what is searched of it. `ensembles`: the
    members of each, sorted.

    train_on: left out where no detector is trained. test_on: the members of the training sets where
    the file names none.
    weights_root: a folder with pretrained weights as files, where the command names none.
    degradations: suites and members (study/data/images/degradations.py) under which every test set
    is scored too.
    """

    name: Annotated[
        str,
        MustBe(
            "letters, digits, '.', '_' or '-' (it names the folder of the results)",
            pattern=STUDY_NAME.pattern,
        ),
    ]
    detectors: Names
    train_on: AnyNames = ()
    test_on: Names = ()
    degradations: AnyNames = ()
    seed: CountOrNone = 0
    weights_root: Annotated[str, MustBe("a path in quotes")] = ""
    budget: Budget = field(default_factory=Budget)
    search: Search = field(default_factory=Search)
    data: Data = field(default_factory=Data)
    run: Run = field(default_factory=Run)
    detector: Mapping[str, Mapping[str, Plain | tuple[Plain, ...]]] = field(default_factory=dict)
    ensembles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def pairings(self) -> list[Pairing]:
        """Every detector on every training set, in order; an untrained one on `NO_TRAINING`, a
        published one on that of its authors.
        """
        return [Pairing(detector=d, train_on=x) for d in self.detectors for x in self._sets(d)]

    def _sets(self, detector: str) -> tuple[str, ...]:
        learner = registry.learner_of(detector)
        if learner == "none":
            return (NO_TRAINING,)
        card = registry.entry(detector).published if learner == "published" else None
        return (published_on(card.trained_on),) if card else self.train_on

    def searched(self) -> list[Pairing]:
        """Return the pairings that are trained, and so searched: none untrained, no ensembles."""
        return [p for p in self.pairings() if registry.learner_of(p.detector) in TRAINED]

    def untrained(self) -> list[Pairing]:
        """Return the pairings of detectors that are not trained."""
        return [p for p in self.pairings() if is_given(p.train_on)]

    def members(self) -> tuple[str, ...]:
        """Return the datasets that training sets are made of, unions taken apart, each once."""
        return tuple(dict.fromkeys(name for x in self.train_on for name in split_union(x)))

    def datasets(self) -> tuple[str, ...]:
        """Return every dataset of the study once, those that are trained on first."""
        return tuple(dict.fromkeys((*self.members(), *self.test_on)))

    def only_tested(self) -> tuple[str, ...]:
        """Return the test sets that share no image with a training set by their names."""
        members = self.members()
        return tuple(y for y in self.test_on if not any(overlap(x, y) for x in members))

    def options_of(self, detector: str) -> dict[str, Value]:
        """Return what the study says of how a detector is built."""
        known, said = registry.detector_options(detector), self.detector.get(detector, {})
        return {k: v for k, v in said.items() if k in known and not isinstance(v, tuple)}

    def given_of(self, detector: str) -> dict[str, Value | tuple[Value, ...]]:
        """Return what the study says of how a detector is trained: settings with their value, or
        with what is searched of them.
        """
        options = self.options_of(detector)
        return {k: v for k, v in self.detector.get(detector, {}).items() if k not in options}

    def seeds_of(self, pairing: Pairing) -> int:
        """Return how many winners a pairing has: the budget's seeds, or one where there is nothing
        that a seed could change.
        """
        return 1 if is_given(pairing.train_on) else self.budget.seeds

    def replicates_of(self, detector: str, *, heads: bool = True) -> int:
        """Return how many pairs of halves a trained detector's configuration is trained on. heads:
        False for nearest neighbours, each of which keeps its training images.
        """
        chosen = self.budget.replicates
        of_kind = REPLICATES[registry.learner_of(detector)]
        of_kind = of_kind if heads else min(of_kind, REPLICATES["gradient"])
        return of_kind if chosen == "auto" else chosen

    def null_models_of(self, *, heads: bool) -> int:
        """Return how many models are trained on permuted labels. heads: linear ones, on a frozen
        body.
        """
        chosen = self.budget.null_models
        of_kind = NULL_MODELS if heads else 0
        return of_kind if chosen == "auto" else chosen

    @property
    def repeats(self) -> int:
        """How often all of it is done: in each fold, or by each search."""
        return max(self.data.folds, self.budget.searches)

    @property
    def repeat_word(self) -> str:
        """What a repeat is called."""
        return "fold" if self.data.folds > 1 else "search"

    def conditions(self) -> tuple[str, ...]:
        """Return what is done to test images: nothing (`NO_DEGRADATION`), then each degradation."""
        return (NO_DEGRADATION, *members_of(self.degradations))

    def order_dependent(self) -> tuple[str, ...]:
        """Return what makes the search depend on the machine and on which trial ends first; () for
        a search that repeats exactly.
        """
        return tuple(
            key
            for key, chosen in (
                ('search.mode = "async"', self.search.mode == "async"),
                ('search.scheduler = "asha"', self.search.scheduler == "asha"),
                (f"budget.gpu_seconds = {self.budget.gpu_seconds:g}", self.budget.gpu_seconds > 0),
            )
            if chosen
        )
