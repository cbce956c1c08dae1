"""Families of p-values, and ranks over test sets (PROTOCOL section 5). Numpy and scipy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from study.statistics.error_model import ALPHA
from study.statistics.ranking import Floats, Ints
from study.statistics.ranks import tied_ranks
from study.statistics.resampling import CONFIDENCE

NAN = float("nan")


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
    table = np.asarray(values, dtype=np.float64)
    kept = table[~np.isnan(table).any(axis=1)]
    n, k = kept.shape
    ranks = tied_ranks(-kept, axis=1) if n and k else np.empty((n, k))
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
    if n < 2 or k < 2:
        return NAN
    from scipy.stats import studentized_range  # a third of a second

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
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return NAN
    a, b = (tied_ranks(column) - (len(column) + 1) / 2 for column in (first, second))
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def kendall(first: ArrayLike, second: ArrayLike) -> tuple[float, int, int]:
    """Return how alike two columns (n,) order their rows: Kendall's tau-b in [-1, 1]; how many of
    all pairs of rows they order the other way round; and how many pairs there are.

    tau is NaN with fewer than two rows, or where a column is constant. A pair that one of them ties
    is in neither order (Kendall, 1945).
    """
    one, other = (np.asarray(column, dtype=np.float64) for column in (first, second))
    above = np.triu_indices(len(one), k=1)
    signs = [np.sign(column[:, None] - column)[above] for column in (one, other)]
    agree = signs[0] * signs[1]
    size = math.sqrt(float(np.abs(signs[0]).sum() * np.abs(signs[1]).sum()))
    tau = float(agree.sum()) / size if size > 0 else NAN
    return tau, int((agree < 0).sum()), len(agree)
