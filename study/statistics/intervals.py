"""The estimates of one cell: every metric of every seed and of their mean, with 95 % intervals
(PROTOCOL sections 4 and 5).

Numpy and scipy only. Intervals are percentiles of the stratified cluster bootstrap; an AUC
has DeLong's where every group has one image, the AP a normal one on the logit scale, a proportion
at a given threshold Clopper and Pearson's (Korn and Graubard's where groups have several images),
an ECE none. A number that no replicate changes has an exact bound where there is one (exact.py),
and always a note; no other number's interval claims more than those bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean, stdev

import numpy as np

from study.core.errors import ScoreError
from study.core.records import Estimate, Scores
from study.statistics import exact
from study.statistics.columns import METRICS, ORACLE, SCALED, Column, ScoredSample
from study.statistics.delong import delong_interval
from study.statistics.exact import Bound, Support, clopper_pearson
from study.statistics.metrics import COUNTS, FPR, RATES
from study.statistics.ranking import Floats
from study.statistics.resampling import (
    REPLICATES,
    bootstrap_auc,
    clusters,
    draws,
    logit_interval,
    percentile_interval,
)

__all__ = [
    "METRICS",
    "RATES",
    "CellEstimates",
    "Row",
    "bootstrap_auc",
    "clopper_pearson",
    "delong_interval",
    "estimate_cell",
]

NAN = float("nan")
MEAN = "mean"
AP = ("ap", "")
NO_WIDTH = 1e-12
# below about this many a cluster bootstrap is too narrow (Cameron, Gelbach and Miller, 2008)
FEW_GROUPS = 10
BOTH_CLASSES = {"auc", "ap", "eer", "eer_threshold", *FPR, "balanced_accuracy", "f1", "precision"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of a cell. threshold: its name, "" for a metric without one. seed: "0", "1", ...
    or "mean" over them.
    """

    metric: str
    threshold: str
    seed: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class CellEstimates:
    """The numbers of one cell, seed by seed and then their mean. oracle: each seed's oracle
    threshold, a logit or NaN.
    """

    rows: list[Row]
    oracle: tuple[float, ...]


def estimate_cell(
    seeds: Sequence[Scores],
    thresholds: Sequence[Mapping[str, float]],
    temperatures: Sequence[float],
    *,
    replicates: int = REPLICATES,
    rng_seed: int,
    brief: bool = False,
) -> CellEstimates:
    """Estimate every metric of a cell, for each of its S >= 1 seeds and for their mean, with 95 %
    intervals.

    seeds: each seed's scores of the same images in the same order. thresholds: each seed's, name ->
    logit (perhaps infinite; NaN where its source does not define it), the same names in each;
    `oracle` is added, chosen anew in every replicate.
    temperatures: each seed's, > 0. rng_seed: all that the resampling depends on; a replicate draws
    the same groups for all seeds.

    Each seed has the metrics of `METRICS`, and those of `RATES` and `COUNTS` at each threshold;
    where `brief`, only the AUC, and those at the given thresholds. The mean's interval is that of
    the replicates' means over seeds, widened by the bounds of seeds that do not vary; its `sd` is
    between seeds, NaN for one. An undefined seed is left out of the mean, and the note says so. An
    interval is widened to hold its own value (the oracle makes replicates lean to one side). It is
    NaN, with a note, for an ECE, and where the images of a class come from a single group.

    Raises ScoreError where a score is not finite, naming the image, or where the seeds' images
    differ.
    """
    assert len(seeds) == len(thresholds) == len(temperatures) > 0
    _check(seeds)
    groups = clusters(seeds[0].label, seeds[0].group)
    scored = [
        ScoredSample(
            scores=scores, groups=groups, thresholds=named, temperature=temperature, brief=brief
        )
        for scores, named, temperature in zip(seeds, thresholds, temperatures, strict=True)
    ]
    assert all(ORACLE not in one.thresholds and one.columns == scored[0].columns for one in scored)
    values = np.stack([one.sample() for one in scored])
    blocks = draws(groups, replicates=replicates, rng_seed=rng_seed)
    sampled = np.concatenate(
        [np.stack([one.replicates(count) for one in scored], axis=1) for count in blocks]
    )
    cell = _Cell(scored=scored, values=values, sampled=sampled)
    return CellEstimates(rows=cell.rows(), oracle=tuple(one.oracle for one in scored))


def _check(seeds: Sequence[Scores]) -> None:
    for number, scores in enumerate(seeds):
        bad = np.flatnonzero(~np.isfinite(scores.logit))
        if bad.size:
            raise ScoreError(
                f"score of {scores.sample_id[bad[0]]} is {scores.logit[bad[0]]} (seed {number}):"
                " scores must be finite"
            )
        if any(
            not np.array_equal(getattr(scores, name), getattr(seeds[0], name))
            for name in ("sample_id", "label", "group")
        ):
            raise ScoreError(
                f"seeds 0 and {number} scored different images: score both again on the same data"
            )


def _mean(values: Floats, axis: int) -> Floats:
    """Mean over what is defined; NaN where nothing is."""
    defined = np.count_nonzero(~np.isnan(values), axis=axis)
    return np.where(defined > 0, np.nansum(values, axis=axis) / np.maximum(defined, 1), np.nan)


