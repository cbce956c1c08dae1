"""Leaks: test images that training has seen, as they are, re-encoded or resized, or in another of
their group (PROTOCOL section 8).

Three kinds, of which an image may have several:

    exact   the same decoded pixels, whatever the files
    near    the same picture (near_duplicates.py): re-encoded, resized, without colour, mirrored,
            turned by quarters, padded, with bars, or cropped to 80 % of its sides
    group   another image of its group (its source, its video, its person)

Keys of groups are compared where they mean the same thing (common_groups.py). An image whose group
is its own pixels has no group to share.

Embedding distance is not used: features belong to a detector, and the audit comes before any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.cache import Cache
from study.core.records import FAKE, REAL, Split
from study.data.catalog import Catalog
from study.data.common_groups import share_a_key
from study.data.datasets import labels, strings, words
from study.data.images.decode import READERS
from study.data.leaks.near_duplicates import nearest
from study.data.leaks.prints import PRINTS, Prints, read_prints
from study.data.names import split_union

Kind = Literal["exact", "near", "group"]
KINDS: tuple[Kind, ...] = ("exact", "near", "group")
LIMIT = (
    "found as leaks: copies, also re-encoded, resized, grey, mirrored, turned by quarters, padded,"
    " with bars, or cropped to 80 % of the sides; shared groups. Not found: smaller crops, other"
    " turns, other colours"
)
TRAINING: tuple[Split, Split] = ("train", "val")
ORDER: tuple[Split, ...] = ("train", "val", "test")
# of a class: a test set with more copies than this in the training set is no other domain
SAME_DOMAIN = 0.01
NAMED = 2  # leaks of a kind and class, in a sentence
_NOT_COMPARED = -1

Ints = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """An image that leaks, and from where.

    image, source: sample ids. label, source_label: their classes. correlation: of the thumbnails
    laid over each other, in [-1, 1]; 1 where exact, NaN where they were not compared (group).
    """

    image: str
    source: str
    kind: Kind
    label: int
    source_label: int
    correlation: float


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """What of one set of images (`images`, of which `real` and `fake` can be used) is also in
    another (`source`).

    images, source: dataset names; image_splits, source_splits: which of their splits were looked
    at. found: at most one leak an image and kind, by image and then in the order of `KINDS`.
    """

    images: str
    image_splits: tuple[str, ...]
    source: str
    source_splits: tuple[str, ...]
    real: int
    fake: int
    found: tuple[Leak, ...]

    def ids(self, *, kind: Kind | None = None, label: int | None = None) -> tuple[str, ...]:
        """Return the images that leak, of one kind and class where given; each once, sorted."""
        found = (leak for leak in self.found if kind in (None, leak.kind))
        return tuple(sorted({leak.image for leak in found if label in (None, leak.label)}))

    def share(self, label: int, *, kind: Kind | None = None) -> float:
        """Return which share of a class leaks, in [0, 1]; NaN where the class is empty."""
        total = (self.real, self.fake)[label]
        return len(self.ids(kind=kind, label=label)) / total if total else float("nan")

    def examples(self, kind: Kind, label: int) -> list[tuple[str, str]]:
        """Return (image, source) of the first `NAMED` leaks of a kind and class."""
        found = [leak for leak in self.found if (leak.kind, leak.label) == (kind, label)]
        return [(leak.image, leak.source) for leak in found[:NAMED]]

    def of_other_class(self, label: int) -> list[tuple[str, str]]:
        """Return (image, source) of the near duplicates whose source is of the other class."""
        near = (leak for leak in self.found if (leak.kind, leak.label) == ("near", label))
        return [(leak.image, leak.source) for leak in near if leak.source_label != label]

    def copies(self, label: int) -> float:
        """Return the share of a class that is in the source, exact or near; 0 of an empty one."""
        copied = {leak.image for leak in self.found if leak.kind != "group" and leak.label == label}
        return len(copied) / max((self.real, self.fake)[label], 1)

    def sentences(self, kinds: Sequence[Kind] = KINDS) -> list[str]:
        """Say what was found, a sentence a kind and class; nothing where nothing was."""
        return [
            _sentence(self, kind, label)
            for kind, label in product(kinds, (REAL, FAKE))
            if self.ids(kind=kind, label=label)
        ]


def find_leaks(catalog: Catalog, train_on: str, test_on: str) -> Leaks:
    """Return the test images of a dataset or union that its training set, train and val of a
    dataset or union, has seen.

    Raises what `Catalog.dataset` raises, FirewallError behind the firewall, StoreError where the
    cache cannot be written.
    """
    return _between(catalog, _Part(test_on, ("test",)), _Part(train_on, TRAINING))


def leaks_across(catalog: Catalog, name: str) -> tuple[Leaks, ...]:
    """Return what the splits of one dataset share: val with train, test with train, test with val,
    as far as it has them.
    """
    present = _splits_of(catalog, name)
    pairs: tuple[tuple[Split, Split], ...] = (("val", "train"), ("test", "train"), ("test", "val"))
    there = [pair for pair in pairs if {*pair} <= {*present}]
    return tuple(_between(catalog, _Part(name, (a,)), _Part(name, (b,))) for a, b in there)


def leaks_within(catalog: Catalog, name: str, split: Split) -> Leaks:
    """Return the images of one split that repeat an earlier one of it: exact copies, and near
    duplicates of another group.

    Frames of one video resemble each other and are known to belong together; what is near in
    another group is not.
    """
    return _between(catalog, _Part(name, (split,)), _Part(name, (split,)))


def shared_images(
    catalog: Catalog, train_on: str, test_on: str, *, only_tested: bool = False
) -> Leaks:
    """Return the images of a test set's dataset that also lie in a training set: those of all its
    splits, or where it is `only_tested` of the one that is.

    `is_same_domain` says from this whether the two share a domain.
    """
    images = _Part(test_on, ("test",) if only_tested else _splits_of(catalog, test_on))
    return _between(catalog, images, _Part(train_on, TRAINING))


def is_same_domain(shared: Leaks) -> bool:
    """Say whether 1 % of a class or more, exact or near, are in a training set: no other domain."""
    return max(shared.copies(REAL), shared.copies(FAKE)) >= SAME_DOMAIN


class _Part(NamedTuple):
    """Some splits of a dataset or union."""

    name: str
    splits: tuple[Split, ...]


@dataclass(frozen=True, kw_only=True)
class _Usable:
    """The usable images of some splits of one dataset: columns id, label, group, pixels of `rows`,
    and their prints, in that order.
    """

    rows: pa.Table
    prints: Prints


def _between(catalog: Catalog, images: _Part, source: _Part) -> Leaks:
    members = split_union(images.name)
    found = [
        leak
        # of a union each member apart: its result serves every union that it is in
        for one, other in product(members, split_union(source.name))
        for leak in _cached(catalog, _Part(one, images.splits), _Part(other, source.splits))
    ]
    counts = [catalog.dataset(name).counts()[split] for name in members for split in images.splits]
    return Leaks(
        images=images.name,
        image_splits=images.splits,
        source=source.name,
        source_splits=source.splits,
        real=sum(real for real, _ in counts),
        fake=sum(fake for _, fake in counts),
        found=_strongest(found),
    )


def _strongest(found: Iterable[Leak]) -> tuple[Leak, ...]:
    """Of several leaks of an image and kind the nearest; by image and kind."""
    best: dict[tuple[str, int], Leak] = {}
    for leak in found:
        key = (leak.image, KINDS.index(leak.kind))
        if key not in best or _nearness(leak) < _nearness(best[key]):
            best[key] = leak
    return tuple(best[key] for key in sorted(best))


def _nearness(leak: Leak) -> tuple[float, str]:
    return 0.0 if leak.kind == "group" else -leak.correlation, leak.source


def _cached(catalog: Catalog, images: _Part, source: _Part) -> list[Leak]:
    """The leaks of one dataset into another, from the cache where they are in it."""
    content = [(*part, catalog.key(*part)) for part in (images, source)]
    roots = {catalog.dataset(part.name).root.resolve() for part in (images, source)}
    same_folder = len(roots) == 1

    def compare() -> list[Leak]:
        here = _usable(catalog, images)
        there = here if source == images else _usable(catalog, source)
        return _compare(here, there, same_folder=same_folder)

    kept = LEAKS.get(catalog.config.cache, (content, same_folder), compare)
    return [Leak(**fields) for fields in kept]


def _usable(catalog: Catalog, part: _Part) -> _Usable:
    dataset = catalog.dataset(part.name)
    usable = dataset.usable
    mine = usable.take(np.flatnonzero(np.isin(words(usable["split"]), part.splits)))
    prints = read_prints(dataset, mine, cache=catalog.config.cache, progress=catalog.progress)
    return _Usable(rows=mine.select(["id", "label", "group", "pixels"]), prints=prints)


def _compare(images: _Usable, source: _Usable, *, same_folder: bool) -> list[Leak]:
    """Every leak of `images` from `source`; in one set, of the later image from the earlier."""
    (pixels, its_pixels), (group, its_group) = (
        _codes(images.rows, source.rows, name) for name in ("pixels", "group")
    )
    if images is source:
        exact = _earlier(pixels)
        # An exact copy is told once, and of its first alone.
        near = nearest(
            images.prints,
            source.prints,
            lambda i, j: (j < i) & (group[i] != group[j]) & (exact[i] < 0) & (exact[j] < 0),
        )
        return _leaks(images, source, exact=exact, near=near)
    exact = _first_match(pixels, its_pixels)
    near = nearest(images.prints, source.prints, lambda i, j: pixels[i] != its_pixels[j])
    related = same_folder or share_a_key(images.rows, source.rows)
    group = _first_match(group, its_group) if related else np.full(len(exact), _NOT_COMPARED)
    own = np.array(pc.equal(images.rows["group"], images.rows["pixels"]))
    return _leaks(images, source, exact=exact, near=near, group=np.where(own, _NOT_COMPARED, group))


def _codes(images: pa.Table, source: pa.Table, name: str) -> tuple[Ints, Ints]:
    """The values of a column of both as numbers, equal where they are equal."""
    texts = pa.chunked_array([*images[name].chunks, *source[name].chunks], pa.string())
    both = texts.combine_chunks().dictionary_encode()
    codes = np.asarray(both.indices, dtype=np.intp)
    return codes[: images.num_rows], codes[images.num_rows :]


def _first_match(codes: Ints, among: Ints) -> Ints:
    """For every code its first place `among` the others, -1 where it is not there."""
    if not len(among):
        return np.full(len(codes), _NOT_COMPARED)
    values, first = np.unique(among, return_index=True)
    place = np.minimum(np.searchsorted(values, codes), len(values) - 1)
    return np.where(values[place] == codes, first[place], _NOT_COMPARED)


def _earlier(codes: Ints) -> Ints:
    """For every code the first place of its value, -1 for the first itself."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.where(first[inverse] == np.arange(len(codes)), _NOT_COMPARED, first[inverse])


