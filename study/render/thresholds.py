"""Threshold transfer: what each named threshold gives on every test set, and what the promised 5 %
false positives became.

Four matrices of balanced accuracy laid side by side, one line a cell, and the
false-positive rate on the target of the threshold that has 5 % on the source's val, which is 1 -
`real_accuracy` there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from study.analysis.results import Domain, Results
from study.render.grid import detectors, pick, state_words
from study.render.table import Cell, Column, Interval, Table, markdown, table, text
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
    """One cell. balanced_accuracy: by threshold, NaN where there is no number. fpr: of
    `source_fpr5` on the target, with its interval; NaN where there is none.

    state: what a cell shows that has no number at all, else "".
    """

    train_on: str
    test_on: str
    domain: Domain
    balanced_accuracy: Mapping[str, float]
    fpr: Interval
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
    kept = pick(results, detector, "real_accuracy", "source_fpr5")
    found = []
    for place, cell in kept.cells.items():
        numbers = {name: grid.cells[place].number for name, grid in grids.items()}
        row, reals = grids["fixed"].cells[place].row, cell.number
        e = reals.estimate if reals else None
        found.append(
            Transfer(
                train_on=place[0],
                test_on=place[1],
                domain=cell.domain,
                balanced_accuracy={
                    name: one.estimate.value if one else math.nan for name, one in numbers.items()
                },
                # 1 - a share: its interval turns over
                fpr=(1 - e.value, 1 - e.high, 1 - e.low) if e else (math.nan,) * 3,
                state="" if row is not None and row.state == "done" else state_words(row),
            )
        )
    return found


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
    place = [cell.train_on, cell.test_on + (" *" if cell.domain == "in" else "")]
    if cell.state:
        return [*place, cell.state, *[""] * (len(HEAD) - 3)]
    return [*place, *cell.balanced_accuracy.values(), cell.lost, cell.fpr]