class _Cell:
    """The values of S seeds, (S, M), and of their replicates, (R, S, M), on the way to becoming
    rows.
    """

    def __init__(self, *, scored: Sequence[ScoredSample], values: Floats, sampled: Floats) -> None:
        label, groups = scored[0].scores.label, scored[0].groups
        self.scored, self.values, self.replicates = scored, values, len(sampled)
        self.columns = scored[0].columns
        self.n_fake, self.n_real = int((label == 1).sum()), int((label == 0).sum())
        self.one_image_a_group = len(groups) == len(label)
        self.support = Support(
            groups=len(groups),
            real=int(groups.real.sum()),
            fake=int(groups.fake.sum()),
            pairs=groups.pairs,
            prevalence=self.n_fake / max(len(label), 1),
        )
        # Per seed, and then the mean over seeds: (R, S + 1, M) -> (S + 1, M).
        with_mean = np.concatenate([sampled, _mean(sampled, axis=1)[:, None]], axis=1)
        self.low, self.high, self.defined = percentile_interval(with_mean)
        self.variance = _mean((with_mean - _mean(with_mean, axis=0)) ** 2, axis=0)
        self.precisions = with_mean[..., self.columns.index(AP)] if AP in self.columns else None
        n, support = len(label), self.support
        reals, fakes = (self.n_real, support.real), (self.n_fake, support.fake)
        self._trials = {
            "accuracy": (n, support.groups),
            "real_accuracy": reals,
            "recall": fakes,
            "fake_accuracy": fakes,
        }
        self._trials["precision"] = (n, support.groups)

    def rows(self) -> list[Row]:
        """Every row, seed by seed, then the mean."""
        of_seeds = [
            [self._seed_estimate(seed, at) for at in range(len(self.columns))]
            for seed in range(len(self.scored))
        ]
        of_mean = [
            self._mean_estimate([seed[at] for seed in of_seeds], at)
            for at in range(len(self.columns))
        ]
        return [
            Row(metric=metric, threshold=threshold, seed=name, estimate=estimate)
            for name, estimates in zip(
                [*map(str, range(len(of_seeds))), MEAN], [*of_seeds, of_mean], strict=True
            )
            for (metric, threshold), estimate in zip(self.columns, estimates, strict=True)
        ]

    def _seed_estimate(self, seed: int, at: int) -> Estimate:
        value = float(self.values[seed, at])
        if np.isnan(value):
            return self._undefined(self._reason(seed, self.columns[at]))
        low, high, notes = self._interval(seed, at, value)
        if high - low <= NO_WIDTH:
            found = self._bound(seed, at)
            lowest, highest = self._edges(seed, at) if found else (low, high)
            low, high, note = found or (low, high, "no replicate differs")
            low, high = min(low, lowest), max(high, highest)
            notes.append(note)
        return self._estimate(value, low, high, notes)

    def _mean_estimate(self, seeds: Sequence[Estimate], at: int) -> Estimate:
        defined = [estimate for estimate in seeds if not np.isnan(estimate.value)]
        if not defined:
            return self._undefined(seeds[0].reason)
        value = fmean(estimate.value for estimate in defined)
        low, high, notes = self._interval(len(seeds), at, value)
        fixed = [self.high[seed, at] - self.low[seed, at] <= NO_WIDTH for seed in range(len(seeds))]
        # such a seed does not vary; the mean of what bounds each seed bounds their mean
        if any(fixed) and not np.isnan(low):
            bounds = [
                fmean(getattr(estimate, end) for estimate in defined) for end in ("low", "high")
            ]
            low, high = (
                (bounds[0], bounds[1])
                if high - low <= NO_WIDTH
                else (min(low, bounds[0]), max(high, bounds[1]))
            )
            notes = (
                [seeds[fixed.index(True)].note]
                if all(fixed)
                else [*notes, "widened by the bounds of seeds that do not vary"]
            )
        if len(defined) < len(seeds):
            notes.append(f"{len(seeds) - len(defined)} of {len(seeds)} seeds undefined")
        sd = stdev(estimate.value for estimate in defined) if len(defined) > 1 else NAN
        return self._estimate(value, low, high, notes, seeds=len(defined), sd=sd)

    def _interval(self, row: int, at: int, value: float) -> tuple[float, float, list[str]]:
        """Return the interval of one seed, or of the mean (row S), and what is to be said of it."""
        metric = self.columns[at][0]
        notes = (
            ["1/FPR exceeds the number of reals"]
            if metric in FPR and 1 / FPR[metric] > self.n_real
            else []
        )
        present = [count for count in (self.support.real, self.support.fake) if count]
        if min(present) < 2:
            return NAN, NAN, [*notes, "interval undefined: a class comes from one group"]
        if min(present) < FEW_GROUPS:
            notes.append(f"few groups ({min(present)})")
        if missing := self.replicates - int(self.defined[row, at]):
            notes.append(f"{missing} of {self.replicates} replicates undefined")
        if metric in ("ece", "ece_scaled"):
            return (
                NAN,
                NAN,
                [
                    *notes,
                    "no interval: an ECE lies above its truth, and its replicates higher still",
                ],
            )
        low, high = self._free_interval(row, at, value)
        if high - low <= NO_WIDTH:
            return low, high, notes
        lowest, highest = self._edges(row, at)
        if lowest < low or highest > high:
            # whose EER is the high one
            result = "a perfect" if (lowest < low) != (metric == "eer") else "an all wrong"
            notes.append(
                f"reaches as far as {result} result's bound ({self.support.groups} groups)"
            )
        return min(low, lowest, value), max(high, highest, value), notes

    def _free_interval(self, row: int, at: int, value: float) -> tuple[float, float]:
        """The interval as the resamples or their theory have it."""
        metric, threshold = self.columns[at]
        if metric == "auc" and self.one_image_a_group:
            return delong_interval(
                self._chosen(row)[0].scores.label, [one.scores.logit for one in self._chosen(row)]
            )
        if metric == "ap" and self.precisions is not None and 0 < value < 1:
            return logit_interval(value, self.precisions[:, row])
        if metric in COUNTS and threshold != ORACLE:
            images, groups = self._trials["recall" if metric in ("tp", "fn") else "real_accuracy"]
            if images == groups and 0 < value < images:  # as the rate that it makes
                low, high = clopper_pearson(value, images)
                return images * low, images * high
        if (
            metric in self._trials
            and threshold != ORACLE
            and 0 < value < 1
            and self.variance[row, at] > NO_WIDTH**2
        ):
            images, groups = self._trials[metric]
            # independent trials: nothing is to be learned of their number from the noise of a
            # bootstrap
            if images == groups:
                n = self._called(row, threshold) if metric == "precision" else images
                return clopper_pearson(value * n, n)
            return exact.korn_graubard(
                value, float(self.variance[row, at]), images=images, groups=groups
            )
        return float(self.low[row, at]), float(self.high[row, at])

    def _called(self, row: int, threshold: str) -> float:
        """Images called fake, at least one; of the mean over seeds their harmonic mean, as their
        variances average.
        """
        called = [one.groups_called(threshold) for one in self._chosen(row)]
        return harmonic_mean([n for n in called if n])

    def _edges(self, row: int, at: int) -> tuple[float, float]:
        """How far down and up an interval must reach at least, see `exact.edges`."""
        metric, threshold = self.columns[at]
        called = (
            min((one.groups_called(threshold) for one in self._chosen(row)), default=0)
            if metric == "precision"
            else 0
        )
        return exact.edges(
            metric, threshold, oracle=threshold == ORACLE, n_called=called, support=self.support
        )

    def _chosen(self, row: int) -> Sequence[ScoredSample]:
        return self.scored if row == len(self.scored) else self.scored[row : row + 1]

    def _bound(self, seed: int, at: int) -> Bound | None:
        metric, threshold = self.columns[at]
        values = dict(zip(self.columns, self.values[seed].tolist(), strict=True))
        value, auc = values[metric, threshold], values["auc", ""]
        if not threshold:
            found = exact.ranking_bound(metric, value, auc=auc, support=self.support)
            return found or (
                exact.operating_point_bound(value, self.support) if metric in FPR else None
            )
        if (
            threshold == ORACLE
            and metric not in COUNTS
            and (found := exact.oracle_bound(metric, auc=auc, support=self.support))
        ):
            return found
        at_threshold = {name: values[name, threshold] for name in RATES}
        called = self.scored[seed].groups_called(threshold)
        if metric in COUNTS:
            return exact.count_bound(
                metric,
                value,
                at_threshold,
                n_real=self.n_real,
                n_fake=self.n_fake,
                support=self.support,
            )
        return exact.threshold_bound(metric, at_threshold, n_called=called, support=self.support)

    def _reason(self, seed: int, column: Column) -> str:
        metric, threshold = column
        if not self.n_real + self.n_fake:
            return "no images"
        needs_both = metric in BOTH_CLASSES or threshold == ORACLE
        if not self.n_real and (needs_both or metric in ("real_accuracy", "fp", "tn")):
            return "no real images"
        if not self.n_fake and (needs_both or metric in ("recall", "fake_accuracy", "tp", "fn")):
            return "no fake images"
        if metric in SCALED:
            return "the source defines no temperature"
        if np.isnan(self.scored[seed].thresholds.get(threshold, 0.0)):
            return "the source does not define this threshold"
        return "no image is called fake"

    def _undefined(self, reason: str) -> Estimate:
        return Estimate(
            value=NAN, low=NAN, high=NAN, n_real=self.n_real, n_fake=self.n_fake, reason=reason
        )

    def _estimate(
        self,
        value: float,
        low: float,
        high: float,
        notes: Sequence[str],
        *,
        seeds: int = 1,
        sd: float = NAN,
    ) -> Estimate:
        note = "; ".join(note for note in notes if note)
        return Estimate(
            value=value,
            low=low,
            high=high,
            n_real=self.n_real,
            n_fake=self.n_fake,
            seeds=seeds,
            sd=sd,
            note=note,
        )
