"""What degradations cost: the AUC of every cell, degraded and clean, on the same images.

Floor 3. The images that a degradation leaves out (they would be enlarged) are left out of the clean AUC beside it too, so that the
difference is the degradation's alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from study.planning.cells import PlannedCell
from study.planning.leakage import NO_LEAKS, Leakage
from study.planning.setup import Setup
from study.records import NO_DEGRADATION, Cell, CellState, Pairing
from study.statistics.metrics import auc


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One detector, training set and test set under one degradation.

    auc, clean: in [0, 1], means over the seeds that have both, on the images that have both; NaN where there are none.
    images, left_out: scored ones, and those that the degradation was not applicable to. state, reason: of the degraded cells.
    shared: whether the test set has so many images of the training set that it is not cross-domain.
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


def robustness(setup: Setup, cells: Sequence[PlannedCell], leakage: Leakage = NO_LEAKS) -> list[Robustness]:
    """Return what every degradation of a study costs in every place of its matrix, in the matrix's order."""
    blocks: dict[tuple[Pairing, str], dict[str, dict[int, Cell]]] = {}
    for planned in cells:
        cell = planned.cell
        seeds = blocks.setdefault((cell.pairing, cell.test_on), {}).setdefault(cell.degradation, {})
        seeds[cell.winner_seed] = cell
    return [
        replace(found, shared=(found.train_on, found.test_on) in leakage.related)
        for by_degradation in blocks.values()
        for found in _of_block(setup, by_degradation)
    ]


def _of_block(setup: Setup, by_degradation: Mapping[str, Mapping[int, Cell]]) -> Iterator[Robustness]:
    done = {seed: cell for seed, cell in by_degradation[NO_DEGRADATION].items() if cell.state == "done"}
    clean = {seed: setup.store.scores(cell.scores_key) for seed, cell in done.items()} if len(by_degradation) > 1 else {}
    for degradation, seeds in by_degradation.items():
        if degradation == NO_DEGRADATION:
            continue
        pairs, images, left_out = [], 0, 0
        for seed, cell in seeds.items():
            if cell.state == "done" and seed in clean:
                degraded, whole = setup.store.scores(cell.scores_key), clean[seed]
                same = np.isin(whole.sample_id, degraded.sample_id)
                pairs.append((auc(degraded.label, degraded.logit), auc(whole.label[same], whole.logit[same])))
                images, left_out = len(degraded.logit), len(whole.logit) - len(degraded.logit)
        pairs = [pair for pair in pairs if not math.isnan(sum(pair))]
        first = next((cell for cell in seeds.values() if cell.state != "done"), next(iter(seeds.values())))
        yield Robustness(
            detector=first.pairing.detector,
            train_on=first.pairing.train_on,
            test_on=first.test_on,
            degradation=degradation,
            auc=fmean(degraded for degraded, _ in pairs) if pairs else math.nan,
            clean=fmean(whole for _, whole in pairs) if pairs else math.nan,
            images=images,
            left_out=left_out,
            state=first.state,
            reason=first.reason,
        )
