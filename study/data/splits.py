"""Splits and subsets by group (PROTOCOL section 2).

Both are functions of the group key alone, so that datasets which share a pool of real
images agree about it:

* a subset takes whole groups in the order of one hash, so that a smaller one lies inside every
larger one;
* a split is an interval of another, independent hash: train [0, .70), val [.70, .85), test [.85,
1). Each fold has a hash of its own (`data.folds`). Where a dataset has official
  splits without a val, the same val interval of its train becomes val: 15 % of it, and the same
  groups as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.identity import unit_interval
from study.core.records import FAKE, REAL, SPLITS

VAL_FROM, TEST_FROM = 0.70, 0.85
SPLIT_SALT, SUBSET_SALT = "split", "subset"

Codes = NDArray[np.integer]  # (N,) the index of each image's group in the list of group keys
SplitNames = NDArray[np.str_]  # (N,) "train", "val", "test", or "" where not given


def group_hash(salt: str, groups: Sequence[str]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for every group key, (G,)."""
    return np.fromiter(
        (unit_interval(salt, group) for group in groups), dtype=np.float64, count=len(groups)
    )


def assign_splits(
    codes: Codes, groups: Sequence[str], official: SplitNames, fold: int = 0
) -> SplitNames:
    """Return the split of every image, (N,): the official one, with val carved from train if there
    is none; else 70/15/15 by group, for each fold drawn anew.

    Official splits are the same in all folds. They are kept even where a group lies in two of them;
    `straddling` counts those.
    """
    salt = f"{SPLIT_SALT} {fold}" if fold and not official.any() else SPLIT_SALT
    place = group_hash(salt, groups)[codes]
    in_val = (place >= VAL_FROM) & (place < TEST_FROM)
    if not official.any():
        return np.select([place < VAL_FROM, in_val], ["train", "val"], "test")
    if (official == "train").any() and not (official == "val").any():
        return np.where((official == "train") & in_val, "val", official)
    return official


def take_per_class(
    codes: Codes, groups: Sequence[str], label: NDArray[np.uint8], limit: int
) -> NDArray[np.bool_]:
    """Return which images, (N,) bool, belong to the subset of at most `limit` images a class.

    Per class, groups are taken whole in hash order up to the first that would exceed the limit; the
    first is always taken, so a class is empty in no subset. For limits a <= b the subset for a lies
    inside that for b.
    """
    place = group_hash(SUBSET_SALT, groups)
    order = np.asarray(
        pc.sort_indices(
            pa.table({"place": place, "group": groups}),
            [("place", "ascending"), ("group", "ascending")],
        )
    )
    taken = np.zeros(len(codes), dtype=bool)
    for value in (REAL, FAKE):
        counts = np.bincount(codes[label == value], minlength=len(groups))[order]
        present = order[counts > 0]
        fits = np.cumsum(counts[counts > 0]) <= limit
        fits[:1] = True
        chosen = np.zeros(len(groups), dtype=bool)
        chosen[present[fits]] = True
        taken |= (label == value) & chosen[codes]
    return taken


def straddling(codes: Codes, split: SplitNames) -> int:
    """Return how many groups have images in more than one split."""
    names, where = np.unique(split, return_inverse=True)
    pairs = np.unique(codes.astype(np.int64) * len(names) + where)
    return int((np.bincount(pairs // max(len(names), 1)) > 1).sum()) if pairs.size else 0


def realised(split: SplitNames, label: NDArray[np.uint8]) -> dict[str, tuple[int, int]]:
    """Return (real, fake) counts of every split, zeros included."""
    return {
        name: (
            int(((split == name) & (label == REAL)).sum()),
            int(((split == name) & (label == FAKE)).sum()),
        )
        for name in SPLITS
    }


def check_splits(
    split: SplitNames,
    label: NDArray[np.uint8],
    *,
    name: str,
    official: bool,
    groups: Callable[[], str] = str,
    limited: bool = False,
) -> None:
    """Refuse a split without both classes, with the realised counts; raises DataError.

    split, label: of the usable images only. groups: what is to be said of them then. limited: by
    data.max_per_class. Where splits are official, one that is absent is no error before it is used.
    """
    counts = realised(split, label)
    if not official:
        wanted = set(SPLITS)
    else:
        wanted = {wanted for wanted, count in counts.items() if any(count)} | (
            {"val"} if any(counts["train"]) else set()
        )
    for wanted_split in SPLITS:
        if wanted_split in wanted and not all(counts[wanted_split]):
            missing = "real" if not counts[wanted_split][REAL] else "fake"
            raise DataError(
                f"dataset '{name}': its {wanted_split} split has no {missing} images"
                f" ({show_counts(counts)}{'' if official else groups()}); add images or groups,"
                f"{' raise data.max_per_class,' if limited else ''} or give splits in manifest.csv"
            )


def show_counts(counts: dict[str, tuple[int, int]]) -> str:
    """Return realised counts in words: `train 70 real + 71 fake, val ...`."""
    return ", ".join(f"{name} {real} real + {fake} fake" for name, (real, fake) in counts.items())
