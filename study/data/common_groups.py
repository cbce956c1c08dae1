"""Whether two datasets have a group in common.

Keys of groups mean the same thing in two datasets of one folder, in two of the demo's, and in two
that have an image in common under the same key; elsewhere two datasets may well both have a group
"000". A group that is an image's own pixels means the same everywhere.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from study.data.datasets import Dataset


def have_common_group(one: Dataset, other: Dataset) -> bool:
    """Say whether an image of one dataset is in a group of the other."""
    rows, others = one.usable, other.usable
    if keys_compare(one, other) or share_a_key(rows, others):
        return _meet(rows["group"], others["group"])
    own = [table.filter(pc.equal(table["group"], table["pixels"])) for table in (rows, others)]
    return _meet(own[0]["group"], own[1]["group"])


def keys_compare(one: Dataset, other: Dataset) -> bool:
    """Say whether the keys of two datasets are of one kind by where they come from: one folder, or
    the demo, which cuts the same regions for all of its datasets.
    """
    if one.root.resolve() == other.root.resolve():
        return True
    return all(dataset.card and dataset.card.source == "demo" for dataset in (one, other))


def share_a_key(images: pa.Table, source: pa.Table) -> bool:
    """Say whether two tables have an image in common under the same key, which is not just its
    pixels.
    """
    keys = []
    for rows in (images, source):
        named = rows.filter(pc.not_equal(rows["group"], rows["pixels"]))
        keys.append(pc.binary_join_element_wise(named["group"], named["pixels"], "\0"))
    return _meet(keys[0], keys[1])


def _meet(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.is_in(one, value_set=other.combine_chunks())).as_py())
