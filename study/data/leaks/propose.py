"""Groups from near duplicates: pictures that show the same, in a folder where no group says so.

A fake that was made of a real and looks like it belongs into the group of that real. A proposal,
for a person to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.data import datasets
from study.data.datasets import Dataset
from study.data.describe import Description
from study.data.file_index import Progress, quiet
from study.data.images.videos import split_frame
from study.data.leaks.near_duplicates import near_duplicates
from study.data.leaks.prints import read_prints


@dataclass(frozen=True, kw_only=True)
class NearGroups:
    """What near duplicates propose. groups: of every image of a description, "" where it has none.
    images: how many get another group than they had; sources: pairs of a real and a fake.
    """

    groups: tuple[str, ...]
    images: int
    sources: int


def near_groups(description: Description, *, cache: Path, progress: Progress = quiet) -> NearGroups:
    """Return the groups of a description, with those joined that have near duplicates; images
    with equal pixels are one anyhow.

    Raises DataError where a file changed since it was read, StoreError where the cache cannot be
    written.
    """
    table = description.table
    given = table["group"].to_pylist()
    usable = np.flatnonzero(np.array(table["problem"].to_pylist()) == "")
    dataset = Dataset(
        name=description.name,
        card=description.card,
        root=description.layout.root,
        layout="",
        official=description.official,
        samples=datasets.with_columns(table, {"id": table["path"]}),
    )
    prints = read_prints(dataset, cache=cache, progress=progress)
    names = [given[i] for i in usable]
    own = np.array([name or f"\0{i}" for i, name in enumerate(names)])
    one, other, _ = near_duplicates(prints, prints, lambda i, j: (j < i) & (own[i] != own[j]))
    label = datasets.labels(table)[usable]
    joined = _joined(own, one, other)
    paths = [table["path"][int(i)].as_py() for i in usable]
    groups = list(given)
    for members in joined:
        named = sorted(names[i] for i in members if names[i])
        group = named[0] if named else f"near {min(paths[i] for i in members)}"
        for i in members:
            groups[usable[i]] = group
    return NearGroups(
        groups=tuple(groups),
        images=sum(new != old for new, old in zip(groups, given, strict=True)),
        sources=int((label[one] != label[other]).sum()),
    )


def _joined(
    group: NDArray[np.str_], one: NDArray[np.intp], other: NDArray[np.intp]
) -> list[list[int]]:
    """The images of every set of groups that pairs of images join."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, code = np.unique(group, return_inverse=True)
    edges = coo_array(
        (np.ones(len(one)), (code[one], code[other])), shape=(code.max(initial=-1) + 1,) * 2
    )
    _, component = connected_components(edges, directed=False)
    touched = set(component[code[one]].tolist())
    members: dict[int, list[int]] = {of: [] for of in touched}
    for i, of in enumerate(component[code].tolist()):
        if of in touched:
            members[of].append(i)
    return [members[of] for of in sorted(members)]


def with_near_groups(description: Description, groups: Sequence[str]) -> Description:
    """Return a description with other groups, also for the rows of a manifest of its own."""
    before, paths = (description.table[name].to_pylist() for name in ("group", "path"))
    changed = {
        (split_frame(path) or (path, 0))[0]: group
        for path, old, group in zip(paths, before, groups, strict=True)
        if group != old
    }
    table = datasets.with_columns(description.table, {"group": pa.array(groups, pa.string())})
    return replace(description, table=table, regrouped=changed)