def _leaks(
    images: _Usable, source: _Usable, *, exact: Ints, near: Any, group: Ints | None = None
) -> list[Leak]:
    names, sources = strings(images.rows["id"]), strings(source.rows["id"])
    label, source_label = labels(images.rows), labels(source.rows)

    def leak(kind: Kind, image: int, place: int, correlation: float) -> Leak:
        return Leak(
            image=str(names[image]),
            source=str(sources[place]),
            kind=kind,
            label=int(label[image]),
            source_label=int(source_label[place]),
            correlation=correlation,
        )

    found = [leak("exact", i, exact[i], 1.0) for i in np.flatnonzero(exact >= 0).tolist()]
    found += [leak("near", i, j, float(r)) for i, j, r in zip(*near, strict=True)]
    if group is not None:
        of_group = np.flatnonzero(group >= 0).tolist()
        found += [leak("group", i, group[i], math.nan) for i in of_group]
    return found


def _splits_of(catalog: Catalog, name: str) -> tuple[Split, ...]:
    """The splits that all datasets of a union have, of which some may have no train."""
    present = [set(words(catalog.dataset(one).samples["split"])) for one in split_union(name)]
    return tuple(split for split in ORDER if all(split in splits for splits in present))


def _sentence(leaks: Leaks, kind: Kind, label: int) -> str:
    total = (leaks.real, leaks.fake)[label]
    n = len(leaks.ids(kind=kind, label=label))
    images, source = "+".join(leaks.image_splits), "+".join(leaks.source_splits)
    within = leaks.images == leaks.source and leaks.image_splits == leaks.source_splits
    elsewhere = source if leaks.images == leaks.source else f"{source} of {leaks.source}"
    another = ", in another group" if kind == "near" else ""
    where = f"the same split{another}" if within else elsewhere
    verb = {
        "exact": ("has an exact copy in", "have an exact copy in"),
        "near": ("has a near duplicate in", "have a near duplicate in"),
        "group": ("shares its group with", "share their group with"),
    }[kind][n != 1]
    share = 100 * n / total
    percent = f"{share:.1f}" if share >= 0.05 else "under 0.1"
    of = f"{images} {('reals', 'fakes')[label]} ({n} of {total})"
    return f"{leaks.images}: {percent} % of {of} {verb} {where}"


LEAKS = Cache("leaks", [_compare, *PRINTS.made_by], libraries=(*READERS, "scipy"))
