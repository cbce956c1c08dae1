"""What degradations cost: the AUC of every cell, degraded and clean, on the same images.

The images that a degradation leaves out (they would be enlarged) are left out of the clean
AUC beside it too, so that the difference is the degradation's alone; its interval is paired, too.
Images that leak from training are in neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.analysis.overlap_groups import overlap_groups
from study.analysis.results import Domain
from study.analysis.score_set import Aligned, ScoreSet
from study.analysis.single_models import ONE_GROUP
from study.core.records import NO_DEGRADATION, Cell, CellState, Pairing
from study.statistics.delong import influence
from study.statistics.error_model import Finding, infer, sampled
from study.statistics.ranking import Floats
from study.statistics.resampling import clusters


class Groups(NamedTuple):
    """The images of a test set, sample_id (N,), and the number of each one's group (N,)."""

    sample_id: NDArray[np.str_]
    code: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class DropError:
    """The N images of a cell: influence on the mean over seeds of auc - clean, label (1 = fake),
    group (its number).
    """

    influence: NDArray[np.float32]
    label: NDArray[np.uint8]
    group: NDArray[np.intp]

    @property
    def share(self) -> Floats:
        """(N,) of each image in the cell's mean, 1 in all: half for each class."""
        return np.asarray(0.5 / np.bincount(self.label)[self.label])


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One detector, training set and test set under one degradation.

    auc, clean: in [0, 1], means over the seeds that have both, on the images that have both; NaN
    where there are none.
    images: those images. left_out: how many have a clean score only, as the degradation is not
    applicable to them; unmatched: a degraded one only, as their clean form is too elongated for the
    detector. leaked: how many of both leak from training; they are left out, unless a class is gone
    without them (`kept`). state, reason: of the degraded cells.
    error: what its images add to the sampling error of auc - clean; None where that is not defined.
    """

    detector: str
    train_on: str
    test_on: str
    domain: Domain
    degradation: str
    auc: float
    clean: float
    images: int
    left_out: int
    state: CellState
    reason: str
    unmatched: int = 0
    leaked: int = 0
    kept: bool = False
    error: DropError | None = None


def mean_drop(found: Sequence[Robustness]) -> Finding:
    """Return the mean of auc - clean over cells that all have numbers, paired on their images, with
    its 95 % interval: of these models, over test images.

    Cells of one test set, or of test sets that share images, vary together; variance: DeLong's,
    groups as clusters.
    """
    value = fmean(r.auc - r.clean for r in found)
    errors = [r.error for r in found if r.error is not None]
    if len(errors) < len(found):
        return Finding(value=value, counted=False, reason=ONE_GROUP)
    influences, label, group = (
        np.concatenate([getattr(e, name) for e in errors])
        for name in ("influence", "label", "group")
    )
    drops = [(r.auc - r.clean) * e.share for r, e in zip(found, errors, strict=True)]
    shares = np.concatenate([e.share for e in errors]) / len(found)
    groups = clusters(label, group.astype(np.str_))
    cells = len(found)
    images = sampled(influences / cells, np.concatenate(drops) / cells, shares, groups)
    return replace(infer([images], None), value=value)


def robustness(scores: ScoreSet, cells: Sequence[Cell]) -> list[Robustness]:
    """Return what every degradation of a study costs in every place of its matrix, in the matrix's
    order.
    """
    groups = group_numbers(scores, cells)
    blocks: dict[tuple[Pairing, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        of_place = blocks.setdefault((cell.pairing, cell.test_on), {})
        of_place.setdefault(cell.degradation, []).append(cell)
    return [
        _of_cells(scores, seeds, both_scored(scores, of_place[NO_DEGRADATION], seeds), groups)
        for of_place in blocks.values()
        for degradation, seeds in of_place.items()
        if degradation != NO_DEGRADATION
    ]


def group_numbers(scores: ScoreSet, cells: Sequence[Cell]) -> dict[str, Groups]:
    """Return the number of every image's group, test set by test set; test sets that share images
    have numbers in common.

    Which images are scored depends on a detector's geometry (some are too elongated for it), so
    those of all detectors count.
    """
    clean: dict[str, list[str]] = {}
    if any(cell.degradation != NO_DEGRADATION for cell in cells):
        for cell in cells:
            if cell.state == "done" and cell.degradation == NO_DEGRADATION:
                clean.setdefault(cell.test_on, []).append(cell.scores_key)
    images = {test_on: scores.images(keys) for test_on, keys in clean.items()}
    found: dict[str, Groups] = {}
    start = 0
    for family in overlap_groups(images, scores.identities) if images else []:
        code = np.unique(np.concatenate([*family.values()]), return_inverse=True)[1] + start
        start = int(code.max()) + 1
        ends = np.cumsum([len(group) for group in family.values()])[:-1]
        found |= {
            y: Groups(images[y].sample_id, codes)
            for y, codes in zip(family, np.split(code, ends), strict=True)
        }
    return found


@dataclass(frozen=True, kw_only=True)
class Both:
    """One seed, degraded and clean in this order, on the images that have both scores and do not
    leak; and how many images have one score only.
    """

    seed: int
    pair: Aligned
    left_out: int
    unmatched: int


def both_scored(
    scores: ScoreSet, clean: Sequence[Cell], degraded: Sequence[Cell]
) -> Iterator[Both]:
    """Give the seeds of a place that have both scores."""
    held = {cell.winner_seed: cell for cell in clean if cell.state == "done"}
    for cell in degraded:
        if cell.state == "done" and cell.winner_seed in held:
            other = held[cell.winner_seed]
            common = scores.aligned([cell.scores_key, other.scores_key])
            yield Both(
                seed=cell.winner_seed,
                pair=common.leak_free(scores.leaked(cell)),
                left_out=len(scores.of(other).logit) - len(common),
                unmatched=len(scores.of(cell).logit) - len(common),
            )


def _of_cells(
    scores: ScoreSet, cells: Sequence[Cell], seeds: Iterator[Both], groups: Mapping[str, Groups]
) -> Robustness:
    """One degradation of one place. cells: of all seeds. seeds: those that have both scores; all
    have the same images.
    """
    both = [*seeds]
    pairs = [one.pair for one in both if one.pair.has_both_classes]
    cell = next((cell for cell in cells if cell.state != "done"), cells[0])
    aucs = [pair.aucs for pair in pairs]
    last = both[-1] if both else None
    return Robustness(
        detector=cell.pairing.detector,
        train_on=cell.pairing.train_on,
        test_on=cell.test_on,
        domain=scores.leakage.domain(cell.pairing.train_on, cell.test_on),
        degradation=cell.degradation,
        auc=fmean(degraded for degraded, _ in aucs) if aucs else math.nan,
        clean=fmean(clean for _, clean in aucs) if aucs else math.nan,
        images=len(last.pair) if last else 0,
        left_out=last.left_out if last else 0,
        unmatched=last.unmatched if last else 0,
        leaked=last.pair.leaked if last else 0,
        kept=last.pair.kept if last else False,
        state=cell.state,
        reason=cell.reason,
        error=_error(pairs, groups.get(cell.test_on)) if pairs else None,
    )


def _error(pairs: Sequence[Aligned], groups: Groups | None) -> DropError | None:
    """The error of a cell's drop; pairs: degraded and clean scores of the same images, a seed
    each.
    """
    label = pairs[0].label
    if groups is None or min((label == 0).sum(), (label == 1).sum()) < 2:
        return None
    group = groups.code[np.isin(groups.sample_id, pairs[0].sample_id)]
    assert len(group) == len(label), "every image of a pair has a clean score"
    if min(len(np.unique(group[label == of])) for of in (0, 1)) < 2:
        return None
    drops = [influence(label, pair.logits[0]) - influence(label, pair.logits[1]) for pair in pairs]
    return DropError(
        influence=np.asarray(sum(drops) / len(pairs), dtype=np.float32), label=label, group=group
    )
