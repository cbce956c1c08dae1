"""`unify`: both classes re-encoded alike, so that no file format, size or JPEG quality parts them
(PROTOCOL section 8).

Right after decoding (and after `faces`), before degradations and any detector's geometry, every
image of a dataset becomes

1. its centre square,
2. shrunk (or, if very small, enlarged) to the dataset's common side: half the short side that 95 %
of each class have at least,
3. a JPEG of quality 75 with halved colour (4:2:0), decoded again.

Half, because a JPEG of the same size keeps the traces of an earlier one: the grid of 8 x 8 blocks,
and what it rounded away. Of 600 faces of 144 pixels half, by lot, were saved at JPEG quality 75 (or
50). A linear classifier of spectrum, blockiness and block DCT told these from the others with AUC
1.00 (1.00); after JPEG 90 at the same size with .99 (1.00), at three quarters of it .65 (.83), at
half .52 (.68); after JPEG 75 at half the size with .47 (.51), which is chance. The price is
resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.records import FAKE, REAL
from study.data.datasets import labels, usable
from study.data.images.faces import parse_region
from study.data.images.steps import jpeg, resize
from study.data.images.videos import Run, changed, map_files

UNIFY_VERSION = 1
QUALITY = 75
SHARE = 0.5  # of the common short side
SMALLEST = 0.05  # of a class may be smaller than the common short side


def unify(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 as all of its dataset are, (side_px, side_px, 3) uint8."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = np.ascontiguousarray(pixels[top : top + short, left : left + short])
    return jpeg(resize(square, (side_px, side_px)), QUALITY)


def common_side(samples: pa.Table, root: Path) -> int:
    """Return the side, in pixels, that all images of a dataset get: from those of train, or of all
    splits where it has no train.

    samples: columns of `Dataset.samples`. Raises DataError where a file changed since it was
    indexed.
    """
    rows = usable(samples)
    of_train = rows.filter(pc.equal(rows["split"], "train"))
    # the test split decides nothing, where it need not
    rows = of_train if of_train.num_rows else rows
    label = labels(rows)
    files = [(f"{root}/{path}", path) for path in rows["path"].to_pylist()]
    short = np.fromiter(
        (parse_region(text).side for text in rows["face"].to_pylist())
        if "face" in rows.column_names
        else map_files(_short_sides, files),
        dtype=np.int64,
    )
    sides = [
        np.quantile(short[label == value], SMALLEST, method="lower")
        for value in (REAL, FAKE)
        if (label == value).any()
    ]
    return max(1, int(SHARE * min(sides)))


def _short_sides(file: Run, of: Sequence[str]) -> list[int]:
    header = file.header()
    if header is None:
        raise changed(file.path)
    return [min(header[1:])] * len(of)
