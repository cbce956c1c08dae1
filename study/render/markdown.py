"""Markdown tables, and numbers in them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pipes(table: Sequence[Sequence[str]]) -> str:
    """Return a table whose first line is its head; `|` and `*` in a cell stand for themselves."""
    head, *body = (f"| {' | '.join(_plain(text) for text in line)} |" for line in table)
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def columns(table: Sequence[Sequence[str]]) -> str:
    """Return a table for the terminal: columns as wide as their widest entry."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def rounded(value: float, places: int = 3) -> float:
    """Return a value as it is shown, to so many places: the only rounding of tables and figures.
    NaN stays NaN, zero has no sign.

    Digits that differ only by how a sum was ordered (.9425 by one route, .94249999999999 by
    another) decide nothing.
    """
    return round(round(value, 9), places) + 0.0


def number(value: float, *, signed: bool = False) -> str:
    """Return a value to three places, or `undefined`."""
    return (
        "undefined"
        if math.isnan(value)
        else f"{rounded(value):+.3f}"
        if signed
        else f"{rounded(value):.3f}"
    )


def leaked_text(leaked: int, *, kept: bool) -> str:
    """Return what became of the test images that leak from training, for a column of its own; ""
    where none does.
    """
    return (
        ""
        if not leaked
        else f"{leaked} kept: a class is gone without"
        if kept
        else f"{leaked} left out"
    )


def ends(low: float, high: float) -> str:
    """Return an interval to two places, or `[no interval]`."""
    return (
        f"[{rounded(low, 2):.2f}, {rounded(high, 2):.2f}]"
        if math.isfinite(low) and math.isfinite(high)
        else "[no interval]"
    )


def with_interval(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Return a value with its interval, where that is known."""
    shown = number(value, signed=signed)
    return (
        shown
        if math.isnan(low) or math.isnan(high)
        else f"{shown} [{number(low, signed=signed)}, {number(high, signed=signed)}]"
    )
