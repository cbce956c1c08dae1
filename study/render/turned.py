"""Matrices in which a detector is worse than chance at home: mostly a label means the opposite."""

from __future__ import annotations

from study.analysis.results import ResultRow, Results
from study.render.numbers import with_interval


def turned_notes(results: Results) -> list[str]:
    """Return what is to be said first of cells whose AUC lies wholly below 0.5, where that is no
    question of generalisation: in-domain cells, and those of detectors that were run elsewhere.
    """
    below = [
        row
        for row in results.rows
        if row.is_plain and row.seed == "mean" and row.metric == "auc" and row.estimate.high < 0.5
    ]
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
    if outside:
        notes.append(
            f"worse than chance, AUC {_cells(outside)}: its higher scores go with real images. If"
            " they are p(real), give --predictions again with --higher-is-real"
        )
    return notes


def _cells(rows: list[ResultRow]) -> str:
    return "; ".join(
        f"{row.detector} {row.train_on} -> {row.test_on}"
        f" {with_interval(row.estimate.value, row.estimate.low, row.estimate.high)}"
        for row in rows
    )
