"""Prints: what is left of a picture after re-encoding, resizing and cropping, small enough to
compare every picture with every other.

They are a function of the decoded pixels alone, without the picture's uniform border (bars,
padding): its side lengths, a thumbnail by which two pictures are laid over each other, and patches
by which a candidate is found (patches.py). A flat picture (black, white, a plain colour) has no
patch, and is not compared.

`<cache>/prints/`, one table a dataset folder, one row a picture, by the digest of its pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from study.data.datasets import Dataset
from study.data.file_index import Progress, quiet
from study.data.images.decode import READERS
from study.data.images.originals import map_originals, originals_of
from study.data.images.videos import checked
from study.data.leaks.patches import RECORD, SCALES, SIDE, patches
from study.data.names import parse_name
from study.data.row_cache import RowCache

THUMBNAIL_PX = 32
THUMBNAIL_BYTES = THUMBNAIL_PX**2 * 3
# grey levels: what a row of a border may spread by, and differ from the outermost
BORDER_SPREAD, BORDER_STEP = 5, 8
MOST_BORDER = 0.4  # of a side that is taken off at each end at once
LEAST_INNER = 0.2  # of the shorter side that must be left
BATCH = 256  # pictures in memory at a time
PART = 1 << 13  # pictures whose prints a killed run may lose at most

Pixels = NDArray[np.uint8]


class Parts(NamedTuple):
    """A picture before its patches are looked for: thumbnail (32, 32, 3); grey, one array a scale,
    (H, W).
    """

    thumbnail: Pixels
    grey: tuple[Pixels, ...]


@dataclass(frozen=True, kw_only=True)
class Prints:
    """Of N pictures. sides: (N, 2) height and width at the first scale, pixels; thumbnail:
    (N, 32, 32, 3) uint8; picture: (P,) of which picture each patch is, rising; records: (P,) of
    `patches.RECORD`.
    """

    sides: NDArray[np.uint8]
    thumbnail: Pixels
    picture: NDArray[np.intp]
    records: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.sides)


def without_border(pixels: Pixels) -> Pixels:
    """Return a picture (H, W, 3) without the rows and columns at its edges that are one colour.

    A border within a border goes too. Where nearly nothing is left, all of it is returned.
    """
    inner = pixels[:, :, 1]
    top = left = 0
    while True:
        first, last = _inside(inner)
        before, after = _inside(inner[first:last].T)
        top, left = top + first, left + before
        within = inner[first:last, before:after]
        if within.shape == inner.shape:
            return pixels[top : top + len(inner), left : left + inner.shape[1]]
        inner = within
        if min(inner.shape) < LEAST_INNER * min(pixels.shape[:2]):
            return pixels


def _inside(lines: Pixels) -> tuple[int, int]:
    """Return the first line, (L, N), that is no border, and one past the last."""
    most = int(MOST_BORDER * len(lines))
    before, after = _border(lines, most), _border(lines[::-1], most)
    return before, len(lines) - after


def _border(lines: Pixels, most: int) -> int:
    outermost = float(lines[0].mean())
    for place in range(most):
        line = lines[place].astype(np.int64)
        n, total = len(line), int(line.sum())
        # the standard deviation, without a root
        spread = n * int(line @ line) - total**2 > (BORDER_SPREAD * n) ** 2
        if spread or abs(total / n - outermost) > BORDER_STEP:
            return place + (place > 0)  # the line beside a border has some of it
    return most


def parts(pixels: Pixels, image: Image.Image | None = None) -> Parts:
    """Return what the prints of a picture (H, W, 3) are made of. image: the same of Pillow, where
    it is at hand.
    """
    shown = without_border(pixels)
    whole = image is not None and shown.shape == pixels.shape
    inner = image if whole and image else Image.fromarray(np.ascontiguousarray(shown))
    root = min(max((inner.height / inner.width) ** 0.5, 0.5), 2)
    height, width = SIDE * root, SIDE / root
    factor = int(min(inner.height / height, inner.width / width) / 3)
    if factor > 1:
        inner = inner.reduce(factor)
    grey = inner.convert("L")
    return Parts(
        thumbnail=np.asarray(_resized(inner, THUMBNAIL_PX, THUMBNAIL_PX)),
        grey=tuple(
            np.asarray(_resized(grey, round(width * scale), round(height * scale)))
            for scale in SCALES
        ),
    )


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def prints_of(made: Sequence[Parts]) -> Prints:
    """Return the prints of pictures."""
    pictures, records = [np.zeros(0, dtype=np.intp)], [np.zeros(0, dtype=RECORD)]
    for scale in range(len(SCALES)):
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(made):
            alike.setdefault(one.grey[scale].shape, []).append(place)
        for places in alike.values():
            found = patches(np.stack([made[place].grey[scale] for place in places]), scale)
            pictures.append(np.array(places)[found.picture])
            records.append(found.records)
    picture = np.concatenate(pictures)
    order = np.argsort(picture, kind="stable")
    sides = np.array([one.grey[0].shape for one in made], dtype=np.uint8)
    thumbnail = np.array([one.thumbnail for one in made], dtype=np.uint8)
    return Prints(
        sides=sides.reshape(-1, 2),
        thumbnail=thumbnail.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX, 3),
        picture=picture[order],
        records=np.concatenate(records)[order],
    )


def read_prints(
    dataset: Dataset, images: pa.Table | None = None, *, cache: Path, progress: Progress = quiet
) -> Prints:
    """Return the prints of a dataset's usable images in the order of its samples; those that are
    missing are made, and kept. images: some of them alone (rows of `Dataset.usable`).

    Raises DataError where a file changed since it was indexed, StoreError where the cache cannot be
    written.
    """
    table = PRINTS.rows(
        cache,
        *prints_place(dataset),
        dataset.usable if images is None else images,
        partial(_made, dataset.root),
        part=PART,
        progress=progress,
        doing=f"comparing {dataset.name}",
    )
    counts = np.asarray(pc.binary_length(table["patches"])) // RECORD.itemsize
    return Prints(
        sides=_bytes_of(table["sides"]).reshape(-1, 2),
        thumbnail=_bytes_of(table["thumbnail"]).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX, 3),
        picture=np.repeat(np.arange(len(counts)), counts),
        records=_bytes_of(table["patches"]).view(RECORD),
    )


def _bytes_of(column: pa.ChunkedArray) -> Pixels:
    """The bytes of all values, none of which is null, one after the other."""
    parts = [np.zeros(0, dtype=np.uint8)]
    for chunk in column.chunks:
        start, end = chunk.offset, chunk.offset + len(chunk)
        if pa.types.is_fixed_size_binary(chunk.type):
            first, last = start * chunk.type.byte_width, end * chunk.type.byte_width
        else:
            offsets = np.frombuffer(chunk.buffers()[1], dtype=np.int32)
            first, last = offsets[start], offsets[end]
        parts.append(np.frombuffer(chunk.buffers()[-1] or b"", dtype=np.uint8)[first:last])
    return np.concatenate(parts)


def prints_place(dataset: Dataset) -> tuple[str, str]:
    """Return by which name and inputs the table of a dataset's prints is found."""
    return parse_name(dataset.name).base, os.path.realpath(dataset.root)


