"""Single models: what cells, means over cells and differences of such rest on (PROTOCOL section 5).

A pairing's number on a test set is the mean over seeds of the AUCs of single models, each trained
on the whole training set. So the number that is shown is the number that is tested. Models that
are trained on disjoint halves of the training groups say how much the training sample decides.
Halves are matched by number, and all detectors see the same ones, so that differences are paired.
weighted_sums.py makes findings of them.

Where a study is repeated (planning/repeats.py), a test set's column holds all repeats: every number
is the mean over them. An image that several of them test on is in each, and its group counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from study.analysis.overlap_groups import Images
from study.analysis.score_set import Aligned, ScoreSet
from study.core.records import Cell, Pairing, is_given
from study.statistics.delong import auc_and_influence, influence
from study.statistics.ranking import Floats, missing_class
from study.statistics.resampling import Clusters, clusters, few_groups
from study.statistics.seeds import same_logits

ONE_GROUP = "a class comes from one group"


@dataclass(frozen=True, kw_only=True)
class Halves:
    """R pairs of models that are trained on disjoint halves. numbers: of the pairs. apart: (R,) the
    AUC of one half less that of the other. influence: (R, N) of each image on that.
    """

    numbers: tuple[int, ...]
    apart: Floats
    influence: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, nearly."""
        return self.apart.nbytes + self.influence.nbytes

    def of(self, numbers: Sequence[int]) -> tuple[Floats, NDArray[np.float32]]:
        """Return the differences and influences of some pairs, in that order."""
        at = [self.numbers.index(number) for number in numbers]
        return self.apart[at], self.influence[at]


@dataclass(frozen=True, kw_only=True)
class SingleModels:
    """The models of a pairing on N images.

    owner: who trained them; terms of one owner on several test sets are the same models. aucs:
    seed -> AUC; logits, influence: (S, N) of each seed. halves: None where there are none.
    is_given: whether the models are taken as they are, so that no training sample and no seed
    counts: nothing was trained, or it was trained elsewhere. seedless: whether no seed changes a
    logit. repeats: of each repeat, where these are means over several.
    """

    owner: Hashable
    aucs: Mapping[int, float]
    logits: Floats
    influence: Floats
    halves: Halves | None
    is_given: bool = False
    seedless: bool = False
    repeats: Mapping[int, SingleModels] = field(default_factory=dict)

    @property
    def auc(self) -> float:
        """The mean over seeds, in [0, 1]; NaN where a class is missing."""
        return float(np.mean([*self.aucs.values()]))

    def of_seed(self, seed: int) -> tuple[float, Floats]:
        """Return the AUC and influences of a seed; of models that no seed changes their mean."""
        if self.seedless:
            return self.auc, self.influence.mean(axis=0)
        return self.aucs[seed], self.influence[[*self.aucs].index(seed)]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A test set: the models that are scored on it, on the images that all of them have. repeats:
    the column of each repeat, where it is of several. repeat: (N,) which one each image is of.
    """

    test_on: str
    images: Images
    models: Mapping[Hashable, SingleModels]
    rng_seed: int
    repeats: Mapping[int, Column] = field(default_factory=dict)
    repeat: NDArray[np.intp] | None = None

    @property
    def label(self) -> NDArray[np.uint8]:
        """(N,) of the images, 1 = fake."""
        return self.images.label

    @cached_property
    def groups(self) -> Clusters:
        """The images' groups."""
        return clusters(self.label, self.images.group)

    @property
    def pairs(self) -> int:
        """How many disjoint pairs of a real and a fake group are ranked by one model."""
        every = sum(one.pairs for one in self.repeats.values())
        return min(self.groups.pairs, every) if self.repeats else self.groups.pairs

    @property
    def reason(self) -> str:
        """Why no number here has an interval, or ""."""
        alone = ONE_GROUP if len(self.label) and min(self.groups.by_class) < 2 else ""
        return missing_class(self.label.astype(bool)) or alone

    @property
    def note(self) -> str:
        """What is to be said of every number here, or ""."""
        return few_groups(min(self.groups.by_class))

    def find(self, detector: str, train_on: str) -> SingleModels | None:
        """Return a detector's models, as trained on that set or not trained at all; None where
        they are not scored.
        """
        own = self.models.get(Pairing(detector=detector, train_on=train_on))
        return own or next(
            (
                models
                for owner, models in self.models.items()
                if models.is_given and isinstance(owner, Pairing) and owner.detector == detector
            ),
            None,
        )

    def auc(self, detector: str, train_on: str) -> float:
        """Return a detector's AUC, mean over seeds; NaN where it is not scored here."""
        found = self.find(detector, train_on)
        return float("nan") if found is None else found.auc


def column(scores: ScoreSet, cells: Sequence[Cell]) -> Column:
    """Return a test set's column from its cells, of one repeat of the study or of several. Raises
    ScoreError where two hold another label or group of an image.
    """
    by_repeat: dict[int, list[Cell]] = {}
    for cell in cells:
        by_repeat.setdefault(cell.repeat, []).append(cell)
    columns = {n: _column(scores.of_repeat(n), own) for n, own in sorted(by_repeat.items())}
    return over_repeats(columns) if len(columns) > 1 else next(iter(columns.values()))


