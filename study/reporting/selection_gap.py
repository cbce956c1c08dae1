"""The selection gap: what the winners reached on source val, where they were chosen, above what the in-domain test set gives them.

Floor 3. Source val chose the configuration and the epoch, so its AUC flatters; a large gap says that the search fitted its val
split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from study.records import NO_DEGRADATION, MatrixRow, Pairing
from study.reporting.grid import is_in_domain
from study.reporting.markdown import number, pipes

ValAucs = Mapping[tuple[Pairing, int], float]  # by winner seed
HEAD = ("detector", "train on", "test on", "source-val AUC", "test AUC", "selection gap", "sd over seeds")


@dataclass(frozen=True, kw_only=True)
class SelectionGap:
    """One in-domain cell: means over the seeds that have both numbers. sd: of the gap over seeds, NaN for one."""

    pairing: Pairing
    test_on: str
    val_auc: float
    test_auc: float
    sd: float
    seeds: int

    @property
    def gap(self) -> float:
        """Positive where val promised more than the test set kept."""
        return self.val_auc - self.test_auc


def selection_gaps(val_aucs: ValAucs, rows: Sequence[MatrixRow]) -> list[SelectionGap]:
    """Return the gap of every in-domain cell that is scored. rows: of the matrix; those of single seeds are used."""
    found: dict[tuple[Pairing, str], list[tuple[float, float]]] = {}
    for row in rows:
        plain = (row.metric, row.level, row.degradation) == ("auc", "image", NO_DEGRADATION) and row.seed != "mean"
        if not plain or row.state != "done" or not is_in_domain(row.train_on, row.test_on):
            continue
        pairing = Pairing(detector=row.detector, train_on=row.train_on)
        both = val_aucs.get((pairing, int(row.seed)), math.nan), row.estimate.value
        if not any(map(math.isnan, both)):
            found.setdefault((pairing, row.test_on), []).append(both)
    return [_gap(pairing, test_on, seeds) for (pairing, test_on), seeds in found.items()]


def _gap(pairing: Pairing, test_on: str, seeds: Sequence[tuple[float, float]]) -> SelectionGap:
    gaps = [val - test for val, test in seeds]
    return SelectionGap(
        pairing=pairing,
        test_on=test_on,
        val_auc=fmean(val for val, _ in seeds),
        test_auc=fmean(test for _, test in seeds),
        sd=stdev(gaps) if len(gaps) > 1 else math.nan,
        seeds=len(gaps),
    )


def markdown_gaps(gaps: Sequence[SelectionGap]) -> str:
    """Return the gaps as Markdown. Ends with a newline."""
    parts = ["# Selection gap", EXPLAINED]
    lines = [
        [g.pairing.detector, g.pairing.train_on, g.test_on, number(g.val_auc), number(g.test_auc), *_gap_texts(g)] for g in gaps
    ]
    return "\n\n".join([*parts, pipes([HEAD, *lines]) if gaps else "No in-domain cell is scored."]) + "\n"


EXPLAINED = """AUC of the winners on source val, which chose their configuration and epoch, minus their AUC on the in-domain test
set. Of a union the val split is that of all members, and each member's test set stands apart."""


def _gap_texts(found: SelectionGap) -> tuple[str, str]:
    return number(found.gap, signed=True), "n=1" if found.seeds == 1 else number(found.sd)


def gap_line(gaps: Sequence[SelectionGap], detector: str) -> str:
    """Return what a detector's printed summary says of its gaps; "" where it has none."""
    mine = [g.gap for g in gaps if g.pairing.detector == detector]
    if not mine:
        return ""
    cells = f"{len(mine)} in-domain cell{'s' if len(mine) > 1 else ''}"
    return f"selection gap (source-val AUC of the winner minus its in-domain test AUC) {fmean(mine):+.3f}, mean of {cells}"
