"""CSV files that people write: opened and read in one way, with errors that name file and line.

Separated by commas, or by tabs where the first line has tabs and no comma. UTF-8, or UTF-16 with a
byte-order mark, plain or compressed (gzip, bzip2, xz). Quotes must close; a row of empty fields, as
spreadsheets leave them, is passed over.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.data.class_words import SILENT, classes_said
from study.data.layouts.listing import in_blocks

if TYPE_CHECKING:
    from _csv import Reader

# what stands in tables for a value that is missing, and pandas reads so; in lower case
MISSING = ("nan", "none", "null", "na", "n/a", "<na>", "nat", "#n/a", "#na", "-nan", "-", "?")
_COMPRESSED: dict[bytes, Callable[[BufferedReader], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_NO_TABLE = {
    b"PK\3\4": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
}
_LONGEST = 8  # bytes by which a file is told
_PEEKED = 1000  # rows that decide which columns hold words
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


@dataclass(frozen=True, kw_only=True)
class CsvRows:
    """What stands below a header.

    path: for messages. columns: texts, stripped, by our names. names: our names -> the file's.
    line: (N,) int64, the line at which each row ends. texts: other columns of text, by the file's
    names.
    """

    path: Path
    columns: pa.Table
    names: Mapping[str, str]
    line: NDArray[np.int64]
    texts: pa.Table

    def where(self, row: int) -> str:
        """Return file and line of a row, as a message begins."""
        return f"{self.path}, line {self.line[row]}"

    def translated(self, name: str, words: Mapping[str, int | str], rule: str) -> pa.ChunkedArray:
        """Return a column with every word, in any case, as what it stands for. Raises DataError
        with `rule` for another.
        """
        values = self.columns[name]
        spellings = values.unique()
        meant = [words.get(value.lower()) for value in spellings.to_pylist()]
        if None in meant:
            wrong = spellings.filter(pa.array([word is None for word in meant]))
            row = pc.index(pc.is_in(values, value_set=wrong), True).as_py()
            raise DataError(f"{self.where(row)}: {self.names[name]} '{values[row]}' {rule}")
        return pc.take(pa.array(meant), pc.index_in(values, value_set=spellings))

    def without_missing(self, *names: str) -> tuple[Self, list[tuple[str, str]]]:
        """Return the rows with words for a missing value as empty fields in some columns, and
        (what, why) of each such word.
        """
        columns, notes = self.columns, []
        for name in names:
            if name not in self.names:
                continue
            values = columns[name]
            missing = pc.is_in(pc.utf8_lower(values), value_set=pa.array(MISSING))
            for word in values.filter(missing).unique().to_pylist():
                number = pc.sum(pc.equal(values, word)).as_py()
                what = f"{self.names[name]} '{word}' of {number:,} of {len(values):,} rows"
                notes.append((what, "a word for a missing value, read as an empty field"))
            given = pc.if_else(missing, "", values)
            columns = columns.set_column(columns.column_names.index(name), name, given)
        return replace(self, columns=columns), notes


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """An open file. path: for messages. header: fields of its first line, stripped; maybe none."""

    path: Path
    header: Sequence[str]
    reader: Reader

    @property
    def line(self) -> int:
        """The line at which the row ends that was read last."""
        return self.reader.line_num

    def place(self, name: str, header: Sequence[str] = ()) -> int | None:
        """Return where a column stands, None where there is none. Raises DataError for two of a
        name. header: in place of the file's own spelling.
        """
        names = header or self.header
        if names.count(name) > 1:
            raise DataError(f"{self.path}, line 1: the column '{name}' stands there twice")
        return names.index(name) if name in names else None

    def rows(self, last: int) -> Iterator[list[str]]:
        """Yield the rows below the header. Raises DataError for one that has no field number `last`
        (from 0).
        """
        for fields in self.reader:
            if not "".join(fields).strip():
                continue
            if len(fields) <= last:
                raise DataError(
                    f"{self.path}, line {self.line}: {len(fields)} fields, fewer than the header"
                    " asks for"
                )
            yield fields

    def read(self, places: Mapping[str, int]) -> CsvRows:
        """Read all rows, of which never more than a block are Python objects. places: our names ->
        places. Raises DataError where there is no row.
        """
        tables, texts, lines = [], [], []
        others: dict[str, int] | None = None
        for block in in_blocks((row, self.line) for row in self.rows(max(places.values()))):
            rows, line = zip(*block, strict=True)
            if others is None:
                others = self._texts(rows, places)
            tables.append(_table(rows, places))
            texts.append(_table(rows, others))
            lines.append(np.array(line, dtype=np.int64))
        if not tables:
            raise DataError(f"{self.path} lists no images: there is no line below the header")
        return CsvRows(
            path=self.path,
            columns=pa.concat_tables(tables),
            names={name: self.header[at] for name, at in places.items()},
            line=np.concatenate(lines),
            texts=pa.concat_tables(texts),
        )

    def _texts(self, rows: Sequence[list[str]], places: Mapping[str, int]) -> dict[str, int]:
        """Where other columns stand in which some text says a class (`label_str`)."""
        found = {}
        for at, name in enumerate(self.header):
            if name and at not in places.values() and self.header.count(name) == 1:
                values = {row[at].strip() for row in rows[:_PEEKED] if at < len(row)}
                if (classes_said(pa.chunked_array([[*values, ""]])) != SILENT).any():
                    found[name] = at
        return found


def _table(rows: Sequence[list[str]], places: Mapping[str, int]) -> pa.Table:
    """Columns at their places, stripped; a row that is too short has an empty field."""
    return pa.table(
        {
            name: pa.array([row[at].strip() if at < len(row) else "" for row in rows], pa.string())
            for name, at in places.items()
        }
    )


@contextmanager
def open_csv(path: Path) -> Iterator[CsvFile]:
    """Open a CSV file and read its header. Raises DataError for what is no readable table."""
    reader = None
    try:
        with path.open("rb") as raw, _text(path, raw) as file:
            first = file.readline()
            reader = csv.reader(
                chain([first] if first else [], file),
                delimiter=_delimiter(path, first),
                strict=True,
            )
            header = [field.strip() for field in next(reader, [])]
            yield CsvFile(path=path, header=header, reader=reader)
    except _DAMAGED as error:
        raise DataError(f"{path} is compressed, and damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num if reader else 1}: {error}") from None


def _text(path: Path, raw: BufferedReader) -> TextIOWrapper:
    """The text of a file, unpacked. Raises DataError for what is no text."""
    file: BufferedReader = raw
    for magic, opened in _COMPRESSED.items():
        if raw.peek(_LONGEST)[:_LONGEST].startswith(magic):
            file = BufferedReader(opened(raw))
    head = file.peek(_LONGEST)[:_LONGEST]
    for magic, what in _NO_TABLE.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}, and no CSV file; save the table as CSV")
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return TextIOWrapper(file, encoding="utf-16" if wide else "utf-8-sig", newline="")


def _delimiter(path: Path, first: str) -> str:
    """Return what separates fields, by the first line. Raises DataError for another than a comma or
    a tab.
    """
    if "," in first:
        return ","
    other = next((mark for mark in ";|" if mark in first), None)
    if other and "\t" not in first:
        raise DataError(
            f"{path}, line 1: the file is separated by '{other}' ({first.strip()}); it must be by"
            " ',': save it as such"
        )
    return "\t" if "\t" in first else ","
