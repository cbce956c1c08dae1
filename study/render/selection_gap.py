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
from study.render.markdown import leaked_text, number, pipes

ValAucs = Mapping[tuple[Pairing, int], float]  # by winner seed
HEAD = (
    "detector",
    "train on",
    "test on",
    "source-val AUC",
    "test AUC",
    "selection gap",
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
    parts = ["# Selection gap", EXPLAINED]
    lines = [
        [
            g.pairing.detector,
            g.pairing.train_on,
            g.test_on,
            number(g.val_auc),
            number(g.test_auc),
            *_gap_texts(g),
        ]
        for g in gaps
    ]
    return (
        "\n\n".join([*parts, pipes([HEAD, *lines]) if gaps else "No in-domain cell is scored."])
        + "\n"
    )


EXPLAINED = """AUC of the winners on source val, which chose their configuration and epoch, minus
their AUC on the in-domain test set, without the test images that leak from training. Of a union the
val split is that of all members, and each member's test set stands apart."""


def _gap_texts(found: SelectionGap) -> tuple[str, str, str]:
    sd = "n=1" if found.seeds == 1 else number(found.sd)
    return number(found.gap, signed=True), sd, leaked_text(found.leaked, kept=found.kept)


def gap_line(gaps: Sequence[SelectionGap], detector: str) -> str:
    """Return what a detector's printed summary says of its gaps; "" where it has none."""
    mine = [g.gap for g in gaps if g.pairing.detector == detector]
    if not mine:
        return ""
    cells = f"{len(mine)} in-domain cell{'s' if len(mine) > 1 else ''}"
    leaked = [g.kept for g in gaps if g.pairing.detector == detector and g.leaked]
    clean = (
        f", leaked images {'kept where nothing is left without' if any(leaked) else 'left out'}"
        if leaked
        else ""
    )
    return (
        "selection gap (source-val AUC of the winner minus its in-domain test AUC)"
        f" {fmean(mine):+.3f}, mean of {cells}{clean}"
    )
