"""Does any detector generalise? Each one's cross-domain mean against chance and against what a
shortcut baseline gets (PROTOCOL section 5).

The interval is held against .5, and where there is a null band, the mean against that, too: what
the detector's models of permuted labels have in the same mean. A detector is said to generalise
only where its mean is more than chance and more than each shortcut baseline: its p is the largest
of these, and Holm's step is over all detectors.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

import numpy as np
from scipy.special import stdtr

from study.analysis.null_band import LEVELS, NullBand, null_bands
from study.analysis.results import ResultRow
from study.analysis.score_set import ScoreSet
from study.analysis.significance import Verdict, judge
from study.analysis.weighted_sums import WeightedSum, alone
from study.core.records import PROCESSING, SHORTCUTS, Cell, Estimate
from study.data.audit.classifiers import CONSTANT
from study.statistics.comparisons import holm
from study.statistics.cross_validated import SAME_SCORES
from study.statistics.error_model import ALPHA, NOTHING, Finding, Part
from study.statistics.resampling import Z

Place = tuple[str, str]  # train_on, test_on
Bands = Mapping[tuple[str, str, str], NullBand]  # detector, train_on, test_on
CHANCE = 0.5
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What training on nothing gives in a detector's cross-domain mean: the null band. models: how
    many; 0 where there are none, and `value` is then .5 without a band. p: that the mean is more
    than .5 and more than the band, 1 where it does not lie above both.
    """

    value: float = CHANCE
    low: float = NAN
    high: float = NAN
    models: int = 0
    p: float = NAN


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A shortcut baseline, over the test sets of the cross-domain mean that it has a
    number on; NaN where it has none. missing: the others. p: of a detector's mean over the same
    cells against it, 1 where that does not lie above it, NaN where it cannot be tested, with a
    `reason`.
    """

    name: str
    value: float
    low: float
    high: float
    p: float = NAN
    missing: tuple[str, ...] = ()
    reason: str = ""

    @property
    def has_number(self) -> bool:
        """Whether it has a number on any of these test sets."""
        return math.isfinite(self.value)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A detector. mean: its cross-domain mean, against .5. p_holm: that it is more than chance and
    than each baseline, over all detectors. in_domain: its mean AUC in the in-domain cells of the
    same test sets, NaN where there is none.
    fpr1, fpr5: the share of reals that are called fake in the cross-domain cells, at the thresholds
    that let 1 % and 5 % pass on source val. tpr1, tpr5: that of fakes. cells: how
    many there are; above: those of them in which it is more than chance, Holm over them. is_given:
    it was run elsewhere.
    """

    detector: str
    mean: Finding
    chance: Chance
    baselines: tuple[Baseline, ...]
    p_holm: float = NAN
    in_domain: float = NAN
    fpr1: float = NAN
    fpr5: float = NAN
    tpr1: float = NAN
    tpr5: float = NAN
    cells: int = 0
    above: int = 0
    is_given: bool = False

    @property
    def is_more_than_chance(self) -> bool:
        """Whether its mean lies above .5 and the null band, before Holm."""
        return self.chance.p < ALPHA

    @property
    def gap(self) -> float:
        """How much worse it is across domains."""
        return self.in_domain - self.mean.value

    @property
    def p(self) -> float:
        """The largest p of chance and of the baselines that have a number; 1 where it does not lie
        above one of them, else NaN where one cannot be tested.
        """
        each = [self.chance.p, *(one.p for one in self.baselines if one.has_number)]
        return 1.0 if 1.0 in each else float(np.max(each))

    @property
    def reason(self) -> str:
        """Why it cannot be tested, or ""."""
        return self.mean.reason or "; ".join(one.reason for one in self.baselines if one.reason)

    @property
    def verdict(self) -> Verdict:
        """Whether it is more than chance and than each baseline."""
        return judge(replace(self.mean, p=self.p), self.p_holm)

    @property
    def generalises(self) -> bool:
        """Whether it is shown to generalise. What was trained elsewhere never is: it may have been
        trained on these very test sets.
        """
        return not self.is_given and self.verdict is Verdict.MORE_THAN_NOISE


@dataclass(frozen=True, kw_only=True)
class Headline:
    """Every detector, the best cross-domain mean first. references: control rows that stand beside
    them, and that no detector is tested against.
    """

    standings: tuple[Standing, ...] = ()
    references: tuple[Baseline, ...] = ()

    @property
    def own(self) -> tuple[Standing, ...]:
        """The detectors of the study."""
        return tuple(one for one in self.standings if not one.is_given)


def bands_of(scores: ScoreSet, cells: Iterable[Cell]) -> Bands:
    """Return the null bands of cells, by detector, training set and test set."""
    return {
        (band.pairing.detector, band.pairing.train_on, band.test_on): band
        for band in null_bands(scores, cells)
    }


