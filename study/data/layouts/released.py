"""When the methods of a dataset's fakes were published, as rows say it: 2024, 2024-08, 2024-08-01.

A date may be less than a day. What is known of it is the first and the last day that it can be.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

DATE = re.compile(r"((?:19|20)\d\d(?:-\d\d){0,2})(?![\d-])")


def first_dates(method: pa.ChunkedArray, label: pa.ChunkedArray, date: pa.Array) -> dict[str, str]:
    """Return the first date of every method of fakes, as far as the rows have one."""
    table = pa.table({"method": method, "date": date})
    table = table.filter(pc.equal(label, 1)).group_by(["method", "date"]).aggregate([])
    found: dict[str, str] = {}
    for name, text in zip(table["method"].to_pylist(), table["date"].to_pylist(), strict=True):
        if known := DATE.match(text):
            found[name] = min(known[1], found.get(name, known[1]))
    return dict(sorted(found.items()))


def first_day(date: str) -> str:
    """Return the first day that a date can be: 2024-08-01 of 2024-08."""
    return date + "-01-01"[len(date) - 4 :]


def last_day(date: str) -> str:
    """Return a day that no day of a date lies after: 2024-12-31 of 2024."""
    return date + "-12-31"[len(date) - 4 :]
