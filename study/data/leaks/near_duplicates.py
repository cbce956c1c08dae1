"""Near duplicates: the pairs of prints that show one picture, without comparing every image with
every other.

Numpy only. Hashes are compared by multi-index search (Norouzi, Punjani, Fleet, "Fast
Search in Hamming Space with Multi-Index Hashing", CVPR 2012): 64 bits are four bands of 16; two
hashes that differ in at most 7 bits agree in some band up to one bit, so for each band the 17
buckets around a hash hold all its partners, and none is missed. For n images against m that takes
O(68 n + m + candidates), where chance gives 68 n m / 65536 candidates; of pictures that resemble
each other (aligned faces) more. A candidate is a near duplicate where the correlation of the RGB
thumbnails is at least `LEAST_CORRELATION`. Photographs of 224 pixels and more are found again after
JPEG 30 and at a quarter of their size; of 32 pixels nine in ten after JPEG 75 or at half the size,
and a third after both. Of a picture mirrored left to right the same holds, as the mirrored prints
are compared too. Nothing is found of what was cropped, rotated, or mirrored top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from study.data.leaks.perceptual_hashes import PerceptualHashes

MOST_BITS = 7
LEAST_CORRELATION = 0.98
BANDS, BAND_BITS = 4, 16
PER_IMAGE = 32  # candidates of an image that are verified, those with the nearest hashes first
BLOCK = 2**21  # candidates looked at together

Ints = NDArray[np.intp]
Hashes = NDArray[np.uint64]
_PROBES = np.concatenate([[0], 1 << np.arange(BAND_BITS)])  # (17,) what is flipped of a band

NearestImages = tuple[Ints, Ints, Ints, NDArray[np.float64]]


def nearest(
    images: PerceptualHashes,
    among: PerceptualHashes,
    counts: Callable[[Ints, Ints], NDArray[np.bool_]],
) -> NearestImages:
    """Return for every image that has a near duplicate `among` others, as it is or mirrored, its
    nearest one.

    counts: which pairs (places in `images`, places in `among`) are of interest; the others are
    passed over.

    Returns (place in `images`, rising; place in `among`; bits of 64 that differ; correlation of the
    thumbnails), each (F,). The nearest has the fewest bits, then the highest correlation, then the
    first place.
    """
    i, j, bits, alike = (
        np.concatenate(columns)
        for columns in zip(
            *(_nearest(one, among, counts) for one in (images, images.mirrored())), strict=True
        )
    )
    return _first_of_each(i, j, bits, alike)


def _nearest(
    images: PerceptualHashes,
    among: PerceptualHashes,
    counts: Callable[[Ints, Ints], NDArray[np.bool_]],
) -> NearestImages:
    here, there = np.flatnonzero(~images.flat), np.flatnonzero(~among.flat)
    parts: list[NearestImages] = []
    for left, right, bits in candidates(images.hash[here], among.hash[there]):
        i, j = here[left], there[right]
        wanted = counts(i, j)
        parts.append(_verified(images, among, *_closest(i[wanted], j[wanted], bits[wanted])))
    if not parts:
        nothing = np.zeros(0, dtype=np.intp)
        return nothing, nothing, nothing, np.zeros(0)
    first, second, third, fourth = zip(*parts, strict=True)
    return (
        np.concatenate(first),
        np.concatenate(second),
        np.concatenate(third),
        np.concatenate(fourth),
    )


def candidates(hashes: Hashes, among: Hashes) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield all pairs that differ in at most `MOST_BITS` bits, each once: places in both, and the
    bits.

    Blocks follow each other by the first place; the pairs of one image are all in one block.
    """
    if not len(hashes) or not len(among):
        return
    bands = [_Buckets(_band(among, band)) for band in range(BANDS)]
    sizes = sum(
        bucket.counts[_band(hashes, band)[:, None] ^ _PROBES].sum(axis=1)
        for band, bucket in enumerate(bands)
    )
    for start, stop in _blocks(np.asarray(sizes, dtype=np.int64)):
        pairs = []
        for band, bucket in enumerate(bands):
            left, right = bucket.pairs(_band(hashes[start:stop], band))
            close = np.bitwise_count(hashes[start + left] ^ among[right]) <= MOST_BITS
            pairs.append((start + left[close]) * len(among) + right[close])
        left, right = np.divmod(np.unique(np.concatenate(pairs)), len(among))
        yield left, right, np.bitwise_count(hashes[left] ^ among[right]).astype(np.intp)


class _Buckets:
    """The places of all hashes by the value of one band. counts: (65536,)."""

    def __init__(self, values: Ints) -> None:
        self.counts = np.bincount(values, minlength=1 << BAND_BITS)
        self._starts = np.cumsum(self.counts) - self.counts
        self._order = np.argsort(values, kind="stable")

    def pairs(self, values: Ints) -> tuple[Ints, Ints]:
        """Return (place in values, place here) of all in the 17 buckets around each value."""
        probes = (values[:, None] ^ _PROBES).ravel()
        counts = self.counts[probes]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        left = np.repeat(np.arange(len(probes)) // len(_PROBES), counts)
        return left, self._order[np.repeat(self._starts[probes], counts) + within]


def _band(hashes: Hashes, band: int) -> Ints:
    return ((hashes >> np.uint64(band * BAND_BITS)) & np.uint64((1 << BAND_BITS) - 1)).astype(
        np.intp
    )


def _blocks(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut the images into runs of about `BLOCK` candidates, at least one image each."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        yield start, stop
        start = stop


def _closest(i: Ints, j: Ints, bits: Ints) -> tuple[Ints, Ints, Ints]:
    """Keep of every image the `PER_IMAGE` nearest pairs: frames of one scene are all alike."""
    order = np.lexsort((j, bits, i))
    i, j, bits = i[order], j[order], bits[order]
    rank = np.arange(len(i)) - np.searchsorted(i, i)
    kept = rank < PER_IMAGE
    return i[kept], j[kept], bits[kept]


def _verified(
    images: PerceptualHashes, among: PerceptualHashes, i: Ints, j: Ints, bits: Ints
) -> NearestImages:
    alike = np.concatenate(
        [np.zeros(0), *(_correlation(images, among, i[p], j[p]) for p in _pieces(len(i)))]
    )
    close = alike >= LEAST_CORRELATION
    return _first_of_each(i[close], j[close], bits[close], alike[close])


def _first_of_each(i: Ints, j: Ints, bits: Ints, alike: NDArray[np.float64]) -> NearestImages:
    """Keep of every image the pair with fewest bits, then highest correlation, then first place."""
    order = np.lexsort((j, -alike, bits, i))
    _, first = np.unique(i[order], return_index=True)
    best = order[first]
    return i[best], j[best], bits[best], alike[best]


def _correlation(
    images: PerceptualHashes, among: PerceptualHashes, i: Ints, j: Ints
) -> NDArray[np.float64]:
    """The correlation of the thumbnails, (F,), rounded so that its last digits break no tie."""
    a, b = (
        p.thumbnail[index].reshape(len(index), -1).astype(np.float64)
        for p, index in ((images, i), (among, j))
    )
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    product = np.einsum("fk,fk->f", a, b)
    return np.asarray(
        np.round(product / np.sqrt(np.einsum("fk,fk->f", a, a) * np.einsum("fk,fk->f", b, b)), 6)
    )


def _pieces(n: int, size: int = 8192) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]
