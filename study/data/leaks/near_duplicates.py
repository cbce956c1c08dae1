"""Near duplicates: the pairs of pictures that show one picture, whole or cropped, without comparing
every picture with every other.

Three steps, each of which looks closer at less:

* a picture's patches (patches.py) are looked up among those of all others, one of a pair at the
  first scale: by the signs of `BITS` frequencies, and by those with each of the `FLIPPED` least
  certain ones turned. The rarest come first, and of one picture at most `LOOK_UPS` are looked at;
* where the shapes of two patches are alike, they say how the two pictures lie on each other. Of
  each picture the `PER_PICTURE` others with most such patches are laid over it;
* a pair whose thumbnails agree where both show something, as a whole and in fine detail, is one of
  near duplicates.

Found again of photographs of 224 pixels and more: what was re-encoded as JPEG 40, at a quarter of
its size, without colour, mirrored, turned by quarters, padded or with bars of one colour, and
cropped to no less than 80 % of its sides, and these together. Of 32 pixels nine in ten. Not found:
smaller crops, other turns, other colours, what is stretched by more than a quarter.
`benchmarks/near_duplicates.py` counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.data.leaks.prints import Prints
from study.data.leaks.register import alike, first_guess, luma, refined, rough

LEAST_CORRELATION, LEAST_DETAIL, LEAST_OVERLAP = 0.98, 0.7, 0.8
BITS, FLIPPED = 30, 3
FIRST_BIT = 2  # the two lowest frequencies are those by which a square is turned: no sign is left
LEAST_SHAPE = 0.85  # correlation of two patches' frequencies
# correlation of thumbnails as they are first laid over each other, and after that is refined
LEAST_ROUGH, LEAST_REFINED = 0.4, 0.85
LOOK_UPS = 1024  # patches that one picture's are compared with
PER_PICTURE = 6  # pictures that are laid over one
BLOCK = 2**20  # pairs of patches looked at together
GUESSES = 3  # how two pictures may lie on each other: those of the likest patches
PICTURES = 512  # looked up together
LAID = 2048  # pairs of pictures laid over each other together

Ints = NDArray[np.intp]
Floats = NDArray[np.float32]
Counts = Callable[[Ints, Ints], NDArray[np.bool_]]
Nearest = tuple[Ints, Ints, Floats]


def nearest(images: Prints, among: Prints, counts: Counts) -> Nearest:
    """Return for every image that has a near duplicate `among` others its nearest one.

    counts: which pairs (places in `images`, places in `among`) are of interest; the others are
    passed over.

    Returns (place in `images`, rising; place in `among`; correlation), each (F,). The nearest has
    the highest correlation, then the first place.
    """
    i, j, correlation = near_duplicates(images, among, counts)
    order = np.lexsort((j, -correlation, i))
    _, first = np.unique(i[order], return_index=True)
    best = order[first]
    return i[best], j[best], correlation[best]


def near_duplicates(images: Prints, among: Prints, counts: Counts) -> Nearest:
    """Return all pairs of near duplicates that are found, as `nearest` does."""
    found = [(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32))]
    lists = _Lists(among), _Lists(among, first_scale_only=True)
    for start in range(0, len(images), PICTURES):
        for matches in _matches(images, among, lists, (start, start + PICTURES), counts):
            pairs = _closest(images, among, matches)
            found += [
                _verified(images, among, *(column[piece] for column in pairs))
                for piece in _pieces(pairs[0])
            ]
    one, other, correlation = (np.concatenate(column) for column in zip(*found, strict=True))
    return one, other, correlation


class _Lists:
    """The patches of pictures by their code."""

    def __init__(self, prints: Prints, *, first_scale_only: bool = False) -> None:
        places = np.arange(len(prints.records))
        if first_scale_only:
            places = np.flatnonzero(prints.records["scale"] == 0)
        codes = _codes(prints.records[places])
        order = np.argsort(codes, kind="stable")
        self._codes, self._places = codes[order], places[order]

    def look_up(self, codes: Ints) -> tuple[Ints, Ints]:
        """Return where patches of these codes begin, and how many there are."""
        first = np.searchsorted(self._codes, codes)
        return first, np.searchsorted(self._codes, codes, side="right") - first

    def places(self, first: Ints, counts: Ints) -> Ints:
        """Return the patches that `look_up` found, one list after the other."""
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(self._places[np.repeat(first, counts) + within])


class _Matches(NamedTuple):
    """Patches whose shapes are alike, as places in both prints' patches; likeness: in [-1, 1]."""

    mine: Ints
    its: Ints
    likeness: Floats


def _codes(records: NDArray[np.void]) -> Ints:
    signs = records["shape"][:, FIRST_BIT : FIRST_BIT + BITS] > 0
    values = signs @ (1 << np.arange(BITS))
    return np.asarray(values * 2 + records["light"], dtype=np.intp)


def _probes(records: NDArray[np.void]) -> Ints:
    """(P, 2^FLIPPED) the codes of patches, and those with the least certain signs turned."""
    codes = _codes(records)
    certain = np.abs(records["shape"][:, FIRST_BIT : FIRST_BIT + BITS].astype(np.int16))
    least = np.argsort(certain, axis=1, kind="stable")[:, :FLIPPED]
    flips = np.zeros((len(codes), 1), dtype=np.intp)
    for bit in range(FLIPPED):
        turned = flips ^ (2 << least[:, bit : bit + 1])
        flips = np.concatenate([flips, turned], axis=1)
    return codes[:, None] ^ flips


