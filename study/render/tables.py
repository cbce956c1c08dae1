"""Tables: a matrix as text for the terminal and as Markdown for files that are tracked.

Rows are training sets and columns test sets. Every number stands with its 95 % interval,
every cell without one says why, and the images that a column rests on stand below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from study.analysis.results import ResultRow, Results
from study.core.records import NO_DEGRADATION
from study.data.leaks.find import LIMIT
from study.render.grid import (
    SEEDS_APART,
    Grid,
    detectors,
    levels,
    pick,
    prevalence,
    span,
    state_words,
)
from study.render.numbers import ends, number
from study.render.summary import summary_cells, summary_lines
from study.render.table import GAP, fold, terminal_width

HEADLINES = (  # what a tracked table shows; all else is in matrix.csv
    ("auc", ""),
    ("ap", ""),
    ("eer", ""),
    ("tpr_at_fpr5", ""),
    ("balanced_accuracy", "source"),
    ("balanced_accuracy", "oracle"),
    ("accuracy", "fixed"),
)


class _Notes:
    """Footnotes: a text has one number however often it is used."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, *texts: str) -> str:
        """Return the marks of the texts that are not empty, e.g. ` (1) (2)`."""
        return "".join(
            f" ({self._numbers.setdefault(text, len(self._numbers) + 1)})" for text in texts if text
        )

    def lines(self) -> list[str]:
        return [f"({number}) {text}" for text, number in self._numbers.items()]


def text_table(
    results: Results,
    detector: str,
    metric: str = "auc",
    threshold: str = "",
    *,
    degradation: str = NO_DEGRADATION,
    width: int | None = None,
) -> str:
    """Return a detector's matrix as text, for images and, where units have several images, for
    units too.

    width: characters a line may have, that of the terminal unless given; where the test sets do not
    fit beside each other, the table goes on below. A single column is never broken.
    """
    columns = width or terminal_width()
    grids = [
        pick(results, detector, metric, threshold, degradation=degradation, level=level)
        for level in levels(results, detector)
    ]
    return "\n\n".join(_text(grid, columns) for grid in grids)


def markdown_tables(results: Results, quantities: Sequence[tuple[str, str]] = HEADLINES) -> str:
    """Return the tables that are kept: a summary over detectors, then for each detector its matrix
    of every quantity.

    quantities: (metric, threshold) pairs, the first of which the summary is of. Ends with a
    newline.
    """
    parts = ["# Train on X, test on Y", _summary_table(results, *quantities[0])]
    for detector in detectors(results):
        parts.append(f"## {detector}")
        for level in levels(results, detector):
            grids = (pick(results, detector, *quantity, level=level) for quantity in quantities)
            parts += [_markdown(grid) for grid in grids]
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(grid: Grid, width: int) -> str:
    notes = _Notes()
    body = {
        source: [_cell(grid, source, target, notes) for target in grid.test_on]
        for source in grid.train_on
    }
    footer = _footer(grid)
    heads, labels = _heads(grid), ["train on \\ test on", *grid.train_on, *footer]
    first = max(map(len, labels))
    column = [
        max(
            map(
                len,
                [
                    name,
                    *(line for source in grid.train_on for line in body[source][i]),
                    *(values[i] for values in footer.values()),
                ],
            )
        )
        for i, name in enumerate(heads)
    ]
    lines = [fold(f"{grid.detector}: {grid.title}", width), fold(_caption(grid), width)]
    for block in blocks(column, width - first):
        lines += [
            "",
            _line(labels[0], [heads[i] for i in block], first, [column[i] for i in block]),
        ]
        for source in grid.train_on:
            for part in range(2):
                texts = [body[source][i][part] for i in block]
                if any(texts):
                    lines.append(
                        _line(source if part == 0 else "", texts, first, [column[i] for i in block])
                    )
        lines += [
            _line(name, [values[i] for i in block], first, [column[i] for i in block])
            for name, values in footer.items()
        ]
    ends = [
        fold(line, width)
        for line in [*summary_lines(grid), *notes.lines(), *_leak_lines(grid), *_audit_lines(grid)]
    ]
    return "\n".join([*lines, "", *ends])


def _line(label: str, texts: Iterable[str], first: int, widths: Iterable[int]) -> str:
    return GAP.join(
        [
            label.ljust(first),
            *(text.ljust(width) for text, width in zip(texts, widths, strict=True)),
        ]
    ).rstrip()


def blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Distribute columns over blocks that are no wider than `room`, in order, at least one column
    each.
    """
    found: list[list[int]] = []
    used = room + 1
    for i, width in enumerate(widths):
        used += len(GAP) + width
        if used > room:
            found.append([])
            used = len(GAP) + width
        found[-1].append(i)
    return found


def _cell(grid: Grid, source: str, target: str, notes: _Notes) -> tuple[str, str]:
    """Return the two lines of a cell: value and interval; what is known across seeds."""
    row = grid.cells[source, target]
    star = " *" if grid.domains.get((source, target)) == "in" else ""
    if row is None or not row.has_number:
        reasons = (row.reason or row.estimate.reason,) if row is not None else ()
        return state_words(row) + star + notes.mark(*reasons), ""
    shared = grid.shared.get((source, target), "")
    apart = SEEDS_APART if (source, target) in grid.apart else ""
    said = (row.estimate.note, row.reason, apart, shared, _leaks(grid, source, target))
    return _number(row) + star + notes.mark(*said), _across_seeds(row)


def _leaks(grid: Grid, source: str, target: str) -> str:
    """Say what a cell is without the test images that its training set has seen; nothing where
    there are none.
    """
    row, rest = grid.cells[source, target], grid.without_leaks.get((source, target))
    if row is None or rest is None:
        return ""
    left = rest.estimate
    leaked = row.estimate.n_real + row.estimate.n_fake - left.n_real - left.n_fake
    found = _number(rest) if rest.has_number else f"undefined ({left.reason})"
    images = f"the {leaked} test images that leak" if leaked > 1 else "the test image that leaks"
    if grid.level != "image":  # a unit that lost a frame is not gone
        images = "the test images that leak"
    return (
        f"with {images} from training {_number(row)}, without {found} on {left.n_real} real /"
        f" {left.n_fake} fake"
    )


def _number(row: ResultRow) -> str:
    e = row.estimate
    return f"{number(e.value)} {ends(e.low, e.high)}"


def _across_seeds(row: ResultRow) -> str:
    return (
        f"sd {number(row.estimate.sd)}"
        if math.isfinite(row.estimate.sd)
        else f"n={row.estimate.seeds}"
    )


def _caption(grid: Grid) -> str:
    seeds = span(row.estimate.seeds for row in grid.rows() if row.has_number)
    return f"mean over seeds (n={seeds or 0}) [95 % interval]; sd over seeds; * in-domain"


def _footer(grid: Grid) -> dict[str, list[str]]:
    """Return what stands below the columns: images, coverage where an image is missing, prevalence
    beside AP.
    """
    footer = {"real / fake": _per_column(grid, _images)}
    done = [row for row in grid.rows() if row.state == "done"]
    if any(row.coverage < 1 for row in done):
        footer["coverage"] = _per_column(
            grid, lambda rows: f"{min(row.coverage for row in rows):.4g}"
        )
    if grid.metric == "ap":
        footer["prevalence"] = _per_column(grid, lambda rows: number(prevalence(rows[0])))
    for name in dict.fromkeys(name for name, _ in grid.no_pixels):
        aucs = (grid.no_pixels.get((name, target)) for target in grid.test_on)
        footer[f"{name} AUC"] = [
            "" if row is None else _number(row) if row.has_number else "undefined" for row in aucs
        ]
    return footer


def _heads(grid: Grid) -> list[str]:
    """Return the columns' names; one that the audit warns of is marked."""
    warned = grid.warnings()
    return [f"{name} !" if name in warned else name for name in grid.test_on]


def _audit_lines(grid: Grid) -> list[str]:
    """Return what the two AUCs below the columns are, and what the marks mean."""
    found = [f"! {name}: {warnings}" for name, warnings in grid.warnings().items()]
    names = ", ".join(dict.fromkeys(name for name, _ in grid.no_pixels))
    what = (
        f"{names}: classifiers that see no picture, cross-validated by group over all splits of the"
        " dataset (audit.json)"
    )
    return [what, *_without_interval(grid), *found] if grid.no_pixels else []


def _without_interval(grid: Grid) -> list[str]:
    """Return why AUCs below the columns have no interval, a line a reason."""
    columns: dict[tuple[str, str], list[str]] = {}
    for (name, target), row in grid.no_pixels.items():
        if target in grid.test_on and row.has_number and not math.isfinite(row.estimate.low):
            columns.setdefault((name, row.estimate.note.rpartition("; ")[2]), []).append(target)
    return [f"{name} on {', '.join(targets)}: {note}" for (name, note), targets in columns.items()]


def _leak_lines(grid: Grid) -> list[str]:
    """What "without" cannot promise."""
    return [LIMIT] if grid.without_leaks else []


def _per_column(grid: Grid, text: Callable[[list[ResultRow]], str]) -> list[str]:
    texts = []
    for target in grid.test_on:
        column = (grid.cells[source, target] for source in grid.train_on)
        done = [row for row in column if row is not None and row.state == "done"]
        texts.append(text(done) if done else "")
    return texts


def _images(rows: Sequence[ResultRow]) -> str:
    return (
        f"{span(row.estimate.n_real for row in rows)} / {span(row.estimate.n_fake for row in rows)}"
    )


def _markdown(grid: Grid) -> str:
    notes = _Notes()
    table = [["train on \\ test on", *_heads(grid)]]
    for source in grid.train_on:
        cells = (_markdown_cell(_cell(grid, source, target, notes)) for target in grid.test_on)
        table.append([source, *cells])
    table += [[name, *values] for name, values in _footer(grid).items()]
    title = f"### {grid.title[0].upper()}{grid.title[1:]}"
    parts = [title, _caption(grid).replace("* in", "\\* in"), pipes(table)]
    return "\n\n".join(
        [
            *parts,
            "  \n".join(
                [*summary_lines(grid), *notes.lines(), *_leak_lines(grid), *_audit_lines(grid)]
            ),
        ]
    )


def _markdown_cell(lines: tuple[str, str]) -> str:
    value, spread = lines
    return value.replace("*", "\\*") + (f", {spread}" if spread else "")


def _summary_table(results: Results, metric: str, threshold: str) -> str:
    """One line a detector: in-domain and cross-domain mean, their gap, the worst cell."""
    grids = [pick(results, detector, metric, threshold) for detector in detectors(results)]
    if not grids:
        return "No cells."
    table = [
        [
            "detector",
            "in-domain mean",
            "cross-domain mean",
            "gap",
            "worst cell",
            "cells without a number",
        ]
    ]
    table += [[grid.detector, *summary_cells(grid)] for grid in grids]
    return f"Summary by {grids[0].title}.\n\n{pipes(table)}"


def pipes(table: Sequence[Sequence[str]]) -> str:
    """Return a table, its head first, as Markdown."""
    head, *body = (
        f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in table
    )
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])
