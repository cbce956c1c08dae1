"""matrix.csv, datasets.csv, pairs.csv and flags.csv: the results as files that anything reads
that reads CSV.

matrix.csv has one line a number, datasets.csv one a test set, pairs.csv one a training set and a
test set, flags.csv one a flag of a pairing. Floats are written so that they come back bit for bit;
NaN is an empty field. Every line carries the schema number, so that a file of another version is
refused by name and never misread.

| column of matrix.csv | meaning |
|---|---|
| schema | 2 |
| detector, train_on, test_on, role, degradation | which cell, and what kind of detector |
| level, subset, leak_free | which of the cell's images, see `results.ResultRow` |
| domain | `in`, `cross`, `neither`, `unknown` |
| seed | `0`, `1`, ... or `mean` |
| metric, threshold | what is measured; `threshold` is empty for a metric that needs none |
| value, low, high, sd | the number, its 95 % interval, its standard deviation over seeds |
| n_real, n_fake, seeds, coverage | what it rests on |
| state, reason | of the cell, and why it has that state |
| repeat | `fold 0`, ... or `search 0`, ... and `mean` over them, where a study is repeated |
| undefined, note | why the value is undefined; a flag that does not make it so |

The columns of the others are the fields of `results.DatasetRow`, `results.PairRow` and
`results.Flag`. Results that were written before there were flags have no flags.csv, and
files of earlier versions lack columns that have come since: these have the fields' defaults.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TextIO, TypeVar, get_args, get_type_hints

from study.analysis.results import COLUMNS, DatasetRow, Flag, PairRow, ResultRow, Results, flat
from study.core.csv_lines import csv_line, read_text
from study.core.errors import StoreError
from study.core.identity import whole_file
from study.core.records import NO_DEGRADATION, Estimate

T = TypeVar("T", DatasetRow, PairRow, Flag)
SCHEMA = 2
LATER = ("repeat",)  # columns of matrix.csv that files of earlier versions lack
MATRIX, DATASETS, PAIRS, FLAGS = "matrix.csv", "datasets.csv", "pairs.csv", "flags.csv"


def write_results(results: Results, folder: Path) -> list[Path]:
    """Write the four files into a folder, rows in their order; return them. Each appears whole or
    not at all. Raises StoreError where one cannot be written.
    """
    files = [folder / name for name in (MATRIX, DATASETS, PAIRS, FLAGS)]
    write_matrix(results.every_row, files[0])
    _write(files[1], _kinds(DatasetRow), map(vars, results.datasets))
    _write(files[2], _kinds(PairRow), map(vars, results.pairs))
    _write(files[3], _kinds(Flag), map(vars, results.flags))
    return files


def read_results(folder: Path) -> Results:
    """Return what `write_results` wrote into a folder; matrix.csv may be packed, with .gz at the
    end of its name. Raises StoreError as `read_matrix` does.
    """
    packed = folder / f"{MATRIX}.gz"
    matrix = packed if packed.is_file() else folder / MATRIX
    rows = read_matrix(matrix)
    return Results(
        rows=tuple(row for row in rows if not row.is_single),
        repeats=tuple(row for row in rows if row.is_single),
        datasets=_records(folder / DATASETS, DatasetRow),
        pairs=_records(folder / PAIRS, PairRow),
        flags=_records(folder / FLAGS, Flag) if (folder / FLAGS).exists() else (),
    )


def _records(path: Path, record: type[T]) -> tuple[T, ...]:
    """The rows of a file. Fields with a default are columns that earlier versions lacked."""
    later = [one.name for one in fields(record) if one.default is not MISSING]
    return tuple(record(**row) for row in _read(path, _kinds(record), later))


def write_matrix(rows: Iterable[ResultRow], path: Path) -> None:
    """Write matrix.csv, rows in the order given; the file appears whole or not at all. Raises
    StoreError where it cannot be written.
    """
    _write(path, _MATRIX_KINDS, map(flat, rows))


def read_matrix(path: Path) -> list[ResultRow]:
    """Return the rows that `write_matrix` wrote; a file whose name ends in .gz may be packed by
    gzip.

    Raises StoreError, naming the file, where it is missing, has another schema or other columns, or
    a field that cannot be read.
    """
    return [_result_row(row) for row in _read(path, _MATRIX_KINDS, LATER)]


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


def _kinds(*records: type[Any]) -> dict[str, Any]:
    """Column -> the type of its values, of the fields of some records."""
    return {
        field.name: get_type_hints(record)[field.name]
        for record in records
        for field in fields(record)
    }


_MATRIX_KINDS = {name: {**_kinds(ResultRow, Estimate), "undefined": str}[name] for name in COLUMNS}


def _result_row(row: Mapping[str, Any]) -> ResultRow:
    number = {field.name: row[field.name] for field in fields(Estimate) if field.name != "reason"}
    own = {name: row[name] for name in (field.name for field in fields(ResultRow)) if name in row}
    return ResultRow(estimate=Estimate(**number, reason=row["undefined"]), **own)


def _write(path: Path, kinds: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    try:
        with (
            whole_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            file.write(csv_line(("schema", *kinds)))
            for row in rows:
                values = (float(row[n]) if kind is float else row[n] for n, kind in kinds.items())
                file.write(csv_line((SCHEMA, *values)))
    except OSError as error:
        raise StoreError(
            f"cannot write '{path}': {error.strerror or error}; choose another --results folder"
        ) from error


def _read(
    path: Path, kinds: Mapping[str, Any], later: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a file. later: columns that files of earlier versions lack."""
    try:
        with _opened(path) as file:
            lines = (list(map(read_text, line)) for line in csv.reader(file))
            header = next(lines, [])
            held = {
                name: kind for name, kind in kinds.items() if name in header or name not in later
            }
            _check_header(path, header, ("schema", *held))
            parsers = {name: _parser(name, kind) for name, kind in held.items()}
            return [_row(path, number, line, parsers) for number, line in enumerate(lines, start=2)]
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error, EOFError) as error:
        raise StoreError(f"'{path}' is not a {_name(path)}: {error}") from error


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _refused(path: Path, why: str) -> StoreError:
    return StoreError(
        f"'{path}' is not a {_name(path)} of schema {SCHEMA}: {why}; run cross_eval again to write"
        " it anew"
    )


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    if tuple(header) != tuple(columns):
        differ = ", ".join(sorted({*header} ^ {*columns})) or "their order"
        raise _refused(path, f"its columns differ in {differ}")


def _row(
    path: Path, number: int, line: Sequence[str], parsers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    if line[:1] != [str(SCHEMA)]:
        raise _refused(path, f"row {number} has schema '{line[0] if line else ''}'")
    try:
        return {
            name: parsed(text)
            for (name, parsed), text in zip(parsers.items(), line[1:], strict=True)
        }
    except ValueError as error:
        raise _refused(path, f"row {number}: {error}") from error


def _parser(name: str, kind: Any) -> Callable[[str], Any]:
    """What makes a value of a column from its text. It raises ValueError."""
    if kind is float:
        return lambda text: float(text) if text else math.nan
    if kind in (str, int):
        parse: Callable[[str], Any] = kind
        return parse
    words = {"true": True, "false": False} if kind is bool else {w: w for w in get_args(kind)}

    def one_of(text: str) -> Any:
        if text not in words:
            raise ValueError(f"unknown {name} '{text}'")
        return words[text]

    return one_of