def _made(root: Path, rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Make the prints of images, rows of `Dataset.samples`, in order."""
    # whole images, as `pixels` stands for, also in a study of faces
    files = originals_of(rows.select(["path", "sha256"]), root)
    # it could be decoded when it was indexed
    images = map_originals(lambda pixels: parts(checked(pixels)), files)
    while batch := list(islice(images, BATCH)):
        yield from rows_of(batch)


def rows_of(batch: Sequence[Parts]) -> Iterator[dict[str, Any]]:
    """Yield the prints of pictures as rows of the table, but for the digest of their pixels."""
    made = prints_of(batch)
    starts = np.searchsorted(made.picture, np.arange(len(batch) + 1)).tolist()
    for place in range(len(batch)):
        yield {
            "sides": made.sides[place].tobytes(),
            "thumbnail": made.thumbnail[place].tobytes(),
            "patches": made.records[starts[place] : starts[place + 1]].tobytes(),
        }


PRINTS = RowCache(
    "prints",
    [_made],
    pa.schema(
        [
            ("pixels", pa.string()),
            ("sides", pa.binary(2)),
            ("thumbnail", pa.binary(THUMBNAIL_BYTES)),
            ("patches", pa.binary()),
        ]
    ),
    of=("pixels",),
    libraries=(*READERS, "scipy"),
)
