"""The floor of fine-tuned networks as Markdown and as a line for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from study.analysis.floors import Floor
from study.render.numbers import number
from study.render.table import Column, markdown, table

EXPLAINED = """AUC on source val of the winners, mean over seeds, and of a linear probe on the same
frozen body (logistic regression on its features, the best of three strengths). Source val chose
both. A network below its probe by more than noise of images and seeds is flagged as under-tuned."""
HEAD = (
    *("detector", "train on"),
    Column("winners", "number"),
    Column("linear probe", "number"),
    Column("difference", "interval", signed=True),
    Column("p", "p"),
)


def markdown_floors(floors: Sequence[Floor]) -> str:
    """Return the floors as Markdown, "" where no detector has one. Ends with a newline."""
    rows = [
        (
            *(one.pairing.detector, one.pairing.train_on, one.winners, one.probe),
            (one.difference.value, one.difference.low, one.difference.high),
            one.difference.p,
        )
        for one in floors
    ]
    if not rows:
        return ""
    found = markdown(table(HEAD, rows))
    return "\n\n".join(["# Linear probe on the same body", EXPLAINED, found]) + "\n"


def floor_line(floors: Iterable[Floor], detector: str) -> str:
    """Return what is printed of a detector; "" where it has no floor."""
    mine = [
        f"{number(one.winners)} against {number(one.probe)} (trained on {one.pairing.train_on})"
        for one in floors
        if one.pairing.detector == detector
    ]
    said = "on source val, winners against a linear probe on the same frozen body:"
    return f"{said} {', '.join(mine)}" if mine else ""
