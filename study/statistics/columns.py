"""All metrics of one scored test set, in any number of bootstrap replicates at once.

Numpy and scipy only. A column is a metric and the name of its threshold. What only adds up
over images (losses, counts at a threshold that is given) is summed per group once, and a block of
replicates is then one matrix product; what compares images (the ranking, the calibration bins, the
oracle threshold) is cumulated along the ranking, anew in each replicate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from study.core.records import Scores
from study.statistics import ranking
from study.statistics.metrics import (
    COUNTS,
    ECE_BINS,
    FPR,
    RATES,
    counts,
    log_losses,
    rates,
    sigmoid,
    squared_errors,
)
from study.statistics.ranking import Curves, Floats, Ints, Ranking, curves, rank
from study.statistics.resampling import Clusters, ResampledAuc

METRICS = (
    "auc",
    "ap",
    "eer",
    "eer_threshold",
    *FPR,
    "brier",
    "nll",
    "ece",
    "brier_scaled",
    "nll_scaled",
    "ece_scaled",
)
AT_THRESHOLD = (*RATES, *COUNTS)
SCALED = ("brier_scaled", "nll_scaled", "ece_scaled")
ORACLE = "oracle"

Column = tuple[str, str]  # metric, threshold ("" where it has none)


@dataclass(frozen=True, kw_only=True)
class ScoredSample:
    """One scoring of a test set of N images in G groups, the T thresholds given for it, and its
    temperature.

    thresholds: name -> logit, perhaps infinite; NaN where the source does not define it.
    temperature: > 0, or NaN.
    brief: only the AUC and what counts at the given thresholds tell, a seventh of the work.
    """

    scores: Scores
    groups: Clusters
    thresholds: Mapping[str, float]
    temperature: float
    brief: bool = False

    @property
    def columns(self) -> list[Column]:
        """The M columns, in order."""
        metrics, named = (
            (("auc",), (*self.thresholds,)) if self.brief else (METRICS, (*self.thresholds, ORACLE))
        )
        return [*((m, "") for m in metrics), *((m, name) for name in named for m in AT_THRESHOLD)]

    def sample(self) -> Floats:
        """(M,) the columns' values in the sample itself."""
        return np.asarray(self.replicates(np.ones((1, len(self.groups)), np.uint8))[0])

    def replicates(self, count: NDArray[np.uint8]) -> Floats:
        """Return the columns' values, (r, M), in replicates that drew each group `count` (r, G)
        times.
        """
        total = count.astype(np.float64) @ self._sums
        if self.brief:
            return np.stack([self._auc(count), *self._given_values(total)], axis=1)
        c = curves(self._ranked, count.take(self._member, axis=1))
        found = [
            *self._ranking_values(c),
            *self._probability_values(c, total),
            *self._given_values(total),
        ]
        return np.stack([*found, *self._oracle_values(c)], axis=1)

    def _given_values(self, total: Floats) -> list[Floats]:
        """The columns at the given thresholds, from sums (r, 6 + 2 T)."""
        found: list[Floats] = []
        fakes, reals = total[:, 0], total[:, 1]
        for place, threshold in enumerate(self.thresholds.values()):
            called = total[:, 6 + 2 * place : 8 + 2 * place] * _known(threshold)
            found += _at_threshold(called[:, 0], called[:, 1], fakes, reals)
        return found

    @cached_property
    def oracle(self) -> float:
        """The threshold, a logit, that maximises balanced accuracy on this very sample; NaN where a
        class is missing.
        """
        return float(ranking.best_balanced_threshold(curves(self._ranked), self._ranked.level)[0])

    def groups_called(self, threshold: str) -> int:
        """How many groups hold an image that is called fake at the named threshold."""
        cut = self.oracle if threshold == ORACLE else self.thresholds[threshold]
        return len(np.unique(self.groups.member[self.scores.logit.astype(np.float64) >= cut]))

    @cached_property
    def _ranked(self) -> Ranking:
        return rank(self.scores.label, self.scores.logit)

    @cached_property
    def _auc(self) -> ResampledAuc:
        return ResampledAuc(self.scores.label, self.scores.logit, self.groups)

    @cached_property
    def _member(self) -> Ints:
        """(N,) the number of each image's group, in ranked order."""
        return self.groups.member[self._ranked.order]

    @cached_property
    def _sums(self) -> Floats:
        """(G, 6 + 2 T) sums per group: fakes, reals, the four losses, then TP and FP at each given
        threshold.
        """
        fake, score = ranking.checked(self.scores.label, self.scores.logit)
        losses = [loss(fake, score) for loss in (squared_errors, log_losses)]
        scaled = [np.full(len(score), np.nan)] * 2
        if self.temperature > 0:
            scaled = [loss(fake, score / self.temperature) for loss in (squared_errors, log_losses)]
        called = [score >= np.float64(threshold) for threshold in self.thresholds.values()]
        hits = [
            of_class for is_called in called for of_class in (is_called & fake, is_called & ~fake)
        ]
        columns = [fake, ~fake, *losses, *scaled, *hits]
        return self.groups.totals(np.stack(columns, axis=1).astype(np.float64))

    def _ranking_values(self, c: Curves) -> list[Floats]:
        rate, cut, share = ranking.equal_error(c)
        threshold = ranking.equal_error_threshold(c, self._ranked.level, cut, share)
        return [
            ranking.auc(c),
            ranking.average_precision(c),
            rate,
            threshold,
            *(ranking.tpr_at_fpr(c, fpr) for fpr in FPR.values()),
        ]

    def _probability_values(self, c: Curves, total: Floats) -> list[Floats]:
        brier, nll, brier_scaled, nll_scaled = ranking.ratio(
            total[:, 2:6], total[:, :2].sum(axis=1, keepdims=True)
        ).T
        # a temperature keeps the order, and with it the bins
        cuts = ranking.equal_mass_bins(c, ECE_BINS)
        levels = self._ranked.level, self._ranked.level / self.temperature
        ece, ece_scaled = (ranking.calibration_error(c, sigmoid(level), cuts) for level in levels)
        return [brier, nll, ece, brier_scaled, nll_scaled, ece_scaled]

    def _oracle_values(self, c: Curves) -> list[Floats]:
        threshold = ranking.best_balanced_threshold(c, self._ranked.level)
        tp, fp = c.at(ranking.cut_of(self._ranked.level, threshold))
        return _at_threshold(tp * _known(threshold), fp * _known(threshold), c.n_fake, c.n_real)


def _at_threshold(tp: Floats, fp: Floats, n_fake: Floats, n_real: Floats) -> list[Floats]:
    """The columns of `AT_THRESHOLD`, (R,) each."""
    of = {"tp": tp, "fp": fp, "n_fake": n_fake, "n_real": n_real}
    return [*rates(**of).values(), *counts(**of).values()]


def _known(threshold: float | Floats) -> Floats:
    """1 where a threshold is defined, NaN where it is not."""
    return np.asarray(np.where(np.isnan(threshold), np.nan, 1.0))
