"""Flags of training and search: lines for the terminal, a table for tables.md, and a sentence of
the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from study.analysis.results import Flag
from study.render.table import markdown, table

EXPLAINED = """What in a pairing's training or search was too little, by its source val alone, and
the setting that would mend it. under-trained: the best epoch is the last allowed, or source val
still rises. edge of range: the selected value lies at an end of what was searched. under-tuned:
worse than a linear probe on the same frozen body, by more than noise. found late: the selected
trial is in the last third. few trials: fewer than three a searched setting. given recipe: the study
gives settings, as a published recipe does, so that the row is not tuned as the others are."""


def flag_lines(flags: Iterable[Flag], detector: str) -> str:
    """Return what a detector's printed summary says of its training, a line a flag; "" where there
    is nothing to say.
    """
    mine = [flag for flag in flags if flag.detector == detector]
    return "\n".join(f"flag: trained on {flag.train_on}: {flag.text}" for flag in mine)


def flags_markdown(flags: Sequence[Flag]) -> str:
    """Return the flags as Markdown. Ends with a newline."""
    rows = [(flag.detector, flag.train_on, flag.kind, flag.seen, flag.mend) for flag in flags]
    head = ("detector", "train on", "flag", "seen", "what would mend it")
    found = markdown(table(head, rows)) if rows else "No pairing is flagged."
    return "\n\n".join(["# Trained and tuned well enough?", EXPLAINED, found]) + "\n"


def flags_sentences(flags: Iterable[Flag]) -> list[str]:
    """Return what the answer says, a sentence for each kind of flag and what would mend it."""
    alike: dict[tuple[str, str], list[str]] = {}
    for flag in flags:
        alike.setdefault((flag.kind, flag.mend), []).append(f"{flag.detector} @ {flag.train_on}")
    return [
        f"{kind[0].upper()}{kind[1:]}: {', '.join(pairings)} ({mend})."
        for (kind, mend), pairings in alike.items()
    ]
