"""Training sets drawn anew, by which it is seen what the training sample decides.

Two kinds:

    half        pair r of disjoint halves of the training groups; val stays as it is
    permuted    the labels of train and val are dealt out anew, as the null control does it
                (shuffled.py)

Groups are never parted. A pair of halves follows from the study's seed, r and the names of the
groups, whatever the detector. Two training sets that share groups share the halves too, but for
the few groups next to the cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.identity import derive_seed, unit_interval
from study.core.records import FAKE, REAL, Draw
from study.data.images.packs import ImageSet
from study.data.shuffled import dealt

BOTH = 2  # of a group: it has images of both classes


def drawn_rows(train: ImageSet, draw: Draw, seed: int) -> NDArray[np.intp]:
    """Return the training images of a draw, (n,), in their order. seed: of the study. Raises
    DataError where there are too few groups for halves.
    """
    if draw.kind == "permuted":
        return np.arange(len(train))
    return np.flatnonzero(halves(train.group, train.label, draw.number, seed) == draw.half)


def drawn_labels(images: ImageSet, split: str, draw: Draw, seed: int) -> NDArray[np.uint8]:
    """Return the labels (N,) that a draw gives the images of a split. seed: of the study."""
    if draw.kind == "half":
        return images.label
    group = np.unique(images.group, return_inverse=True)[1]
    return dealt(group, images.label, derive_seed(seed, "permuted", draw.number, split))


def drawn(train: ImageSet, val: ImageSet, draw: Draw, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return train and val as a draw has them. seed: of the study. Raises DataError where there are
    too few groups for halves.
    """
    if draw.kind == "half":
        return train.part(drawn_rows(train, draw, seed)), val
    return (
        train.relabelled(drawn_labels(train, "train", draw, seed)),
        val.relabelled(drawn_labels(val, "val", draw, seed)),
    )


def halves(
    group: NDArray[np.str_], label: NDArray[np.uint8], number: int, seed: int
) -> NDArray[np.uint8]:
    """Return the half, 0 or 1, that each image (N,) is in. Both have both classes, and as many
    images of each class as whole groups allow.

    Groups of reals alone, of fakes alone and of both are cut apart each by itself: in the order of
    a hash, where half of their images lie before. Raises DataError where there are too few groups.
    """
    names, code, kind = _kinds(group, label)
    if not can_be_halved(group, label):
        raise DataError(
            f"the {len(names)} training groups cannot be halved: each half needs groups of both"
            " classes; set budget.replicates=0"
        )
    count = np.bincount(code, minlength=len(names))
    place = np.array([unit_interval(f"half {seed} {number}", str(name)) for name in names])
    second = np.zeros(len(names), dtype=np.uint8)
    for one in (REAL, FAKE, BOTH):
        mine = np.flatnonzero(kind == one)
        order = mine[np.argsort(place[mine], kind="stable")]
        before = np.cumsum(count[order])
        if len(order) == 1:
            second[order] = place[order] >= 0.5
        elif len(order):
            cut = 1 + int(np.argmin(np.abs(2 * before[:-1] - before[-1])))
            second[order[cut:]] = 1
    return second[code]


def can_be_halved(group: NDArray[np.str_], label: NDArray[np.uint8]) -> bool:
    """Tell whether two halves of the groups have both classes, whatever the seed."""
    _, _, kind = _kinds(group, label)
    alone = min(int((kind == REAL).sum()), int((kind == FAKE).sum()))
    return max(alone, int((kind == BOTH).sum())) >= 2


def _kinds(
    group: NDArray[np.str_], label: NDArray[np.uint8]
) -> tuple[NDArray[np.str_], NDArray[np.intp], NDArray[np.int64]]:
    """The names of the groups (G,), each image's among them (N,), and what each group holds."""
    names, code = np.unique(group, return_inverse=True)
    fakes = np.bincount(code[label == FAKE], minlength=len(names))
    reals = np.bincount(code[label == REAL], minlength=len(names))
    kind = np.where(fakes == 0, REAL, np.where(reals == 0, FAKE, BOTH))
    return names, code, kind.astype(np.int64)
