"""The end of a run on the terminal: the answer, the ranked detectors, one small matrix, what the
audit warns of. Everything else is in files.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from study.analysis.comparisons import Comparisons
from study.analysis.headline import CHANCE
from study.analysis.results import Flag, ResultRow, Results
from study.core.records import NO_DEGRADATION, SHORTCUTS, Estimate
from study.render.answer import claim_words, headline_text
from study.render.grid import detectors
from study.render.marks import IN_DOMAIN, SHARES, WARNED
from study.render.numbers import ends, number
from study.render.table import Cell, Column, Table, fold, table, terminal_width, text

LITTLE = 0.6  # an in-domain mean AUC below it is worth a word where all its intervals hold chance
ROWS = 12  # of the matrix; where there are more, the first detectors are shown whole


def closing(
    results: Results, found: Comparisons, flags: Iterable[Flag], quantity: tuple[str, str]
) -> str:
    """Return the text, as wide as the terminal. quantity: the metric of the matrix, and its
    threshold or "".
    """
    width = terminal_width()
    ranked = [one.detector for one in found.headline.standings]
    order = [*ranked, *(name for name in detectors(results) if name not in ranked)]
    parts = [fold(headline_text(found, brief=True), width)]
    if ranked:
        ranking = text(_ranking(found, flags), width)
        parts.append(
            "\n".join([ranking, *_unlike_sets(results, found, width), *_no_skill(results, width)])
        )
    parts.append(
        "\n".join([*_matrix(results, order, quantity, width), *_warned(results, found, width)])
    )
    names = dict.fromkeys(row.degradation for row in results.rows if row.role == "detector")
    if degraded := [name for name in names if name != NO_DEGRADATION]:
        said = f"degraded: {', '.join(degraded)}. What is left of each AUC stands in tables.md"
        parts[-1] += f"\n{textwrap.shorten(said, width, placeholder=' ...')}"
    return "\n\n".join(parts)


def _ranking(found: Comparisons, flags: Iterable[Flag]) -> Table:
    """The detectors, best first, in few columns."""
    kinds: dict[str, dict[str, None]] = {}
    for flag in flags:
        kinds.setdefault(flag.detector, {})[flag.kind] = None
    rows: list[list[Cell]] = []
    for one in found.headline.standings:
        rows.append(
            [
                one.detector,
                (one.mean.value, one.mean.low, one.mean.high),
                one.in_domain,
                one.gap,
                claim_words(one, found).partition(":")[0],  # the sentence above says why
                ", ".join(kinds.get(one.detector, ())),
            ]
        )
    columns = (
        "detector",
        Column("cross-domain AUC", "interval"),
        Column("in-domain", "number"),
        Column("gap", "number", signed=True),
        "generalises",
        "flags",
    )
    return table(columns, rows)


def _unlike_sets(results: Results, found: Comparisons, width: int) -> list[str]:
    """On which test sets the two means lie, where these are others: a part of the gap may be the
    test sets.
    """
    across = dict.fromkeys(y for _, y in found.cells)
    inside = dict.fromkeys(r.test_on for r in results.rows if r.domain == "in" and r.is_plain)
    both = [y for y in across if y in inside]
    if not both or len(both) == len(across):
        return []
    sets = f"in-domain means are of {', '.join(both)}, cross-domain means of {', '.join(across)}"
    return [fold(f"gap: {sets}, so a part of it may be the test sets", width)]


def _no_skill(results: Results, width: int) -> list[str]:
    """Which detectors are not shown to be better than chance at home."""
    inside: dict[str, list[Estimate]] = {}
    for row in results.rows:
        mean_auc = row.is_plain and (row.metric, row.seed) == ("auc", "mean")
        is_cell = row.role == "detector" and row.domain == "in" and row.has_number
        if mean_auc and is_cell:
            inside.setdefault(row.detector, []).append(row.estimate)
    names = [
        name
        for name, aucs in inside.items()
        if fmean(one.value for one in aucs) < LITTLE and all(one.low <= CHANCE for one in aucs)
    ]
    said = "not shown to be more than chance in-domain"
    return [fold(f"{', '.join(names)}: {said}", width)] if names else []


def _matrix(
    results: Results, order: Sequence[str], quantity: tuple[str, str], width: int
) -> list[str]:
    """One number a cell, all detectors below each other."""
    rows = [row for row in results.rows if _is_shown(row, order, quantity)]
    leaky, shared = results.leaky(), results.overlaps()
    marks = {
        place: WARNED * (place in leaky) + SHARES * (place in shared) for place in {*leaky, *shared}
    }
    tests = list(dict.fromkeys(row.test_on for row in rows))
    pairings = list(dict.fromkeys((row.detector, row.train_on) for row in rows))
    pairings.sort(key=lambda one: order.index(one[0]))
    shown = pairings
    if len(pairings) > ROWS:
        first = [p for p in pairings if p[0] == pairings[0][0]]
        shown = pairings[: max(ROWS - ROWS % len(first), len(first))]
    marked = results.warnings()
    name = "@".join(filter(None, quantity))
    head = [f"{name}, trained on", *(f"{y}{f' {WARNED}' * (y in marked)}" for y in tests)]

    def grid(*, with_ends: bool) -> Table:
        below = _shortcuts(results, tests, with_ends=with_ends) if name == "auc" else []
        cells = {
            (row.detector, row.train_on, row.test_on): _cell(row, marks, with_ends=with_ends)
            for row in rows
        }
        lines = [[f"{d} @ {x}", *(cells.get((d, x, y), "-") for y in tests)] for d, x in shown]
        return table(head, [*lines, *below])

    whole = text(grid(with_ends=True))
    fits = max(map(len, whole.splitlines())) <= width
    more = len(pairings) - len(shown)
    said = [f"{more} rows more"] * bool(more) + ["95 % intervals"] * (not fits)
    where = [f"{' and '.join(said)} are in tables.md"] if said else []
    return [whole if fits else text(grid(with_ends=False), width), *where]


def _is_shown(row: ResultRow, order: Sequence[str], quantity: tuple[str, str]) -> bool:
    whole = (row.seed, row.level, row.subset) == ("mean", "image", "")
    clean = row.degradation == NO_DEGRADATION and not row.leak_free
    is_it = (row.metric, row.threshold) == quantity
    return whole and clean and is_it and row.detector in order and row.role != "baseline"


def _cell(row: ResultRow, marks: Mapping[tuple[str, str], str], *, with_ends: bool) -> str:
    if not row.has_number:
        return "undefined"
    star = IN_DOMAIN if row.domain == "in" else ""
    shown = f"{number(row.estimate.value)}{star}{marks.get((row.train_on, row.test_on), '')}"
    return f"{shown} {ends(row.estimate.low, row.estimate.high)}" if with_ends else shown


def _shortcuts(results: Results, tests: Sequence[str], *, with_ends: bool) -> list[list[Cell]]:
    """What the shortcut baselines reach on each test set, a row each."""
    found: dict[str, dict[str, str]] = {}
    for row in results.rows:
        if row.detector in SHORTCUTS and row.metric == "auc" and row.is_plain and row.has_number:
            found.setdefault(row.detector, {})[row.test_on] = _cell(row, {}, with_ends=with_ends)
    return [[one, *(found[one].get(y, "-") for y in tests)] for one in SHORTCUTS if one in found]


def _warned(results: Results, found: Comparisons, width: int) -> list[str]:
    """Why columns are marked; those of one reason share a line."""
    out = "" if found.all_marked else ", in no mean"
    alike: dict[str, dict[str, str]] = {}
    for name, why in results.warnings().items():
        alike.setdefault(why.partition(": AUC")[0], {})[name] = why
    said = [
        f"{WARNED} {', '.join(of)}{out}: {next(iter(of.values())) if len(of) == 1 else why}"
        for why, of in alike.items()
    ]
    return [textwrap.shorten(line, width, placeholder=" ... (tables.md)") for line in said]
