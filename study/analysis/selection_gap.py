"""The selection gap: what the winners reached on source val, where they were chosen, above what the
in-domain test set gives them.

Source val chose the configuration and the epoch, so its AUC flatters; a large gap says
that the search fitted its val split. Of a test set that leaks, the images that training has seen
are left out: they would hide the gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from study.analysis.results import ResultRow
from study.core.records import NO_DEGRADATION, Pairing

ValAucs = Mapping[tuple[Pairing, int], float]  # by winner seed


@dataclass(frozen=True, kw_only=True)
class SelectionGap:
    """One in-domain cell: means over the seeds that have both numbers. sd: of the gap over seeds,
    NaN for one.

    leaked: how many test images leak from training; they are left out, unless nothing can be
    measured without them (`kept`).
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


def selection_gaps(val_aucs: ValAucs, rows: Sequence[ResultRow]) -> list[SelectionGap]:
    """Return the gap of every in-domain cell that is scored. rows: of the matrix; those of single
    seeds are used.
    """
    mine = [
        row
        for row in rows
        if (row.metric, row.domain, row.state) == ("auc", "in", "done")
        and (row.degradation, row.level, row.subset) == (NO_DEGRADATION, "image", "")
        and row.seed != "mean"
    ]
    clean = {_place(row): row for row in mine if row.leak_free}
    found: dict[tuple[Pairing, str], list[tuple[float, float]]] = {}
    leaks: dict[tuple[Pairing, str], tuple[int, bool]] = {}
    for row in mine:
        if row.leak_free:
            continue
        pairing = Pairing(detector=row.detector, train_on=row.train_on)
        left = clean.get(_place(row), row)
        kept = math.isnan(left.estimate.value)
        val = val_aucs.get((pairing, int(row.seed)), math.nan)
        test = (row if kept else left).estimate.value
        if math.isfinite(val) and math.isfinite(test):
            found.setdefault((pairing, row.test_on), []).append((val, test))
            leaks[pairing, row.test_on] = row.images - left.images, kept
    return [_gap(*place, seeds, *leaks[place]) for place, seeds in found.items()]


def _place(row: ResultRow) -> tuple[str, str, str, str]:
    return row.detector, row.train_on, row.test_on, row.seed


def _gap(
    pairing: Pairing, test_on: str, seeds: Sequence[tuple[float, float]], leaked: int, kept: bool
) -> SelectionGap:
    gaps = [val - test for val, test in seeds]
    return SelectionGap(
        pairing=pairing,
        test_on=test_on,
        val_auc=fmean(val for val, _ in seeds),
        test_auc=fmean(test for _, test in seeds),
        sd=stdev(gaps) if len(gaps) > 1 else math.nan,
        seeds=len(gaps),
        leaked=leaked,
        kept=kept,
    )
