"""The selection gap: what the winners reached on source val, where they were chosen, above what the
in-domain test set gives them.

Source val chose the configuration and the epoch, so its AUC flatters; a large gap says that the
search fitted its val split. Of a test set that leaks, the images that training has seen are left
out: they would hide the gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from study.analysis.score_set import Aligned, ScoreSet
from study.core.records import NO_DEGRADATION, Pairing
from study.planning.cells import PlannedCell


@dataclass(frozen=True, kw_only=True)
class SelectionGap:
    """One in-domain cell: means over the seeds that have both numbers. sd: of the gap over seeds,
    NaN for one.

    leaked: how many test images leak from training; they are left out, unless a class is gone
    without them (`kept`).
    """

    pairing: Pairing
    test_on: str
    val_auc: float
    test_auc: float
    sd: float
    seeds: int
    leaked: int = 0
    kept: bool = False

    @property
    def gap(self) -> float:
        """Positive where val promised more than the test set kept."""
        return self.val_auc - self.test_auc


def selection_gaps(scores: ScoreSet, cells: Iterable[PlannedCell]) -> list[SelectionGap]:
    """Return the gap of every in-domain cell that is scored."""
    found: dict[tuple[Pairing, str], list[tuple[float, Aligned]]] = {}
    for planned in cells:
        cell, winner = planned.cell, planned.winner
        is_clean = cell.state == "done" and cell.degradation == NO_DEGRADATION
        domain = scores.leakage.domain(cell.pairing.train_on, cell.test_on)
        if is_clean and winner is not None and domain == "in":
            held = scores.aligned([cell.scores_key]).leak_free(scores.leaked(cell))
            if not math.isnan(winner.val_auc) and held.has_both_classes:
                seeds = found.setdefault((cell.pairing, cell.test_on), [])
                seeds.append((winner.val_auc, held))
    return [_gap(*place, seeds) for place, seeds in found.items()]


def _gap(pairing: Pairing, test_on: str, seeds: Sequence[tuple[float, Aligned]]) -> SelectionGap:
    aucs = [held.aucs[0] for _, held in seeds]
    gaps = [val - test for (val, _), test in zip(seeds, aucs, strict=True)]
    last = seeds[-1][1]
    return SelectionGap(
        pairing=pairing,
        test_on=test_on,
        val_auc=fmean(val for val, _ in seeds),
        test_auc=fmean(aucs),
        sd=stdev(gaps) if len(gaps) > 1 else math.nan,
        seeds=len(gaps),
        leaked=last.leaked,
        kept=last.kept,
    )
