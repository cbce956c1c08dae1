"""Detectors against each other: paired differences on the same images, ranks over test sets
(PROTOCOL section 5).

Numpy and scipy only. Scorings of the same images are correlated, and what they share
cancels in their difference: so the variance is taken of the difference itself, after DeLong where
every group has one image, else from cluster-bootstrap replicates that draw the same groups for all
scorings. No difference claims more than an exact bound on its disjoint pairs (differences.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from study.core.errors import ScoreError
from study.statistics import metrics
from study.statistics.delong import influence, placements
from study.statistics.differences import (
    ALPHA,
    NO_VARIANCE,
    ROUNDING,
    Difference,
    Part,
    total_difference,
)
from study.statistics.ranking import Floats, Ints, checked, missing_class, placed_below
from study.statistics.resampling import (
    CONFIDENCE,
    REPLICATES,
    bootstrap_auc,
    clusters,
    few_groups,
)

NAN = float("nan")
DELONG, BOOTSTRAP = "paired DeLong", "paired cluster bootstrap"
JOINT = "paired clustered DeLong"  # over test sets that share images


class PairedAucs:
    """The AUCs of K scorings of the same N images, and of any contrast between them.

    aucs: (K,) in [0, 1], all NaN where a class is missing. how: `DELONG` or `BOOTSTRAP`. n_real,
    n_fake: images. n_groups: groups.
    """

    def __init__(
        self,
        label: ArrayLike,
        logits: Sequence[ArrayLike],
        group: ArrayLike,
        *,
        replicates: int = REPLICATES,
        rng_seed: int,
    ) -> None:
        """Take label (N,), 1 = fake; K >= 1 logits (N,), finite; group (N,) str. rng_seed: all that
        the resampling depends on.

        Raises ScoreError where a score is not finite, or where labels, scores and groups differ in
        shape.
        """
        pairs = [checked(label, logit) for logit in logits]
        self._fake, self._scores = pairs[0][0], [score for _, score in pairs]
        if np.shape(group) != self._fake.shape:
            raise ScoreError(
                f"groups of shape {np.shape(group)} with labels of shape {self._fake.shape}: need"
                " one per image"
            )
        self._groups = clusters(self._fake, group)
        self.n_fake, self.n_groups = int(self._fake.sum()), len(self._groups)
        self.n_real = len(self._fake) - self.n_fake
        self.how = DELONG if self.n_groups == len(self._fake) else BOOTSTRAP
        self.aucs = np.array([metrics.auc(self._fake, score) for score in self._scores])
        # (K, n) each: what the sampling variance follows from, linear in the scorings
        self._parts: list[Floats] = []
        if self.reason:
            return
        if self.how == DELONG:
            placed = [placements(self._fake, score) for score in self._scores]
            self._parts = [np.stack(of_class) for of_class in zip(*placed, strict=True)]
        else:
            drawn = [
                bootstrap_auc(self._fake, z, group, replicates=replicates, rng_seed=rng_seed)
                for z in self._scores
            ]
            self._parts = [np.stack(drawn)]

    @property
    def reason(self) -> str:
        """Why no difference here has an interval, or ""."""
        alone = "a class comes from one group" if min(self._groups.by_class) < 2 else ""
        return missing_class(self._fake) or alone

    @property
    def note(self) -> str:
        """What is to be said of every difference here, or ""."""
        return few_groups(min(self._groups.by_class))

    def contrast(self, weights: ArrayLike) -> tuple[float, float]:
        """Return the weighted sum of the AUCs, weights (K,), and its sampling variance; NaN where
        there is a `reason`.

        DeLong's variance (DeLong, DeLong and Clarke-Pearson, 1988) is that of the weighted
        placements, by class; the bootstrap's that of the weighted replicates.
        """
        w = np.asarray(weights, dtype=np.float64)
        value = float(w @ self.aucs)
        combined = [w @ part for part in self._parts]
        if not combined:
            return value, NAN
        sizes = [len(part) if self.how == DELONG else 1 for part in combined]
        return value, float(
            sum(part.var(ddof=1) / size for part, size in zip(combined, sizes, strict=True))
        )

    def influence(self, weights: ArrayLike) -> Floats:
        """(N,) each image's part in the error of the AUCs' sum by weights (K,), of both classes."""
        total = np.zeros(len(self._fake))
        for weight, score in zip(np.asarray(weights).tolist(), self._scores, strict=True):
            if weight:
                total += weight * influence(self._fake, score)
        return total

    def difference(self, first: int, second: int) -> Difference:
        """Return the AUC of scoring `first` minus that of `second`, see `total_difference`."""
        weights = np.zeros(len(self.aucs))
        weights[first] += 1
        weights[second] -= 1
        value, variance = self.contrast(weights)
        if self.reason:
            return Difference(value=value, how=self.how, reason=self.reason, note=self.note)
        part = Part(
            value=value,
            variance=variance,
            pairs=self.pairs,
            alike=not variance > NO_VARIANCE and self.every_pair_alike(weights),
        )
        return total_difference([part], how=self.how, note=self.note)

    @property
    def pairs(self) -> int:
        """How many disjoint pairs of a real and a fake there are, each of two groups."""
        return self._groups.pairs

    def every_pair_alike(self, weights: ArrayLike) -> bool:
        """Whether every pair of a real and a fake adds the same to the weighted sum of the AUCs,
        weights (K,).

        So it is where each scoring separates the classes or is constant, but for those of one order
        whose weights cancel.
        """
        left: dict[bytes, float] = {}
        for weight, auc, score in zip(
            np.asarray(weights).tolist(), self.aucs.tolist(), self._scores, strict=True
        ):
            if weight and auc not in (0.0, 1.0) and np.ptp(score) > 0:
                order = b"".join(counts.tobytes() for counts in _cross_counts(self._fake, score))
                left[order] = left.get(order, 0.0) + weight
        return all(abs(weight) <= ROUNDING for weight in left.values())


def _cross_counts(fake: NDArray[np.bool_], score: Floats) -> tuple[Ints, ...]:
    """For each fake, how many reals lie below it, and how many not above it; for each real the same
    of fakes.

    "Lies below" between reals and fakes is nested, and a nested relation is the only one with its
    counts (Ryser, 1957): scorings with equal counts order every pair of a real and a fake alike.
    """
    fakes, reals = score[fake], score[~fake]
    return *placed_below(fakes, reals), *placed_below(reals, fakes)


def holm(p: ArrayLike) -> Floats:
    """Return Holm's (1979) adjusted p-values, (m,) in [0, 1], of a family p (m,); they hold the
    family-wise error at alpha.

    NaN stays NaN and does not count as a member of the family.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    stepped = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """How K detectors rank over n test sets, 1 being best.

    mean_ranks: (K,) in [1, K], ties sharing their mean rank; NaN where n is 0. statistic, p:
    Friedman's, NaN with a `reason`.
    least_p: the p that the same order on all n test sets has by permutation, (1 / K!)^(n - 1): no
    outcome can show more.
    critical_difference: in mean rank, by Nemenyi; NaN where undefined.
    cliques: the largest sets of detectors, best first, whose mean ranks differ by less; all in one
    where Friedman's test finds no difference, since Nemenyi's only follows it. left_out: test sets
    that not every detector has a number on.
    """

    n: int
    mean_ranks: Floats
    statistic: float
    p: float
    least_p: float
    critical_difference: float
    cliques: tuple[tuple[int, ...], ...]
    left_out: int
    reason: str = ""


