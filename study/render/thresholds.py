"""Threshold transfer: what each named threshold gives on every test set, and what the promised 5 %
false positives became.

Four matrices of balanced accuracy laid side by side, one line a cell, and the
false-positive rate on the target of the threshold that has 5 % on the source's val, which is 1 -
`real_accuracy` there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from study.analysis.results import Domain, ResultRow, Results
from study.core.records import Estimate
from study.render.grid import GridCell, detectors, pick, state_words
from study.render.table import Cell, Column, Table, markdown, table, text
from study.statistics.thresholds import THRESHOLDS

HEAD: tuple[str | Column, ...] = (
    "train on",
    "test on",
    *(Column(name, "number") for name in THRESHOLDS),
    Column("oracle - source", "number", signed=True),
    Column("FPR at source_fpr5", "interval"),
)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One cell. balanced_accuracy: by threshold, None where there is no number. fpr: of
    `source_fpr5` on the target, or None.

    state: what a cell shows that has no number at all, else "".
    """

    train_on: str
    test_on: str
    balanced_accuracy: Mapping[str, Estimate | None]
    fpr: Estimate | None
    state: str
    domain: Domain

    @property
    def lost(self) -> float:
        """What the oracle has more than the source's threshold: what a threshold costs that does
        not fit; NaN where unknown.
        """
        oracle, source = self.balanced_accuracy["oracle"], self.balanced_accuracy["source"]
        return oracle.value - source.value if oracle and source else math.nan


def transfers(results: Results, detector: str) -> list[Transfer]:
    """Return a detector's cells, training set by training set, images as they are."""
    grids = {name: pick(results, detector, "balanced_accuracy", name) for name in THRESHOLDS}
    kept = pick(results, detector, "real_accuracy", "source_fpr5")
    return [
        Transfer(
            train_on=place[0],
            test_on=place[1],
            balanced_accuracy={name: _estimate(grid.cells[place]) for name, grid in grids.items()},
            fpr=_complement(_estimate(cell)),
            state=_state(grids["fixed"].cells[place].row),
            domain=cell.domain,
        )
        for place, cell in kept.cells.items()
    ]


def _estimate(cell: GridCell) -> Estimate | None:
    return cell.number.estimate if cell.number else None


def _state(row: ResultRow | None) -> str:
    return "" if row is not None and row.state == "done" else state_words(row)


def _complement(found: Estimate | None) -> Estimate | None:
    """1 - a share: its interval turns over, and its spread stays."""
    if found is None:
        return None
    return replace(found, value=1 - found.value, low=1 - found.high, high=1 - found.low)


def markdown_transfer(results: Results) -> str:
    """Return the threshold transfer of every detector as Markdown. Ends with a newline."""
    parts = ["# Threshold transfer", EXPLAINED]
    for detector in detectors(results):
        parts += [
            f"## {detector}: threshold transfer",
            markdown(_table(results, detector)),
        ]
    return "\n\n".join(parts) + "\n"


EXPLAINED = """Balanced accuracy of single images, mean over seeds, at four thresholds: `fixed` p =
0.5; `source` the best one on the source's val; `source_fpr5` the one with 5 % false positives on
the source's val; `oracle` the best one on the test set itself, an upper bound that nobody can have.
Last, the false-positive rate [95 % interval] that `source_fpr5` really has on the test set. \\*
in-domain."""


def text_transfer(results: Results, detector: str) -> str:
    """Return a detector's threshold transfer as a table for the terminal."""
    title = f"{detector}: balanced accuracy by threshold (oracle: an upper bound); * in-domain"
    return f"{title}\n{text(_table(results, detector))}"


def _table(results: Results, detector: str) -> Table:
    return table(HEAD, map(_row, transfers(results, detector)))


def _row(cell: Transfer) -> list[Cell]:
    if cell.state:
        return [cell.train_on, _starred(cell), cell.state, *[""] * (len(HEAD) - 3)]
    values = [math.nan if e is None else e.value for e in cell.balanced_accuracy.values()]
    fpr = (math.nan,) * 3 if cell.fpr is None else (cell.fpr.value, cell.fpr.low, cell.fpr.high)
    return [cell.train_on, _starred(cell), *values, cell.lost, fpr]


def _starred(cell: Transfer) -> str:
    return cell.test_on + (" *" if cell.domain == "in" else "")
