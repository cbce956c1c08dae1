"""The null control: labels of train and val dealt out anew, so that there is nothing in them to
learn.

What a study scores on its untouched test sets is then chance, and whatever else it shows
comes from somewhere that it should not. The images of a group that have one label keep having one,
so that clusters stay what they are. Both classes get the same share of the new fakes: a plain
permutation of few groups leaves some of the old labels in the new ones, and a detector finds that.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.core.identity import derive_seed
from study.core.records import FAKE, REAL, Split
from study.data.datasets import group_codes, labels, with_columns

SHUFFLE_VERSION = 1
SHUFFLED: tuple[Split, Split] = ("train", "val")


def shuffled(rows: pa.Table, split: Split, seed: int) -> pa.Table:
    """Return the samples of a split with labels dealt out by the study's seed; test as it is."""
    if split not in SHUFFLED:
        return rows
    codes, names = group_codes(rows)
    # by name, whatever the order of the rows
    rank = np.argsort(np.argsort(np.array(names, dtype=np.str_)))
    label = dealt(rank[codes], labels(rows), derive_seed(seed, "shuffle", split))
    return with_columns(rows, pa.table({"label": pa.array(label, rows["label"].type)}))


def dealt(group: NDArray[np.integer], label: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Return new labels (N,): as many (group, label) are fake as before, alike in each class.

    group: (N,) the place of each image's group among their sorted names.
    """
    rng = np.random.default_rng(seed)
    blocks, block = np.unique(group.astype(np.int64) * 2 + label, return_inverse=True)
    old = blocks % 2
    fakes = int(old.sum())
    expected = (len(blocks) - fakes) * fakes / len(blocks)  # of the real blocks
    from_reals = int(expected) + int(rng.random() < expected % 1)
    new = np.zeros(len(blocks), dtype=np.uint8)
    for of, count in ((REAL, from_reals), (FAKE, fakes - from_reals)):
        new[rng.permutation(np.flatnonzero(old == of))[:count]] = 1
    return new[block]
