"""Perceptual hashes: what is left of a picture after re-encoding and resizing, small enough to
compare every image with every other.

They are a function of the decoded pixels alone:

* the image's 32 x 32 box-averaged form; of its grey values (Rec. 601) the two-dimensional DCT, of
  that the 8 x 8 lowest frequencies: each gives one bit, set where it lies above their median
  without the constant term. This 64-bit hash (Zauner, "Implementation and Benchmarking of
  Perceptual Image Hash Functions", 2010) finds candidates, and so does that of the picture mirrored
  left to right, whose frequencies are the same but for the sign of the odd columns;
* the 16 x 16 RGB thumbnail, by whose correlation a candidate is verified: two hashes agree by
  chance more often than two pictures.

A flat picture (black, white, a plain colour) has no hash worth comparing: its hash is that of its
noise.

`<cache>/hashes/`, one table a dataset folder, one row a picture, by the digest of its pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from study.data.datasets import Dataset
from study.data.file_index import Progress, quiet
from study.data.images.originals import map_originals, originals_of
from study.data.images.videos import checked
from study.data.names import parse_name
from study.data.row_cache import RowCache

COARSE_PX, THUMBNAIL_PX, HASH_SIDE = 32, 16, 8
# grey levels, standard deviation over a thumbnail: a darker or plainer picture says too little
FLAT_BELOW = 4.0
THUMBNAIL_BYTES = THUMBNAIL_PX**2 * 3
BATCH = 256  # images whose coarse form is in memory at a time
PART = 1 << 13  # images whose hashes a killed run may lose at most
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class PerceptualHashes:
    """Of N images. hash, mirror: (N,) uint64, of the picture and of it mirrored; thumbnail:
    (N, 16, 16, 3) uint8.
    """

    hash: NDArray[np.uint64]
    mirror: NDArray[np.uint64]
    thumbnail: NDArray[np.uint8]

    @property
    def flat(self) -> NDArray[np.bool_]:
        """Which pictures, (N,), are too plain to be compared."""
        spread = np.zeros(len(self.hash), dtype=np.float32)
        for start in range(0, len(spread), 4096):  # floats of all at once would be many
            part = self.thumbnail[start : start + 4096]
            spread[start : start + 4096] = part.reshape(len(part), -1).std(1, dtype=np.float32)
        return spread < FLAT_BELOW

    def take(self, index: NDArray[np.integer]) -> PerceptualHashes:
        """Return the hashes at `index`."""
        return PerceptualHashes(
            hash=self.hash[index], mirror=self.mirror[index], thumbnail=self.thumbnail[index]
        )

    def mirrored(self) -> PerceptualHashes:
        """Return the hashes of the same pictures mirrored left to right."""
        return PerceptualHashes(
            hash=self.mirror, mirror=self.hash, thumbnail=self.thumbnail[:, :, ::-1]
        )


def coarse(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 averaged over 32 x 32 boxes, (32, 32, 3) uint8."""
    height, width = pixels.shape[:2]
    if height % COARSE_PX == width % COARSE_PX == 0:  # the same, much faster
        factor = (width // COARSE_PX, height // COARSE_PX)
        return pixels if factor == (1, 1) else np.asarray(Image.fromarray(pixels).reduce(factor))
    for axis, side in ((0, height), (1, width)):
        if side < 4 * COARSE_PX:  # a box then holds whole pixels only; Pillow gives none a share
            pixels = np.repeat(pixels, -(-4 * COARSE_PX // side), axis=axis)
    return np.asarray(Image.fromarray(pixels).resize((COARSE_PX, COARSE_PX), Image.Resampling.BOX))


def hashes_of(coarse_images: NDArray[np.uint8]) -> PerceptualHashes:
    """Return the hashes of images (N, 32, 32, 3) uint8 as `coarse` gives them."""
    from scipy.fft import dctn

    n, half = len(coarse_images), COARSE_PX // THUMBNAIL_PX
    if not n:
        nothing, no_pixels = np.zeros(0, dtype=np.uint64), coarse_images[:, ::half, ::half]
        return PerceptualHashes(hash=nothing, mirror=nothing, thumbnail=no_pixels)
    frequencies = dctn(coarse_images @ _LUMA, axes=(1, 2), norm="ortho")
    low = frequencies[:, :HASH_SIDE, :HASH_SIDE]
    boxes = coarse_images.reshape(n, THUMBNAIL_PX, half, THUMBNAIL_PX, half, 3)
    thumbnail = np.round(boxes.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
    signs = np.where(np.arange(HASH_SIDE) % 2, -1, 1).astype(low.dtype)
    return PerceptualHashes(hash=_hash(low), mirror=_hash(low * signs), thumbnail=thumbnail)


def _hash(low: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return the hashes, (N,), of the lowest frequencies (N, 8, 8)."""
    flat = low.reshape(len(low), -1)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def read_hashes(dataset: Dataset, *, cache: Path, progress: Progress = quiet) -> PerceptualHashes:
    """Return the hashes of a dataset's usable images in the order of its samples; those that are
    missing are made, and kept.

    Raises DataError where a file changed since it was indexed, StoreError where the cache cannot be
    written.
    """
    table = HASHES.rows(
        cache,
        parse_name(dataset.name).base,
        os.path.realpath(dataset.root),
        dataset.usable,
        partial(_made, dataset.root),
        part=PART,
        progress=progress,
        doing=f"comparing {dataset.name}",
    )
    thumbnail = np.frombuffer(b"".join(table["thumbnail"].to_pylist()), dtype=np.uint8)
    hashes, mirrors = (np.array(table[name], dtype=np.uint64) for name in ("hash", "mirror"))
    sides = (THUMBNAIL_PX, THUMBNAIL_PX, 3)
    return PerceptualHashes(hash=hashes, mirror=mirrors, thumbnail=thumbnail.reshape(-1, *sides))


def _made(root: Path, rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Make the hashes of images, rows of `Dataset.samples`, in order."""
    # it could be decoded when it was indexed
    images = map_originals(lambda pixels: coarse(checked(pixels)), originals_of(rows, root))
    while batch := list(islice(images, BATCH)):
        made = hashes_of(np.stack(batch))
        for one, mirror, thumbnail in zip(made.hash, made.mirror, made.thumbnail, strict=True):
            yield {"hash": one, "mirror": mirror, "thumbnail": thumbnail.tobytes()}


HASHES = RowCache(
    "hashes",
    [_made],
    pa.schema(
        [
            ("pixels", pa.string()),
            ("hash", pa.uint64()),
            ("mirror", pa.uint64()),
            ("thumbnail", pa.binary(THUMBNAIL_BYTES)),
        ]
    ),
    of=("pixels",),
    libraries=("numpy", "Pillow", "scipy", "av"),
)