def null_part(bands: Bands, first: str, second: str, places: Sequence[Place]) -> Part:
    """Return the variance, about 0, of the difference of two detectors' means over cells that
    training on nothing gives: of their models of the same permuted labels. Nothing where a cell has
    no band.
    """
    held = [[bands.get((d, x, y)) for x, y in places] for d in (first, second)]
    known = [[band for band in of if band is not None] for of in held]
    if not places or any(len(of) < len(places) for of in known):
        return NOTHING
    numbers = sorted(set.intersection(*(set(band.numbers) for of in known for band in of)))
    if not numbers:
        return NOTHING
    means = [
        np.mean([[b.aucs[b.numbers.index(n)] for n in numbers] for b in of], axis=0) for of in known
    ]
    variance = float(((means[0] - means[1]) ** 2).mean())
    return Part(variance=variance, doubt=variance**2 / len(numbers))


def headline(
    scores: ScoreSet,
    bands: Bands,
    places: Sequence[Place],
    means: Mapping[str, WeightedSum],
    elsewhere: Sequence[str],
    rows: Sequence[ResultRow],
) -> Headline:
    """Return where each detector stands. places: the cross-domain cells of the means. elsewhere:
    the detectors that were run elsewhere. rows: of the matrix.
    """
    if not places:
        return Headline()
    numbers = _numbers(rows)
    held, beside = _held(rows, SHORTCUTS), _held(rows, (PROCESSING,))
    tested = {y for _, y in places}  # what the gap compares lies on the same test sets
    standings = [
        Standing(
            detector=name,
            mean=mean.finding(kind="auc", null=CHANCE),
            chance=_chance(mean, [bands.get((name, x, y)) for x, y in places]),
            baselines=tuple(_against(mean, baseline, of) for baseline, of in held.items()),
            in_domain=_mean(
                value
                for (d, x, y, metric, _), value in numbers.items()
                if (d, metric) == (name, "auc")
                and y in tested
                and scores.leakage.domain(x, y) == "in"
            ),
            fpr1=1 - _rate(numbers, name, places, "real_accuracy", "source_fpr1"),
            fpr5=1 - _rate(numbers, name, places, "real_accuracy", "source_fpr5"),
            tpr1=_rate(numbers, name, places, "fake_accuracy", "source_fpr1"),
            tpr5=_rate(numbers, name, places, "fake_accuracy", "source_fpr5"),
            cells=len(places),
            above=_above(mean, [bands.get((name, x, y)) for x, y in places]),
            is_given=name in elsewhere,
        )
        for name, mean in means.items()
    ]
    own = [one for one in standings if not one.is_given]
    adjusted = dict(zip((one.detector for one in own), holm([one.p for one in own]), strict=True))
    standings = [replace(one, p_holm=float(adjusted.get(one.detector, NAN))) for one in standings]
    first = next(iter(means.values()), None)
    return Headline(
        standings=tuple(sorted(standings, key=lambda one: -one.mean.value)),
        references=tuple(_against(first, *one) for one in beside.items()) if first else (),
    )


def _chance(mean: WeightedSum, bands: Sequence[NullBand | None]) -> Chance:
    """The mean over cells of the models of each permutation. Its p is the larger of the p against
    .5, which counts images, training sample and seeds, and of the p that the detector's mean is one
    more of those models (Student's t); where a cell has none it is the first alone.
    """
    against = mean.finding(kind="auc", null=CHANCE)
    known = [band for band in bands if band is not None]
    common = set.intersection(*(set(band.numbers) for band in known)) if known else set()
    if len(known) < len(bands) or len(common) < 2:
        return Chance(p=1.0 if against.value <= CHANCE else against.p)
    numbers = sorted(common)
    aucs = np.mean([[b.aucs[b.numbers.index(n)] for n in numbers] for b in known], axis=0)
    low, high = np.quantile(aucs, LEVELS)
    middle, reach = float(aucs.mean()), float(aucs.std(ddof=1)) * math.sqrt(1 + 1 / len(aucs))
    lead, p = against.value - middle, 1.0
    if against.value > max(CHANCE, middle):
        of_band = 2 * float(stdtr(len(aucs) - 1, -lead / reach)) if reach > 0 else 0.0
        p = float(np.max([of_band, against.p]))
    return Chance(value=middle, low=float(low), high=float(high), models=len(aucs), p=p)


