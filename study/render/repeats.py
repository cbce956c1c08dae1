"""The AUCs of the repeats of a study beside their mean, as Markdown."""

from __future__ import annotations

from statistics import stdev

from study.analysis.results import ResultRow, Results
from study.render.numbers import with_interval
from study.render.table import Cell, Column, markdown, table

Place = tuple[str, str, str]


def repeats_markdown(results: Results) -> str:
    """Return the table of every clean cell, mean over seeds; "" of a study without repeats."""
    names = dict.fromkeys(row.repeat for row in results.repeats)
    if not names:
        return ""
    found: dict[Place, dict[str, ResultRow]] = {}
    for row in results.every_row:
        mine = row.role == "detector" and row.is_plain
        if mine and (row.metric, row.seed) == ("auc", "mean"):
            place = row.detector, row.train_on, row.test_on
            found.setdefault(place, {})[row.repeat] = row
    rows: list[list[Cell]] = [[*place, *_cells(of, [*names])] for place, of in found.items()]
    head: list[str | Column] = [
        "detector",
        "trained on",
        "tested on",
        "mean AUC",
        Column("sd", "number"),
    ]
    each = [Column(name, "number") for name in names]
    return "\n".join(
        [
            "## Repeats",
            "",
            "The AUC of each repeat, mean over its seeds, and their mean with its 95 % interval. sd"
            " is between repeats. The interval counts the images and training samples that repeats"
            " share, so that more repeats do not shrink it to nothing (docs/protocol.md, section"
            " 5).",
            "",
            markdown(table([*head, *each], rows)),
            "",
        ]
    )


def _cells(of: dict[str, ResultRow], names: list[str]) -> list[Cell]:
    mean = of["mean"].estimate
    values = [of[name].estimate.value if name in of else float("nan") for name in names]
    shown = with_interval(mean.value, mean.low, mean.high) if of["mean"].has_number else "-"
    return [shown, stdev(values), *values]
