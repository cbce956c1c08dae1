"""The images of a split at their original resolution, or unified: decoded one at a time, whenever asked, and not kept.

Floor 1. Packs hold a detector's squares; what must happen to an image before it is cropped or resized starts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.data.datasets import Dataset, labels, strings
from study.data.unify import unify
from study.data.videos import read_indexed
from study.records import Split


def read_original(path: Path, sha256: str, unified_px: int | None = None) -> NDArray[np.uint8]:
    """Return the pixels of an image or of a video's frame, (H, W, 3) uint8. sha256: of the index. unified_px: of its dataset.

    Raises DataError for a file that has changed since, UndecodableError where it is no image.
    """
    pixels = read_indexed(str(path), sha256)
    return unify(pixels, unified_px) if unified_px else pixels


class Originals:
    """The N usable images of one split of one or several datasets, sorted by id: the order of `packs.ImageSet`.

    sample_id, group, unit, method: (N,) str; label: (N,) uint8, 1 = fake. listed: images that the split lists; those that cannot be
    used stand in `excluded` as (sample id, reason), sorted.
    """

    def __init__(self, members: Sequence[Dataset], split: Split) -> None:
        """Read no image yet. Raises DataError where a dataset has no such split."""
        rows = pa.concat_tables([_rows(member, split) for member in members]).sort_by("id")
        self.listed = rows.num_rows
        unusable = rows.filter(pc.not_equal(rows["problem"], ""))
        self.excluded = tuple(zip(unusable["id"].to_pylist(), unusable["problem"].to_pylist(), strict=True))
        rows = rows.filter(pc.equal(rows["problem"], ""))
        self.sample_id, self.group, self.unit, self.method = (strings(rows[name]) for name in ("id", "group", "unit", "method"))
        self.label = labels(rows)
        self._files = list(zip(*(rows[name].to_pylist() for name in ("file", "sha256", "unified_px")), strict=True))

    def __len__(self) -> int:
        return len(self.sample_id)

    def read(self, at: int) -> NDArray[np.uint8]:
        """Return the pixels of the image at `at`, (H, W, 3) uint8. Raises what `read_original` raises."""
        path, sha256, unified_px = self._files[at]
        return read_original(Path(path), sha256, unified_px)


def _rows(dataset: Dataset, split: Split) -> pa.Table:
    rows = dataset.rows(split).select(["id", "path", "group", "unit", "method", "label", "sha256", "problem"])
    unified = pa.array([dataset.unified_px] * rows.num_rows, pa.int32())
    rows = rows.append_column("file", pc.binary_join_element_wise(str(dataset.root), rows["path"], "/"))
    return rows.append_column("unified_px", unified)
