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
from study.render.numbers import counted, leaked_text, leaks_words, number
from study.render.table import Column, markdown, table

ValAucs = Mapping[tuple[Pairing, int], float]  # by winner seed
HEAD = (
    "detector",
    "train on",
    "test on",
    Column("source-val AUC", "number"),
    Column("test AUC", "number"),
    Column("selection gap", "number", signed=True),
    "sd over seeds",
    "leaked images",
)


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
        if (row.metric, row.degradation, row.state) == ("auc", NO_DEGRADATION, "done")
        and (row.level, row.subset) == ("image", "")
    ]
    clean = {_place(row): row for row in mine if row.leak_free}
    found: dict[tuple[Pairing, str], list[tuple[float, float]]] = {}
    leaks: dict[tuple[Pairing, str], tuple[int, bool]] = {}
    for row in mine:
        if row.leak_free or row.seed == "mean" or row.domain != "in":
            continue
        pairing = Pairing(detector=row.detector, train_on=row.train_on)
        left = clean.get(_place(row), row)
        kept = math.isnan(left.estimate.value)
        both = (
            val_aucs.get((pairing, int(row.seed)), math.nan),
            (row if kept else left).estimate.value,
        )
        if not any(map(math.isnan, both)):
            found.setdefault((pairing, row.test_on), []).append(both)
            leaks[pairing, row.test_on] = _images(row) - _images(left), kept
    return [_gap(*place, seeds, *leaks[place]) for place, seeds in found.items()]


def _place(row: ResultRow) -> tuple[str, str, str, str]:
    return row.detector, row.train_on, row.test_on, row.seed


def _images(row: ResultRow) -> int:
    return row.estimate.n_real + row.estimate.n_fake


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


def markdown_gaps(gaps: Sequence[SelectionGap]) -> str:
    """Return the gaps as Markdown. Ends with a newline."""
    rows = [
        (
            *(g.pairing.detector, g.pairing.train_on, g.test_on, g.val_auc, g.test_auc, g.gap),
            "n=1" if g.seeds == 1 else number(g.sd),
            leaked_text(g.leaked, kept=g.kept),
        )
        for g in gaps
    ]
    found = markdown(table(HEAD, rows)) if gaps else "No in-domain cell is scored."
    return "\n\n".join(["# Selection gap", EXPLAINED, found]) + "\n"


EXPLAINED = """AUC of the winners on source val, which chose their configuration and epoch, minus
their AUC on the in-domain test set, without the test images that leak from training. Of a union the
val split is that of all members, and each member's test set stands apart."""


def gap_line(gaps: Sequence[SelectionGap], detector: str) -> str:
    """Return what a detector's printed summary says of its gaps; "" where it has none."""
    mine = [g for g in gaps if g.pairing.detector == detector]
    if not mine:
        return ""
    gap = number(fmean(g.gap for g in mine), signed=True)
    said = [
        f"selection gap (source-val AUC of the winner minus its in-domain test AUC) {gap}",
        f"mean of {counted(len(mine), 'in-domain cell')}",
        *leaks_words([g.kept for g in mine if g.leaked]),
    ]
    return ", ".join(said)
