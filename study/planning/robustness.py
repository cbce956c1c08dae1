"""What degradations cost: the AUC of every cell, degraded and clean, on the same images.

Floor 3. The images that a degradation leaves out (they would be enlarged) are left out of the clean AUC beside it too, so that the
difference is the degradation's alone; its interval is paired, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.planning.cells import PlannedCell
from study.planning.kinship import Images, families, kin_of
from study.planning.leakage import NO_LEAKS, Leakage
from study.planning.setup import Setup
from study.records import NO_DEGRADATION, Cell, CellState, Pairing, Scores
from study.statistics.comparisons import JOINT
from study.statistics.delong import clustered_variance, influence
from study.statistics.differences import Difference, normal_difference
from study.statistics.methods import part
from study.statistics.metrics import auc


class Groups(NamedTuple):
    """The images of a test set, sample_id (N,), and the number of each one's group (N,)."""

    sample_id: NDArray[np.str_]
    code: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class DropError:
    """The N images of a cell: influence on the mean over seeds of auc - clean, label (1 = fake), group (its number)."""

    influence: NDArray[np.float32]
    label: NDArray[np.uint8]
    group: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One detector, training set and test set under one degradation.

    auc, clean: in [0, 1], means over the seeds that have both, on the images that have both; NaN where there are none.
    images, left_out: scored ones, and those that the degradation was not applicable to. state, reason: of the degraded cells.
    shared: whether the test set has so many images of the training set that it is not cross-domain.
    error: what its images add to the sampling error of auc - clean; None where that is not defined.
    """

    detector: str
    train_on: str
    test_on: str
    degradation: str
    auc: float
    clean: float
    images: int
    left_out: int
    state: CellState
    reason: str
    shared: bool = False
    error: DropError | None = None


def mean_drop(found: Sequence[Robustness]) -> Difference:
    """Return the mean of auc - clean over cells that all have numbers, paired on their images, with its 95 % interval.

    Cells of one test set, or of test sets that share images, vary together; variance: DeLong's, groups as clusters.
    """
    value = fmean(r.auc - r.clean for r in found)
    errors = [r.error for r in found if r.error is not None]
    if len(errors) < len(found):
        return Difference(value=value, how=JOINT, reason="a class comes from one group")
    influences, label, group = (np.concatenate([getattr(e, name) for e in errors]) for name in ("influence", "label", "group"))
    return normal_difference(value, clustered_variance(influences / len(found), label, group), how=JOINT)


def robustness(setup: Setup, cells: Sequence[PlannedCell], leakage: Leakage = NO_LEAKS) -> list[Robustness]:
    """Return what every degradation of a study costs in every place of its matrix, in the matrix's order."""
    groups = _groups(setup, cells)
    blocks: dict[tuple[Pairing, str], dict[str, dict[int, Cell]]] = {}
    for planned in cells:
        cell = planned.cell
        seeds = blocks.setdefault((cell.pairing, cell.test_on), {}).setdefault(cell.degradation, {})
        seeds[cell.winner_seed] = cell
    return [
        replace(found, shared=(found.train_on, found.test_on) in leakage.related)
        for (_, test_on), by_degradation in blocks.items()
        for found in _of_block(setup, by_degradation, groups.get(test_on))
    ]


def _groups(setup: Setup, cells: Sequence[PlannedCell]) -> dict[str, Groups]:
    """The number of every image's group, test set by test set; test sets that share images have numbers in common."""
    clean: dict[str, str] = {}
    if any(planned.cell.degradation != NO_DEGRADATION for planned in cells):
        for planned in cells:
            if planned.cell.state == "done" and planned.cell.degradation == NO_DEGRADATION:
                clean.setdefault(planned.cell.test_on, planned.cell.scores_key)
    held = {test_on: setup.store.scores(key) for test_on, key in clean.items()}
    images = {test_on: Images(sample_id=s.sample_id, group=s.group, label=s.label) for test_on, s in held.items()}
    found: dict[str, Groups] = {}
    start = 0
    for family in families(images, kin_of(setup)) if images else []:
        code = np.unique(np.concatenate([*family.values()]), return_inverse=True)[1] + start
        start = int(code.max()) + 1
        ends = np.cumsum([len(group) for group in family.values()])[:-1]
        found |= {y: Groups(images[y].sample_id, codes) for y, codes in zip(family, np.split(code, ends), strict=True)}
    return found


def _error(pairs: Sequence[tuple[Scores, Scores]], groups: Groups | None) -> DropError | None:
    """The error of a cell's drop; pairs: degraded and clean scores of the same images, a seed each."""
    label = pairs[0][0].label
    if groups is None or min((label == 0).sum(), (label == 1).sum()) < 2:
        return None
    group = groups.code[np.isin(groups.sample_id, pairs[0][0].sample_id)]
    assert len(group) == len(label), "every degraded image has a clean one"
    if min(len(np.unique(group[label == of])) for of in (0, 1)) < 2:
        return None
    total = sum(influence(label, a.logit) - influence(label, b.logit) for a, b in pairs) / len(pairs)
    return DropError(influence=np.asarray(total, dtype=np.float32), label=label, group=group)


def _of_block(setup: Setup, by_degradation: Mapping[str, Mapping[int, Cell]], groups: Groups | None) -> Iterator[Robustness]:
    done = {seed: cell for seed, cell in by_degradation[NO_DEGRADATION].items() if cell.state == "done"}
    clean = {seed: setup.store.scores(cell.scores_key) for seed, cell in done.items()} if len(by_degradation) > 1 else {}
    for degradation, seeds in by_degradation.items():
        if degradation == NO_DEGRADATION:
            continue
        pairs: list[tuple[Scores, Scores]] = []
        images, left_out = 0, 0
        for seed, cell in seeds.items():
            if cell.state == "done" and seed in clean:
                degraded, whole = setup.store.scores(cell.scores_key), clean[seed]
                same = np.isin(whole.sample_id, degraded.sample_id)
                pairs.append((degraded, part(whole, np.flatnonzero(same))))
                images, left_out = len(degraded.logit), len(whole.logit) - len(degraded.logit)
        pairs = [(a, b) for a, b in pairs if len(np.unique(a.label)) == 2]
        first = next((cell for cell in seeds.values() if cell.state != "done"), next(iter(seeds.values())))
        yield Robustness(
            detector=first.pairing.detector,
            train_on=first.pairing.train_on,
            test_on=first.test_on,
            degradation=degradation,
            auc=fmean(auc(a.label, a.logit) for a, _ in pairs) if pairs else math.nan,
            clean=fmean(auc(b.label, b.logit) for _, b in pairs) if pairs else math.nan,
            images=images,
            left_out=left_out,
            state=first.state,
            reason=first.reason,
            error=_error(pairs, groups) if pairs else None,
        )
