"""One matrix of one detector and one quantity, picked out of the long form: what tables and figures
both draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean

from study.analysis.results import IMAGES_ALONE, Domain, ResultRow, Results, Role
from study.core.records import NO_DEGRADATION
from study.render.marks import APART, SHARES, WARNED
from study.render.numbers import ends, number
from study.statistics.methods import POOLED
from study.statistics.metrics import METRICS

NULL_BAND = "(permuted labels)"  # the line of the null band
NULL_BAND_IS = (
    f"{NULL_BAND}: the null band, in which 95 % of the models lie that were trained on permuted"
    " labels, over all training sets; an AUC within it is one that training on nothing gives"
)
THRESHOLD_TITLES = {
    "fixed": "p = 0.5",
    "source": "the source's threshold",
    "source_fpr1": "the source's 1 % FPR threshold",
    "source_fpr5": "the source's 5 % FPR threshold",
    "oracle": "the oracle threshold (an upper bound: chosen on the test set)",
}


Place = tuple[str, str]  # train_on, test_on


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """What is known of one training set and one test set.

    row: the mean over seeds, or where there is none the row that tells the cell's state; None where
    the results have nothing on the cell. clean: the mean without the images that leak from
    training, for a cell that has some. overlap: why it is not cross-domain, though the test set is
    no member of the training set. leak: what the audit says of images that leak, where it marks the
    cell. one_class: of a test set of one class, the share of it that is called wrongly. apart:
    whether it has several seeds, none of which lies in the interval of their mean.
    """

    row: ResultRow | None
    domain: Domain
    clean: ResultRow | None = None
    overlap: str = ""
    leak: str = ""
    one_class: str = ""
    apart: bool = False

    @property
    def marks(self) -> str:
        """The marks of its number, but that of an in-domain cell."""
        is_marked = {
            WARNED: self.leak or self.clean is not None,
            SHARES: self.overlap,
            APART: self.apart,
        }
        return "".join(mark for mark, here in is_marked.items() if here and self.number)

    @property
    def number(self) -> ResultRow | None:
        """The row of a cell that has a number."""
        return self.row if self.row is not None and self.row.has_number else None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of one detector: training sets x test sets, both in the order of the results.

    baselines: classifier of the audit -> test set -> its AUC; empty where there
    was no audit. Before them the detector's null band, where it has one. No part of any summary.
    warned: test set -> what the audit warns of. tested: test set -> how many of its images are
    scored, of how many.
    """

    detector: str
    role: Role
    metric: str
    threshold: str
    degradation: str
    level: str
    train_on: tuple[str, ...]
    test_on: tuple[str, ...]
    cells: Mapping[Place, GridCell]
    baselines: Mapping[str, Mapping[str, ResultRow]]
    warned: Mapping[str, str]
    tested: Mapping[str, tuple[int, int]]

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
        """Return test set -> what the audit warns of, for the columns that are to be marked."""
        return {test_on: why for test_on, why in self.warned.items() if test_on in self.test_on}

    def rows(self) -> list[ResultRow]:
        """Return the rows of the cells that have any, training set by training set."""
        return [cell.row for cell in self.cells.values() if cell.row is not None]


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
    mine = [
        row
        for row in results.rows
        if (row.detector, row.degradation, row.subset) == (detector, degradation, "")
    ]
    quantity = [row for row in mine if (row.metric, row.threshold) == (metric, threshold)]
    measured = [row for row in quantity if row.level == level and not row.leak_free]
    rows = {_place(row): row for row in mine if row.state != "done"}
    rows |= {_place(row): row for row in measured if row.seed == "mean"}
    clean = {
        _place(row): row
        for row in quantity
        if row.level == level and row.leak_free and row.seed == "mean"
    }
    rates = _rates(mine, level)
    seeds: dict[Place, list[ResultRow]] = {}
    for row in measured:
        if row.seed != "mean" and row.has_number:
            seeds.setdefault(_place(row), []).append(row)
    domains = {(pair.train_on, pair.test_on): pair.domain for pair in results.pairs}
    domains |= {_place(row): row.domain for row in mine}
    overlaps, leaks = results.overlaps(), results.leaks()
    train_on = tuple(dict.fromkeys(row.train_on for row in mine))
    test_on = tuple(dict.fromkeys(row.test_on for row in mine))
    return Grid(
        detector=detector,
        role=mine[0].role if mine else "detector",
        metric=metric,
        threshold=threshold,
        degradation=degradation,
        level=level,
        train_on=train_on,
        test_on=test_on,
        cells={
            place: GridCell(
                row=rows.get(place),
                domain=domains.get(place, "unknown"),
                clean=clean.get(place),
                overlap=overlaps.get(place, ""),
                leak=leaks.get(place, ""),
                one_class=_one_class(rows.get(place), rates.get(place, {})),
                apart=_seeds_apart(rows.get(place), seeds.get(place, [])),
            )
            for place in product(train_on, test_on)
        },
        baselines=_baselines(results, detector),
        warned=results.warnings(),
        tested={row.name: (row.tested, row.images) for row in results.datasets if row.images},
    )


