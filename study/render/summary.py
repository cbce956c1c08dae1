"""What a matrix comes down to, in words: in-domain and cross-domain mean, the gap, the worst cell,
and what was left out. As in the answer, test sets that the audit marks are left out, unless no
cross-domain cell lies on another.
"""

from __future__ import annotations

import math
from dataclasses import replace

from study.core.records import NO_TRAINING
from study.render.grid import Grid, GridCell, Place
from study.render.marks import WARNED
from study.render.numbers import counted, number, rounded
from study.statistics.matrix import MatrixSummary, summarise
from study.statistics.metrics import METRICS

UNKNOWN_DOMAIN = "trained elsewhere, what is in-domain is not known here"


def summary_of(grid: Grid) -> MatrixSummary:
    """Return the summary of the cells that count; those without a number count as undefined. Each
    cell has its own chance level: without leaked images, or without what could not be decoded, one
    test set has another prevalence.
    """
    metric, cells = METRICS[grid.metric], _counted(grid)
    numbers = {place: cell.number for place, cell in cells.items()}
    estimates = {place: row.estimate for place, row in numbers.items() if row is not None}
    members: dict[str, list[str]] = {source: [] for source in grid.train_on}
    for (source, target), cell in cells.items():
        if cell.domain == "in":
            members[source].append(target)
    return summarise(
        {place: estimates[place].value if place in estimates else math.nan for place in numbers},
        members,
        {place: metric.chance(n_real=e.n_real, n_fake=e.n_fake) for place, e in estimates.items()},
        greater_is_better=metric.greater_is_better,
        shared={place for place, cell in cells.items() if cell.domain == "neither"},
    )


def _counted(grid: Grid) -> dict[Place, GridCell]:
    """The cells on test sets that the audit does not mark, where one of them is cross-domain; else
    all.
    """
    warned = grid.warnings()
    left = {place: cell for place, cell in grid.cells.items() if place[1] not in warned}
    across = any(cell.number and cell.domain == "cross" for cell in left.values())
    return left if across else {**grid.cells}


def as_shown(exact: MatrixSummary) -> MatrixSummary:
    """Return a summary rounded to what is printed, its differences taken between the rounded
    numbers they stand beside.
    """
    inside, across, worst = map(
        rounded, (exact.in_domain_mean, exact.cross_domain_mean, exact.worst)
    )
    above = [
        _above(exact.in_domain_mean, exact.in_domain_above_chance),
        _above(exact.cross_domain_mean, exact.cross_domain_above_chance),
    ]
    return replace(
        exact,
        in_domain_mean=inside,
        cross_domain_mean=across,
        gap=_signed_as(exact.gap, inside - across),
        worst=worst,
        in_domain_above_chance=above[0],
        cross_domain_above_chance=above[1],
        gap_above_chance=_signed_as(exact.gap_above_chance, above[0] - above[1]),
        worst_above_chance=_above(exact.worst, exact.worst_above_chance),
    )


def _signed_as(exact: float, difference: float) -> float:
    """A gap: positive where worse across domains, which of an error rate is the other way round."""
    return rounded(math.copysign(difference, exact))


def _above(value: float, above: float) -> float:
    """How far a rounded value is above chance; where chance itself has more places (a prevalence),
    the exact difference.
    """
    chance = value - above
    return (
        rounded(rounded(value) - chance)
        if math.isclose(chance, rounded(chance), abs_tol=1e-9)
        else rounded(above)
    )


def without_leaks(grid: Grid) -> Grid | None:
    """Return the grid with its leak-free numbers in the cells that leak; None where no cell
    does.
    """
    left = {
        place: replace(cell, row=cell.clean, clean=None)
        for place, cell in grid.cells.items()
        if cell.clean is not None and cell.number is not None
    }
    return replace(grid, cells={**grid.cells, **left}) if left else None


def summary_lines(grid: Grid) -> list[str]:
    """Return the summary as lines of text. `vs chance` is positive where better than chance, a gap
    where worse across domains.
    """
    if grid.role == "external":
        return [f"{UNKNOWN_DOMAIN}: no in-domain and no cross-domain mean"]
    clean = without_leaks(grid)
    return [*_lines(grid), *([_clean_line(clean)] if clean else [])]


def _clean_line(clean: Grid) -> str:
    inside, across, gap, worst, undefined = _cells(clean)
    left_out = f", left out: {undefined} without a number" if undefined != "0" else ""
    return (
        f"without leaked images: in-domain mean {inside}, cross-domain mean {across}, gap {gap},"
        f" worst {worst}{left_out}"
    )


def _lines(grid: Grid) -> list[str]:
    exact, sign = summary_of(grid), 1 if METRICS[grid.metric].greater_is_better else -1
    found = as_shown(exact)
    inside = _text(found.in_domain_mean, sign * found.in_domain_above_chance, found.n_in_domain)
    across = _text(
        found.cross_domain_mean, sign * found.cross_domain_above_chance, found.n_cross_domain
    )
    is_plain = math.isclose(exact.gap, exact.gap_above_chance, abs_tol=1e-9)
    gap = _text(found.gap, math.nan if is_plain else found.gap_above_chance)
    ends = [f"gap {gap}{_why_no_gap(grid)}"]
    if found.worst_cell is not None:
        worst = _text(found.worst, sign * found.worst_above_chance)
        ends.append(f"worst {worst}: {' -> '.join(found.worst_cell)}")
    if found.n_shared:
        ends.append(f"in neither mean: {found.n_shared} with images of the training set")
    if found.n_undefined:
        ends.append(f"left out: {found.n_undefined} without a number")
    if marked := len(grid.cells) - len(_counted(grid)):
        ends.append(f"left out: {marked} on test sets marked {WARNED}")
    return [f"in-domain mean {inside}, cross-domain mean {across}", ", ".join(ends)]


def summary_cells(grid: Grid) -> list[str]:
    """Return the summary as cells of a table: in-domain mean, cross-domain mean, gap, worst cell,
    cells without a number.
    """
    if grid.role == "external":
        undefined = str(summary_of(grid).n_undefined)
        return ["unknown", "unknown", UNKNOWN_DOMAIN, "unknown", undefined]
    clean = without_leaks(grid)
    cells, more = _cells(grid), _cells(clean or grid)
    # Where the two say different things, both stand there.
    return [
        a if a == b else f"{a}; without leaked images {b}" for a, b in zip(cells, more, strict=True)
    ]


def _cells(grid: Grid) -> list[str]:
    found = as_shown(summary_of(grid))
    worst = "none"
    if found.worst_cell is not None:
        worst = f"{number(found.worst)} ({' -> '.join(found.worst_cell)})"
    means = [number(found.in_domain_mean), number(found.cross_domain_mean)]
    return [*means, number(found.gap) + _why_no_gap(grid), worst, str(found.n_undefined)]


def _why_no_gap(grid: Grid) -> str:
    """Why a detector that is not trained has no gap; of another the two means say what is
    missing.
    """
    return " (not trained: no test set is in-domain)" if set(grid.train_on) == {NO_TRAINING} else ""


def _text(value: float, over_chance: float, cells: int = 0) -> str:
    if math.isnan(value):
        return "undefined"
    more = [] if math.isnan(over_chance) else [f"{number(over_chance, signed=True)} vs chance"]
    more += [counted(cells, "cell")] if cells else []
    return number(value) + (f" ({', '.join(more)})" if more else "")
