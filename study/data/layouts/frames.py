"""The videos of a listing replaced by their frames (videos.py).

How many frames a video has is counted once and remembered in
`<cache>/index/NAME.videos.parquet`, one row a video; a row holds as long as path, size and time of
last change do.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.core.errors import DataError
from study.core.identity import whole_file
from study.core.parallel import ordered_map
from study.data.file_index import FileIndex, cache_writes
from study.data.images.decode import VIDEO_EXTENSIONS
from study.data.images.videos import frame_path, inspect_video, sampled
from study.data.layouts.listing import Listing

VIDEO_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("changed_ns", pa.int64()),
        ("sha256", pa.string()),
        ("frames", pa.int64()),
        ("problem", pa.string()),
    ]
)
PART = 256  # videos whose frames a killed run may have to count again
_IS_VIDEO = f"({'|'.join(map(re.escape, VIDEO_EXTENSIONS))})$"


def with_frames(
    listing: Listing, *, name: str, index: FileIndex, frames_per_video: int, grouped: bool
) -> Listing:
    """Return a listing with every video file replaced by its sampled frames; one that cannot be
    read keeps its row, with why.

    name: of the dataset. index: that of its folder. grouped: whether a card's pattern gives the
    groups.
    Raises DataError where there are videos and PyAV is not installed, StoreError where the index
    cannot be written.
    """
    is_video = pc.match_substring_regex(pc.utf8_lower(listing.table["path"]), _IS_VIDEO)
    readable = pc.and_(is_video, pc.equal(listing.table["problem"], ""))
    videos = listing.table.filter(readable)
    if not videos.num_rows:
        return listing
    _refuse_without_pyav(videos, name=name)
    rows: list[dict[str, Any]] = []
    for row, known in zip(videos.to_pylist(), _inspected(videos, index), strict=True):
        rows += _frames(row, known, frames_per_video=frames_per_video, grouped=grouped)
    table = pa.concat_tables(
        [
            listing.table.filter(pc.invert(readable)),
            pa.Table.from_pylist(rows, schema=listing.table.schema),
        ]
    )
    return replace(listing, table=table)


def _refuse_without_pyav(videos: pa.Table, *, name: str) -> None:
    try:
        # Only whether it is installed is asked.
        import av  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"dataset '{name}' holds {videos.num_rows} videos ('{videos['path'][0]}'), which are"
            f" read with PyAV: pip install av (the extra [video]; {error}), or move them out of the"
            " class folders"
        ) from None


def _frames(
    row: dict[str, Any], known: dict[str, Any], *, frames_per_video: int, grouped: bool
) -> list[dict[str, Any]]:
    video = row["video"] or row["path"]
    if known["problem"]:
        return [{**row, "video": video, "problem": known["problem"]}]
    group = row["group"] or ("" if grouped else f"video {known['sha256'][:32]}")
    return [
        {**row, "path": frame_path(row["path"], number), "video": video, "group": group}
        for number in sampled(known["frames"], frames_per_video)
    ]


def _inspected(videos: pa.Table, index: FileIndex) -> list[dict[str, Any]]:
    """SHA-256, number of frames and problem of every video, remembered as long as path, size and
    time of last change hold.
    """
    # also of the folder's other datasets, whose rows stay
    known = {row["path"]: row for row in _read(index.videos)}
    rows = videos.select(["path", "size", "changed_ns"]).to_pylist()
    todo = [
        row
        for row in rows
        if any(row[name] != known.get(row["path"], {}).get(name) for name in row)
    ]
    try:
        inspected = ordered_map(
            inspect_video, [index.root / row["path"] for row in todo], at_once=1
        )
        for done, (row, found) in enumerate(zip(todo, inspected, strict=True), start=1):
            known[row["path"]] = {**row, **found._asdict()}
            index.progress(f"counting the frames of {index.name}", done, len(todo))
            if done % PART == 0:
                _write(known, index)
    finally:  # an interrupted run keeps what it has counted
        if todo:
            _write(known, index)
    return [known[row["path"]] for row in rows]


def _write(known: dict[str, dict[str, Any]], index: FileIndex) -> None:
    # what could not be read may be readable next time
    kept = [row for row in known.values() if row["sha256"]]
    with cache_writes(index.cache), whole_file(index.videos) as temporary:
        pq.write_table(pa.Table.from_pylist(kept, schema=VIDEO_SCHEMA), temporary)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = pq.read_table(path, schema=VIDEO_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException):  # absent, or not an index: both mean that nothing is known
        return []
    return found
