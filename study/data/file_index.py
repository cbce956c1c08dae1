"""What the bytes of a dataset's files are: hashed and decoded once, in parallel, and kept.

`<cache>/index/`, one table a dataset folder, one row an image or a video's frame: SHA-256 of the
bytes, digest of the decoded pixels, or why they cannot be decoded. A row holds as long as path,
size and time of last change do; a second start hashes nothing. A disk that does not answer stops
the command: dropping the image would change the dataset. What does not fit into memory is left out,
has no SHA-256 either, and is not kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from study.core.identity import file_sha256
from study.data.images.decode import (
    READERS,
    UndecodableError,
    UnreadableError,
    decode_image,
    image_sha256,
    pixel_digest,
    refuse_passing,
)
from study.data.images.videos import Run, decode_frames, frame_sha256, map_files
from study.data.row_cache import RowCache

PART = 1 << 14  # images whose hashes a killed run may lose at most
FOUND = ("sha256", "pixels", "problem")
FILE_STATE = [("path", pa.string()), ("size", pa.int64()), ("changed_ns", pa.int64())]

Progress = Callable[[str, int, int], None]  # (what is being done, how many are done, of how many)


def quiet(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


class FileIndex:
    """The index of one dataset folder."""

    def __init__(self, *, cache: Path, root: Path, name: str, progress: Progress = quiet) -> None:
        self.root, self.name, self.progress = root, name, progress
        self.cache, self.place = cache, os.path.realpath(root)

    def fingerprint(self, listed: pa.Table) -> pa.Table:
        """Return columns sha256, pixels and problem for listed images (columns path, size,
        changed_ns, problem), in their order.

        sha256 is "" for an image that is listed with a problem or cannot be read, pixels is "" for
        one that cannot be decoded either; both then have a problem. Raises StoreError where the
        cache cannot be written, DataError where a disk does not answer.
        """
        usable = np.asarray(pc.equal(listed["problem"], ""))
        good = listed if usable.all() else listed.filter(pa.array(usable))
        found = self.rows(INDEX, good, _fingerprints, part=PART, doing="indexing")
        if usable.all():
            return found.select([*FOUND])
        place = pa.array(np.cumsum(usable) - 1, mask=~usable)
        columns = {name: pc.fill_null(found[name].take(place), "") for name in FOUND}
        problem = pc.if_else(pa.array(usable), columns["problem"], listed["problem"])
        return pa.table({**columns, "problem": problem})

    def rows(
        self,
        table: RowCache,
        wanted: pa.Table,
        make: Callable[[Sequence[str]], Iterator[Mapping[str, Any]]],
        *,
        doing: str,
        **options: int,
    ) -> pa.Table:
        """Return the rows that a table has, or `make` makes of paths, for listed files. Raises what
        `RowCache.rows` raises.
        """
        return table.rows(
            self.cache,
            self.name,
            self.place,
            wanted.select([name for name, _ in FILE_STATE]),
            lambda block: make([f"{self.root}/{path}" for path in block["path"].to_pylist()]),
            progress=self.progress,
            doing=f"{doing} {self.name}",
            **options,
        )


def _fingerprints(paths: Sequence[str]) -> Iterator[dict[str, str]]:
    """The fingerprints of images and of videos' frames, in their order; each video is decoded
    once.
    """
    found = map_files(lambda file, _: _of_run(file), [(path, None) for path in paths])
    return (dict(zip(FOUND, one, strict=True)) for one in found)


def _of_run(file: Run) -> list[tuple[str, str, str]]:
    if not file.frames:
        return [_fingerprint(file)]
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


def _fingerprint(file: Run) -> tuple[str, str, str]:
    """(SHA-256 of the bytes, digest of the pixels, problem) of an image."""
    try:
        data = file.read()
    except UndecodableError as error:
        return "", "", str(error)
    sha256 = image_sha256(data)
    try:
        return sha256, pixel_digest(decode_image(data)), ""
    except UnreadableError as error:
        return "", "", str(error)
    except UndecodableError as error:
        return sha256, "", str(error)


INDEX = RowCache(
    "index",
    [_fingerprints],
    pa.schema([*FILE_STATE, *((name, pa.string()) for name in FOUND)]),
    of=("path", "size", "changed_ns"),
    libraries=READERS,
    unless_empty="sha256",
)
