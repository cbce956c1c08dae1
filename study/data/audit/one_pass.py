"""Traits and prints of images from one decoding.

An audit needs both. What has neither is read here, and both tables get their row. All else is left
to whoever asks for the one or the other: an image that has one of them, a frame of a video.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from study.data.audit.traits import PART, TRAITS, Row, row_of_image, traits_place
from study.data.datasets import Dataset
from study.data.file_index import Progress, quiet
from study.data.images.originals import Original, originals_of
from study.data.images.videos import Run, map_files
from study.data.leaks.prints import BATCH, PRINTS, Parts, parts, prints_place, rows_of

FRAME = "#frame="  # in the path of what may be a video's


def read_once(dataset: Dataset, *, cache: Path, progress: Progress = quiet) -> None:
    """Read the images of a dataset, of every split it holds, that have neither traits nor prints in
    the cache, and keep both. A killed run may lose `PART` images.

    Raises DataError where a file changed since it was indexed, StoreError where the cache cannot be
    written.
    """
    todo = _todo(dataset, cache)
    files = originals_of(todo, dataset.root, dataset.unified_px)
    read = map_files(_both, [(one.path, one) for one in files])
    for start in range(0, todo.num_rows, PART):
        found: list[tuple[Row, Parts | None]] = []
        try:
            for one in islice(read, PART):
                found.append(one)
                done = start + len(found)
                if done % BATCH == 0 or done == todo.num_rows:
                    progress(f"reading traits of {dataset.name}", done, todo.num_rows)
        finally:  # an interrupted run keeps what it has read
            _keep(dataset, cache, todo.slice(start, len(found)), found)


def _keep(
    dataset: Dataset, cache: Path, of: pa.Table, found: Sequence[tuple[Row, Parts | None]]
) -> None:
    """Add what was read of images to both tables."""
    TRAITS.add(cache, *traits_place(dataset), of, [row for row, _ in found])
    made = [prints for _, prints in found if prints is not None]
    batches = (made[start : start + BATCH] for start in range(0, len(made), BATCH))
    rows = [row for batch in batches for row in rows_of(batch)]
    has_prints = pa.array([prints is not None for _, prints in found], pa.bool_())
    PRINTS.add(cache, *prints_place(dataset), of.filter(has_prints), rows)


def _todo(dataset: Dataset, cache: Path) -> pa.Table:
    """The images that lack both, each content once."""
    rows = dataset.usable
    rows = rows.filter(pc.invert(pc.match_substring(rows["path"], FRAME)))
    rows = rows.take(TRAITS.lacking(cache, *traits_place(dataset), rows))
    if not rows.num_rows:  # the other table is the larger one
        return rows
    return rows.take(PRINTS.lacking(cache, *prints_place(dataset), rows))


def _both(file: Run, of: Sequence[Original]) -> list[tuple[Row, Parts | None]]:
    made: list[Parts] = []
    row = row_of_image(file, of[0], lambda pixels, image: made.append(parts(pixels, image)))
    return [(row, made[0] if made else None)]
