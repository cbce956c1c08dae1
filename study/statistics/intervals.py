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
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean, harmonic_mean, stdev

import numpy as np
from numpy.typing import NDArray

from study.core.errors import ScoreError
from study.core.records import Estimate, Scores
from study.statistics.delong import delong_interval
from study.statistics.exact import Interval, Number, Rate, Support
from study.statistics.likelihood_ratio import UNKNOWN, Evidence
from study.statistics.metrics import METRICS, NEEDS
from study.statistics.ranking import Floats
from study.statistics.replicates import ORACLE, MeanCost, MeanLoss, Replicates, Sample
from study.statistics.resampling import (
    NO_WIDTH,
    REPLICATES,
    clusters,
    draws,
    few_groups,
    logit_interval,
    percentile_interval,
)

NAN = float("nan")
MEAN = "mean"
MOST_WIDTH = 0.98  # of a rate's interval: a wider one says nothing
NOTHING_RULED_OUT = "no interval: nothing from 0 to 1 is ruled out by so few images"
NO_ORACLE_INTERVAL = "no interval: the threshold was chosen on these very images"
LOSSES = tuple(m.function for m in METRICS.values() if isinstance(m.function, (MeanLoss, MeanCost)))

Column = tuple[str, str]  # metric, threshold ("" where it has none)


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
    evidence: Sequence[Evidence] = (),
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
    temperatures: each seed's, > 0. evidence: each seed's likelihood ratio; without, no source says
    one. rng_seed: all that the resampling depends on; a replicate draws
    the same groups for all seeds.

    Each seed has the metrics of `METRICS`, those that need a threshold at each; where `brief`, only
    the AUC, and those at the given thresholds. The mean's interval is that of
    the replicates' means over seeds, widened by the bounds of seeds that do not vary; its `sd` is
    between seeds, NaN for one. An undefined seed is left out of the mean, and the note says so. An
    interval is widened to hold its own value. It is NaN, with a note, for an ECE, for what the
    oracle threshold does not separate, for a number that no replicate changes and nothing bounds,
    and where the images of a class come from a single group.

    Raises ScoreError where a score is not finite, naming the image, or where the seeds' images
    differ.
    """
    evidence = evidence or [UNKNOWN] * len(seeds)
    assert len(seeds) == len(thresholds) == len(temperatures) == len(evidence) > 0
    _check(seeds)
    groups = clusters(seeds[0].label, seeds[0].group)
    samples = [
        Sample(
            scores=scores,
            groups=groups,
            thresholds=named,
            temperature=temperature,
            evidence=lr,
            losses=() if brief else LOSSES,
            brief=brief,
        )
        for scores, named, temperature, lr in zip(
            seeds, thresholds, temperatures, evidence, strict=True
        )
    ]
    columns = columns_of(samples[0])
    assert all(ORACLE not in one.thresholds and columns_of(one) == columns for one in samples)
    once = np.ones((1, len(groups)), np.uint8)  # the sample itself: each group drawn once
    values = np.stack([values_of(one, once)[0] for one in samples])
    sampled = [  # blocks of (replicates, seeds, columns)
        np.stack([values_of(one, count, resampled=True) for one in samples], axis=1)
        for count in draws(groups, replicates=replicates, rng_seed=rng_seed)
    ]
    cell = _Cell(samples=samples, columns=columns, values=values, sampled=np.concatenate(sampled))
    return CellEstimates(rows=cell.rows(), oracle=tuple(one.oracle for one in samples))


def columns_of(sample: Sample) -> list[Column]:
    """Return the M columns of a sample's numbers, in order: a metric and its threshold each."""
    plain = [m.name for m in METRICS.values() if not m.at_threshold]
    at = [m.name for m in METRICS.values() if m.at_threshold]
    plain, more = (["auc"], []) if sample.brief else (plain, [ORACLE])
    named = [*sample.thresholds, *more]
    return [*((name, "") for name in plain), *((name, t) for t in named for name in at)]


def values_of(sample: Sample, count: NDArray[np.uint8], *, resampled: bool = False) -> Floats:
    """Return the columns' values (R, M) in replicates that drew each group `count` (R, G) times.
    resampled: they only give intervals, so what has none is left NaN.
    """
    replicates, values = Replicates(sample=sample, count=count), []
    for threshold, columns in groupby(columns_of(sample), key=lambda column: column[1]):
        given = replicates.at(threshold) if threshold else replicates
        for metric in (METRICS[name] for name, _ in columns):
            left_out = resampled and metric.bound.interval == "none"
            values.append(np.full(len(count), NAN) if left_out else metric.function(given))
    return np.stack(values, axis=1)


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


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)