def _rates(rows: Sequence[ResultRow], level: str) -> dict[Place, dict[tuple[str, str], ResultRow]]:
    """The means over seeds of every place, by metric and threshold."""
    found: dict[Place, dict[tuple[str, str], ResultRow]] = {}
    for row in rows:
        if row.seed == "mean" and row.level == level and not row.leak_free:
            found.setdefault(_place(row), {})[row.metric, row.threshold] = row
    return found


def _one_class(row: ResultRow | None, rates: Mapping[tuple[str, str], ResultRow]) -> str:
    """Say which share of a test set of one class is called wrongly at each threshold that the
    source decides; "" of one with both.
    """
    if row is None or row.has_number or not row.images:
        return ""
    of = {(True, False): ("FPR", "real_accuracy"), (False, True): ("share missed", "recall")}
    named = of.get((row.estimate.n_real > 0, row.estimate.n_fake > 0))
    if named is None:
        return ""
    said = []
    for threshold in ("source_fpr1", "source_fpr5", "fixed"):
        found = rates.get((named[1], threshold))
        if found is not None and found.has_number:
            e = found.estimate
            shown = f"{number(1 - e.value)} {ends(1 - e.high, 1 - e.low)}"
            said.append(f"{named[0]} at {THRESHOLD_TITLES[threshold]} {shown}")
    return "; ".join(said)


def _baselines(results: Results, detector: str) -> dict[str, dict[str, ResultRow]]:
    found = _null_band(results, detector)
    for row in results.rows:
        if row.role == "baseline":
            found.setdefault(row.detector, {})[row.test_on] = row
    return found


def _null_band(results: Results, detector: str) -> dict[str, dict[str, ResultRow]]:
    """A detector's null band on every test set, over all training sets; nothing where it has
    none.
    """
    bands: dict[str, list[ResultRow]] = {}
    for row in results.rows:
        if row.role == "null" and row.detector == detector:
            bands.setdefault(row.test_on, []).append(row)
    whole = {
        test_on: replace(
            rows[0],
            estimate=replace(
                rows[0].estimate,
                value=fmean(row.estimate.value for row in rows),
                low=min(row.estimate.low for row in rows),
                high=max(row.estimate.high for row in rows),
            ),
        )
        for test_on, rows in bands.items()
    }
    return {NULL_BAND: whole} if whole else {}


def _place(row: ResultRow) -> Place:
    return row.train_on, row.test_on


def _seeds_apart(mean: ResultRow | None, seeds: Sequence[ResultRow]) -> bool:
    """Whether there are several seeds, and none of them lies in the interval of their mean, which
    is of the test images alone.
    """
    if mean is None or len(seeds) < 2:
        return False
    if mean.metric == "auc" and IMAGES_ALONE not in mean.estimate.note:
        return False
    low, high = mean.estimate.low, mean.estimate.high
    # no interval: NaN, and False
    return all(row.estimate.value < low or row.estimate.value > high for row in seeds)


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


def images_text(rows: Sequence[ResultRow], *, reals: str = "", fakes: str = "") -> str:
    """Return the images that rows rest on: `100 / 150`, real and fake, with words after each."""
    n_real, n_fake = (row.estimate.n_real for row in rows), (row.estimate.n_fake for row in rows)
    return f"{span(n_real)}{reals} / {span(n_fake)}{fakes}"


def prevalence(row: ResultRow) -> float:
    """Return the share of fakes among the images of a cell, in [0, 1]; NaN where there are none."""
    return row.estimate.n_fake / row.images if row.images else math.nan


def detectors(results: Results) -> list[str]:
    """Return the detectors, in the order of the results; the audit's classifiers are none."""
    return [*dict.fromkeys(row.detector for row in results.rows if row.role != "baseline")]


def levels(results: Results, detector: str) -> list[str]:
    """Return the levels that a detector has numbers at: `image`, and `unit` where some test set has
    several images a unit.
    """
    found = {row.level for row in results.rows if row.detector == detector}
    return [level for level in POOLED if level in found]
