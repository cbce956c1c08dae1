"""A scored test set and its bootstrap replicates: what every metric is computed from.

Numpy and scipy only. A replicate is how often each group was drawn. What only adds up over images
(losses, counts at a threshold that is given) is summed per group once, and a block of replicates
is then one matrix product. What compares images (the ranking, the calibration bins, the oracle
threshold) is cumulated along the ranking, anew in each replicate.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.core.records import Scores
from study.statistics import ranking
from study.statistics.likelihood_ratio import UNKNOWN, Evidence, calls_by_certainty
from study.statistics.ranking import Curves, Floats, Ints, Ranking, checked, curves, rank, ratio
from study.statistics.resampling import Clusters, ResampledAuc

ORACLE = "oracle"  # the name of the threshold that is chosen on the test set itself
ECE_BINS = 15


@dataclass(frozen=True)
class MeanLoss:
    """A metric's function: the mean over images of a loss, itself a function of label (N,) and
    logit (N,) that returns (N,).

    scaled: of logits that are divided by the temperature.
    """

    loss: Callable[[ArrayLike, ArrayLike], Floats]
    scaled: bool = False

    def __call__(self, replicates: Replicates) -> Floats:
        """(R,) the mean in each replicate; NaN without images or without a temperature."""
        return ratio(replicates.total(self), replicates.n_fake + replicates.n_real)


@dataclass(frozen=True)
class MeanCost:
    """A metric's function: the mean over both classes, which weigh alike, of what an LR costs: a
    function of label (N,) and ln LR (N,) that returns (N,).
    """

    cost: Callable[[ArrayLike, ArrayLike], Floats]

    def __call__(self, replicates: Replicates) -> Floats:
        """(R,) the mean in each replicate; NaN without a class or without a source."""
        fake = ratio(replicates.total((self, "fake")), replicates.n_fake)
        return (fake + ratio(replicates.total((self, "real")), replicates.n_real)) / 2


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What is called fake at a threshold, in R replicates, (R,) each: fakes and reals that are,
    NaN where the threshold is undefined, and all fakes and reals.
    """

    tp: Floats
    fp: Floats
    n_fake: Floats
    n_real: Floats

    @cached_property
    def recall(self) -> Floats:
        """(R,) the share of the fakes that is called fake."""
        return ratio(self.tp, self.n_fake)

    @cached_property
    def real_accuracy(self) -> Floats:
        """(R,) the share of the reals that is not."""
        return ratio(self.n_real - self.fp, self.n_real)

    @cached_property
    def fakes(self) -> Floats:
        """(R,) 1 where there are fakes, else NaN."""
        return np.where(self.n_fake > 0, 1.0, np.nan)

    @cached_property
    def reals(self) -> Floats:
        """(R,) 1 where there are reals, else NaN."""
        return np.where(self.n_real > 0, 1.0, np.nan)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One scoring of a test set of N images in G groups, and what its source decides: the T
    thresholds, the temperature and the likelihood ratio.

    thresholds: name -> logit, perhaps infinite; NaN where the source does not define it.
    temperature: > 0, or NaN. losses: those whose means are asked for.
    brief: whether only the AUC and what counts at the given thresholds tell are asked for, a
    seventh of the work.
    """

    scores: Scores
    groups: Clusters
    thresholds: Mapping[str, float]
    temperature: float
    evidence: Evidence = UNKNOWN
    losses: tuple[MeanLoss | MeanCost, ...] = ()
    brief: bool = False

    @cached_property
    def ranked(self) -> Ranking:
        """The N images, ranked."""
        return rank(self.scores.label, self.scores.logit)

    @cached_property
    def member(self) -> Ints:
        """(N,) the number of each image's group, in ranked order."""
        return self.groups.member[self.ranked.order]

    @cached_property
    def auc(self) -> ResampledAuc:
        """The AUC alone, without the curves that other metrics need."""
        return ResampledAuc(self.scores.label, self.scores.logit, self.groups)

    @cached_property
    def sums(self) -> tuple[dict[Hashable, int], Floats]:
        """The columns' places by name, and (G, C) their sums over each group's images: `fake`,
        `real`, a column a loss (two a cost), and (`tp`, name) and (`fp`, name) for each given
        threshold.
        """
        fake, score = checked(self.scores.label, self.scores.logit)
        columns: dict[Hashable, NDArray[np.generic]] = {"fake": fake, "real": ~fake}
        for loss in self.losses:
            if isinstance(loss, MeanCost):
                known = self.evidence.is_known
                cost = loss.cost(fake, self.log_lr) if known else np.full(len(score), np.nan)
                columns[loss, "fake"] = np.where(fake, cost, 0.0)
                columns[loss, "real"] = np.where(fake, 0.0, cost)
            elif not loss.scaled:
                columns[loss] = loss.loss(fake, score)
            elif self.temperature > 0:
                columns[loss] = loss.loss(fake, score / self.temperature)
            else:
                columns[loss] = np.full(len(score), np.nan)
        for name, threshold in self.thresholds.items():
            called = score >= np.float64(threshold)
            columns["tp", name], columns["fp", name] = called & fake, called & ~fake
        values = np.stack([*columns.values()], axis=1).astype(np.float64)
        return {name: at for at, name in enumerate(columns)}, self.groups.totals(values)

    @cached_property
    def log_lr(self) -> Floats:
        """(N,) ln LR of the images; NaN where no source says it."""
        return self.evidence.log_lr(self.scores.logit)

    @cached_property
    def by_certainty(self) -> tuple[Ints, NDArray[np.bool_], Ints]:
        """The groups and the wrong calls (N,) of the images whose LRs are farthest from 1 first,
        and where each of the K levels of one |ln LR| ends.
        """
        order, wrong, end = calls_by_certainty(self.scores.label, self.log_lr)
        return self.groups.member[order], wrong, end

    @cached_property
    def oracle(self) -> float:
        """The threshold, a logit, with the sample's best balanced accuracy; NaN without a class."""
        return float(ranking.best_balanced_threshold(curves(self.ranked), self.ranked.level)[0])

    def groups_called(self, threshold: str) -> int:
        """How many groups hold an image that is called fake at the named threshold."""
        cut = self.oracle if threshold == ORACLE else self.thresholds[threshold]
        return len(np.unique(self.groups.member[self.scores.logit.astype(np.float64) >= cut]))


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """R replicates of a sample, which drew each group `count` (R, G) times: what a metric's
    function is given, or what `at` returns where it needs a threshold.
    """

    sample: Sample
    count: NDArray[np.uint8]

    @cached_property
    def curves(self) -> Curves:
        """What is called fake at each cut of the ranking."""
        return curves(self.sample.ranked, self.count.take(self.sample.member, axis=1))

    @property
    def level(self) -> Floats:
        """(K,) the distinct scores, falling."""
        return self.sample.ranked.level

    @cached_property
    def _totals(self) -> Floats:
        # One product for all columns: it is the fastest, and its bits depend on their number.
        return np.asarray(self.count.astype(np.float64) @ self.sample.sums[1])

    def total(self, name: Hashable) -> Floats:
        """(R,) the sum over images of a column of `Sample.sums`."""
        return self._totals[:, self.sample.sums[0][name]]

    @property
    def n_fake(self) -> Floats:
        """(R,) fakes, as often as they were drawn."""
        return self.total("fake")

    @property
    def n_real(self) -> Floats:
        """(R,) reals, as often as they were drawn."""
        return self.total("real")

    @cached_property
    def auc(self) -> Floats:
        """(R,) the area under the ROC."""
        return self.sample.auc(self.count) if self.sample.brief else ranking.auc(self.curves)

    @cached_property
    def equal_error(self) -> tuple[Floats, Ints, Floats]:
        """The equal error rate and where it lies, see `ranking.equal_error`."""
        return ranking.equal_error(self.curves)

    @cached_property
    def risk(self) -> tuple[Floats, Floats]:
        """(R, K) coverage, and the share of wrong calls among the images that are covered; NaN
        where no source says an LR.
        """
        member, wrong, end = self.sample.by_certainty
        if not len(member):
            nothing = np.full((len(self.count), 1), np.nan)
            return nothing, nothing
        drawn = self.count.take(member, axis=1)
        covered, mistaken = (
            np.cumsum(of, axis=1, dtype=np.int64)[:, end] for of in (drawn, drawn * wrong)
        )
        known = 1.0 if self.sample.evidence.is_known else np.nan
        return ratio(covered, covered[:, -1:]) * known, ratio(mistaken, covered) * known

    @cached_property
    def bins(self) -> Ints:
        """(R, ECE_BINS + 1) the cuts between bins of equal mass. A temperature keeps the order of
        the scores, and with it the bins.
        """
        return ranking.equal_mass_bins(self.curves, ECE_BINS)

    def at(self, threshold: str) -> Confusion:
        """Return what is called fake at a threshold; each replicate chooses its own oracle."""
        known: float | Floats
        if threshold == ORACLE:
            c = self.curves
            cut = ranking.best_balanced_threshold(c, self.level)
            tp, fp = c.at(ranking.cut_of(self.level, cut))
            known, n_fake, n_real = np.where(np.isnan(cut), np.nan, 1.0), c.n_fake, c.n_real
        else:
            tp, fp = self.total(("tp", threshold)), self.total(("fp", threshold))
            known = np.nan if np.isnan(self.sample.thresholds[threshold]) else 1.0
            n_fake, n_real = self.n_fake, self.n_real
        return Confusion(tp=tp * known, fp=fp * known, n_fake=n_fake, n_real=n_real)