def over_repeats(columns: Mapping[int, Column]) -> Column:
    """Return the mean over repeats: of the models that all of them have."""
    held = [*columns.values()]
    shared = [o for o in held[0].models if all(o in one.models for one in held)]
    ids, group, label = (
        np.concatenate([getattr(one.images, name) for one in held])
        for name in ("sample_id", "group", "label")
    )
    models = {o: _mean_models({n: one.models[o] for n, one in columns.items()}) for o in shared}
    return Column(
        test_on=held[0].test_on,
        images=Images(sample_id=ids, group=group, label=label),
        models={owner: one for owner, one in models.items() if one.aucs},
        rng_seed=held[0].rng_seed,
        repeats=columns,
        repeat=np.repeat([*columns], [len(one.label) for one in held]),
    )


def _mean_models(each: Mapping[int, SingleModels]) -> SingleModels:
    """The mean over repeats of the models of an owner, by the seeds and halves that all have."""
    held = [*each.values()]
    seeds = [s for s in held[0].aucs if all(s in one.aucs for one in held)]
    rows = [[[*one.aucs].index(s) for s in seeds] for one in held]
    of_images = [[one.logits[at], one.influence[at]] for one, at in zip(held, rows, strict=True)]
    logits, influences = (np.concatenate(of, axis=1) for of in zip(*of_images, strict=True))
    return SingleModels(
        owner=held[0].owner,
        aucs={s: float(np.mean([one.aucs[s] for one in held])) for s in seeds},
        logits=logits,
        influence=influences / len(held),
        halves=_mean_halves([one.halves for one in held]),
        is_given=all(one.is_given for one in held),
        seedless=all(one.seedless for one in held),
        repeats=each,
    )


def _mean_halves(each: Sequence[Halves | None]) -> Halves | None:
    known = [one for one in each if one is not None]
    numbers = sorted(set.intersection(*(set(one.numbers) for one in known))) if known else []
    if len(known) < len(each) or not numbers:
        return None
    apart, influences = zip(*(one.of(numbers) for one in known), strict=True)
    return Halves(
        numbers=tuple(numbers),
        apart=np.mean(apart, axis=0),
        influence=(np.concatenate(influences, axis=1) / len(known)).astype(np.float32),
    )


def _column(scores: ScoreSet, cells: Sequence[Cell]) -> Column:
    held = scores.aligned(cell.scores_key for cell in cells)
    rows: dict[Pairing, dict[int, int]] = {}  # pairing -> seed -> which of the scorings it is
    for row, cell in enumerate(cells):
        rows.setdefault(cell.pairing, {})[cell.winner_seed] = row
    test_on = cells[0].test_on
    return Column(
        test_on=test_on,
        images=held,
        models={
            pairing: single_models(
                held, of_seeds, pairing, halves=halves_of(scores, pairing, test_on, held)
            )
            for pairing, of_seeds in rows.items()
        },
        rng_seed=scores.rng_seed(test_on),
    )


def single_models(
    held: Aligned, rows: Mapping[int, int], owner: Hashable, *, halves: Halves | None
) -> SingleModels:
    """Return the models of an owner; a pairing tells whether it is trained. rows: seed -> which of
    the scorings it is.
    """
    logits, aucs = held.logits[[*rows.values()]], held.aucs
    as_it_is = isinstance(owner, Pairing) and is_given(owner.train_on)
    return SingleModels(
        owner=owner,
        aucs={seed: aucs[row] for seed, row in rows.items()},
        logits=logits,
        influence=np.stack([_influence(held.label, logit) for logit in logits]),
        halves=halves,
        is_given=as_it_is,
        seedless=as_it_is or same_logits([*logits]),
    )


def _influence(label: NDArray[np.uint8], logit: Floats) -> Floats:
    has_both = 0 < int((label == 1).sum()) < len(label)
    return influence(label, logit) if has_both else np.zeros(len(label))


def halves_of(scores: ScoreSet, pairing: Pairing, test_on: str, images: Images) -> Halves | None:
    """Return what the halves of a pairing say on images of a clean test set; None where there are
    none, or a class is missing. What was derived before is not derived again.
    """
    ids = hashlib.sha256(np.ascontiguousarray(images.sample_id).tobytes()).hexdigest()

    def derived() -> Halves | None:
        found = scores.drawn(pairing, test_on, "half", images.sample_id)
        return halves_from(images.label, found.numbers, found.logits)

    return scores.derived((pairing, test_on, ids), derived)


def halves_from(
    label: NDArray[np.uint8], numbers: tuple[int, ...], logits: Floats
) -> Halves | None:
    """Return the same of logits (R, 2, N) of pairs of halves."""
    if not numbers or missing_class(label.astype(bool)):
        return None
    apart, influences = np.empty(len(numbers)), np.empty((len(numbers), len(label)), np.float32)
    for row, (first, second) in enumerate(logits):
        (auc, own), (other, theirs) = (auc_and_influence(label, one) for one in (first, second))
        apart[row], influences[row] = auc - other, own - theirs
    return Halves(numbers=numbers, apart=apart, influence=influences)
