"""What is known of a metric's error beside its replicates: exact bounds for numbers that do not
vary, such as those of perfect separation, and proportions' intervals.

Numpy and scipy only. A bootstrap of a number that does not vary has no width, which would claim
certainty from a handful of groups. Every bound rests on independent groups, one image of each, and
on no shape of the scores' distributions but their continuity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import betaincinv, stdtrit

from study.statistics.ranking import Floats
from study.statistics.replicates import Confusion
from study.statistics.resampling import CONFIDENCE, NO_WIDTH

Interval = tuple[float, float]  # low, high
Exact = tuple[float, float, str]  # low, high, what it is
# of what a share is: all groups, those with reals, those with fakes, those of images called fake
Trials = Literal["groups", "real", "fake", "called"]


def clopper_pearson(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact two-sided interval of a proportion, `successes` of `n` >= 1 (Clopper and
    Pearson, 1934).

    Both may lie between whole numbers, as means over seeds and effective sample sizes do.
    """
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def agreeing(share: float, n: float, what: str, confidence: float = CONFIDENCE) -> Exact:
    """Bound a share of 0 or 1: none or all of `n` independent trials, named by `what`."""
    low, high = clopper_pearson(round(share * n), n, confidence)
    return low, high, f"exact bound (Clopper-Pearson, {n} {what})"


def korn_graubard(value: float, variance: float, *, images: float, groups: int) -> Interval:
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
    real-fake pairs of them. n_real, n_fake: images.
    """

    groups: int
    real: int
    fake: int
    pairs: int
    n_real: int
    n_fake: int

    @property
    def prevalence(self) -> float:
        """The share of fakes among the images, in (0, 1) where both classes exist."""
        return self.n_fake / max(self.n_real + self.n_fake, 1)

    def trials(self, of: Trials) -> tuple[int, int]:
        """Return the images and the groups that a share is of; all, where of those called fake."""
        by_class = {"real": (self.n_real, self.real), "fake": (self.n_fake, self.fake)}
        return by_class.get(of, (self.n_real + self.n_fake, self.groups))


@dataclass(frozen=True, kw_only=True)
class Number:
    """The value of a metric in one scoring, and what its bound rests on.

    variance: of its replicates. auc: of the same scores. recall, real_accuracy: at the same
    threshold. called: groups with an image that is called fake there. oracle: whether the threshold
    was chosen on these very scores. tied: whether all scores are equal.
    """

    value: float
    support: Support
    variance: float = np.nan
    auc: float = np.nan
    recall: float = np.nan
    real_accuracy: float = np.nan
    called: float = 0
    oracle: bool = False
    tied: bool = False

    @property
    def separates(self) -> bool:
        """Whether every fake scores above every real, or every one below."""
        return self.auc in (0.0, 1.0) and self.support.pairs > 0


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What is known of a metric's error beside its replicates: here nothing.

    interval: what its interval is where the replicates differ. Their `percentiles`; `delong`'s
    where every group has one image, else percentiles; `logit`, normal on the logit scale; `none`,
    and then `why` says why. A `proportion` at a given threshold has its own.
    """

    interval: Literal["percentiles", "delong", "logit", "none"] = "percentiles"
    why: str = ""

    def flag(self, support: Support) -> str:
        """Return what is to be said of the metric in such a sample, or ""."""
        return ""

    def proportion(self, number: Number) -> Interval | None:
        """Return its interval at a given threshold where it is a proportion, else None."""
        return None

    def exact(self, number: Number) -> Exact | None:
        """Bound a number that no replicate changes; None where no bound is known."""
        return None

    def bounds_lowest(self, number: Number) -> bool:
        """Say whether the lowest number of all in such a sample has a bound that others can be held
        to.
        """
        return True

    def edges(self, number: Number, *, greater_is_better: bool) -> Interval:
        """Return the lower bound that the highest number would have in such a sample, and the upper
        bound of the lowest one.

        No other number may claim more: its interval must reach down to the first and up to the
        second. Infinite where none is known.
        """
        best = float(greater_is_better)
        right, wrong = (
            self.exact(replace(number, value=value, auc=auc, recall=auc, real_accuracy=auc))
            for value, auc in ((best, 1.0), (1 - best, 0.0))
        )
        highest, lowest = (right, wrong) if greater_is_better else (wrong, right)
        low = highest[0] if highest else np.inf
        return low, lowest[1] if lowest and self.bounds_lowest(number) else -np.inf


