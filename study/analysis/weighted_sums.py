"""Weighted sums of single models: a cell, a mean over cells, and differences of such, each with its
error (PROTOCOL section 5).

Images, training sample, seeds and repeats each give a part of the error. They go through one error
model (statistics/error_model.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from study.analysis.overlap_groups import overlap_groups
from study.analysis.score_set import Aligned, ScoreSet
from study.analysis.single_models import (
    Column,
    Halves,
    SingleModels,
    column,
    halves_from,
    halves_of,
    single_models,
)
from study.core.records import NO_DEGRADATION, Cell, Pairing, Scores
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
from study.statistics.ranking import Floats, every_pair_alike
from study.statistics.resampling import Clusters, clusters
from study.statistics.units import to_units

# by pairing and clean test set
TrainingParts = Mapping[tuple[Pairing, str], Part | None]


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
