"""The cluster bootstrap: groups drawn with replacement, stratified by which classes they hold
(PROTOCOL section 5).

Numpy and scipy only. A replicate is how often each group was drawn; every image of a group
weighs that much. Real-only, fake-only and mixed groups are drawn apart, so that a replicate holds
as many groups of each kind as the sample and never lacks a class. Counts come in blocks of
replicates, so that memory stays bounded; the blocks' size does not change what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtri

from study.statistics.ranking import Floats, Ints, checked, placed_below

REPLICATES = 2000
CONFIDENCE = 0.95
Z = float(ndtri((1 + CONFIDENCE) / 2))  # standard errors that a normal interval reaches
# below about this many a cluster bootstrap is too narrow (Cameron, Gelbach and Miller, 2008)
FEW_GROUPS = 10
NO_WIDTH = 1e-12  # of an interval: below it only rounding is left
BLOCK = 2**18  # weights computed at a time: blocks of this size stay in a core's cache


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """The G groups of a sample of N images.

    member: (N,) the group's number of each image. real, fake: (G,) bool, whether a group holds
    images of that class.
    """

    member: Ints
    real: NDArray[np.bool_]
    fake: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.real)

    @property
    def strata(self) -> tuple[Ints, ...]:
        """The numbers of the groups that hold only reals, only fakes, and both."""
        kinds = self.real & ~self.fake, self.fake & ~self.real, self.real & self.fake
        return tuple(np.flatnonzero(kind) for kind in kinds)

    @property
    def by_class(self) -> tuple[int, int]:
        """How many groups hold reals, and how many fakes."""
        return int(self.real.sum()), int(self.fake.sum())

    @property
    def pairs(self) -> int:
        """How many disjoint pairs of groups there are of which one gives a real and one a fake."""
        return min(*self.by_class, len(self) // 2)

    def totals(self, values: Floats) -> Floats:
        """(N, M) values per image -> (G, M) their sums per group."""
        total = np.zeros((len(self), values.shape[1]))
        if len(self) == len(self.member):  # one image each
            total[self.member] = values
            return total
        np.add.at(total, self.member, values)
        return total


def clusters(label: ArrayLike, group: ArrayLike) -> Clusters:
    """Number the groups of a sample: label (N,), 1 = fake; group (N,) str."""
    names, member = np.unique(np.asarray(group), return_inverse=True)
    fake = np.asarray(label).astype(bool)
    held = [np.bincount(member[of], minlength=len(names)) > 0 for of in (~fake, fake)]
    return Clusters(member=member, real=held[0], fake=held[1])


def few_groups(fewest: int) -> str:
    """Return what is to be said of a sample by the groups of its rarer class, or ""."""
    return f"few groups ({fewest})" if fewest < FEW_GROUPS else ""


def blocks(replicates: int, width: int) -> Iterator[int]:
    """Divide `replicates` into numbers of rows whose rows of `width` weights fill a block."""
    rows = max(1, BLOCK // max(width, 1))
    for start in range(0, replicates, rows):
        yield min(rows, replicates - start)


def draws(groups: Clusters, *, replicates: int, rng_seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks (r, G) of how often each group was drawn, `replicates` rows in all; they depend
    on nothing but the seed.

    Groups are taken in the order of their first images, so that it does not matter what they are
    called. A count fits a byte: it is at most the stratum's size, and in a larger stratum it is
    Poisson distributed with mean 1.
    """
    first = np.full(len(groups), len(groups.member))
    np.minimum.at(first, groups.member, np.arange(len(groups.member)))
    strata = [stratum[np.argsort(first[stratum])] for stratum in groups.strata]
    # A stream per stratum: the draws are then the same however the replicates are divided into
    # blocks.
    streams = [
        (stratum, np.random.default_rng([rng_seed, kind]))
        for kind, stratum in enumerate(strata)
        if len(stratum)
    ]
    for rows in blocks(replicates, len(groups.member)):
        count = np.zeros((rows, len(groups)), np.uint8)
        for stratum, rng in streams:
            drawn = rng.integers(len(stratum), size=(rows, len(stratum)), dtype=np.uint32)
            for row, picks in zip(count, drawn, strict=True):
                row[stratum] = np.bincount(picks, minlength=len(stratum))
        yield count


