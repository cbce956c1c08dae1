"""Matrices in which detectors are worse than chance where that is no question of generalisation:
mostly a label means the opposite.
"""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.results import ResultRow, Results
from study.render.numbers import with_interval

CHANCE = 0.5


def turned_notes(results: Results) -> list[str]:
    """Return what is to be said first of cells whose AUC lies wholly below 0.5: in-domain cells,
    all cells between two datasets, and those of detectors that were run elsewhere.
    """
    aucs = [
        row
        for row in results.rows
        if row.is_plain and row.seed == "mean" and row.metric == "auc" and row.has_number
    ]
    below = [row for row in aucs if row.estimate.high < CHANCE]
    inside = [row for row in below if row.role == "detector" and row.domain == "in"]
    outside = [row for row in below if row.role == "external"]
    notes = []
    if inside:
        sets = sorted({row.test_on for row in inside})
        notes.append(
            f"worse than chance on images of their own training sets, AUC {_cells(inside)}: what"
            " was learned as fake is called real in the test images. Look whether train and test"
            f" splits of {', '.join(sets)} use the same labels"
        )
    for one, other in _opposed(aucs):
        pair = [row for row in below if {row.train_on, row.test_on} == {one, other}]
        notes.append(
            f"worse than chance from {one} to {other} and back, AUC {_cells(pair)}: what is fake in"
            " one seems to be real in the other. Look whether the labels of one are the wrong way"
            " round"
        )
    if outside:
        notes.append(
            f"worse than chance, AUC {_cells(outside)}: its higher scores go with real images. If"
            " they are p(real), give --predictions again with --higher-is-real"
        )
    return notes


def _opposed(aucs: Sequence[ResultRow]) -> list[tuple[str, str]]:
    """Pairs of datasets between which every detector is worse than chance, in both directions."""
    between: dict[tuple[str, str], list[ResultRow]] = {}
    for row in aucs:
        if row.role == "detector" and row.domain == "cross":
            one, other = sorted((row.train_on, row.test_on))
            between.setdefault((one, other), []).append(row)
    return [
        pair
        for pair, rows in between.items()
        if len({row.test_on for row in rows}) > 1
        and all(row.estimate.high < CHANCE for row in rows)
    ]


def _cells(rows: list[ResultRow]) -> str:
    return "; ".join(
        f"{row.detector} {row.train_on} -> {row.test_on}"
        f" {with_interval(row.estimate.value, row.estimate.low, row.estimate.high)}"
        for row in rows
    )
