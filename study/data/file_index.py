"""What the bytes of a dataset's files are: hashed and decoded once, in parallel, and remembered.

`<cache>/index/*.parquet`, one file a dataset folder, one row an image or a video's frame:
SHA-256 of the bytes, digest of the decoded pixels, or why they cannot be decoded. A row holds as
long as path, size and time of last change do; a second start hashes nothing. A disk that does not
answer stops the command: without the image the data would be others. What does not fit into memory
is left out, has no SHA-256 either, and is not remembered. While images are hashed the rows come in
files of their own, so that a killed run loses few.
"""

from __future__ import annotations

import glob
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.core.errors import StoreError
from study.core.identity import digest, file_sha256, whole_file
from study.data.images.decode import (
    DECODE_VERSION,
    UndecodableError,
    UnreadableError,
    decode_image,
    pixel_digest,
    read_bytes,
    refuse_passing,
)
from study.data.images.videos import Run, decode_frames, frame_sha256, map_files
from study.data.names import file_name

INDEX_SCHEMA_NUMBER = 2
PART = 1 << 14  # images whose hashes a killed run may lose at most
PART_SUFFIX = ".part"
FOUND = ("sha256", "pixels", "problem")
INDEX_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("changed_ns", pa.int64()),
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
            f"the cache folder '{cache}' cannot be written: {reason}; name another results folder"
            " with --results"
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
        """Return columns sha256, pixels and problem for listed images (columns path, size,
        changed_ns, problem), in their order.

        sha256 is "" for an image that is listed with a problem or cannot be read, pixels is "" for
        one that cannot be decoded either; both then have a problem. Raises StoreError where the
        cache cannot be written, DataError where a disk does not answer.
        """
        known, parts = self._read()
        usable = pc.equal(listed["problem"], "")
        place = pc.index_in(_row_key(listed), value_set=_row_key(known))
        todo = np.flatnonzero(np.asarray(usable) & np.asarray(pc.is_null(place)))
        fresh = self._hash(listed.take(todo), parts)
        if parts:
            self._join(known, fresh, parts)
        rows = np.array(pc.fill_null(place, 0), dtype=np.int64)
        rows[todo] = known.num_rows + np.arange(len(todo))
        found = (
            pa.concat_tables([known, fresh])
            .select(FOUND)
            .take(pa.array(rows, mask=~np.asarray(usable)))
        )
        columns = {name: pc.fill_null(found[name], "") for name in FOUND}
        return pa.table(
            {**columns, "problem": pc.if_else(usable, columns["problem"], listed["problem"])}
        )

    def _hash(self, listed: pa.Table, parts: list[Path]) -> pa.Table:
        """Return the index's rows of images, in their order. Every `PART` of them are on disk
        before the next are begun.
        """
        tables = [INDEX_SCHEMA.empty_table()]
        for start in range(0, listed.num_rows, PART):
            block = listed.slice(start, PART)
            results: list[tuple[str, str, str]] = []
            try:
                for result in _fingerprints(
                    [f"{self.root}/{path}" for path in block["path"].to_pylist()]
                ):
                    results.append(result)
                    done = start + len(results)
                    if done % 256 == 0 or done == listed.num_rows:
                        self.progress(f"indexing {self.name}", done, listed.num_rows)
            finally:  # an interrupted run keeps what it has hashed
                if results:
                    tables.append(_rows(block.slice(0, len(results)), results))
                    self._remember(tables[-1], parts)
        return pa.concat_tables(tables)

    def _read(self) -> tuple[pa.Table, list[Path]]:
        """Return what is known, and the files of runs that did not end."""
        parts = sorted(self.path.parent.glob(f"{glob.escape(self.path.stem)}.*{PART_SUFFIX}"))
        newer = pa.concat_tables([INDEX_SCHEMA.empty_table(), *map(_read_rows, parts)])
        return pa.concat_tables([_without(_read_rows(self.path), newer), newer]), parts

    def _remember(self, rows: pa.Table, parts: list[Path]) -> None:
        parts.append(self.path.with_suffix(f".{uuid.uuid4().hex[:12]}{PART_SUFFIX}"))
        with cache_writes(self.cache), whole_file(parts[-1]) as temporary:
            pq.write_table(_readable(rows), temporary)

    def _join(self, known: pa.Table, fresh: pa.Table, parts: list[Path]) -> None:
        """Make one file of the index again. Killed before the parts are gone, these say once more
        what it holds.
        """
        with cache_writes(self.cache):
            with whole_file(self.path) as temporary:
                pq.write_table(
                    pa.concat_tables([_without(known, fresh), _readable(fresh)]), temporary
                )
            for part in parts:
                part.unlink(missing_ok=True)


def _read_rows(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=INDEX_SCHEMA)
    except (OSError, pa.ArrowException):  # absent, or not an index: both mean that nothing is known
        return INDEX_SCHEMA.empty_table()


def _rows(listed: pa.Table, results: Sequence[tuple[str, str, str]]) -> pa.Table:
    columns = {name: listed[name] for name in ("path", "size", "changed_ns")}
    found = {
        name: pa.array(values, pa.string())
        for name, values in zip(FOUND, zip(*results, strict=True), strict=True)
    }
    return pa.table({**columns, **found}, schema=INDEX_SCHEMA)


def _readable(rows: pa.Table) -> pa.Table:
    """What is worth remembering: what could not be read may be readable next time."""
    return rows.filter(pc.not_equal(rows["sha256"], ""))


def _without(known: pa.Table, newer: pa.Table) -> pa.Table:
    """Drop the rows of which there are newer ones."""
    return known.filter(pc.invert(pc.is_in(known["path"], value_set=newer["path"])))


def _row_key(table: pa.Table) -> pa.Array:
    numbers = [pc.cast(table[name], pa.large_string()) for name in ("size", "changed_ns")]
    return pc.binary_join_element_wise(
        pc.cast(table["path"], pa.large_string()), *numbers, pa.scalar("\0", pa.large_string())
    ).combine_chunks()


def _fingerprints(paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """The fingerprints of images and of videos' frames, in their order; each video is decoded
    once.
    """
    return map_files(lambda file, _: _of_run(file), [(path, None) for path in paths])


def _of_run(file: Run) -> list[tuple[str, str, str]]:
    if not file.frames:
        return [_fingerprint(file.path)]
    try:
        video = file_sha256(Path(file.path))
    except OSError as error:
        refuse_passing(file.path, error)
        return [("", "", f"cannot be read: {error.strerror or type(error).__name__}")] * len(
            file.frames
        )
    found = []
    try:
        for number, pixels in zip(
            file.frames, decode_frames(Path(file.path), file.frames), strict=True
        ):
            sha256 = frame_sha256(video, number)
            found.append(
                (sha256, "", pixels)
                if isinstance(pixels, str)
                else (sha256, pixel_digest(pixels), "")
            )
    except UnreadableError as error:
        found += [("", "", str(error))] * (len(file.frames) - len(found))
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
    except UnreadableError as error:
        return "", "", str(error)
    except UndecodableError as error:
        return sha256, "", str(error)
