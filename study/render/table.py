"""One table, and the three ways to write it: text for the terminal, Markdown, CSV.

Whoever has something to show says what stands in a table; how it looks is decided here and in
numbers.py.
"""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from study.core.csv_lines import csv_line
from study.render.numbers import number, p_text, with_interval

MIN_WIDTH, USUAL_WIDTH = 60, 120  # characters
GAP = "  "  # between two columns of a text
Kind = Literal["text", "count", "number", "interval", "p"]
Interval = tuple[float, float, float]  # value, lower end, upper end; NaN ends where there are none
Cell = str | float | Interval  # whole numbers are counts


@dataclass(frozen=True)
class Column:
    """A column of a table.

    kind: what its cells are. `text`: words. `count`: whole numbers. `number`: floats, shown to
    `places` places. `interval`: a value with the ends of its interval. `p`: p-values in [0, 1]. A
    str stands for itself in every column: a state, or why there is no number.
    signed: numbers are shown with their sign. places: of a `number`; an interval has three.
    """

    name: str
    kind: Kind = "text"
    signed: bool = False
    places: int = 3

    @property
    def is_right(self) -> bool:
        """Whether its cells end at the same place, as numbers below each other do."""
        return self.kind in ("count", "number", "p")

    def shown(self, cell: Cell) -> str:
        """Return a cell as a person reads it; NaN is `undefined`."""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, tuple):
            return with_interval(*cell, signed=self.signed)
        if self.kind == "p":
            return p_text(cell)
        if self.kind == "count":
            return f"{cell:,}"
        return number(cell, signed=self.signed, places=self.places)


@dataclass(frozen=True)
class Table:
    """Columns, and rows with a cell for each of them.

    A cell with several lines has them below each other in a text, and beside each other elsewhere.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def shown(self) -> list[list[str]]:
        """Return the rows as a person reads them."""
        return [
            [column.shown(cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]


def table(columns: Iterable[str | Column], rows: Iterable[Sequence[Cell]]) -> Table:
    """Return a table; a str is a column of words. Raises ValueError where a row has too few or too
    many cells.
    """
    made = tuple(Column(one) if isinstance(one, str) else one for one in columns)
    cells = tuple(map(tuple, rows))
    if any(len(row) != len(made) for row in cells):
        raise ValueError(f"rows must have {len(made)} cells, as there are columns")
    return Table(made, cells)


def text(table: Table, width: int | None = None) -> str:
    """Return a table for the terminal: columns as wide as their widest entry, numbers to the right.

    width: characters that a line may have. Where the columns do not fit beside each other, the
    table goes on below, and its first column stands there again. A single column is never broken.
    """
    lines = [[column.name for column in table.columns]]
    for row in table.shown():
        lines += [
            list(part) for part in zip_longest(*(cell.split("\n") for cell in row), fillvalue="")
        ]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]

    def padded(line: Sequence[str], at: int) -> str:
        is_right = table.columns[at].is_right
        return line[at].rjust(widths[at]) if is_right else line[at].ljust(widths[at])

    def block(places: Sequence[int]) -> str:
        texts = (GAP.join(padded(line, at) for at in places).rstrip() for line in lines)
        return "\n".join(filter(None, texts))

    if width is None:
        return block(range(len(widths)))
    return "\n\n".join(block((0, *places)) for places in _blocks(widths, width))


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """The columns but the first, in order, in blocks that fit into `room` beside the first; at
    least one column each.
    """
    blocks: list[list[int]] = []
    used = math.inf
    for at, width in enumerate(widths[1:], start=1):
        used += len(GAP) + width
        if used > room:
            blocks.append([])
            used = widths[0] + len(GAP) + width
        blocks[-1].append(at)
    return blocks or [[]]


def terminal_width() -> int:
    """Return the characters that a line of the terminal has, at least 60."""
    return max(MIN_WIDTH, shutil.get_terminal_size((USUAL_WIDTH, 24)).columns)


def fold(line: str, width: int, indent: str = GAP) -> str:
    """Break a line that is longer than `width`; what follows is indented."""
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    head, *body = (
        f"| {' | '.join(markdown_words(cell) for cell in row)} |"
        for row in ([column.name for column in table.columns], *table.shown())
    )
    return "\n".join([head, "|" + "---|" * len(table.columns), *body])


def markdown_words(cell: str) -> str:
    """Return words as a cell of a Markdown table shows them: `|` and `*` stand for themselves."""
    return ", ".join(cell.split("\n")).replace("|", "\\|").replace("*", "\\*")


def csv_text(table: Table) -> str:
    """Return a table as CSV. Floats come back bit for bit; NaN is an empty field.

    An interval is three columns: `name`, `name_low`, `name_high`.
    """
    head: list[str] = []
    for column in table.columns:
        ends = ("", "_low", "_high") if column.kind == "interval" else ("",)
        head += [column.name + end for end in ends]
    body = (csv_line(_values(table, row)) for row in table.rows)
    return "".join([csv_line(head), *body])


def _values(table: Table, row: Sequence[Cell]) -> list[str | float]:
    values: list[str | float] = []
    for column, cell in zip(table.columns, row, strict=True):
        several = cell if isinstance(cell, tuple) else (cell,)
        values += several
        if column.kind == "interval":  # a str has no ends
            values += [""] * (3 - len(several))
    return values


_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": ", ",
}


def escaped(cell: str) -> str:
    """Return words as LaTeX shows them: every character of a name stands for itself."""
    return "".join(_LATEX.get(mark, mark) for mark in cell)