def friedman(values: ArrayLike) -> Ranks:
    """Rank the detectors on every test set, and test whether their mean ranks differ: values (n,
    K), higher is better.

    Friedman (1937) with correction for ties, against chi squared with K - 1 degrees of freedom; the
    critical difference of Nemenyi (Demsar, 2006). Test sets with a NaN are left out. Undefined,
    with a reason, below two detectors or two test sets, where all tie, and where even the same
    order on all test sets would not be significant (`least_p` of .05 or more).
    """
    from scipy.stats import rankdata  # half a second, and most commands rank nothing

    table = np.asarray(values, dtype=np.float64)
    kept = table[~np.isnan(table).any(axis=1)]
    n, k = kept.shape
    ranks = rankdata(-kept, axis=1) if n and k else np.empty((n, k))
    mean_ranks = ranks.mean(axis=0) if n else np.full(k, np.nan)
    least_p = float(math.factorial(k)) ** (1 - n) if k > 1 and n else NAN
    reason = _why_no_test(n, k, least_p, ranks)
    statistic = NAN if reason else _friedman_statistic(ranks)
    p = NAN if reason else float(chdtrc(k - 1, statistic))
    reach = critical_difference(n, k)
    return Ranks(
        n=n,
        mean_ranks=mean_ranks,
        statistic=statistic,
        p=p,
        least_p=least_p,
        critical_difference=reach,
        cliques=cliques(mean_ranks, reach if p < ALPHA else np.inf),
        left_out=len(table) - n,
        reason=reason,
    )