@dataclass(frozen=True, kw_only=True)
class AucBound(Bound):
    """Of the AUC: where it is 1 or 0 all of m disjoint real-fake pairs agree; where all scores are
    equal all of them tie, and each tie counts half.
    """

    interval: Literal["delong"] = "delong"

    def exact(self, number: Number) -> Exact | None:
        """Bound an AUC of 1 or 0, or that of equal scores, by Clopper-Pearson on m of m."""
        pairs = number.support.pairs
        if number.tied and pairs:
            tied, _ = clopper_pearson(pairs, pairs)
            return tied / 2, 1 - tied / 2, f"exact bound (all scores equal, {pairs} disjoint pairs)"
        return agreeing(number.auc, pairs, "disjoint pairs") if number.separates else None


@dataclass(frozen=True, kw_only=True)
class CornerBound(Bound):
    """Of a metric that follows from the corner that the population's ROC passes.

    Where the sample is separated it passes (e, 1 - e) on its upper left, e of `separated_eer`;
    where it is all wrong (1 - e, e) below. worst: the metric of the worst ROC through the first
    corner, best: that of the best ROC below the second, both as functions of e and of the reals per
    fake. least: the lowest value that any ROC can have; where it is not given, that of all wrong
    scores.
    """

    worst: Callable[[float, float], float]
    best: Callable[[float, float], float]
    least: Callable[[float], float] | None = None

    def bounds_lowest(self, number: Number) -> bool:
        """Say so where the lowest is that of all wrong scores, whatever the prevalence."""
        return self.least is None

    def exact(self, number: Number) -> Exact | None:
        """Bound a metric where the AUC is 1 or 0."""
        if not number.separates:
            return None
        pairs, pi = number.support.pairs, number.support.prevalence
        e, odds, value = separated_eer(pairs), (1 - pi) / pi, number.value
        if number.auc == 1.0:
            other = self.worst(e, odds)
        else:
            other = self.best(e, odds)
            value = min(self.least(odds), value) if self.least else value
        low, high = sorted((other, value))
        return low, high, f"exact bound (perfect separation, {pairs} disjoint pairs)"


@dataclass(frozen=True, kw_only=True)
class AtFpr(CornerBound):
    """Of the TPR at a given FPR, in (0, 1)."""

    fpr: float

    def flag(self, support: Support) -> str:
        """Return what is to be said where the FPR is finer than the reals."""
        return "1/FPR exceeds the number of reals" if 1 / self.fpr > support.n_real else ""

    def exact(self, number: Number) -> Exact | None:
        """Bound a TPR of 0 or 1; where the ranking does not, by Clopper-Pearson over the groups
        with fakes, the cut taken as given.
        """
        if found := super().exact(number):
            return found
        if number.value not in (0.0, 1.0):
            return None
        return agreeing(number.value, number.support.fake, "groups, cut taken as given")


