"""The selection gap as Markdown and as a line for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from study.analysis.selection_gap import SelectionGap
from study.render.numbers import counted, leaked_text, leaks_words, number
from study.render.table import Column, markdown, table

HEAD = (
    "detector",
    "train on",
    "test on",
    Column("source-val AUC", "number"),
    Column("test AUC", "number"),
    Column("selection gap", "number", signed=True),
    "sd over seeds",
    "leaked images",
)


def markdown_gaps(gaps: Sequence[SelectionGap]) -> str:
    """Return the gaps as Markdown. Ends with a newline."""
    rows = [
        (
            *(g.pairing.detector, g.pairing.train_on, g.test_on, g.val_auc, g.test_auc, g.gap),
            "n=1" if g.seeds == 1 else number(g.sd),
            leaked_text(g.leaked, kept=g.kept),
        )
        for g in gaps
    ]
    found = markdown(table(HEAD, rows)) if gaps else "No in-domain cell is scored."
    return "\n\n".join(["# Selection gap", EXPLAINED, found]) + "\n"


EXPLAINED = """AUC of the winners on source val, which chose their configuration and epoch, minus
their AUC on the in-domain test set, without the test images that leak from training. Of a union the
val split is that of all members, and each member's test set stands apart."""


def gap_line(gaps: Sequence[SelectionGap], detector: str) -> str:
    """Return what a detector's printed summary says of its gaps; "" where it has none."""
    mine = [g for g in gaps if g.pairing.detector == detector]
    if not mine:
        return ""
    gap = number(fmean(g.gap for g in mine), signed=True)
    said = [
        f"selection gap (source-val AUC of the winner minus its in-domain test AUC) {gap}",
        f"mean of {counted(len(mine), 'in-domain cell')}",
        *leaks_words([g.kept for g in mine if g.leaked]),
    ]
    return ", ".join(said)
