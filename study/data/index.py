"""What the bytes of a dataset's files are: hashed and decoded once, in parallel, and remembered.

Floor 1. `<cache>/index/*.parquet`, one file a dataset folder, one row an image or a video's frame: SHA-256 of the bytes, digest of
the decoded pixels, or why they cannot be decoded. A row holds as long as path, size and time of last change do; a second start
hashes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.data.decode import DECODE_VERSION, UndecodableError, decode_image, pixel_digest, read_bytes
from study.data.names import file_name
from study.data.parallel import CHUNK, ordered_map
from study.data.videos import Run, decode_frames, frame_sha256, runs
from study.errors import StoreError
from study.identity import digest, file_sha256, whole_file

INDEX_SCHEMA_NUMBER = 1
INDEX_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        ("pixels", pa.string()),
        ("problem", pa.string()),
    ]
)

Progress = Callable[[str, int, int], None]  # (what is being done, how many are done, of how many)


def quiet(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@contextmanager
def cache_writes(cache: Path) -> Iterator[None]:
    """Turn a failed write below the cache folder into a one-line StoreError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(
            f"the cache folder '{cache}' cannot be written: {reason}; name another results folder with --results"
        ) from None


class FileIndex:
    """The index of one dataset folder."""

    def __init__(self, *, cache: Path, root: Path, name: str, progress: Progress = quiet) -> None:
        self.root, self.name, self.progress = root, name, progress
        self.cache = cache
        key = digest("index", INDEX_SCHEMA_NUMBER, DECODE_VERSION, os.path.realpath(root))
        self.path = cache / "index" / f"{file_name(name)}-{key}.parquet"
        self.videos = self.path.with_suffix(".videos.parquet")

    def fingerprint(self, listed: pa.Table) -> pa.Table:
        """Return columns sha256, pixels and problem for listed images (columns path, size, mtime_ns, problem), in their order.

        sha256 is "" for an image that is listed with a problem or cannot be read, pixels is "" for one that cannot be decoded
        either; both then have a problem. Raises StoreError where the cache cannot be written.
        """
        known = self._read()
        place = pc.index_in(_row_key(listed), value_set=_row_key(known))
        found = {name: np.array(known[name].take(place).to_pylist(), dtype=object) for name in ("sha256", "pixels", "problem")}
        usable = np.array(pc.equal(listed["problem"], ""))
        todo = np.flatnonzero(usable & np.array(pc.is_null(place)))
        done = 0
        try:
            paths = [f"{self.root}/{path}" for path in listed["path"].take(todo).to_pylist()]
            for row, result in zip(todo, _fingerprints(paths), strict=True):
                found["sha256"][row], found["pixels"][row], found["problem"][row] = result
                done += 1
                if done % 256 == 0 or done == len(todo):
                    self.progress(f"indexing {self.name}", done, len(todo))
        finally:  # an interrupted run keeps what it has hashed
            if done:
                self._remember(known, listed.take(todo[:done]), {name: column[todo[:done]] for name, column in found.items()})
        for column in found.values():
            column[~usable] = ""
        found["problem"] = np.where(usable, found["problem"], np.array(listed["problem"].to_pylist(), dtype=object))
        return pa.table({name: pa.array(column, pa.string()) for name, column in found.items()})

    def _read(self) -> pa.Table:
        try:
            return pq.read_table(self.path, schema=INDEX_SCHEMA)
        except (OSError, pa.ArrowException):  # absent, or not an index: both mean that nothing is known
            return INDEX_SCHEMA.empty_table()

    def _remember(self, known: pa.Table, listed: pa.Table, found: dict[str, NDArray[Any]]) -> None:
        columns = {name: listed[name] for name in ("path", "size", "mtime_ns")}
        fresh = pa.table(
            {**columns, **{name: pa.array(column, pa.string()) for name, column in found.items()}}, schema=INDEX_SCHEMA
        )
        fresh = fresh.filter(pc.not_equal(fresh["sha256"], ""))  # what could not be read may be readable next time
        kept = known.filter(pc.invert(pc.is_in(known["path"], value_set=fresh["path"].combine_chunks())))
        with cache_writes(self.cache), whole_file(self.path) as temporary:
            pq.write_table(pa.concat_tables([kept, fresh]), temporary)


def _row_key(table: pa.Table) -> pa.Array:
    numbers = [pc.cast(table[name], pa.string()) for name in ("size", "mtime_ns")]
    return pc.binary_join_element_wise(table["path"], *numbers, "\0").combine_chunks()


def _fingerprints(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """The fingerprints of images and of videos' frames, in their order; each video is decoded once."""
    files = list(runs(paths))
    each = ordered_map(_of_run, files, at_once=1 if any(file.frames for file in files) else CHUNK)
    return chain.from_iterable(each)


def _of_run(file: Run) -> list[tuple[str, str, str]]:
    if not file.frames:
        return [_fingerprint(file.path)]
    try:
        video = file_sha256(Path(file.path))
    except OSError as error:
        return [("", "", f"cannot be read: {error.strerror or type(error).__name__}")] * len(file.frames)
    found = []
    for number, pixels in zip(file.frames, decode_frames(Path(file.path), file.frames), strict=True):
        sha256 = frame_sha256(video, number)
        found.append((sha256, "", pixels) if isinstance(pixels, str) else (sha256, pixel_digest(pixels), ""))
    return found


def _fingerprint(path: str) -> tuple[str, str, str]:
    """(SHA-256 of the bytes, digest of the pixels, problem) of a file."""
    try:
        data = read_bytes(Path(path))
    except UndecodableError as error:
        return "", "", str(error)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        return sha256, pixel_digest(decode_image(data)), ""
    except UndecodableError as error:
        return sha256, "", str(error)
