"""Threshold transfer: what each named threshold gives on every test set, and what the promised 5 %
false positives became.

Five matrices of balanced accuracy laid side by side, one line a cell, and the
false-positive rates on the target of the thresholds that have 1 and 5 % on the source's val, which
are 1 - `real_accuracy` there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from study.analysis.results import Domain, ResultRow, Results
from study.render.grid import detectors, pick, state_words
from study.render.table import Cell, Column, Interval, Table, markdown, table, text
from study.statistics.thresholds import THRESHOLDS

HEAD: tuple[str | Column, ...] = (
    "train on",
    "test on",
    *(Column(name, "number") for name in THRESHOLDS),
    Column("oracle - source", "number", signed=True),
    Column("FPR at source_fpr1", "interval"),
    Column("FPR at source_fpr5", "interval"),
)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One cell. balanced_accuracy: by threshold, NaN where there is no number. fpr: of
    `source_fpr1` and of `source_fpr5` on the target, with its interval; NaN where there is none.

    state: what a cell shows that has no number at all, else "".
    """

    train_on: str
    test_on: str
    domain: Domain
    balanced_accuracy: Mapping[str, float]
    fpr: tuple[Interval, Interval]
    state: str

    @property
    def lost(self) -> float:
        """What the oracle has more than the source's threshold: what a threshold costs that does
        not fit; NaN where unknown.
        """
        return self.balanced_accuracy["oracle"] - self.balanced_accuracy["source"]


def transfers(results: Results, detector: str) -> list[Transfer]:
    """Return a detector's cells, training set by training set, images as they are."""
    grids = {name: pick(results, detector, "balanced_accuracy", name) for name in THRESHOLDS}
    kept = [pick(results, detector, "real_accuracy", f"source_fpr{at}") for at in (1, 5)]
    found = []
    for place, cell in kept[-1].cells.items():
        numbers = {name: grid.cells[place].number for name, grid in grids.items()}
        row = grids["fixed"].cells[place].row
        strict, loose = (_turned(grid.cells[place].number) for grid in kept)
        found.append(
            Transfer(
                train_on=place[0],
                test_on=place[1],
                domain=cell.domain,
                balanced_accuracy={
                    name: one.estimate.value if one else math.nan for name, one in numbers.items()
                },
                fpr=(strict, loose),
                state="" if row is not None and row.state == "done" else state_words(row),
            )
        )
    return found


def _turned(reals: ResultRow | None) -> Interval:
    """The false-positive rate: 1 - the accuracy on reals, whose interval turns over."""
    if reals is None:
        return math.nan, math.nan, math.nan
    e = reals.estimate
    return 1 - e.value, 1 - e.high, 1 - e.low


def markdown_transfer(results: Results) -> str:
    """Return the threshold transfer of every detector as Markdown. Ends with a newline."""
    parts = ["# Threshold transfer", EXPLAINED]
    for detector in detectors(results):
        parts += [
            f"## {detector}: threshold transfer",
            markdown(_table(results, detector)),
        ]
    return "\n\n".join(parts) + "\n"


EXPLAINED = """Balanced accuracy of single images, mean over seeds, at five thresholds: `fixed` p =
0.5; `source` the best one on the source's val; `source_fpr1` and `source_fpr5` those with 1 and 5 %
false positives on the source's val; `oracle` the best one on the test set itself, an upper bound
that nobody can have. Last, the false-positive rates [95 % interval] that `source_fpr1` and
`source_fpr5` really have on the test set. \\* in-domain."""


def text_transfer(results: Results, detector: str) -> str:
    """Return a detector's threshold transfer as a table for the terminal."""
    title = f"{detector}: balanced accuracy by threshold (oracle: an upper bound); * in-domain"
    return f"{title}\n{text(_table(results, detector))}"


def _table(results: Results, detector: str) -> Table:
    return table(HEAD, map(_row, transfers(results, detector)))


def _row(cell: Transfer) -> list[Cell]:
    place = [cell.train_on, cell.test_on + (" *" if cell.domain == "in" else "")]
    if cell.state:
        return [*place, cell.state, *[""] * (len(HEAD) - 3)]
    return [*place, *cell.balanced_accuracy.values(), cell.lost, *cell.fpr]
