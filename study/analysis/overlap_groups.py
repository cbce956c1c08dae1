"""Which test sets share images, and so are no independent samples (PROTOCOL section 5).

Two parts of one dataset (`ffpp:a` and `ffpp:b`, `?method=x` and `?method=y`) hold the same
reals; two datasets may hold copies. An image's kin names say what it is whatever its test set calls
it: its pixels, and its group within its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from study.data.leaks.find import SAME_DOMAIN
from study.data.names import split_union
from study.jobs.workspace import open_catalog
from study.planning.open_study import OpenStudy

Names = tuple[str, str]
Identities = Callable[[str], Mapping[str, Names]]  # test set -> sample id -> its two kin names
Words = NDArray[np.str_]
Ints = NDArray[np.intp]


def own_names(test_on: str) -> Mapping[str, Names]:
    """Know nothing of a test set's images but their sample ids."""
    return {}


def identities_of(setup: OpenStudy) -> Identities:
    """Return what tells images apart by their content. The catalog must be open to test splits."""
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)

    def names(test_on: str) -> Mapping[str, Names]:
        found: dict[str, Names] = {}
        for member in split_union(test_on):
            dataset = catalog.dataset(member)
            rows, root = dataset.rows("test"), str(dataset.root.resolve())
            columns = (rows[name].to_pylist() for name in ("id", "pixels", "group"))
            found |= {
                name: (f"pixels {pixels}", f"group {root}/{group}")
                for name, pixels, group in zip(*columns, strict=True)
            }
        return found

    return names


@dataclass(frozen=True, kw_only=True)
class Images:
    """The N images of a test set: sample_id, group (N,) str; label (N,), 1 = fake."""

    sample_id: Words
    group: Words
    label: NDArray[np.uint8]


def overlap_groups(
    test_sets: Mapping[str, Images], identities: Identities
) -> list[dict[str, Words]]:
    """Divide test sets into families that share images, in their order: test set -> each image's
    group (N,) in the family.

    Two sets share images where at least 1 % of a class of either is in the other, or comes from a
    group of it (`SAME_DOMAIN`, as for training sets). In a family of several, groups that have an
    image or a name in common are one.
    """
    codes: dict[str, int] = {}
    order = list(test_sets)
    names = {y: _names(test_sets[y], identities(y), codes) for y in order} if len(order) > 1 else {}
    linked = [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(order), 2)
        if _share(test_sets, names, a, b)
    ]
    family = _components([i for i, _ in linked], [j for _, j in linked], len(order)).tolist()
    found = []
    for one in dict.fromkeys(family):
        mine = [y for y, own in zip(order, family, strict=True) if own == one]
        groups = [test_sets[y].group for y in mine]
        joint = _joint(groups, [names[y] for y in mine]) if len(mine) > 1 else groups
        found.append(dict(zip(mine, joint, strict=True)))
    return found


def _names(images: Images, known: Mapping[str, Names], codes: dict[str, int]) -> Ints:
    """(N, 2) the kin names of a test set's images as numbers, equal where they are equal; of
    unknown images their sample id.
    """
    found = [known.get(image, (image, image)) for image in images.sample_id.tolist()]
    numbers = [[codes.setdefault(name, len(codes)) for name in names] for names in found]
    return np.array(numbers, dtype=np.intp).reshape(len(found), 2)


def _share(test_sets: Mapping[str, Images], names: Mapping[str, Ints], a: str, b: str) -> bool:
    for one, other in ((a, b), (b, a)):
        common, label = np.logical_or(*np.isin(names[one], names[other]).T), test_sets[one].label
        if any(common[label == of].mean() >= SAME_DOMAIN for of in (0, 1) if (label == of).any()):
            return True
    return False


def _joint(groups: Sequence[Words], names: Sequence[Ints]) -> list[Words]:
    """Each image's group in the family, (N,) a set: what is connected by groups within a set and by
    names between sets.
    """
    distinct = np.concatenate([np.char.add(f"{i} ", group) for i, group in enumerate(groups)])
    node = np.unique(distinct, return_inverse=True)[1]
    count = int(node.max()) + 1
    every = np.concatenate(names) + count
    joint = _components(np.repeat(node, 2), every.ravel(), int(every.max()) + 1)[node].astype(
        np.str_
    )
    return np.split(joint, np.cumsum([len(group) for group in groups])[:-1])


def _components(one: Sequence[int] | Ints, other: Sequence[int] | Ints, count: int) -> Ints:
    """(count,) the number of the connected component of each of `count` nodes, whose edges are
    given by their two ends.
    """
    edges = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(count, count))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.intp)
