"""matrix.csv, the long form of the matrix: one line a number, readable by anything that reads CSV.

Floats are written so that they come back bit for bit; NaN is an empty field. Every line
carries the schema number, so that a file of another version is refused by name and never misread.

| column | meaning |
|---|---|
| schema | 1 |
| detector, train_on, test_on, degradation, level, seed | which cell, see `records.MatrixRow` |
| metric, threshold | what is measured; `threshold` is empty for a metric that needs none |
| value, low, high, sd | the number, its 95 % interval, its standard deviation over seeds |
| n_real, n_fake, seeds, coverage | what it rests on |
| state, reason | of the cell, and why it has that state |
| undefined, note | why the value is undefined; a flag that does not make it so |
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, cast, get_args

from study.core.errors import StoreError
from study.core.identity import whole_file
from study.core.records import NO_DEGRADATION, CellState, Estimate, MatrixRow

SCHEMA = 1
COLUMNS = (
    *(
        "schema",
        "detector",
        "train_on",
        "test_on",
        "degradation",
        "level",
        "seed",
        "metric",
        "threshold",
    ),
    *(
        "value",
        "low",
        "high",
        "sd",
        "n_real",
        "n_fake",
        "seeds",
        "coverage",
        "state",
        "reason",
        "undefined",
        "note",
    ),
)


def write_matrix(rows: Sequence[MatrixRow], path: Path) -> None:
    """Write the rows in the order given; the file appears whole or not at all. Raises StoreError
    where it cannot be written.
    """
    try:
        with (
            whole_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            file.writelines(
                ",".join(map(_quoted, fields)) + "\n" for fields in (COLUMNS, *map(_fields, rows))
            )
    except OSError as error:
        raise StoreError(
            f"cannot write '{path}': {error.strerror or error}; choose another --results folder"
        ) from error


def read_matrix(path: Path) -> list[MatrixRow]:
    """Return the rows that `write_matrix` wrote; a file whose name ends in .gz may be packed by
    gzip.

    Raises StoreError, naming the file, where it is missing, has another schema or other columns, or
    a field that cannot be read.
    """
    try:
        with _opened(path) as file:
            lines = csv.reader(file)
            _check_header(path, next(lines, []))
            return [_row(path, number, fields) for number, fields in enumerate(lines, start=2)]
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error, EOFError) as error:
        raise StoreError(f"'{path}' is not a matrix.csv: {error}") from error


def degradations_in(path: Path) -> list[str]:
    """Return the degradations of a matrix.csv in its order; none where there is no file, or one
    that cannot be read.
    """
    try:
        with _opened(path) as file:
            found = dict.fromkeys(
                line.get("degradation") or NO_DEGRADATION for line in csv.DictReader(file)
            )
    except (OSError, UnicodeDecodeError, csv.Error):
        return []  # it is about to be written anew
    return [name for name in found if name != NO_DEGRADATION]


def _opened(path: Path) -> TextIO:
    packed = path.suffix == ".gz"
    return (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if packed
        else path.open(encoding="utf-8", newline="")
    )


def _fields(row: MatrixRow) -> list[str]:
    e = row.estimate
    where = [
        row.detector,
        row.train_on,
        row.test_on,
        row.degradation,
        row.level,
        row.seed,
        row.metric,
        row.threshold,
    ]
    numbers = [
        _text(e.value),
        _text(e.low),
        _text(e.high),
        _text(e.sd),
        str(e.n_real),
        str(e.n_fake),
        str(e.seeds),
    ]
    return [
        str(SCHEMA),
        *where,
        *numbers,
        _text(row.coverage),
        row.state,
        row.reason,
        e.reason,
        e.note,
    ]


def _quoted(text: str) -> str:
    # Not csv.writer: with lines that end in a newline it leaves a carriage return bare, and the
    # reader then ends the row there.
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _text(number: float) -> str:
    return "" if math.isnan(number) else repr(float(number))


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _refused(path: Path, why: str) -> StoreError:
    return StoreError(
        f"'{path}' is not a matrix.csv of schema {SCHEMA}: {why}; run cross_eval again to write it"
        " anew"
    )


def _check_header(path: Path, header: Sequence[str]) -> None:
    if tuple(header) != COLUMNS:
        raise _refused(
            path,
            "its columns differ in"
            f" {', '.join(sorted(set(header) ^ set(COLUMNS))) or 'their order'}",
        )


def _row(path: Path, number: int, fields: Sequence[str]) -> MatrixRow:
    if fields[:1] != [str(SCHEMA)]:
        raise _refused(path, f"row {number} has schema '{fields[0] if fields else ''}'")
    try:
        field = dict(zip(COLUMNS, fields, strict=True))
        return MatrixRow(
            **{name: field[name] for name in COLUMNS[1:9]},
            estimate=_estimate(field),
            coverage=_number(field["coverage"]),
            state=_state(field["state"]),
            reason=field["reason"],
        )
    except ValueError as error:
        raise _refused(path, f"row {number}: {error}") from error


def _estimate(field: Mapping[str, str]) -> Estimate:
    return Estimate(
        value=_number(field["value"]),
        low=_number(field["low"]),
        high=_number(field["high"]),
        n_real=int(field["n_real"]),
        n_fake=int(field["n_fake"]),
        seeds=int(field["seeds"]),
        sd=_number(field["sd"]),
        reason=field["undefined"],
        note=field["note"],
    )


def _state(text: str) -> CellState:
    if text not in get_args(CellState):
        raise ValueError(f"unknown state '{text}'")
    return cast(CellState, text)


def has_number(row: MatrixRow | None) -> bool:
    """Say whether a cell's row holds a defined value."""
    return row is not None and row.state == "done" and math.isfinite(row.estimate.value)
