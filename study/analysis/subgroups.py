"""Does a detector do better on some images than on others? The levels of a manifest's columns
`subgroup:NAME` (skin tone, camera, platform), cell by cell.

Of two levels the first is compared with the second; of more each is compared with the images of all
others. The same models are scored on both sides, so that what the training sample and seeds add is
that of their difference (analysis/weighted_sums.py). Holm's step is over all of a study.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.score_set import Aligned, ScoreSet
from study.analysis.significance import Verdict, judge
from study.analysis.single_models import Column, halves_from, single_models
from study.analysis.weighted_sums import Family, Term, WeightedSum
from study.core.records import NO_DEGRADATION, Cell, Pairing
from study.statistics.comparisons import holm
from study.statistics.error_model import Finding
from study.statistics.ranking import Ints

OTHERS = "the others"


@dataclass(frozen=True, kw_only=True)
class SubgroupRow:
    """A level of a subgroup in a clean cell, against another or all others. auc, auc_against: in
    [0, 1], of single models, mean over seeds. finding: of their difference. p_holm: over all rows.
    n_real, n_fake: images of the level.
    """

    detector: str
    train_on: str
    test_on: str
    subgroup: str
    level: str
    against: str
    auc: float
    auc_against: float
    finding: Finding
    n_real: int
    n_fake: int
    p_holm: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """What the difference is."""
        return judge(self.finding, self.p_holm)


def subgroup_rows(scores: ScoreSet, cells: Iterable[Cell]) -> tuple[SubgroupRow, ...]:
    """Return every comparison of levels in every clean cell that is scored."""
    places: dict[tuple[Pairing, str], list[Cell]] = {}
    for cell in cells:
        if cell.state == "done" and cell.degradation == NO_DEGRADATION:
            places.setdefault((cell.pairing, cell.test_on), []).append(cell)
    found = [row for place, seeds in places.items() for row in _rows(scores, *place, seeds)]
    steps = holm([row.finding.p for row in found])
    return tuple(replace(row, p_holm=float(p)) for row, p in zip(found, steps, strict=True))


def _rows(
    scores: ScoreSet, pairing: Pairing, test_on: str, seeds: Sequence[Cell]
) -> Iterable[SubgroupRow]:
    held = scores.aligned([cell.scores_key for cell in seeds])
    for name, levels in scores.levels(test_on, held.sample_id).items():
        for level, against, sides in _compared(held, levels):
            columns = [
                _column(scores, pairing, seeds, _part(held, places), f"{name}={word}")
                for word, places in ((level, sides[0]), (against, sides[1]))
            ]
            models = [one.models[pairing] for one in columns]
            terms = [
                Term(test_on=one.test_on, models=of, weight=weight)
                for one, of, weight in zip(columns, models, (1.0, -1.0), strict=True)
            ]
            family = Family(
                columns=tuple(columns), group=tuple(one.images.group for one in columns)
            )
            fakes = int(held.label[sides[0]].sum())
            yield SubgroupRow(
                detector=pairing.detector,
                train_on=pairing.train_on,
                test_on=test_on,
                subgroup=name,
                level=level,
                against=against,
                auc=models[0].auc,
                auc_against=models[1].auc,
                finding=WeightedSum(terms=tuple(terms), families=(family,)).finding(),
                n_real=len(sides[0]) - fakes,
                n_fake=fakes,
            )


def _compared(
    held: Aligned, levels: Mapping[str, Ints]
) -> Iterable[tuple[str, str, tuple[Ints, Ints]]]:
    """What is compared: level, against what, and the places of both; levels of both classes."""
    both = {
        level: places for level, places in levels.items() if len(np.unique(held.label[places])) == 2
    }
    if len(both) == 2:
        (first, one), (second, other) = both.items()
        yield first, second, (one, other)
    elif len(both) > 2:
        for level, places in both.items():
            rest = [other for name, other in both.items() if name != level]
            yield level, OTHERS, (places, np.sort(np.concatenate(rest)))


def _part(held: Aligned, places: Ints) -> Aligned:
    """Some of the images, in their order."""
    return replace(
        held,
        sample_id=held.sample_id[places],
        group=held.group[places],
        label=held.label[places],
        logits=np.ascontiguousarray(held.logits[:, places]),
    )


def _column(
    scores: ScoreSet, pairing: Pairing, seeds: Sequence[Cell], images: Aligned, name: str
) -> Column:
    """A side of a comparison, as a test set of its own."""
    test_on = seeds[0].test_on
    drawn = scores.drawn(pairing, test_on, "half", images.sample_id)
    models = single_models(
        images,
        {cell.winner_seed: row for row, cell in enumerate(seeds)},
        pairing,
        halves=halves_from(images.label, drawn.numbers, drawn.logits),
    )
    return Column(
        test_on=name, images=images, models={pairing: models}, rng_seed=scores.rng_seed(test_on)
    )
