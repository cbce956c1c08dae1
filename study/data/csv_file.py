"""CSV files that people write: opened and read in one way, with errors that name file and line.

UTF-8 with or without a byte-order mark; quotes must close; a row of empty fields, as
spreadsheets leave them, is passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.core.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """An open file. path: for messages. header: the fields of its first line, stripped; none for an
    empty file.
    """

    path: Path
    header: Sequence[str]
    reader: Reader

    @property
    def line(self) -> int:
        """The line at which the row ends that was read last."""
        return self.reader.line_num

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


@contextmanager
def open_csv(path: Path) -> Iterator[CsvFile]:
    """Open a CSV file and read its header. Raises DataError where the file cannot be read, is no
    UTF-8 or no CSV.
    """
    reader = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            yield CsvFile(
                path=path, header=[field.strip() for field in next(reader, [])], reader=reader
            )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num if reader else 1}: {error}") from None
