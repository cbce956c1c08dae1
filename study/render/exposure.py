"""Exposure by dates, as Markdown: which cells are marked, and how AUCs fall with time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.analysis.exposure import Exposure, LaterRow, Place
from study.render.table import Column, markdown, table

EXPLAINED = (
    "By the dates of cards, manifests and backbones, as far as they are known. Marked cells stay in"
    " all numbers: images that a backbone has seen without their labels are no proof of a leak, and"
    " a generator that is younger than the training set is what a detector is for."
)
LATER = (
    "Trained on what existed then, tested on younger generators. Months are between the youngest"
    " generator of the training set and the one that is tested (a year alone counts from its"
    " middle)."
)


def exposure_markdown(found: Mapping[Place, Exposure], later: Sequence[LaterRow]) -> str:
    """Return the tables; "" where no cell is marked. Ends with a newline."""
    marked = [(*place, one.note) for place, one in found.items() if one.note]
    if not marked:
        return ""
    parts = ["# Exposure", EXPLAINED]
    parts.append(markdown(table(("detector", "train on", "test on", "what dates say"), marked)))
    if later:
        head = (
            *("detector", "train on", "until", "generator", "test on", "released"),
            *(Column("months later", "count"), Column("AUC", "interval")),
        )
        lines = [
            (
                *(row.detector, row.train_on, row.trained_until),
                *(row.method, row.test_on, row.released, row.months),
                (row.auc.value, row.auc.low, row.auc.high),
            )
            for row in later
        ]
        parts += [LATER, markdown(table(head, lines))]
    return "\n\n".join(parts) + "\n"
