"""The images of a split at their original resolution, or their faces, or unified: decoded one at a
time, whenever asked, and not kept.

Packs hold a detector's squares; what must happen to an image before it is cropped or
resized starts here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.records import Split
from study.data.datasets import Dataset, labels, strings, unusable, usable, with_columns
from study.data.images.decode import UndecodableError
from study.data.images.faces import cut_out, parse_region
from study.data.images.unify import unify
from study.data.images.videos import (
    Run,
    checked,
    loaded,
    map_files,
    read_indexed,
    read_indexed_frames,
    runs,
)

R = TypeVar("R")


class Original(NamedTuple):
    """An image's file, or a video's frame. sha256: of the index. unified_px: of its dataset. face:
    the region of it that stands for it, "" for all of it.
    """

    path: str
    sha256: str
    unified_px: int | None = None
    face: str = ""

    def prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the study makes of the pixels before anything else."""
        pixels = cut_out(pixels, parse_region(self.face)) if self.face else pixels
        return unify(pixels, self.unified_px) if self.unified_px else pixels


def originals_of(rows: pa.Table, root: Path, unified_px: int | None = None) -> list[Original]:
    """Return the files of samples, in their order."""
    face = rows["face"].to_pylist() if "face" in rows.column_names else repeat("")
    files = zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), face, strict=False)
    return [Original(f"{root}/{path}", digest, unified_px, of) for path, digest, of in files]


def read_original(one: Original, data: bytes | None = None) -> NDArray[np.uint8]:
    """Return the pixels of an image or of a video's frame, (H, W, 3) uint8. data: an image's bytes,
    where they were read already.

    Raises DataError for a file that has changed since, UndecodableError where it is no image.
    """
    return one.prepared(read_indexed(one.path, one.sha256, data))


def map_originals(
    function: Callable[[NDArray[np.uint8] | str], R], files: Sequence[Original]
) -> Iterator[R]:
    """Yield what `function` makes of the pixels of each, (H, W, 3) uint8, or of the reason why
    there are none; in their order.

    Several threads decode; the frames of a video that follow upon each other are decoded in one go.
    Raises DataError for a file that has changed since it was indexed.
    """
    return map_files(
        lambda file, of: [function(pixels) for pixels in _pixels(file, of)],
        [(one.path, one) for one in files],
    )


def _pixels(file: Run, of: Sequence[Original]) -> Iterator[NDArray[np.uint8] | str]:
    if file.frames:
        frames = read_indexed_frames(
            file.path, [(number, one.sha256) for number, one in zip(file.frames, of, strict=True)]
        )
        for one, pixels in zip(of, frames, strict=True):
            yield pixels if isinstance(pixels, str) else one.prepared(pixels)
        return
    try:
        yield read_original(of[0], file.data)
    except UndecodableError as error:
        yield str(error)


class Originals:
    """The N usable images of one split of one or several datasets, sorted by id: the order of
    `packs.ImageSet`.

    sample_id, group, unit, method: (N,) str; label: (N,) uint8, 1 = fake. listed: images that the
    split lists; those that cannot be used stand in `excluded` as (sample id, reason), sorted.
    """

    def __init__(self, members: Sequence[Dataset], split: Split) -> None:
        """Read no image yet. Raises DataError where a dataset has no such split."""
        rows = pa.concat_tables([_rows(member, split) for member in members]).sort_by("id")
        self.listed = rows.num_rows
        self.excluded = tuple(unusable(rows))
        rows = usable(rows)
        self.sample_id, self.group, self.unit, self.method = (
            strings(rows[name]) for name in ("id", "group", "unit", "method")
        )
        self.label = labels(rows)
        columns = (rows[name].to_pylist() for name in Original._fields)
        self._files = [Original(*row) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return len(self.sample_id)

    def read(self, at: int) -> NDArray[np.uint8]:
        """Return the pixels of the image at `at`, (H, W, 3) uint8. Raises as `read_original`."""
        return read_original(self._files[at])

    def readers(self, index: NDArray[np.integer]) -> Iterator[Callable[[], NDArray[np.uint8]]]:
        """Yield for each image at `index` (B,) what reads it. An image is read when that is called,
        by whichever thread.

        Frames that follow upon each other in a video are decoded in one go, each as the iterator
        comes to it; then, too, an image inside another file is read.
        """
        place = 0
        for file in runs(self._files[at].path for at in index):
            chosen = index[place : place + max(len(file.frames), 1)]
            place += len(chosen)
            if file.frames:
                of = [self._files[at] for at in chosen]
                yield from (partial(checked, pixels) for pixels in _pixels(file, of))
            else:
                yield partial(read_original, self._files[chosen[0]], loaded(file).data)


def _rows(dataset: Dataset, split: Split) -> pa.Table:
    rows = dataset.rows(split)
    path = pc.binary_join_element_wise(str(dataset.root), rows["path"], "/")
    unified = pa.array([dataset.unified_px] * rows.num_rows, pa.int32())
    face = rows["face"] if dataset.faces else pa.array([""] * rows.num_rows, pa.string())
    columns = ("id", "group", "unit", "method", "label", "sha256", "problem")
    return with_columns(rows.select(columns), {"path": path, "unified_px": unified, "face": face})
