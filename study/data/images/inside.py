"""Images inside other files: a row of a Parquet table, or a member of a WebDataset shard (.tar).

Never written to disk. The path of such an image names its file and its place there:

    data/train-00000-of-00003.parquet#image=000000012     column `image`, row 12, counted from 0
    shards/0000.tar#member=0001/a.jpg

Both are read from their start to their end, a few megabytes at a time, by whoever asks for the next
image. To go back costs a stretch (of a table, from the beginning of the row group).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.core.errors import DataError

TABLE, SHARD = ".parquet", ".tar"
BUFFER = 2**20  # bytes read of a file at a time
STRETCH = 2**22  # bytes of a table in memory at a time
MOST_ROWS = 1024
OPEN = 4  # files kept open
GET_AGAIN = "it is damaged or cut off; get the file again"

_ROW = re.compile(rf"(?P<file>.+\{TABLE})#(?P<place>[^#=/]+=\d{{9,}})", re.IGNORECASE)
_MEMBER = re.compile(rf"(?P<file>.+?\{SHARD})#(?P<place>member=.+)", re.IGNORECASE)


class _Reader(Protocol):
    state: tuple[int, int, int]

    def read(self, place: str) -> bytes: ...
    def close(self) -> None: ...


def row_path(file: str, column: str, row: int) -> str:
    """Return the path of the image in a row of a table."""
    return f"{file}#{column}={row:09d}"


def member_path(file: str, member: str) -> str:
    """Return the path of the image that is a member of a shard."""
    return f"{file}#member={plain(member)}"


def plain(member: str) -> str:
    """Return the one spelling of a member's name, which any text file can hold."""
    text = member.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return posixpath.normpath(text).lstrip("/")


def split_inside(path: str) -> tuple[str, str] | None:
    """Return the file and the place in it of an image's path, None for an image of its own."""
    if "#" not in path:
        return None
    match = _ROW.fullmatch(path) or _MEMBER.fullmatch(path)
    return (match["file"], match["place"]) if match else None


def file_of(path: str) -> str:
    """Return the file that an image is or lies in."""
    return (split_inside(path) or (path, ""))[0]


def read_whole(path: str) -> bytes:
    """Return the bytes of an image, wherever it lies. Raises OSError as of a file, DataError for a
    table or shard that is damaged.
    """
    inside = split_inside(path)
    return _read(*inside) if inside else Path(path).read_bytes()


_open: OrderedDict[str, _Reader] = OrderedDict()
_lock = Lock()


def _read(file: str, place: str) -> bytes:
    with _lock:
        status = os.stat(file)  # noqa: PTH116 - a string
        state = (status.st_ino, status.st_size, status.st_ctime_ns)
        reader = _open.pop(file, None)
        if reader is None or reader.state != state:
            kind = _Table if file.lower().endswith(TABLE) else _Shard
            reader = cast(_Reader, kind(file, state))
        _open[file] = reader
        while len(_open) > OPEN:
            _open.popitem(last=False)[1].close()
        return reader.read(place)


