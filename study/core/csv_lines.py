"""CSV as results are written: floats come back bit for bit, and NaN is an empty field. No text is a
formula to a spreadsheet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# A spreadsheet runs what begins so, as a file's name may (owasp.org, "CSV Injection").
# Apostrophes before it count too, so that what is written reads back as it was.
FORMULA = re.compile(r"'*(?:[=@\t\r]|[+-](?![\d.]*$))")


def csv_line(values: Iterable[object]) -> str:
    """Return one line, with the newline that ends it. Truth values are `true` and `false`. A text
    that a spreadsheet would take for a formula begins with an apostrophe.
    """
    # Not csv.writer: with lines that end in a newline it leaves a carriage return bare, and the
    # reader then ends the row there.
    return ",".join(_quoted(_text(value)) for value in values) + "\n"


def read_text(field: str) -> str:
    """Return the text that `csv_line` wrote as this field."""
    return field[1:] if field.startswith("'") and FORMULA.match(field[1:]) else field


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and FORMULA.match(text) else text


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text