class ResampledAuc:
    """The AUC of bootstrap replicates, the shortest way when nothing else of the ranking is wanted.

    label (N,), 1 = fake; logit (N,), finite; groups: those of the images. Raises ScoreError where a
    score is not finite.
    """

    def __init__(self, label: ArrayLike, logit: ArrayLike, groups: Clusters) -> None:
        fake, score = checked(label, logit)
        by_score = np.argsort(score)
        fakes, reals = by_score[fake[by_score]], by_score[~fake[by_score]]
        # places among the sorted reals, so that sums up to them count the reals that a fake beats
        self._below, self._not_above = placed_below(score[fakes], score[reals])
        self._tied = bool((self._below != self._not_above).any())
        self._real, self._fake = groups.member[reals], groups.member[fakes]

    def __call__(self, count: NDArray[np.uint8]) -> Floats:
        """(r,) AUCs where each group was drawn `count` (r, G) times; NaN without both classes."""
        if not len(self._real) or not len(self._fake):
            return np.full(len(count), np.nan)
        real, found = count.take(self._real, axis=1), count.take(self._fake, axis=1)
        reached = np.zeros((len(count), len(self._real) + 1), np.int32)
        np.cumsum(real, axis=1, out=reached[:, 1:])
        beaten = reached.take(self._below, axis=1)
        twice = beaten + (reached.take(self._not_above, axis=1) if self._tied else beaten)
        total = np.einsum("rk,rk->r", twice, found, dtype=np.float64)
        return np.asarray(
            total / 2 / np.maximum(reached[:, -1], 1) / np.maximum(found.sum(axis=1), 1)
        )


def bootstrap_auc(
    label: ArrayLike,
    logit: ArrayLike,
    group: ArrayLike,
    *,
    replicates: int = REPLICATES,
    rng_seed: int,
) -> Floats:
    """(replicates,) AUC of each cluster-bootstrap replicate.

    label (N,), 1 = fake; logit (N,), finite; group (N,) str. NaN where a class is missing.
    """
    groups = clusters(label, group)
    auc = ResampledAuc(label, logit, groups)
    return np.concatenate(
        [auc(count) for count in draws(groups, replicates=replicates, rng_seed=rng_seed)]
    )


def percentile_interval(values: Floats) -> tuple[Floats, Floats, Ints]:
    """Return the 2.5th and 97.5th percentile of replicates (R, ...) along the first axis, and how
    many were defined.

    NaN replicates are left out; linear interpolation between order statistics, as numpy's default.
    NaN where none is defined.
    """
    ordered = np.sort(values, axis=0)  # NaN comes last
    defined = np.count_nonzero(~np.isnan(values), axis=0)
    tail = (1 - CONFIDENCE) / 2

    def quantile(share: float) -> Floats:
        place = share * np.maximum(defined - 1, 0)
        lower = np.floor(place).astype(np.intp)
        upper = np.minimum(lower + 1, np.maximum(defined - 1, 0))
        low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (lower, upper))
        return np.asarray(low + (place - lower) * (high - low))

    return quantile(tail), quantile(1 - tail), defined


def logit_interval(value: float, replicates: Floats) -> tuple[float, float]:
    """Return the 95 % normal interval on the logit scale of a value in (0, 1), with the spread of
    its replicates (R,).

    Replicates of 0 and 1 count as 20 times nearer to them than the value. NaN replicates are left
    out.
    """
    margin = min(value, 1 - value) / 20
    held = np.clip(replicates[~np.isnan(replicates)], margin, 1 - margin)
    reach = float(Z * logit(held).std())
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
