"""Single models: what cells, means over cells and differences of such rest on (PROTOCOL section 5).

A pairing's number on a test set is the mean over seeds of the AUCs of single models, each trained
on the whole training set. So the number that is shown is the number that is tested. Models that
are trained on disjoint halves of the training groups say how much the training sample decides.
Halves are matched by number, and all detectors see the same ones, so that differences are paired.
What comes of it goes through one error model (statistics/error_model.py).

Where a study is repeated (planning/repeats.py), a test set's column holds all repeats: every number
is the mean over them. An image that several of them test on is in each, and its group counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from study.analysis.overlap_groups import Images, overlap_groups
from study.analysis.score_set import Aligned, ScoreSet
from study.core.records import NO_DEGRADATION, Cell, Pairing, Scores, is_given
from study.statistics.delong import auc_and_influence, influence
from study.statistics.error_model import (
    NOTHING,
    Finding,
    Kind,
    Part,
    Sampled,
    draw_part,
    infer,
    own_noise,
    repeat_part,
    sampled,
    seed_part,
    training_part,
)
from study.statistics.ranking import Floats, every_pair_alike, missing_class
from study.statistics.resampling import Clusters, clusters, few_groups
from study.statistics.seeds import same_logits
from study.statistics.units import to_units

ONE_GROUP = "a class comes from one group"
# by pairing and clean test set
TrainingParts = Mapping[tuple[Pairing, str], Part | None]


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


def cell_sum(scores: ScoreSet, cells: Sequence[Cell]) -> WeightedSum:
    """Return the number of a cell, from its scored seeds, on all its images."""
    own = column(scores, cells)
    (models,) = own.models.values()
    term = Term(test_on=own.test_on, models=models, weight=1.0)
    return WeightedSum(terms=(term,), families=alone(own))


def part_sum(
    scores: ScoreSet,
    cell: Cell,
    seeds: Sequence[int],
    held: Sequence[Scores],
    images: Scores | None,
) -> WeightedSum:
    """Return the number of a part of a cell: of some of its images, or of its units.

    held: the scores of each seed there. images: of units their single images, as one seed has
    scored them. Models of halves have no scores of degraded images.
    """
    first = held[0]
    aligned = Aligned(
        sample_id=first.sample_id,
        group=first.group,
        label=first.label,
        logits=np.stack([one.logit.astype(np.float64) for one in held]),
    )
    halves = None
    if cell.degradation == NO_DEGRADATION:
        halves = _part_halves(scores, cell, aligned, images)
    rows_of = dict(zip(seeds, range(len(held)), strict=True))
    models = single_models(aligned, rows_of, cell.pairing, halves=halves)
    own = Column(
        test_on=cell.test_on,
        images=aligned,
        models={cell.pairing: models},
        rng_seed=scores.rng_seed(cell.test_on),
    )
    term = Term(test_on=cell.test_on, models=models, weight=1.0)
    return WeightedSum(terms=(term,), families=alone(own))


def _part_halves(
    scores: ScoreSet, cell: Cell, held: Aligned, images: Scores | None
) -> Halves | None:
    """What halves say on a part of a cell; on all its images the comparisons need it, too."""
    if images is None and len(held) == len(scores.of(cell).label):
        return halves_of(scores, cell.pairing, cell.test_on, held)
    ids = held.sample_id if images is None else images.sample_id
    found = scores.drawn(cell.pairing, cell.test_on, "half", ids)
    logits = found.logits
    if images is not None:
        rows = [to_units(replace(images, logit=z)).logit for half in logits for z in half]
        logits = np.array(rows, dtype=np.float64).reshape(*logits.shape[:2], len(held))
    return halves_from(held.label, found.numbers, logits)


def training_parts(scores: ScoreSet, cells: Iterable[Cell]) -> TrainingParts:
    """Return what training sample and seeds add to the error of each clean cell's mean over
    seeds; None where the training sample is not counted.
    """
    places: dict[tuple[Pairing, str], list[Cell]] = {}
    for cell in cells:
        if cell.state == "done" and cell.degradation == NO_DEGRADATION:
            places.setdefault((cell.pairing, cell.test_on), []).append(cell)
    return {place: cell_sum(scores, seeds).training for place, seeds in places.items()}


def difference(
    held: Aligned,
    sides: tuple[tuple[int, ...], tuple[int, ...]],
    *,
    test_on: str,
    rng_seed: int,
) -> WeightedSum:
    """Return the first of two sides less the second, on the same images. sides: of each, which of
    the scorings are its seeds.
    """
    models: dict[Hashable, SingleModels] = {
        owner: single_models(held, dict(enumerate(rows)), owner, halves=None)
        for owner, rows in enumerate(sides)
    }
    own = Column(test_on=test_on, images=held, models=models, rng_seed=rng_seed)
    terms = (
        Term(test_on=test_on, models=models[owner], weight=weight)
        for owner, weight in ((0, 1.0), (1, -1.0))
    )
    return WeightedSum(terms=tuple(terms), families=alone(own))


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


@dataclass(frozen=True, kw_only=True)
class Family:
    """Test sets that share images. group: (N,) of each, over the family."""

    columns: tuple[Column, ...]
    group: tuple[NDArray[np.str_], ...]

    @cached_property
    def groups(self) -> Clusters:
        """The groups of all its images, test set after test set."""
        if len(self.columns) == 1:
            return self.columns[0].groups
        label = np.concatenate([column.label for column in self.columns])
        return clusters(label, np.concatenate(self.group))


def families_of(columns: Iterable[Column], scores: ScoreSet) -> tuple[Family, ...]:
    """Divide test sets into families that share images."""
    named = {column.test_on: column for column in columns}
    found = overlap_groups({y: c.images for y, c in named.items()}, scores.identities)
    return tuple(
        Family(columns=tuple(named[y] for y in one), group=tuple(one.values())) for one in found
    )


def alone(column: Column) -> tuple[Family, ...]:
    """Return a test set as the only one of its family."""
    return (Family(columns=(column,), group=(column.images.group,)),)


@dataclass(frozen=True, kw_only=True)
class Term:
    """Models on a test set, and their weight in a sum."""

    test_on: str
    models: SingleModels
    weight: float


@dataclass(frozen=True, kw_only=True)
class WeightedSum:
    """A weighted sum of AUCs of single models: one cell, a mean over cells, or a difference of
    either. families: of its test sets.
    """

    terms: tuple[Term, ...]
    families: tuple[Family, ...]

    def finding(
        self,
        *,
        kind: Kind = "difference",
        null: float = 0.0,
        beside: Part = NOTHING,
        tests: int = 1,
    ) -> Finding:
        """Return the sum with its interval and p, by `infer`. beside: of a further error, as that
        of the null. tests: how many are made.
        """
        part = self.training
        return self.judged(
            None if part is None else part + beside, beside, kind=kind, null=null, tests=tests
        )

    def judged(
        self,
        training: Part | None,
        otherwise: Part = NOTHING,
        *,
        kind: Kind = "difference",
        null: float = 0.0,
        tests: int = 1,
    ) -> Finding:
        """Return the same with a part of training sample and seeds that is known in another way.
        otherwise: what counts where that is None.
        """
        columns, counted = self._columns, training is not None
        value = float(sum(term.weight * term.models.auc for term in self.terms))
        why = _of_each([(column.test_on, column.reason) for column in columns])
        if why:
            return Finding(value=value, null=null, counted=counted, reason=why)
        found = infer(
            self.images,
            otherwise if training is None else training,
            kind=kind,
            null=null,
            tests=tests,
            rng_seed=columns[0].rng_seed,
        )
        # the value is that of the matrix, to the last digit
        return replace(found, value=value, counted=counted)

    @property
    def note(self) -> str:
        """What is to be said of it, or ""."""
        return _of_each([(column.test_on, column.note) for column in self._columns])

    @property
    def _columns(self) -> list[Column]:
        used = {term.test_on for term in self.terms}
        return [c for family in self.families for c in family.columns if c.test_on in used]

    def _of(self, column: Column) -> list[Term]:
        return [term for term in self.terms if term.test_on == column.test_on]

    @cached_property
    def images(self) -> list[Sampled]:
        """What each family's images say."""
        return [self._sampled(family) for family in self.families]

    def _sampled(self, family: Family) -> Sampled:
        errors, halves, shares, scale = [], [], [], 0.0
        for one in family.columns:
            mine, label = self._of(one), one.label
            error = sum((t.weight * t.models.influence.mean(axis=0) for t in mine), np.zeros(1))
            errors.append(np.broadcast_to(error, label.shape))
            each = 0.5 / np.bincount(label, minlength=2)[label]  # of one in its class
            weight = sum(max(t.weight, 0.0) for t in mine)
            halves.append(sum(t.weight * t.models.auc for t in mine) * each)
            shares.append(weight * each)
            scale += weight
        error, half, share = (np.concatenate(of) for of in (errors, halves, shares))
        found = sampled(error, half, share, family.groups, scale=scale)
        found = replace(found, pairs=min(one.pairs for one in family.columns))
        if found.varies:
            return found
        return replace(found, alike=all(self._alike(one) for one in family.columns))

    def _alike(self, column: Column) -> bool:
        """Whether every pair of a real and a fake adds the same."""
        if column.repeats:
            return all(self._repeat(n)._alike(one) for n, one in column.repeats.items())
        weighted = [
            (term.weight / len(term.models.logits), logit)
            for term in self._of(column)
            for logit in term.models.logits
        ]
        return every_pair_alike(column.label, weighted)

    @cached_property
    def training(self) -> Part | None:
        """The part of training sample and seeds; None where the sample is not counted."""
        trained = [term for term in self.terms if not term.models.is_given]
        if not trained:
            return NOTHING
        halves = [term.models.halves for term in trained]
        known = [one for one in halves if one is not None]
        if len(known) < len(trained):
            return None
        numbers = sorted(set.intersection(*(set(one.numbers) for one in known)))
        if not numbers:
            return None
        apart = np.zeros(len(numbers))
        influences: dict[str, Floats] = {}
        for term, one in zip(trained, known, strict=True):
            differences, of_images = one.of(numbers)
            apart += term.weight * differences
            added = np.asarray(term.weight * of_images, dtype=np.float64)
            influences[term.test_on] = influences.get(term.test_on, 0.0) + added
        draw = draw_part(apart, self._spread(influences))
        seed, seeds = self._seeds(trained)
        return self._with_repeats(training_part(draw, seed, seeds))

    def _with_repeats(self, part: Part) -> Part | None:
        """The part of training sample and seeds, with what repeats differ by besides."""
        columns = self._columns
        if not any(one.repeats for one in columns):
            return part
        numbers = sorted(set.intersection(*(set(one.repeats) for one in columns)))
        each = [self._repeat(number) for number in numbers]
        trained = [one.training for one in each]
        known = [one.variance for one in trained if one is not None]
        if len(numbers) < 2 or len(known) < len(numbers):
            return None
        values = [sum(t.weight * t.models.auc for t in one.terms) for one in each]
        influences: dict[str, Floats] = {}
        for term in self.terms:
            (own,) = (one for one in columns if one.test_on == term.test_on)
            whole = term.weight * len(own.repeats) * term.models.influence.mean(axis=0)
            rows = np.where(own.repeat == np.array(numbers)[:, None], whole, 0.0)
            influences[term.test_on] = influences.get(term.test_on, 0.0) + rows
        noise = sum(own_noise(rows, family.groups) for family, rows in self._joined(influences))
        within = float(np.mean(known)) - part.variance
        return part + repeat_part(values, noise, within)

    def _repeat(self, number: int) -> WeightedSum:
        """The same sum in one repeat."""
        families = [
            Family(
                columns=tuple(one.repeats[number] for one in family.columns),
                group=tuple(
                    group[one.repeat == number]
                    for one, group in zip(family.columns, family.group, strict=True)
                ),
            )
            for family in self.families
        ]
        terms = [replace(term, models=term.models.repeats[number]) for term in self.terms]
        return WeightedSum(terms=tuple(terms), families=tuple(families))

    def _spread(self, influences: Mapping[str, Floats]) -> float:
        """The mean variance that images alone give to what has these influences, (R, N) a test set
        each.
        """
        found = 0.0
        for family, each in self._joined(influences):
            total = family.groups.totals(each.T)
            found += sum(
                float(total[stratum].var(axis=0, ddof=1).mean()) * len(stratum)
                for stratum in family.groups.strata
                if len(stratum) > 1
            )
        return found

    def _joined(self, of: Mapping[str, Floats]) -> Iterable[tuple[Family, Floats]]:
        """Each family with the influences (M, N) of all its images."""
        for family in self.families:
            mine = [of.get(one.test_on) for one in family.columns]
            rows = next((len(one) for one in mine if one is not None), 0)
            if rows:
                filled = [
                    np.zeros((rows, len(c.label))) if one is None else one
                    for c, one in zip(family.columns, mine, strict=True)
                ]
                yield family, np.concatenate(filled, axis=1)

    def _seeds(self, trained: Sequence[Term]) -> tuple[Part, int]:
        """V_seed, and how many seeds the sum is a mean of. A seed counts by its number, and only
        where it has scored all that its owner adds. Owners' seeds are independent.
        """
        owners: dict[Hashable, list[Term]] = {}
        for term in trained:
            owners.setdefault(term.models.owner, []).append(term)
        common = {
            owner: sorted(set.intersection(*(set(term.models.aucs) for term in mine)))
            for owner, mine in owners.items()
            if not all(term.models.seedless for term in mine)
        }
        seeds = min(map(len, common.values()), default=1)
        if seeds < 2:
            return NOTHING, 1
        values = np.zeros(seeds)
        influences: dict[str, Floats] = {}
        for owner, mine in owners.items():
            for term in mine:
                numbers = common.get(owner, [0] * seeds)[:seeds]
                aucs, rows = zip(*(term.models.of_seed(seed) for seed in numbers), strict=True)
                values += term.weight * np.array(aucs)
                of_term = term.weight * np.stack(rows)
                influences[term.test_on] = influences.get(term.test_on, 0.0) + of_term
        noise = sum(own_noise(each, family.groups) for family, each in self._joined(influences))
        return seed_part(values, noise), seeds


def _of_each(said: Sequence[tuple[str, str]]) -> str:
    """What is said of each test set, "" where nothing is; of one alone without its name."""
    return "; ".join(f"{y}: {words}" if len(said) > 1 else words for y, words in said if words)
