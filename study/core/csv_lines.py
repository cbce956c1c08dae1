"""CSV as results are written: floats come back bit for bit, and NaN is an empty field."""

from __future__ import annotations

import math
from collections.abc import Iterable


def csv_line(values: Iterable[object]) -> str:
    """Return one line, with the newline that ends it. Truth values are `true` and `false`."""
    # Not csv.writer: with lines that end in a newline it leaves a carriage return bare, and the
    # reader then ends the row there.
    return ",".join(_quoted(_text(value)) for value in values) + "\n"


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text
