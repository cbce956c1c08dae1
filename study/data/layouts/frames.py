"""The videos of a listing replaced by their frames (videos.py).

How many frames a video has is counted once and kept in `<cache>/videos/`, one table a dataset
folder, one row a video; a row holds as long as path, size and time of last change do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import DataError
from study.core.parallel import ordered_map
from study.data.file_index import FILE_STATE, FileIndex
from study.data.images.decode import VIDEO_EXTENSIONS
from study.data.images.videos import frame_path, inspect_video, sampled
from study.data.layouts.listing import Listing
from study.data.row_cache import RowCache

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
    found = index.rows(
        VIDEOS, videos, _inspected, part=PART, doing="counting the frames of", report=1
    )
    for row, known in zip(videos.to_pylist(), found.to_pylist(), strict=True):
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


def _inspected(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """SHA-256, number of frames and problem of every video, in order."""
    found = ordered_map(inspect_video, [Path(path) for path in paths], at_once=1)
    return (one._asdict() for one in found)


VIDEOS = RowCache(
    "videos",
    [_inspected],
    pa.schema(
        [
            *FILE_STATE,
            ("sha256", pa.string()),
            ("frames", pa.int64()),
            ("problem", pa.string()),
        ]
    ),
    of=("path", "size", "changed_ns"),
    libraries=("av",),
    unless_empty="sha256",
)
