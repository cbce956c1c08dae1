"""What degradations cost: the AUC of every cell, degraded and clean, on the same images.

The images that a degradation leaves out (they would be enlarged) are left out of the clean
AUC beside it too, so that the difference is the degradation's alone; its interval is paired, too.
Images that leak from training are in neither.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.overlap_groups import Images, identities_of, overlap_groups
from study.analysis.results import Domain
from study.core.records import NO_DEGRADATION, Cell, CellState, Pairing, Scores
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
from study.statistics.comparisons import JOINT
from study.statistics.delong import clustered_variance, influence
from study.statistics.differences import Difference, normal_difference
from study.statistics.methods import part, without
from study.statistics.metrics import auc


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
    domain: Domain = "unknown"
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


def mean_drop(found: Sequence[Robustness]) -> Difference:
    """Return the mean of auc - clean over cells that all have numbers, paired on their images, with
    its 95 % interval.

    Cells of one test set, or of test sets that share images, vary together; variance: DeLong's,
    groups as clusters.
    """
    value = fmean(r.auc - r.clean for r in found)
    errors = [r.error for r in found if r.error is not None]
    if len(errors) < len(found):
        return Difference(value=value, how=JOINT, reason="a class comes from one group")
    influences, label, group = (
        np.concatenate([getattr(e, name) for e in errors])
        for name in ("influence", "label", "group")
    )
    return normal_difference(
        value, clustered_variance(influences / len(found), label, group), how=JOINT
    )


def robustness(
    setup: OpenStudy, cells: Sequence[PlannedCell], leakage: Leakage = NO_LEAKS
) -> list[Robustness]:
    """Return what every degradation of a study costs in every place of its matrix, in the matrix's
    order.

    leakage: tells which images leak from training, and which test sets are not cross-domain.
    """
    groups = _groups(setup, cells)
    blocks: dict[tuple[Pairing, str], dict[str, dict[int, Cell]]] = {}
    for planned in cells:
        cell = planned.cell
        seeds = blocks.setdefault((cell.pairing, cell.test_on), {}).setdefault(cell.degradation, {})
        seeds[cell.winner_seed] = cell
    return [
        replace(found, domain=leakage.domain(found.train_on, found.test_on))
        for (pairing, test_on), by_degradation in blocks.items()
        for found in _of_block(
            setup, by_degradation, groups.get(test_on), leakage.leaked(pairing.train_on, test_on)
        )
    ]


def _groups(setup: OpenStudy, cells: Sequence[PlannedCell]) -> dict[str, Groups]:
    """The number of every image's group, test set by test set; test sets that share images have
    numbers in common.

    Which images are scored hangs on a detector's geometry (some are too elongated for it), so those
    of all detectors count.
    """
    clean: dict[str, dict[Pairing, str]] = {}
    if any(planned.cell.degradation != NO_DEGRADATION for planned in cells):
        for cell in (planned.cell for planned in cells):
            if cell.state == "done" and cell.degradation == NO_DEGRADATION:
                # all seeds have the same images
                clean.setdefault(cell.test_on, {}).setdefault(cell.pairing, cell.scores_key)
    images = {
        test_on: _images(setup.store.scores(key) for key in keys.values())
        for test_on, keys in clean.items()
    }
    found: dict[str, Groups] = {}
    start = 0
    for family in overlap_groups(images, identities_of(setup)) if images else []:
        code = np.unique(np.concatenate([*family.values()]), return_inverse=True)[1] + start
        start = int(code.max()) + 1
        ends = np.cumsum([len(group) for group in family.values()])[:-1]
        found |= {
            y: Groups(images[y].sample_id, codes)
            for y, codes in zip(family, np.split(code, ends), strict=True)
        }
    return found


def _images(held: Iterable[Scores]) -> Images:
    """The images that are in some of several scores of a test set, sorted by sample id."""
    columns = [(s.sample_id, s.group, s.label) for s in held]
    ids, group, label = (np.concatenate(column) for column in zip(*columns, strict=True))
    sample_id, first = np.unique(ids, return_index=True)
    return Images(sample_id=sample_id, group=group[first], label=label[first])


def _error(pairs: Sequence[tuple[Scores, Scores]], groups: Groups | None) -> DropError | None:
    """The error of a cell's drop; pairs: degraded and clean scores of the same images, a seed
    each.
    """
    label = pairs[0][0].label
    if groups is None or min((label == 0).sum(), (label == 1).sum()) < 2:
        return None
    group = groups.code[np.isin(groups.sample_id, pairs[0][0].sample_id)]
    assert len(group) == len(label), "every image of a pair has a clean score"
    if min(len(np.unique(group[label == of])) for of in (0, 1)) < 2:
        return None
    total = sum(influence(label, a.logit) - influence(label, b.logit) for a, b in pairs) / len(
        pairs
    )
    return DropError(influence=np.asarray(total, dtype=np.float32), label=label, group=group)


@dataclass(frozen=True, kw_only=True)
class _Paired:
    """The scores of one seed on the images that have both, and how many have not."""

    degraded: Scores
    clean: Scores
    left_out: int
    unmatched: int
    leaked: int
    kept: bool


def _paired(degraded: Scores, clean: Scores, leaked: Collection[str]) -> _Paired:
    """Put two scores side by side, without the leaked images where both classes are left without
    them.
    """
    both = _on(degraded, clean.sample_id), _on(clean, degraded.sample_id)
    left = [without(one, leaked) for one in both]
    leaks = len(both[0].logit) - len(left[0].logit)
    kept = leaks > 0 and len(np.unique(left[0].label)) < 2
    return _Paired(
        degraded=(both if kept else left)[0],
        clean=(both if kept else left)[1],
        left_out=len(clean.logit) - len(both[1].logit),
        unmatched=len(degraded.logit) - len(both[0].logit),
        leaked=leaks,
        kept=kept,
    )


def _on(scores: Scores, images: NDArray[np.str_]) -> Scores:
    return part(scores, np.flatnonzero(np.isin(scores.sample_id, images)))


def _of_block(
    setup: OpenStudy,
    by_degradation: Mapping[str, Mapping[int, Cell]],
    groups: Groups | None,
    leaked: Collection[str],
) -> Iterator[Robustness]:
    done = {
        seed: cell for seed, cell in by_degradation[NO_DEGRADATION].items() if cell.state == "done"
    }
    clean = (
        {seed: setup.store.scores(cell.scores_key) for seed, cell in done.items()}
        if len(by_degradation) > 1
        else {}
    )
    for degradation, seeds in by_degradation.items():
        if degradation != NO_DEGRADATION:
            held = {
                seed: setup.store.scores(c.scores_key)
                for seed, c in seeds.items()
                if c.state == "done" and seed in clean
            }
            yield _of_cells(
                [*seeds.values()],
                [_paired(s, clean[seed], leaked) for seed, s in held.items()],
                groups,
            )


def _of_cells(cells: Sequence[Cell], seeds: Sequence[_Paired], groups: Groups | None) -> Robustness:
    """One degradation of one place. cells: of all seeds. seeds: those that have both scores; all
    have the same images.
    """
    pairs = [(one.degraded, one.clean) for one in seeds if len(np.unique(one.degraded.label)) == 2]
    cell = next((cell for cell in cells if cell.state != "done"), cells[0])
    return Robustness(
        detector=cell.pairing.detector,
        train_on=cell.pairing.train_on,
        test_on=cell.test_on,
        degradation=cell.degradation,
        auc=fmean(auc(a.label, a.logit) for a, _ in pairs) if pairs else math.nan,
        clean=fmean(auc(b.label, b.logit) for _, b in pairs) if pairs else math.nan,
        images=len(seeds[-1].degraded.logit) if seeds else 0,
        left_out=seeds[-1].left_out if seeds else 0,
        unmatched=seeds[-1].unmatched if seeds else 0,
        leaked=seeds[-1].leaked if seeds else 0,
        kept=bool(seeds) and seeds[-1].kept,
        state=cell.state,
        reason=cell.reason,
        error=_error(pairs, groups) if pairs else None,
    )
