"""The AUC of out-of-fold scores: folds by group, the mean over folds, and its interval (PROTOCOL
section 8).

Numpy and scipy only. Within a fold the AUC varies as DeLong's placements do (LeDell,
Petersen and van der Laan, 2015); where a group has several images their parts are added before they
are squared (Obuchowski, 1997), because they are not independent. Between folds it is not enough to
add variances up: the models share most of their training images, so the folds' AUCs err together. K
folds therefore count as 1/K + 1/(K - 1) of a fold's variance and not as 1/K (Nadeau and Bengio,
2003). Without that, an interval at 95 % holds the truth in about 85 % of the cases where there is
nothing to learn. One fold that holds everything gives the interval of a plain AUC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from study.core.records import Estimate
from study.statistics.delong import placements
from study.statistics.error_model import NO_VARIANCE
from study.statistics.exact import agreeing
from study.statistics.ranking import Floats, Ints, checked, missing_class
from study.statistics.resampling import CONFIDENCE, Clusters, clusters, few_groups

NAN = float("nan")
FOLDS = 5
# groups of a class in a fold: with fewer, its AUC is often 1 by chance, and its variance then 0
ENOUGH = 8
SAME_SCORES = "no interval: every score is the same"
LEAST = 2  # groups of a class in a fold: below it, nothing is known of how its AUC varies


def folds_by_group(
    label: ArrayLike, group: ArrayLike, *, rng_seed: int, folds: int = FOLDS
) -> Ints:
    """Return the fold of every image, (N,), 0 to k - 1; a group lies in one fold.

    k is `folds`, or fewer where groups are few: as many as give each `ENOUGH` groups of both
    classes, but two at least. Groups of only reals, of only fakes and of both are dealt out apart,
    in random order. All zeros (k = 1) where not even two folds have `LEAST` groups of both classes.
    label (N,), 1 = fake; group (N,) str. rng_seed: all that the dealing depends on; the order of
    the images does not matter.
    """
    groups = clusters(label, group)
    of_group = np.zeros(len(groups), dtype=np.intp)
    for k in range(max(min(folds, min(groups.by_class) // ENOUGH), 2), 1, -1):
        rng = np.random.default_rng([rng_seed, k])
        start = 0
        for stratum in groups.strata:
            of_group[rng.permutation(stratum)] = (start + np.arange(len(stratum))) % k
            start += len(stratum)
        held = [np.bincount(of_group[of], minlength=k) for of in (groups.real, groups.fake)]
        if np.min(held) >= LEAST:
            return of_group[groups.member]
    return np.zeros(len(groups.member), dtype=np.intp)


def cross_validated_auc(
    label: ArrayLike,
    score: ArrayLike,
    group: ArrayLike,
    fold: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Estimate the mean over folds of the AUC of out-of-fold scores, with its interval at
    `confidence`.

    label (N,), 1 = fake; score (N,), finite, higher = more fake, each of a model that saw no image
    of its fold; group (N,) str, none of them in two folds; fold (N,) int. The quantile is
    Student's, with as many degrees of freedom as the class of fewer groups has groups, less one.
    Where no image is misplaced, or all are, the variance is 0: an exact bound stands in its place,
    with a note.

    NaN with a reason where a class is missing in a fold, NaN ends with a note where a class has
    fewer than `LEAST` groups in one,
    or where nothing varies: every score is the same, or groups or folds cancel out.
    Raises ScoreError where a score is not finite.
    """
    fake, values = checked(label, score)
    if reason := missing_class(fake):
        return undefined(reason, fake)
    folds = np.asarray(fold)
    parts = [
        _Fold.of(fake[folds == k], values[folds == k], np.asarray(group)[folds == k])
        for k in np.unique(folds)
    ]
    if any(part is None for part in parts):
        return undefined("a fold lacks a class", fake)
    found = [part for part in parts if part is not None]
    groups = clusters(fake, group)
    value = float(np.mean([part.auc for part in found]))
    low, high, note = _interval(value, found, groups, confidence)
    if not np.ptp(values):
        note = SAME_SCORES
    return replace(undefined("", fake), value=value, low=low, high=high, note=note)


def undefined(reason: str, label: ArrayLike) -> Estimate:
    """Return an AUC that is none, of images with these labels (N,), and why."""
    fake = np.asarray(label).astype(bool)
    return Estimate(
        value=NAN,
        low=NAN,
        high=NAN,
        n_real=int((~fake).sum()),
        n_fake=int(fake.sum()),
        reason=reason,
    )


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """A fold's AUC and its variance, groups of its rarer class, disjoint real-fake pairs."""

    auc: float
    variance: float
    fewest: int
    pairs: int

    @classmethod
    def of(cls, fake: NDArray[np.bool_], score: Floats, group: NDArray[np.str_]) -> _Fold | None:
        if fake.all() or not fake.any():
            return None
        groups = clusters(fake, group)
        above, below = placements(fake, score)
        value = float(above.mean())
        g_real, g_fake = groups.by_class
        influence = np.empty(len(fake))
        # With ddof = 1 by class, so that groups of one image give DeLong's variance exactly.
        influence[fake] = (above - value) / len(above) * np.sqrt(g_fake / max(g_fake - 1, 1))
        influence[~fake] = (below - value) / len(below) * np.sqrt(g_real / max(g_real - 1, 1))
        variance = float((groups.totals(influence[:, None]) ** 2).sum())
        return cls(auc=value, variance=variance, fewest=min(g_fake, g_real), pairs=groups.pairs)


def _interval(
    value: float, folds: Sequence[_Fold], groups: Clusters, confidence: float
) -> tuple[float, float, str]:
    fewest = min(groups.by_class)
    if min(fold.fewest for fold in folds) < LEAST:
        return NAN, NAN, "interval undefined: a class comes from one group"
    note, k = few_groups(fewest), len(folds)
    variance = sum(fold.variance for fold in folds) / k * (1.0 if k == 1 else 1 / k + 1 / (k - 1))
    if variance > NO_VARIANCE:
        reach = float(stdtrit(fewest - 1, (1 + confidence) / 2)) * float(np.sqrt(variance))
        return max(value - reach, 0.0), min(value + reach, 1.0), note
    if value in (0.0, 1.0):
        return agreeing(value, sum(fold.pairs for fold in folds), "disjoint pairs", confidence)
    return NAN, NAN, "no interval: the folds show no variance"
