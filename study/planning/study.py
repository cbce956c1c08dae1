"""A study: what is trained on what, tested on what, with which budget.

Records and what follows from them alone; study_file.py reads them from a TOML and writes
them back, every value checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from study.core.records import NO_DEGRADATION, NO_TRAINING, Balance, Pairing, Params
from study.data.images.degradations import members_of
from study.data.images.videos import FRAMES_PER_VIDEO
from study.detectors import registry

# the learners that train something: what is searched, and what an ensemble may be made of
TRAINED = ("gradient", "logistic")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every pairing gets, the same for all.

    trials: configurations tried, the default one included. epochs: of every trial and winner.
    seeds: winners per pairing.
    generation: proposals made at a time; part of the result, because the search learns only between
    generations.
    gpu_seconds: device time (of GPUs, or slots where there is none) after which a pairing is dealt
    no further trials; 0: no limit.
    default_winners: the default configuration is trained with the winners' seeds too, so that tuned
    minus default can be shown.
    transfer: the configuration found best on each training set is trained on the others, with the
    winners' seeds.
    """

    trials: int = 12
    epochs: int = 10
    seeds: int = 3
    generation: int = 4
    gpu_seconds: float = 0.0
    default_winners: bool = True
    transfer: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """How configurations are proposed and trials ended, the same for all pairings.

    sampler: `tpe`, `random`, `gp`, `cmaes` or `grid` (study/search/proposals.py).
    mode: `generations`, or `async`: each proposal is made from whatever has ended by then.
    scheduler: `patience`, which looks at one trial alone, or `asha`, which stops those that are
    behind the others.
    warm_start: studies, or single pairings of theirs, whose best configurations are tried first:
    `STUDY`, `STUDY/DETECTOR @ SET`.
    """

    sampler: str = "tpe"
    mode: str = "generations"
    scheduler: str = "patience"
    warm_start: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where images come from. root: a folder with one folder per dataset. max_per_class: images per
    class, 0 for all of them.

    class_folders: label (0 or 1) of class folders that are named otherwise than real/fake.
    frames_per_video: how many frames are taken of a video file, evenly.
    balance: what an epoch of training draws alike often: `none`, every image once; `class`, real
    and fake; `dataset`, real and fake
        of every dataset of a union. Validation and test images are scored once each, whatever it
        says.
    unify: re-encode both classes alike before anything else (same size, same JPEG quality;
    data/images/unify.py).
    shuffle_labels: the null control: labels of train and val are dealt out anew by the study's seed
    (data/shuffled.py).
    """

    root: str = ""
    max_per_class: int = 0
    frames_per_video: int = FRAMES_PER_VIDEO
    class_folders: Mapping[str, int] = field(default_factory=dict)
    balance: Balance = "none"
    unify: bool = False
    shuffle_labels: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """Constants that change results in the last digits, and are therefore of the study and not of
    the machine.

    threads: CPU threads of one trial. precision: `float32`, `bfloat16`, or `auto` (bfloat16 where
    the device computes it natively).
    workers_per_trial: processes that train one trial together, each with `threads` threads and a
    share of every batch.
    gpus_per_trial: 0.5 lets two trials share a GPU and its memory; 0 stands for one a worker, where
    there are any. It changes no
        result but that of a trial whose memory runs out: that goes on with a smaller micro-batch,
        and says so.
    keep_epochs: winners keep the weights of every epoch, for the leak price; it changes no result,
    and takes disk and scoring.
    """

    threads: int = 1
    precision: str = "auto"
    workers_per_trial: int = 1
    gpus_per_trial: float = 0.0
    keep_epochs: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """A resolved study file. `detector` holds per-detector options such as `size_px`; `ensembles`
    the members of each, sorted.

    degradations: suites and members (study/data/images/degradations.py) under which every test set
    is scored too.
    """

    name: str
    detectors: tuple[str, ...]
    train_on: tuple[str, ...]
    test_on: tuple[str, ...]
    degradations: tuple[str, ...] = ()
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    search: Search = field(default_factory=Search)
    data: Data = field(default_factory=Data)
    run: Run = field(default_factory=Run)
    detector: Mapping[str, Params] = field(default_factory=dict)
    ensembles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def pairings(self) -> list[Pairing]:
        """Every detector on every training set, in the order of the file; one that is not trained
        once, with `NO_TRAINING`.
        """
        sets = {
            d: (NO_TRAINING,) if registry.learner_of(d) == "none" else self.train_on
            for d in self.detectors
        }
        return [Pairing(detector=d, train_on=x) for d in self.detectors for x in sets[d]]

    def searched(self) -> list[Pairing]:
        """Return the pairings that are trained, and so searched: all but those of untrained
        detectors and of ensembles.
        """
        return [p for p in self.pairings() if registry.learner_of(p.detector) in TRAINED]

    def untrained(self) -> list[Pairing]:
        """Return the pairings of detectors that are not trained."""
        return [p for p in self.pairings() if p.train_on == NO_TRAINING]

    def seeds_of(self, pairing: Pairing) -> int:
        """Return how many winners a pairing has: the budget's seeds, or one where there is nothing
        that a seed could change.
        """
        return 1 if pairing.train_on == NO_TRAINING else self.budget.seeds

    def conditions(self) -> tuple[str, ...]:
        """Return what is done to the images of every test set: nothing (`NO_DEGRADATION`), and each
        degradation once.
        """
        return (NO_DEGRADATION, *members_of(self.degradations))

    def search_words(self) -> str:
        """Say in one line how configurations are found."""
        mode = (
            f"in generations of {self.budget.generation}"
            if self.search.mode == "generations"
            else "one by one (async)"
        )
        warning = (
            "; order-dependent: " + ", ".join(self.order_dependent())
            if self.order_dependent()
            else ""
        )
        return (
            f"{self.search.sampler}, {mode}, {self.search.scheduler}, {self.budget.trials}"
            f" trials{warning}"
        )

    def order_dependent(self) -> tuple[str, ...]:
        """Return what makes the search hang on the machine and on which trial ends first; () for a
        search that repeats exactly.
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