def _above(mean: WeightedSum, bands: Sequence[NullBand | None]) -> int:
    """In how many of its cells a detector is more than chance, Holm over them. bands: of each cell,
    in the order of the mean's terms.
    """
    columns = {one.test_on: one for family in mean.families for one in family.columns}
    found = []
    for term, band in zip(mean.terms, bands, strict=True):
        one = WeightedSum(terms=(replace(term, weight=1.0),), families=alone(columns[term.test_on]))
        chance = _chance(one, [band])
        found.append(1.0 if one.training is None else chance.p)
    return int((holm(found) < ALPHA).sum())


def _against(mean: WeightedSum, name: str, of: Mapping[str, Estimate]) -> Baseline:
    """A baseline, and the p of a detector's mean over the cells that the baseline has a number in.
    of: its number on each test set. Its own error counts as a part: errors of different test sets
    are independent.
    """
    test_sets = [term.test_on for term in mean.terms]
    missing = tuple(dict.fromkeys(y for y in test_sets if y not in of))
    inside = [y for y in test_sets if y in of]
    if not inside:
        return Baseline(name=name, value=NAN, low=NAN, high=NAN, missing=missing)
    own = mean if not missing else _within(mean, of)
    value = fmean(of[y].value for y in inside)
    share = {y: inside.count(y) / len(inside) for y in dict.fromkeys(inside)}
    ends = {y: _ends(of[y]) for y in share}
    down = math.hypot(*(w * (of[y].value - ends[y][0]) for y, w in share.items()))
    up = math.hypot(*(w * (ends[y][1] - of[y].value) for y, w in share.items()))
    one = Baseline(name=name, value=value, low=value - down, high=value + up, missing=missing)
    if sum(term.weight * term.models.auc for term in own.terms) <= value:
        return replace(one, p=1.0)
    if unknown := [y for y in share if not all(map(math.isfinite, ends[y]))]:
        why = [f"{name} on {y}: {_note(of[y]) or 'no interval'}" for y in unknown]
        return replace(one, reason="; ".join(why))
    null = min(max(value, 1e-6), 1 - 1e-6)  # the interval of an AUC has no ends beyond
    beside = Part(variance=((up + down) / 2 / Z) ** 2)
    alone = own.finding(kind="auc", null=null)
    if "exact" not in alone.how and 0 < alone.value < 1:
        # They are compared on the logit scale, where an error counts by the slope at its own value.
        slopes = alone.value * (1 - alone.value) / (null * (1 - null))
        beside = beside.times(slopes**2)
    return replace(one, p=own.finding(kind="auc", null=null, beside=beside).p)


def _within(mean: WeightedSum, test_sets: Collection[str]) -> WeightedSum:
    """The mean over those of its cells that lie on these test sets."""
    terms = [term for term in mean.terms if term.test_on in test_sets]
    return WeightedSum(
        terms=tuple(replace(term, weight=1 / len(terms)) for term in terms),
        families=tuple(
            family
            for family in mean.families
            if any(one.test_on in test_sets for one in family.columns)
        ),
    )


def _ends(number: Estimate) -> tuple[float, float]:
    """The interval of a baseline's number. Where every score is the same, its AUC is .5 without an
    error.
    """
    if number.value == CHANCE and _note(number) in (CONSTANT, SAME_SCORES):
        return CHANCE, CHANCE
    return number.low, number.high


def _note(number: Estimate) -> str:
    """What is said of it, without where it was computed, which comes first."""
    return number.note.rpartition("; ")[2]


def _held(rows: Iterable[ResultRow], names: Collection[str]) -> dict[str, dict[str, Estimate]]:
    """Control rows of the matrix by their names, and the number of each on each test set that it
    has one on.
    """
    held: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        if row.detector in names and row.metric == "auc" and row.is_plain:
            of = held.setdefault(row.detector, {})
            if row.has_number:
                of[row.test_on] = row.estimate
    return held


Numbers = Mapping[tuple[str, str, str, str, str], float]


def _numbers(rows: Iterable[ResultRow]) -> Numbers:
    """(detector, train_on, test_on, metric, threshold) -> mean over seeds, of clean images."""
    rates = product(("real_accuracy", "fake_accuracy"), ("source_fpr1", "source_fpr5"))
    wanted = {("auc", ""), *rates}
    return {
        (row.detector, row.train_on, row.test_on, row.metric, row.threshold): row.estimate.value
        for row in rows
        if row.seed == "mean"
        and row.role in ("detector", "external")
        and (row.metric, row.threshold) in wanted
        and row.is_plain
        and row.has_number
    }


def _rate(
    numbers: Numbers, name: str, places: Sequence[Place], metric: str, threshold: str
) -> float:
    return fmean(numbers.get((name, x, y, metric, threshold), NAN) for x, y in places)


def _mean(values: Iterable[float]) -> float:
    held = [*values]
    return fmean(held) if held else NAN
