"""CSV files that people write: opened and read in one way, with errors that name file and line.

UTF-8 with or without a byte-order mark; quotes must close; a row of empty fields, as spreadsheets
leave them, is passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.data.layouts.listing import in_blocks

if TYPE_CHECKING:
    from _csv import Reader


@dataclass(frozen=True, kw_only=True)
class CsvRows:
    """What stands below a header.

    path: for messages. columns: texts, stripped, by our names. names: our names -> the file's.
    line: (N,) int64, the line at which each row ends.
    """

    path: Path
    columns: pa.Table
    names: Mapping[str, str]
    line: NDArray[np.int64]

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
        tables, lines = [], []
        for block in in_blocks((row, self.line) for row in self.rows(max(places.values()))):
            rows, line = zip(*block, strict=True)
            texts = {name: [row[at].strip() for row in rows] for name, at in places.items()}
            tables.append(pa.table(texts, schema=pa.schema(dict.fromkeys(texts, pa.string()))))
            lines.append(np.array(line, dtype=np.int64))
        if not tables:
            raise DataError(f"{self.path} lists no images: there is no line below the header")
        return CsvRows(
            path=self.path,
            columns=pa.concat_tables(tables),
            names={name: self.header[at] for name, at in places.items()},
            line=np.concatenate(lines),
        )


@contextmanager
def open_csv(path: Path) -> Iterator[CsvFile]:
    """Open a CSV file and read its header. Raises DataError for what is no readable UTF-8 CSV."""
    reader = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [field.strip() for field in next(reader, [])]
            yield CsvFile(path=path, header=header, reader=reader)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num if reader else 1}: {error}") from None
