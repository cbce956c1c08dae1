"""Numbers and counts in words: what tables, figures and sentences show of them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rounded(value: float, places: int = 3) -> float:
    """Return a value as it is shown, to so many places: the only rounding of tables and figures.
    NaN stays NaN, zero has no sign.

    Digits that differ only by how a sum was ordered (.9425 by one route, .94249999999999 by
    another) decide nothing.
    """
    return round(round(value, 9), places) + 0.0


def number(value: float, *, signed: bool = False, places: int = 3) -> str:
    """Return a value to so many places, of 1000 and more to six digits; NaN is `undefined`."""
    if math.isnan(value):
        return "undefined"
    sign = "+" if signed else ""
    return (
        f"{value:{sign}.6g}" if abs(value) >= 1000 else f"{rounded(value, places):{sign}.{places}f}"
    )


def ends(low: float, high: float) -> str:
    """Return an interval to two places, or `[no interval]`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "[no interval]"
    return f"[{rounded(low, 2):.2f}, {rounded(high, 2):.2f}]"


def between(low: float, high: float, *, signed: bool = False, places: int = 3) -> str:
    """Return an interval, "" where it is not known."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return "[{}, {}]".format(*(number(end, signed=signed, places=places) for end in (low, high)))


def with_interval(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Return a value with its interval, where that is known."""
    return f"{number(value, signed=signed)} {between(low, high, signed=signed)}".rstrip()


def p_text(p: float) -> str:
    """Return a p-value: `0.123`, `< 0.001`, or `undefined`."""
    return "< 0.001" if p < 0.001 else number(p)


def p_words(p: float) -> str:
    """Return a p-value for a sentence: `p = 0.123`, `p < 0.001`, or `p undefined`."""
    return f"p {'= ' if p >= 0.001 else ''}{p_text(p)}"


def counted(n: int, word: str) -> str:
    """Return `1 cell`, `2 cells`, `1,200 cells`."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def json_number(value: float) -> float | None:
    """Return a number for JSON, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def leaked_text(leaked: int, *, kept: bool) -> str:
    """Return what became of the test images that leak from training, for a column of its own; ""
    where none does.
    """
    if not leaked:
        return ""
    return f"{leaked} kept: a class is gone without" if kept else f"{leaked} left out"


def leaks_words(kept: Sequence[bool]) -> list[str]:
    """Return the same of several places, for a sentence. kept: of each place that leaks, whether
    its leaked images stay; nothing is said where there is none.
    """
    where = "kept where a class is gone without" if any(kept) else "left out"
    return [f"leaked images {where}"] if kept else []