@dataclass(frozen=True, kw_only=True)
class Rate(Bound):
    """Of a metric at a threshold. rate: the metric of a `Confusion`.

    of: what it is a share of; without, it is a metric of both classes, bounded through the recall
    and the real accuracy at half the error each. maximised: whether the oracle threshold maximises
    it.
    """

    rate: Callable[[Confusion], Floats]
    of: Trials | None = None
    maximised: bool = False

    def proportion(self, number: Number) -> Interval | None:
        """Return Clopper and Pearson's interval; of groups of images Korn and Graubard's."""
        if self.of is None or not 0 < number.value < 1 or not number.variance > NO_WIDTH**2:
            return None
        images, groups = number.support.trials(self.of)
        if images > groups:
            return korn_graubard(number.value, number.variance, images=images, groups=groups)
        # Independent trials: nothing is to be learned of their number from a bootstrap's noise.
        n = number.called if self.of == "called" else images
        return clopper_pearson(number.value * n, n)

    def exact(self, number: Number) -> Exact | None:
        """Bound a share of 0 or 1 directly; else, where one class is all right or all wrong,
        through both classes; at the oracle threshold of separated scores through their EER, and at
        that of others not at all.
        """
        if self.of == "called" and not number.called:
            return None
        if number.oracle:
            separated = number.auc == 1.0 and number.support.pairs
            return self._of_separation(number.support) if separated else None
        if self.of and number.value in (0.0, 1.0):
            n = number.called if self.of == "called" else number.support.trials(self.of)[1]
            return agreeing(number.value, n, "groups")
        if self.of in ("real", "fake") or not {number.recall, number.real_accuracy} & {0.0, 1.0}:
            return None
        support = number.support
        tpr = _half_error(number.recall, support.fake)
        tnr = _half_error(number.real_accuracy, support.real)
        low, high = sorted(self._at(*ends, support) for ends in zip(tpr, tnr, strict=True))
        groups = f"{support.fake} and {support.real} groups"
        return low, high, f"exact bound (Clopper-Pearson, {groups})"

    def _of_separation(self, support: Support) -> Exact:
        """The best balanced accuracy is at least that at the EER, 1 - e; there neither class can
        fall below 1 - 2 e.
        """
        e = separated_eer(support.pairs)
        least = max(1 - 2 * e, 0.0)
        worst = 1 - e if self.maximised else self._at(least, least, support)
        low, high = sorted((worst, self._at(1.0, 1.0, support)))
        return low, high, f"exact bound (perfect separation, {support.pairs} disjoint pairs)"

    def _at(self, tpr: float, tnr: float, support: Support) -> float:
        """The metric at these rates and the sample's prevalence; 0 where nothing is called fake."""
        pi = np.array(support.prevalence)
        shares = Confusion(tp=pi * tpr, fp=(1 - pi) * (1 - tnr), n_fake=pi, n_real=1 - pi)
        return float(np.nan_to_num(self.rate(shares)))


@dataclass(frozen=True, kw_only=True)
class Count(Bound):
    """Of a confusion count. of: its class. right: whether it counts images called what they are."""

    of: Literal["real", "fake"]
    right: bool

    def proportion(self, number: Number) -> Interval | None:
        """Return the interval of the rate that it makes, times the images."""
        images, groups = number.support.trials(self.of)
        if images > groups or not 0 < number.value < images:
            return None
        low, high = clopper_pearson(number.value, images)
        return images * low, images * high

    def edges(self, number: Number, *, greater_is_better: bool) -> Interval:
        """Return none: the rate that it makes has them."""
        return np.inf, -np.inf

    def exact(self, number: Number) -> Exact | None:
        """Bound a count of none or of all of its class by the bound of its class' rate."""
        images, groups = number.support.trials(self.of)
        rate = number.recall if self.of == "fake" else number.real_accuracy
        if rate not in (0.0, 1.0) or number.value not in (0.0, float(images)):
            return None
        if number.oracle and number.auc != 1.0:
            return None
        low, high, note = agreeing(rate, groups, "groups")
        low, high = (low, high) if self.right else (1 - high, 1 - low)
        return images * low, images * high, note


def mean_precision(start: float, stop: float, false_positives: float) -> float:
    """Integrate precision t / (t + false_positives) over the recall t from start to stop, in
    [0, 1]; false positives per fake are constant.
    """
    ends = (stop + false_positives) / (start + false_positives)
    return float(stop - start - false_positives * np.log(ends))


def _half_error(rate: float, n: int) -> Interval:
    """The interval of a rate of 0 or 1 at half the error; of any other, nothing is known."""
    if rate not in (0.0, 1.0):
        return 0.0, 1.0
    return agreeing(rate, n, "", (1 + CONFIDENCE) / 2)[:2]