class _Table:
    """A Parquet file of which a stretch of rows is in memory."""

    def __init__(self, file: str, state: tuple[int, int, int]) -> None:
        self.file, self.state = file, state
        self.parquet = open_table(file)
        metadata = self.parquet.metadata
        rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self.column = ""
        self._drop()

    def _drop(self) -> None:
        self.stretch: pa.Array = pa.nulls(0)
        self.first, self.batches = -1, cast("Iterator[pa.RecordBatch]", iter(()))

    def read(self, place: str) -> bytes:
        column, _, text = place.partition("=")
        row = int(text)
        if row >= self.starts[-1]:
            raise FileNotFoundError(f"row {row} is beyond the last of '{self.file}'")
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        try:
            self._go_to(column, group, row)
        except (pa.ArrowException, OSError) as error:
            self._drop()
            raise damaged(self.file, error, column=column, group=group) from None
        value = self.stretch[row - self.first].as_py()
        if isinstance(value, dict):
            value = value.get("bytes")
        return b"" if value is None else bytes(value)

    def _go_to(self, column: str, group: int, row: int) -> None:
        """Read on until the row is in memory, from the start of its group where it lies behind."""
        start = int(self.starts[group])
        if column != self.column or not start <= self.first <= row:
            self._drop()
            self.column, self.first = column, start
            self.batches = self._stretches(column, group)
        while row >= self.first + len(self.stretch):
            self.first += len(self.stretch)
            self.stretch = next(self.batches).column(0)

    def _stretches(self, column: str, group: int) -> Iterator[pa.RecordBatch]:
        metadata = self.parquet.metadata.row_group(group)
        leaves = [metadata.column(number) for number in range(metadata.num_columns)]
        names = [leaf.path_in_schema for leaf in leaves]
        wanted = f"{column}.bytes" if f"{column}.bytes" in names else column
        if wanted not in names:
            raise pa.ArrowInvalid(f"it has no column '{column}'")
        size = leaves[names.index(wanted)].total_uncompressed_size
        rows = min(max(int(STRETCH * metadata.num_rows / max(size, 1)), 1), MOST_ROWS)
        return cast(
            "Iterator[pa.RecordBatch]",
            self.parquet.iter_batches(
                batch_size=rows, row_groups=[group], columns=[wanted], use_threads=False
            ),
        )

    def close(self) -> None:
        self._drop()
        self.parquet.close()


def open_table(file: str) -> pq.ParquetFile:
    """Open a Parquet file, to be read a stretch at a time. Raises DataError where it is none."""
    try:
        return pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from None


def damaged(file: str, error: Exception, *, column: str = "", group: int = -1) -> DataError:
    """Return the error for a table that cannot be read, at a column and row group where it is known
    which.
    """
    where = f", row group {group}, column '{column}'" if group >= 0 else ""
    text = " ".join(str(error).split())[:160]
    return DataError(f"'{file}'{where} cannot be read as Parquet ({text}): {GET_AGAIN}")


class _Shard:
    """A tar file, whose members are found by a hash of their names."""

    def __init__(self, file: str, state: tuple[int, int, int]) -> None:
        self.file, self.state = file, state
        self.table = _member_table(file, state)
        self.raw = Path(file).open("rb")  # noqa: SIM115 - closed with the reader

    def read(self, place: str) -> bytes:
        wanted = _hash(place.partition("=")[2])
        at = int(np.searchsorted(self.table["hash"], wanted))
        if at == len(self.table) or self.table["hash"][at] != wanted:
            raise FileNotFoundError(f"'{self.file}' has no such member")
        size = int(self.table["size"][at])
        data = os.pread(self.raw.fileno(), size, int(self.table["start"][at]))
        if len(data) != size:
            raise DataError(f"'{self.file}' ends in the middle: {GET_AGAIN}")
        return data

    def close(self) -> None:
        self.raw.close()


@lru_cache(maxsize=64)
def _member_table(file: str, state: tuple[int, int, int]) -> NDArray[np.void]:
    """Where the members of a shard are, sorted by the hash of their names; kept, as an index and a
    pack for each split read the shard anew. state: of the file, which may change.
    """
    members = [(_hash(name), start, size) for name, start, size in members_of(file)]
    table = np.array(members, dtype=[("hash", "u8"), ("start", "i8"), ("size", "i8")])
    return np.sort(table, order=["hash", "start"], kind="stable")


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def members_of(file: str) -> Iterator[tuple[str, int, int]]:
    """Yield name, place and bytes of every file in a shard. Raises DataError for a damaged one."""
    size = os.stat(file).st_size  # noqa: PTH116 - a string
    try:
        with tarfile.open(file, "r:", errorlevel=2) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]
                if member.isfile() and member.offset_data + member.size > size:
                    raise tarfile.ReadError("it ends in the middle of a member")
                if member.isfile():
                    yield plain(member.name), member.offset_data, member.size
            if tar.offset + tarfile.BLOCKSIZE > size:
                raise tarfile.ReadError("it has no end")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read as a tar file ({error}): {GET_AGAIN}") from None