def _matches(
    images: Prints,
    among: Prints,
    lists: tuple[_Lists, _Lists],
    block: tuple[int, int],
    counts: Counts,
) -> Iterator[_Matches]:
    """Yield the matches of some images, those of one image together."""
    first, last = np.searchsorted(images.picture, block)
    mine = np.arange(first, last)
    small = images.records["scale"][mine] == 0
    looked_up = []
    for held, which in zip(lists, (small, ~small), strict=True):
        probes = _probes(images.records[mine[which]])
        start, n = held.look_up(probes.ravel())
        looked_up.append((np.repeat(mine[which], probes.shape[1]), start, n))
    patch, start, n = (np.concatenate(column) for column in zip(*looked_up, strict=True))
    of_first = np.arange(len(patch)) < len(looked_up[0][0])
    kept = _within_budget(images.picture[patch], n)
    for piece in _runs(images.picture[patch[kept]], n[kept]):
        part = kept[piece]
        pairs = []
        for held, which in zip(lists, (of_first[part], ~of_first[part]), strict=True):
            chosen = part[which]
            pairs.append(
                (np.repeat(patch[chosen], n[chosen]), held.places(start[chosen], n[chosen]))
            )
        one, other = (np.concatenate(column) for column in zip(*pairs, strict=True))
        wanted = counts(images.picture[one], among.picture[other])
        one, other = one[wanted], other[wanted]
        likeness = _likeness(images.records["shape"][one], among.records["shape"][other])
        near = likeness >= LEAST_SHAPE
        yield _Matches(one[near], other[near], likeness[near])


def _within_budget(picture: Ints, n: Ints) -> Ints:
    """Return which lists are looked at, by picture: the shortest, up to `LOOK_UPS` patches."""
    some = np.flatnonzero(n)
    order = some[np.lexsort((n[some], picture[some]))]
    running = np.cumsum(n[order])
    starts = np.searchsorted(picture[order], picture[order])
    before = np.where(starts > 0, running[starts - 1], 0)
    return order[running - before <= LOOK_UPS]


def _runs(picture: Ints, n: Ints) -> Iterator[slice]:
    """Cut lists into runs of about `BLOCK` patches, whole pictures each."""
    ends = np.cumsum(n)
    start = 0
    while start < len(n):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + BLOCK, side="right")))
        stop = int(np.searchsorted(picture, picture[stop - 1], side="right"))
        yield slice(start, stop)
        start = stop


def _likeness(one: NDArray[np.int8], other: NDArray[np.int8]) -> Floats:
    product = np.einsum("pf,pf->p", one.astype(np.float32), other.astype(np.float32))
    return np.asarray(product / np.float32(127**2))


def _closest(images: Prints, among: Prints, matches: _Matches) -> tuple[Ints, Ints, Ints]:
    """Return the pairs of pictures that most patches say, at most `PER_PICTURE` an image; and of
    each the matches with the likest shapes: (pair, patch, patch), by pair.
    """
    i, j = images.picture[matches.mine], among.picture[matches.its]
    order = np.lexsort((matches.its, matches.mine, -matches.likeness, j, i))
    i, j, mine, its = i[order], j[order], matches.mine[order], matches.its[order]
    new = np.ones(len(i), dtype=np.bool_)
    new[1:] = (i[1:] != i[:-1]) | (j[1:] != j[:-1])
    pair = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    n = np.diff(np.append(starts, len(i)))
    rank = _rank(i[starts], np.lexsort((-matches.likeness[order][starts], -n, i[starts])))
    kept = (rank[pair] < PER_PICTURE) & (np.arange(len(i)) - starts[pair] < GUESSES)
    return pair[kept], mine[kept], its[kept]


def _rank(group: Ints, order: Ints) -> Ints:
    """Return the place of each within its group, of an order that goes by group first."""
    rank = np.zeros(len(group), dtype=np.intp)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank


def _verified(images: Prints, among: Prints, pair: Ints, mine: Ints, its: Ints) -> Nearest:
    laid = first_guess(images, among, mine, its)
    i, j = images.picture[mine], among.picture[its]
    one, other = luma(images, i), luma(among, j)
    found = rough(one, other, laid)
    order = np.lexsort((-found, pair))
    order = order[np.unique(pair[order], return_index=True)[1]]
    best = order[found[order] >= LEAST_ROUGH]
    i, j, one, other = i[best], j[best], one[best], other[best]
    laid = refined(one, other, laid.take(best))
    likely = rough(one, other, laid) >= LEAST_REFINED
    i, j, laid = i[likely], j[likely], laid.take(likely)
    close = alike(images.thumbnail[i], among.thumbnail[j], laid)
    same = (
        (close.correlation >= LEAST_CORRELATION)
        & (close.detail >= LEAST_DETAIL)
        & (close.overlap >= LEAST_OVERLAP)
    )
    return i[same], j[same], close.correlation[same]


def _pieces(pair: Ints) -> Iterator[slice]:
    """Cut matches into pieces of about `LAID`, those of one pair of pictures together."""
    start = 0
    while start < len(pair):
        stop = min(start + LAID, len(pair))
        stop = int(np.searchsorted(pair, pair[stop - 1], side="right"))
        yield slice(start, stop)
        start = stop