class _Cell:
    """The values of S seeds, (S, M), and of their R replicates, (R, S, M), on the way to becoming
    rows. In all arrays below, row S is the mean over seeds.
    """

    def __init__(
        self, *, samples: Sequence[Sample], columns: list[Column], values: Floats, sampled: Floats
    ) -> None:
        label, groups = samples[0].scores.label, samples[0].groups
        self.samples, self.columns, self.values = samples, columns, values
        self.place = {column: at for at, column in enumerate(columns)}
        self.one_image_a_group = len(groups) == len(label)
        self.support = Support(
            groups=len(groups),
            real=groups.by_class[0],
            fake=groups.by_class[1],
            pairs=groups.pairs,
            n_real=int((label == 0).sum()),
            n_fake=int((label == 1).sum()),
        )
        self.called = {
            threshold: [one.groups_called(threshold) for one in samples]
            for threshold in dict.fromkeys(threshold for _, threshold in columns if threshold)
        }
        n_real, n_fake = self.support.n_real, self.support.n_fake
        self.empty = Estimate(value=NAN, low=NAN, high=NAN, n_real=n_real, n_fake=n_fake)
        # (R, S, M) -> (R, S + 1, M) -> (S + 1, M)
        self.sampled = np.concatenate([sampled, _mean(sampled, axis=1)[:, None]], axis=1)
        self.low, self.high, self.defined = percentile_interval(self.sampled)
        self.variance = _mean((self.sampled - _mean(self.sampled, axis=0)) ** 2, axis=0)

    def rows(self) -> list[Row]:
        """Every row, seed by seed, then the mean."""
        every = range(len(self.columns))
        seeds = [[self._of_seed(s, at) for at in every] for s in range(len(self.samples))]
        mean = [self._of_mean([seed[at] for seed in seeds], at) for at in every]
        return [
            Row(metric=metric, threshold=threshold, seed=name, estimate=estimate)
            for name, of in zip([*map(str, range(len(seeds))), MEAN], [*seeds, mean], strict=True)
            for (metric, threshold), estimate in zip(self.columns, of, strict=True)
        ]

    def _of_seed(self, seed: int, at: int) -> Estimate:
        value = float(self.values[seed, at])
        if np.isnan(value):
            return replace(self.empty, reason=self._reason(seed, self.columns[at]))
        low, high, notes = self._interval(seed, at, value)
        if high - low <= NO_WIDTH:
            # No replicate differs: the exact bound, but no surer than that of a perfect result.
            found = METRICS[self.columns[at][0]].bound.exact(self._number(seed, at))
            low, high, note = found or (NAN, NAN, "no interval: no replicate differs")
            lowest, highest = self._edges(seed, at) if found else (NAN, NAN)
            low, high = min(low, lowest), max(high, highest)
            notes.append(note)
        low, high, more = self._said(at, low, high)
        return replace(self.empty, value=value, low=low, high=high, note=_joined([*notes, more]))

    def _of_mean(self, seeds: Sequence[Estimate], at: int) -> Estimate:
        defined = [estimate for estimate in seeds if not np.isnan(estimate.value)]
        if not defined:
            return seeds[0]
        value = fmean(estimate.value for estimate in defined)
        low, high, notes = self._interval(len(seeds), at, value)
        fixed = [self.high[seed, at] - self.low[seed, at] <= NO_WIDTH for seed in range(len(seeds))]
        if any(fixed) and not np.isnan(low):
            # Such a seed does not vary. The mean of what bounds each seed bounds their mean.
            lowest, highest = (fmean(getattr(e, end) for e in defined) for end in ("low", "high"))
            if high - low > NO_WIDTH and not np.isnan(lowest):
                lowest, highest = min(low, lowest), max(high, highest)
            low, high = lowest, highest
            notes = (
                [seeds[fixed.index(True)].note]
                if all(fixed) or np.isnan(lowest)
                else [*notes, "widened by the bounds of seeds that do not vary"]
            )
        if len(defined) < len(seeds):
            notes.append(f"{len(seeds) - len(defined)} of {len(seeds)} seeds undefined")
        low, high, more = self._said(at, low, high)
        return replace(
            self.empty,
            value=value,
            low=low,
            high=high,
            seeds=len(defined),
            sd=stdev(estimate.value for estimate in defined) if len(defined) > 1 else NAN,
            note=_joined([*notes, more]),
        )

    def _interval(self, row: int, at: int, value: float) -> tuple[float, float, list[str]]:
        """Return the interval of one seed, or of the mean (row S), and what is to be said of it."""
        metric = METRICS[self.columns[at][0]]
        notes = [metric.bound.flag(self.support)]
        fewest = min(n for n in (self.support.real, self.support.fake) if n)
        if fewest < 2:
            return NAN, NAN, [*notes, "interval undefined: a class comes from one group"]
        notes.append(few_groups(fewest))
        if metric.bound.interval == "none":
            return NAN, NAN, [*notes, metric.bound.why]
        replicates = len(self.sampled)
        if missing := replicates - int(self.defined[row, at]):
            notes.append(f"{missing} of {replicates} replicates undefined")
        low, high = self._free_interval(row, at, value)
        if self.columns[at][1] == ORACLE and high - low > NO_WIDTH:
            return NAN, NAN, [*notes, NO_ORACLE_INTERVAL]
        if high - low <= NO_WIDTH:
            return low, high, notes
        lowest, highest = self._edges(row, at)
        if lowest < low or highest > high:
            perfect = (lowest < low) == metric.greater_is_better
            result = "a perfect" if perfect else "an all wrong"
            notes.append(
                f"limit extended to the exact bound of {result} result, for"
                f" {self.support.groups} independent groups"
            )
        return min(low, lowest, value), max(high, highest, value), notes

    def _free_interval(self, row: int, at: int, value: float) -> Interval:
        """The interval as the resamples or their theory have it."""
        metric, threshold = self.columns[at]
        bound, chosen = METRICS[metric].bound, self._chosen(row)
        if bound.interval == "delong" and self.one_image_a_group:
            return delong_interval(chosen[0].scores.label, [one.scores.logit for one in chosen])
        if bound.interval == "logit" and 0 < value < 1:
            return logit_interval(value, self.sampled[:, row, at])
        if threshold:
            called = [n for n in self._called(row, threshold) if n]
            number = Number(
                value=value,
                support=self.support,
                variance=float(self.variance[row, at]),
                # of the mean over seeds their harmonic mean, as their variances average
                called=harmonic_mean(called) if called else 0,
            )
            if found := bound.proportion(number):
                return found
        return float(self.low[row, at]), float(self.high[row, at])

    def _said(self, at: int, low: float, high: float) -> tuple[float, float, str]:
        """A rate's interval that says something: none where it is nearly all of [0, 1], and why."""
        is_rate = isinstance(METRICS[self.columns[at][0]].bound, Rate)
        if is_rate and high - low > MOST_WIDTH:
            return NAN, NAN, NOTHING_RULED_OUT
        return low, high, ""

    def _chosen(self, row: int) -> Sequence[Sample]:
        return self.samples if row == len(self.samples) else self.samples[row : row + 1]

    def _called(self, row: int, threshold: str) -> list[int]:
        """Groups with an image that is called fake, in each seed that the row rests on."""
        called = self.called[threshold]
        return called if row == len(called) else called[row : row + 1]

    def _number(self, seed: int, at: int) -> Number:
        """What a seed's number has for an exact bound to rest on."""
        _, threshold = self.columns[at]
        values = self.values[seed].tolist()
        rates = ("recall", "real_accuracy") if threshold else ()
        return Number(
            value=values[at],
            support=self.support,
            auc=values[self.place["auc", ""]],
            **{name: values[self.place[name, threshold]] for name in rates},
            called=self._called(seed, threshold)[0] if threshold else 0,
            oracle=threshold == ORACLE,
            tied=len(self.samples[seed].ranked.level) == 1,
        )

    def _edges(self, row: int, at: int) -> Interval:
        """How far down and up an interval must reach at least, see `Bound.edges`."""
        name, threshold = self.columns[at]
        if not self.support.real or not self.support.fake:
            return np.inf, -np.inf
        number = Number(
            value=NAN,
            support=self.support,
            called=min(self._called(row, threshold)) if threshold else 0,
            oracle=threshold == ORACLE,
        )
        metric = METRICS[name]
        return metric.bound.edges(number, greater_is_better=metric.greater_is_better)

    def _reason(self, seed: int, column: Column) -> str:
        """Why a seed's number is undefined: the first of its needs that is not met."""
        name, threshold = column
        n_real, n_fake, sample = self.support.n_real, self.support.n_fake, self.samples[seed]
        if not n_real + n_fake:
            return "no images"
        met = {
            "real": n_real > 0,
            "fake": n_fake > 0,
            "temperature": not np.isnan(sample.temperature),
            "evidence": sample.evidence.is_known,
            "threshold": not np.isnan(sample.thresholds.get(threshold, 0.0)),
            "called": False,
        }
        # the oracle threshold is chosen by both classes
        needs = METRICS[name].needs | ({"real", "fake"} if threshold == ORACLE else set())
        lacking = (why for need, why in NEEDS.items() if need in needs and not met[need])
        return next(lacking, "undefined for these scores")
