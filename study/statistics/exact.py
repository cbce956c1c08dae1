"""Exact bounds for numbers that do not vary: perfect separation, and proportions that are 0 or 1 in
every replicate.

Numpy and scipy only. A bootstrap of such a number has no width, which would claim
certainty from a handful of groups. Every bound rests on independent groups, one image of each, and
on no shape of the scores' distributions but their continuity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit

from study.statistics.metrics import FPR, RATES, rates
from study.statistics.resampling import CONFIDENCE

Bound = tuple[float, float, str]  # low, high, what it is


def clopper_pearson(
    successes: float, n: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion, `successes` of `n` >= 1 (Clopper and
    Pearson, 1934).

    Both may lie between whole numbers, as means over seeds and effective sample sizes do.
    """
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def separated_eer(pairs: int) -> float:
    """Return the largest EER that perfect separation of `pairs` reals from as many fakes leaves
    possible, at 97.5 %.

    With an equal error rate of e the TPR is at most 1 - e where the FPR is below e. With m
    independent reals, the highest of them stands where the FPR is at least e with probability (1 -
    e)^m; otherwise each of m fakes exceeds it with probability at most 1 - e. So P(separated) <= 2
    q - q^2 with q = (1 - e)^m, and the bound is the e at which this is 2.5 %.
    """
    return float(1 - (1 - np.sqrt((1 + CONFIDENCE) / 2)) ** (1 / pairs)) if pairs else 1.0


@dataclass(frozen=True, kw_only=True)
class Support:
    """What a bound may rest on: independent groups in all, with reals, with fakes, and disjoint
    real-fake pairs of them.

    prevalence: share of fakes among the images, in (0, 1) where both classes exist.
    """

    groups: int
    real: int
    fake: int
    pairs: int
    prevalence: float


def ranking_bound(metric: str, value: float, *, auc: float, support: Support) -> Bound | None:
    """Bound a metric of the ranking where the sample's AUC is 1 or 0; None where it is neither, or
    for another metric.

    The AUC itself: all of m disjoint real-fake pairs agree, so Clopper-Pearson on m of m. The
    others follow from the corner (e, 1 - e), e of `separated_eer`, that the population's ROC passes
    on its upper left; or, reversed, (1 - e, e) below.
    """
    if auc not in (0.0, 1.0) or not support.pairs:
        return None
    if metric == "auc":
        low, high = clopper_pearson(round(auc * support.pairs), support.pairs)
        return low, high, f"exact bound (Clopper-Pearson, {support.pairs} disjoint pairs)"
    bound = _separated if auc == 1.0 else _reversed
    found = bound(
        metric, value, separated_eer(support.pairs), (1 - support.prevalence) / support.prevalence
    )
    return (
        (*found, f"exact bound (perfect separation, {support.pairs} disjoint pairs)")
        if found
        else None
    )


def _separated(metric: str, value: float, e: float, odds: float) -> tuple[float, float] | None:
    if metric == "eer":
        return value, e
    if metric in FPR:  # so few reals say nothing of so low an FPR
        return (1 - e if e <= FPR[metric] else 0.0), value
    if metric == "ap":  # the worst ROC through the corner: FPR e up to recall 1 - e, then 1
        return _mean_precision(0, 1 - e, e * odds) + _mean_precision(1 - e, 1, odds), value
    return None


def _reversed(metric: str, value: float, e: float, odds: float) -> tuple[float, float] | None:
    if metric == "eer":
        return 1 - e, value
    if metric in FPR:
        return value, (e if FPR[metric] < 1 - e else 1.0)
    # from the least that any curve can have (Boyd et al., 2012) to the best ROC below the corner
    if metric == "ap":
        return min(_mean_precision(0, 1, odds), value), e + (1 - e) / (1 + odds * (1 - e))
    return None


def _mean_precision(start: float, stop: float, false_positives: float) -> float:
    """Integrate precision t / (t + false_positives) over the recall t; false positives per fake are
    constant.
    """
    return float(
        stop
        - start
        - false_positives * np.log((stop + false_positives) / (start + false_positives))
    )


def oracle_bound(metric: str, *, auc: float, support: Support) -> Bound | None:
    """Bound a metric at the oracle threshold where the sample's AUC is 1; None where it is not.

    The best balanced accuracy is at least that at the EER, 1 - e; there neither class can fall
    below 1 - 2 e.
    """
    if auc != 1.0 or not support.pairs:
        return None
    e = separated_eer(support.pairs)
    low = (
        1 - e
        if metric == "balanced_accuracy"
        else _at_rates(metric, max(1 - 2 * e, 0.0), max(1 - 2 * e, 0.0), support)
    )
    return low, 1.0, f"exact bound (perfect separation, {support.pairs} disjoint pairs)"


