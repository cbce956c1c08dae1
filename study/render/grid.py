"""One matrix of one detector and one quantity, picked out of the long form: what tables and figures
both draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from study.analysis.results import Domain, ResultRow, Results
from study.core.records import NO_DEGRADATION
from study.statistics.methods import POOLED
from study.statistics.metrics import METRICS

SEEDS_APART = "seeds differ by more than the interval: it is of the images alone"
THRESHOLD_TITLES = {
    "fixed": "p = 0.5",
    "source": "the source's threshold",
    "source_fpr5": "the source's 5 % FPR threshold",
    "oracle": "the oracle threshold (an upper bound: chosen on the test set)",
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of one detector: training sets x test sets, both in the order of the long form.

    cells: (train_on, test_on) -> the mean row of the quantity, or where there is none the row that
    tells the cell's state; None where the long form has nothing on the cell. without_leaks: the
    same without the images that training has seen, for cells that
    have some. shared: cell -> why it is not cross-domain, for cells that share images with their
    training set.
    apart: cells with several seeds, none of which lies in the interval of their mean.
    domains: cell -> what it counts as.
    no_pixels: (classifier, test_on) -> the audit's AUC without a picture; empty where there was no
    audit. No part of any summary.
    warned: test_on -> what the audit warns of.
    """

    detector: str
    metric: str
    threshold: str
    degradation: str
    level: str
    train_on: tuple[str, ...]
    test_on: tuple[str, ...]
    cells: dict[tuple[str, str], ResultRow | None]
    no_pixels: dict[tuple[str, str], ResultRow] = field(default_factory=dict)
    without_leaks: dict[tuple[str, str], ResultRow] = field(default_factory=dict)
    shared: dict[tuple[str, str], str] = field(default_factory=dict)
    apart: frozenset[tuple[str, str]] = frozenset()
    domains: dict[tuple[str, str], Domain] = field(default_factory=dict)
    warned: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What is shown, e.g. `accuracy at p = 0.5, unit level`."""
        parts = [METRICS[self.metric].title]
        if self.threshold:
            parts[0] += f" at {THRESHOLD_TITLES.get(self.threshold, self.threshold)}"
        if self.degradation != NO_DEGRADATION:
            parts.append(f"degradation {self.degradation}")
        if self.level != "image":
            parts.append(f"{self.level} level")
        return ", ".join(parts)

    def warnings(self) -> dict[str, str]:
        """Return test_on -> what the audit warns of, for the columns that are to be marked."""
        return {test_on: why for test_on, why in self.warned.items() if test_on in self.test_on}

    def rows(self) -> list[ResultRow]:
        """Return the rows of the cells that have any, training set by training set."""
        return [row for row in self.cells.values() if row is not None]


def pick(
    results: Results,
    detector: str,
    metric: str,
    threshold: str = "",
    *,
    degradation: str = NO_DEGRADATION,
    level: str = "image",
) -> Grid:
    """Return the matrix of a detector and a quantity. Its cells hold the mean over seeds."""
    rows = results.rows
    mine = [
        row
        for row in rows
        if row.detector == detector and row.degradation == degradation and not row.subset
    ]
    measured = [r for r in mine if (r.metric, r.threshold) == (metric, threshold)]
    quantity = [r for r in measured if r.seed == "mean"]
    means = {(r.train_on, r.test_on): r for r in quantity if _is_all(r, level)}
    seeds = [r for r in measured if r.seed != "mean" and _is_all(r, level)]
    states = {(r.train_on, r.test_on): r for r in mine if r.state != "done"}
    train_on = tuple(dict.fromkeys(row.train_on for row in mine))
    test_on = tuple(dict.fromkeys(row.test_on for row in mine))
    places = [(source, target) for source in train_on for target in test_on]
    return Grid(
        detector=detector,
        metric=metric,
        threshold=threshold,
        degradation=degradation,
        level=level,
        train_on=train_on,
        test_on=test_on,
        cells={place: means.get(place, states.get(place)) for place in places},
        no_pixels={(row.detector, row.test_on): row for row in rows if row.role == "baseline"},
        without_leaks={
            (r.train_on, r.test_on): r for r in quantity if r.level == level and r.leak_free
        },
        shared={
            place: note
            for place, note in results.overlaps().items()
            if place in means and means[place].state == "done"
        },
        apart=frozenset(place for place, row in means.items() if _seeds_apart(row, seeds)),
        domains={(row.train_on, row.test_on): row.domain for row in mine},
        warned=results.warnings(),
    )


def _seeds_apart(mean: ResultRow, seeds: Iterable[ResultRow]) -> bool:
    """Whether a cell has several seeds, and none of them lies in the interval of their mean."""
    low, high = mean.estimate.low, mean.estimate.high
    place = (mean.train_on, mean.test_on)
    values = [r.estimate.value for r in seeds if (r.train_on, r.test_on) == place and r.has_number]
    # no interval: NaN, and False
    return len(values) > 1 and all(value < low or value > high for value in values)


def _is_all(row: ResultRow, level: str) -> bool:
    return row.level == level and not row.leak_free


def state_words(row: ResultRow | None) -> str:
    """Return what a cell without a number shows: its state, `undefined` for a scored one, `not
    measured` where nothing is known.
    """
    if row is None:
        return "not measured"
    return "undefined" if row.state == "done" else row.state.replace("_", " ")


def span(numbers: Iterable[int]) -> str:
    """Return whole numbers as `12`, or `11-12` where they differ."""
    found = sorted(set(numbers))
    return "-".join(f"{n}" for n in (found if len(found) < 2 else (found[0], found[-1])))


def prevalence(row: ResultRow) -> float:
    """Return the share of fakes among the images of a cell, in [0, 1]; NaN where there are none."""
    total = row.estimate.n_real + row.estimate.n_fake
    return row.estimate.n_fake / total if total else math.nan


def detectors(results: Results) -> list[str]:
    """Return the detectors, in the order of the long form; the audit's classifiers are none."""
    return [*dict.fromkeys(row.detector for row in results.rows if row.role != "baseline")]


def levels(results: Results, detector: str) -> list[str]:
    """Return the levels that a detector has numbers at: `image`, and `unit` where some test set has
    several images a unit.
    """
    found = {row.level for row in results.rows if row.detector == detector}
    return [level for level in POOLED if level in found]
