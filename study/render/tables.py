"""Tables: a matrix as text for the terminal and as Markdown for files that are tracked.

Rows are training sets and columns test sets. Every number stands with its 95 % interval,
every cell without one says why, and the images that a column rests on stand below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from study.analysis.results import ResultRow, Results
from study.core.records import NO_DEGRADATION, PROCESSING
from study.data.leaks.find import LIMIT
from study.render.grid import (
    NULL_BAND,
    NULL_BAND_IS,
    Grid,
    GridCell,
    detectors,
    images_text,
    levels,
    pick,
    prevalence,
    span,
    state_words,
)
from study.render.marks import IN_DOMAIN, WARNED, explained
from study.render.numbers import ends, number
from study.render.summary import summary_cells, summary_lines
from study.render.table import Table, fold, markdown, table, terminal_width, text
from study.render.turned import turned_notes

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
    width = width or terminal_width()
    grids = [
        pick(results, detector, metric, threshold, degradation=degradation, level=level)
        for level in levels(results, detector)
    ]
    return "\n\n".join(_text(grid, width) for grid in grids)


def markdown_tables(results: Results, quantities: Sequence[tuple[str, str]] = HEADLINES) -> str:
    """Return the tables that are kept: what may be wrong with all of them, a summary over
    detectors, then for each detector its matrix
    of every quantity.

    quantities: (metric, threshold) pairs, the first of which the summary is of. Ends with a
    newline.
    """
    said = [f"Note: {note}." for note in turned_notes(results)]
    parts = ["# Train on X, test on Y", *said, _summaries(results, *quantities[0])]
    notes, below = _Notes(), dict[str, None]()
    for detector in detectors(results):
        parts.append(f"## {detector}")
        for level in levels(results, detector):
            for quantity in quantities:
                grid = pick(results, detector, *quantity, level=level)
                parts.append(_markdown(grid, notes))
                below |= dict.fromkeys(_below(grid))
    lines = [line.replace("*", "\\*") for line in [*notes.lines(), *below]]
    parts += ["## Notes to these tables", "  \n".join(lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def _text(grid: Grid, width: int) -> str:
    notes = _Notes()
    matrix = _matrix(grid, notes)
    below = [*summary_lines(grid), *notes.lines(), *_below(grid)]
    head = [fold(f"{grid.detector}: {grid.title}", width), fold(_caption(grid), width)]
    parts = [head, [text(matrix, width)], [fold(line, width) for line in below]]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _markdown(grid: Grid, notes: _Notes) -> str:
    """A matrix without what `_below` has and without its notes, which are shared."""
    matrix = _matrix(grid, notes)
    title = f"### {grid.title[0].upper()}{grid.title[1:]}"
    caption = _caption(grid).replace("*", "\\*")
    return "\n\n".join([title, caption, markdown(matrix), "  \n".join(summary_lines(grid))])


def _matrix(grid: Grid, notes: _Notes) -> Table:
    """The matrix of a grid. notes: takes its footnotes."""
    warned = grid.warnings()
    rows = [
        [source, *(_cell(grid, grid.cells[source, target], notes) for target in grid.test_on)]
        for source in grid.train_on
    ]
    rows += [[name, *texts] for name, texts in _footer(grid).items()]
    heads = [f"{name} {WARNED}" if name in warned else name for name in grid.test_on]
    return table(["train on \\ test on", *heads], rows)


def _below(grid: Grid) -> list[str]:
    """What is to be known of a matrix beside its summary and its notes."""
    limit = [LIMIT] if any(cell.clean for cell in grid.cells.values()) else []
    marks = dict.fromkeys("".join(cell.marks for cell in grid.cells.values()))
    return [*map(explained, marks), *limit, *_audit_lines(grid)]


def _cell(grid: Grid, cell: GridCell, notes: _Notes) -> str:
    """The two lines of a cell: value and interval; what is known across seeds."""
    row, star = cell.row, f" {IN_DOMAIN}" if cell.domain == "in" else ""
    if row is None or not row.has_number:
        reason = row.reason or row.estimate.reason if row is not None else ""
        return state_words(row) + star + notes.mark(reason, cell.one_class)
    e = row.estimate
    found = _leaks(grid, row, cell.clean)
    marks = notes.mark(e.note, row.reason, cell.overlap, cell.leak, found)
    star += f" {cell.marks}" if cell.marks else ""
    seeds = f"sd {number(e.sd)}" if math.isfinite(e.sd) else f"n={e.seeds}"
    return f"{_number(row)}{star}{marks}\n{seeds}"


def _leaks(grid: Grid, row: ResultRow, clean: ResultRow | None) -> str:
    """Say what a cell is without the test images that its training set has seen; nothing where
    there are none.
    """
    if clean is None:
        return ""
    left = clean.estimate
    leaked = row.images - clean.images
    found = _number(clean) if clean.has_number else f"undefined ({left.reason})"
    images = f"the {leaked} test images that leak" if leaked > 1 else "the test image that leaks"
    if grid.level != "image":  # a unit that lost a frame is not gone
        images = "the test images that leak"
    return (
        f"with {images} from training {_number(row)}, without {found} on {left.n_real} real /"
        f" {left.n_fake} fake"
    )


def _number(row: ResultRow) -> str:
    return f"{number(row.estimate.value)} {ends(row.estimate.low, row.estimate.high)}"


def _caption(grid: Grid) -> str:
    seeds = span(row.estimate.seeds for row in grid.rows() if row.has_number)
    return f"mean over seeds (n={seeds or 0}) [95 % interval]; sd over seeds; * in-domain"


def _footer(grid: Grid) -> dict[str, list[str]]:
    """What stands below the columns: images, coverage where an image is missing, prevalence beside
    AP, and what the audit's classifiers reach.
    """

    def column_by_column(shown: Callable[[list[ResultRow]], str]) -> list[str]:
        columns = ([row for row in done if row.test_on == target] for target in grid.test_on)
        return [shown(column) if column else "" for column in columns]

    done = [row for row in grid.rows() if row.state == "done"]
    footer = {"real / fake": column_by_column(images_text)}
    if grid.level == "image" and grid.tested:
        parts = (grid.tested.get(target) for target in grid.test_on)
        footer["tested of all"] = [f"{part[0]} of {part[1]}" if part else "" for part in parts]
    if any(row.coverage < 1 for row in done):
        footer["coverage"] = column_by_column(
            lambda rows: f"{min(row.coverage for row in rows):.4g}"
        )
    if grid.metric == "ap":
        footer["prevalence"] = column_by_column(lambda rows: number(prevalence(rows[0])))
    for name, aucs in grid.baselines.items():
        rows = (aucs.get(target) for target in grid.test_on)
        footer[f"{name} AUC"] = [
            "" if row is None else _number(row) if row.has_number else "undefined" for row in rows
        ]
    return footer


def _audit_lines(grid: Grid) -> list[str]:
    """What the AUCs below the columns are, why some have no interval, and what the marks mean."""
    of_audit = [name for name in grid.baselines if name != NULL_BAND]
    null = [NULL_BAND_IS] if NULL_BAND in grid.baselines else []
    if not of_audit:
        return null
    blind = [name for name in of_audit if name != PROCESSING]
    what = [
        f"{', '.join(blind)}: shortcut baselines, cross-validated on the test set by group"
        " over all splits of the dataset (audit.json). Below every table, whatever its metric, they"
        " are AUCs"
    ]
    if PROCESSING in of_audit:
        what.append(
            f"{PROCESSING}: a reference, likewise cross-validated: a classifier of what processing"
            " leaves in pixels (spectrum, residuals, a thumbnail); it cannot tell that from a"
            " generator's trace, and marks nothing"
        )
    bare: dict[tuple[str, str], list[str]] = {}  # (classifier, reason) -> its test sets
    for name, aucs in grid.baselines.items():
        for target, row in aucs.items():
            if target in grid.test_on and row.has_number and not math.isfinite(row.estimate.low):
                bare.setdefault((name, row.estimate.note.rpartition("; ")[2]), []).append(target)
    why = [f"{name} on {', '.join(targets)}: {note}" for (name, note), targets in bare.items()]
    marked = [f"{WARNED} {name}: {warning}" for name, warning in grid.warnings().items()]
    return [*null, *what, *why, *marked]


def _summaries(results: Results, metric: str, threshold: str) -> str:
    """One line a detector: in-domain and cross-domain mean, their gap, the worst cell."""
    grids = [pick(results, detector, metric, threshold) for detector in detectors(results)]
    if not grids:
        return "No cells."
    head = ("in-domain mean", "cross-domain mean", "gap", "worst cell", "cells without a number")
    rows = [[grid.detector, *summary_cells(grid)] for grid in grids]
    said = f"Summary by {grids[0].title}."
    if warned := grids[0].warnings():
        said += f" As in the answer, test sets marked {WARNED} ({', '.join(warned)}) are left out,"
        said += " unless no cross-domain cell lies on another."
    return f"{said}\n\n{markdown(table(('detector', *head), rows))}"