def threshold_bound(
    metric: str, values: Mapping[str, float], *, n_called: int, support: Support
) -> Bound | None:
    """Bound a metric at a threshold by Clopper-Pearson over groups; None where neither class is all
    right or all wrong.

    values: the metrics of `RATES` at that threshold. n_called: groups that hold an image called
    fake.
    Proportions directly; metrics of both classes from the recall's and the real accuracy's bounds
    at half the error each.
    """
    trials = {
        "accuracy": support.groups,
        "real_accuracy": support.real,
        "recall": support.fake,
        "fake_accuracy": support.fake,
        "precision": n_called,
    }
    if values[metric] in (0.0, 1.0) and metric in trials:
        n = trials[metric]
        return (
            *clopper_pearson(round(values[metric] * n), n),
            f"exact bound (Clopper-Pearson, {n} groups)",
        )
    recall, real_accuracy = values["recall"], values["real_accuracy"]
    if not {recall, real_accuracy} & {0.0, 1.0} or metric in (
        "recall",
        "fake_accuracy",
        "real_accuracy",
    ):
        return None
    tpr, tnr = _half_error(recall, support.fake), _half_error(real_accuracy, support.real)
    low, high = (_at_rates(metric, tpr[end], tnr[end], support) for end in (0, 1))
    return low, high, f"exact bound (Clopper-Pearson, {support.fake} and {support.real} groups)"


def count_bound(
    metric: str,
    value: float,
    values: Mapping[str, float],
    *,
    n_real: int,
    n_fake: int,
    support: Support,
) -> Bound | None:
    """Bound a confusion count that is none or all of its class, by its class' bound times the
    class' images; None elsewhere.

    metric: of `COUNTS`. values: the metrics of `RATES` at that threshold; n_real, n_fake: images.
    """
    n = n_fake if metric in ("tp", "fn") else n_real
    found = threshold_bound(
        "recall" if metric in ("tp", "fn") else "real_accuracy", values, n_called=0, support=support
    )
    if found is None or value not in (0.0, float(n)):
        return None
    low, high, note = found
    right = metric in ("tp", "tn")
    return (n * low, n * high, note) if right else (n * (1 - high), n * (1 - low), note)


def operating_point_bound(value: float, support: Support) -> Bound | None:
    """Bound a TPR of 0 or 1 at a given FPR by Clopper-Pearson over the groups with fakes, the cut
    taken as given.
    """
    if value not in (0.0, 1.0):
        return None
    low, high = clopper_pearson(round(value * support.fake), support.fake)
    return low, high, f"exact bound (Clopper-Pearson, {support.fake} groups, cut taken as given)"


def korn_graubard(
    value: float, variance: float, *, images: float, groups: int
) -> tuple[float, float]:
    """Return the interval of a proportion in (0, 1) with clustered images: Clopper-Pearson at the
    effective sample size.

    Where every group has one image the effective size is the number of images, and
    `clopper_pearson` is to be used itself.
    variance: its bootstrap variance, > 0. The effective size value (1 - value) / variance, at most
    the `images`, is reduced for few `groups` by Student's t (Korn and Graubard, 1998), so that it
    holds near 0 and 1, where percentiles do not.
    """
    tail = (1 + CONFIDENCE) / 2
    few = (
        (float(stdtrit(max(images - 1, 1), tail)) / float(stdtrit(max(groups - 1, 1), tail))) ** 2
        if images > groups
        else 1.0
    )
    n = min(value * (1 - value) / variance, images) * few
    return clopper_pearson(value * n, n)


def edges(
    metric: str, threshold: str, *, oracle: bool, n_called: int, support: Support
) -> tuple[float, float]:
    """Return the lower bound that a perfect result would have in this sample, and the upper bound
    of an all wrong one.

    No other result may claim more: its interval must reach down to the first and up to the second.
    Infinite where none is known.
    """
    found: list[Bound | None] = [None, None]
    if not support.real or not support.fake or (metric == "precision" and not n_called):
        return np.inf, -np.inf
    if not threshold:
        found = [ranking_bound(metric, best, auc=best, support=support) for best in (1.0, 0.0)]
        if metric == "eer":  # which is high where the AUC is low
            found.reverse()
        if metric == "ap":  # whose worst value depends on the prevalence
            found[1] = None
    elif metric in RATES and oracle:
        found[0] = oracle_bound(metric, auc=1.0, support=support)
    elif metric in RATES:
        found = [
            threshold_bound(metric, dict.fromkeys(RATES, end), n_called=n_called, support=support)
            for end in (1.0, 0.0)
        ]
    return found[0][0] if found[0] else np.inf, found[1][1] if found[1] else -np.inf


def _half_error(rate: float, n: int) -> tuple[float, float]:
    return (
        clopper_pearson(round(rate * n), n, (1 + CONFIDENCE) / 2)
        if rate in (0.0, 1.0)
        else (0.0, 1.0)
    )


def _at_rates(metric: str, tpr: float, tnr: float, support: Support) -> float:
    """Return a metric of `RATES` at these rates and the sample's prevalence; 0 where nothing would
    be called fake.
    """
    pi = support.prevalence
    return float(
        np.nan_to_num(rates(tp=pi * tpr, fp=(1 - pi) * (1 - tnr), n_fake=pi, n_real=1 - pi)[metric])
    )
