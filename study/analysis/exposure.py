"""Exposure by dates: may a backbone have seen the test images, and is a generator younger than what
a detector was trained on?

A test set that was published before the end of the backbone's data may be among them. A generator
that was published after the youngest of the training set is one that nobody could train on then:
how AUCs fall with the months between is a detector's half-life. Cells are marked, and never left
out. Where a date is not known nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import pyarrow.compute as pc

from study.analysis.results import ResultRow
from study.core.records import ELSEWHERE, FAKE, NO_DEGRADATION, Cell, Estimate, Split, is_given
from study.data.datasets import Dataset
from study.data.layouts.released import first_day, last_day
from study.data.names import split_union
from study.detectors import registry
from study.detectors.weights import data_until
from study.jobs.workspace import open_catalog
from study.planning.open_study import OpenStudy
from study.statistics.methods import PREFIX

Place = tuple[str, str, str]  # detector, train_on, test_on


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What dates say of a cell; "" where one is not known. data_until: of the backbone's data.
    published: of the test set. trained_until: the youngest method of the training set. methods:
    those of the test set's fakes -> when they were published.
    """

    data_until: str = ""
    published: str = ""
    trained_until: str = ""
    methods: Mapping[str, str]

    @property
    def may_be_seen(self) -> bool:
        """Whether the backbone may have seen the test images."""
        known = self.data_until and self.published
        return bool(known) and first_day(self.published) <= last_day(self.data_until)

    @property
    def younger(self) -> dict[str, str]:
        """The methods that are younger than all of the training set."""
        end = last_day(self.trained_until) if self.trained_until else "9"
        return {name: date for name, date in self.methods.items() if first_day(date) > end}

    @property
    def note(self) -> str:
        """What marks the cell, or ""."""
        said = []
        if self.may_be_seen:
            said.append(
                f"the backbone may have seen these images: its data reach to {self.data_until}, and"
                f" the test set was published in {self.published}"
            )
        if self.younger:
            named = ", ".join(f"{name} ({date})" for name, date in self.younger.items())
            said.append(f"younger than the training set (until {self.trained_until}): {named}")
        return "; ".join(said)


@dataclass(frozen=True, kw_only=True)
class LaterRow:
    """The AUC on a method that is younger than the training set. months: between the two."""

    detector: str
    train_on: str
    test_on: str
    method: str
    trained_until: str
    released: str
    months: int
    auc: Estimate


def exposures(setup: OpenStudy, cells: Iterable[Cell]) -> dict[Place, Exposure]:
    """Return what dates say of each clean cell. Raises what `Catalog.dataset` raises."""
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)

    @cache
    def methods(name: str, split: Split) -> dict[str, str]:
        found: dict[str, str] = {}
        for member in split_union(name):
            found |= _methods(catalog.dataset(member), split)
        return found

    @cache
    def published(name: str) -> str:
        dates = [
            catalog.dataset(member).released.get("dataset", "") for member in split_union(name)
        ]
        return max(dates, key=first_day) if all(dates) else ""

    found = {}
    for cell in cells:
        x, y, detector = cell.pairing.train_on, cell.test_on, cell.pairing.detector
        if cell.degradation == NO_DEGRADATION and x != ELSEWHERE:
            trained = {} if is_given(x) else methods(x, "train")
            complete = trained and all(trained.values())
            found[detector, x, y] = Exposure(
                data_until=_data_until(setup, detector),
                published=published(y),
                trained_until=max(trained.values(), key=last_day) if complete else "",
                methods={name: date for name, date in methods(y, "test").items() if date},
            )
    return found


def _methods(dataset: Dataset, split: Split) -> dict[str, str]:
    """The methods of a split's fakes -> when each was published, that of the dataset where its own
    is not known; "" where none is.
    """
    rows = dataset.rows(split, ("method", "label"))
    named = pc.unique(rows.filter(pc.equal(rows["label"], FAKE))["method"]).to_pylist()
    known = dataset.released
    return {name: known.get(name, known.get("dataset", "")) for name in sorted(named)}


def _data_until(setup: OpenStudy, detector: str) -> str:
    """Of an ensemble's members the latest that is known; "" where none is, or none is used."""
    members = setup.study.ensembles.get(detector, (detector,))
    sources = [source for name in members if (source := registry.entry(name).source)]
    dates = [data_until(source) for source in sources]
    return max(filter(None, dates), key=last_day, default="")


def with_exposure(
    rows: Iterable[ResultRow], found: Mapping[Place, Exposure]
) -> tuple[ResultRow, ...]:
    """Return rows of which the AUC of each marked cell, mean over seeds, has a note."""
    noted = {place: one.note for place, one in found.items() if one.note}
    return tuple(
        replace(row, estimate=replace(row.estimate, note=_joined(row.estimate.note, note)))
        if (note := noted.get((row.detector, row.train_on, row.test_on), ""))
        and not row.subset
        and _is_auc(row)
        else row
        for row in rows
    )


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _is_auc(row: ResultRow) -> bool:
    """Whether it is the AUC of a clean cell or of one of its parts, mean over seeds."""
    of_all = (row.metric, row.seed, row.level, row.degradation, row.role, row.leak_free)
    return row.has_number and of_all == ("auc", "mean", "image", NO_DEGRADATION, "detector", False)


def later_rows(rows: Iterable[ResultRow], found: Mapping[Place, Exposure]) -> tuple[LaterRow, ...]:
    """Return the AUC of every method that is younger than a training set, by the months between.
    rows: of the matrix.
    """
    later = []
    for row in filter(_is_auc, rows):
        one = found.get((row.detector, row.train_on, row.test_on))
        if one is None:
            continue
        alone = next(iter(one.methods)) if len(one.methods) == 1 and not row.subset else ""
        method = row.subset.removeprefix(PREFIX[FAKE]) if row.subset else alone
        if method in one.younger and (alone or row.subset.startswith(PREFIX[FAKE])):
            date = one.younger[method]
            later.append(
                LaterRow(
                    detector=row.detector,
                    train_on=row.train_on,
                    test_on=row.test_on,
                    method=method,
                    trained_until=one.trained_until,
                    released=date,
                    months=_months(date) - _months(one.trained_until),
                    auc=row.estimate,
                )
            )
    return tuple(sorted(later, key=lambda r: (r.detector, r.train_on, r.months)))


def _months(date: str) -> int:
    """The months of a date since year 0; of a year alone those to its middle."""
    year, month = date[:4], date[5:7] or "07"
    return int(year) * 12 + int(month)