def _why_no_test(n: int, k: int, least_p: float, ranks: Floats) -> str:
    if k < 2:
        return "fewer than two detectors"
    if n < 2:
        return (
            f"{n} test set{'' if n == 1 else 's'} with a number for every detector; ranks need at"
            " least two"
        )
    if least_p >= ALPHA:
        return (
            f"too few test sets: the same order of {k} detectors on all {n} would have p ="
            f" {least_p:.2g}"
        )
    return "" if np.ptp(ranks, axis=1).any() else "all detectors tie on every test set"


def _friedman_statistic(ranks: Floats) -> float:
    """Friedman's chi squared, ties counted: the rank sums' spread over that of shuffled rows."""
    n, k = ranks.shape
    between = float(((ranks.sum(axis=0) - n * (k + 1) / 2) ** 2).sum())
    within = float(((ranks - (k + 1) / 2) ** 2).sum())
    return float((k - 1) * between / within)


def critical_difference(n: int, k: int) -> float:
    """Return how far the mean ranks of two of k detectors over n test sets must lie apart to differ
    at .05, all pairs at once.

    Nemenyi's q / sqrt(2) * sqrt(k (k + 1) / (6 n)), q the studentised range's quantile for infinite
    degrees of freedom (Demsar, 2006). NaN for fewer than two detectors or test sets.
    """
    from scipy.stats import studentized_range

    if n < 2 or k < 2:
        return NAN
    return float(
        studentized_range.ppf(CONFIDENCE, k, np.inf)
        / math.sqrt(2)
        * math.sqrt(k * (k + 1) / (6 * n))
    )


def cliques(mean_ranks: ArrayLike, reach: float) -> tuple[tuple[int, ...], ...]:
    """Return the largest sets of two or more mean ranks (K,) within `reach`, best first."""
    ranks = np.asarray(mean_ranks, dtype=np.float64)
    order = np.argsort(ranks, kind="stable")
    found: list[tuple[int, ...]] = []
    last = 0
    for start in range(len(order)):
        stop = start + int(np.count_nonzero(ranks[order[start:]] - ranks[order[start]] < reach))
        if stop - start > 1 and stop > last:
            found.append(tuple(int(i) for i in order[start:stop]))
            last = stop
    return tuple(found)


def spearman(values: ArrayLike) -> tuple[Floats, Ints]:
    """Return how alike the columns of values (n, M) rank their n rows: Spearman's rho, (M, M) in
    [-1, 1], and the rows used.

    A pair of columns is compared on the rows that both define; rho is NaN with fewer than three of
    them, or where either column is constant there. Ties share their mean rank (Spearman, 1904:
    Pearson's correlation of the ranks).
    """
    table = np.asarray(values, dtype=np.float64)
    m = table.shape[1]
    rho, used = np.full((m, m), np.nan), np.zeros((m, m), np.intp)
    for i in range(m):
        for j in range(i, m):
            both = ~np.isnan(table[:, i]) & ~np.isnan(table[:, j])
            used[i, j] = used[j, i] = int(both.sum())
            rho[i, j] = rho[j, i] = _rank_correlation(table[both, i], table[both, j])
    return rho, used


def _rank_correlation(first: Floats, second: Floats) -> float:
    from scipy.stats import rankdata

    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return NAN
    a, b = (rankdata(column) - (len(column) + 1) / 2 for column in (first, second))
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))
