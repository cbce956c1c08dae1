"""A study that is repeated: in several folds, or by several searches (planning/repeats.py). Its
matrix has the mean over repeats, and each of them beside it.

The AUC of a clean cell, mean over repeats and seeds, has the interval of one model
(single_models.py), which counts how far repeats share images and training samples, and what
another search selects. All other numbers have the mean of the repeats' intervals: repeats err alike
at most, so that this is wide enough for what those count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from study.analysis.calibrations import Calibrations
from study.analysis.cell_rows import cell_rows, of_one_model
from study.analysis.leakage import leakage_of
from study.analysis.results import MEAN, ResultRow, Results
from study.analysis.score_set import ScoreSet, blends_of, open_scores
from study.analysis.weighted_sums import cell_sum
from study.core.records import NO_DEGRADATION, Cell, Estimate
from study.jobs.draws import DrawCellJob
from study.planning.cells import PlannedCell, plan_cells
from study.planning.open_study import OpenStudy
from study.planning.repeats import repeats_of
from study.planning.searches import replay
from study.planning.variants import draw_cells

NAN = float("nan")
DIGITS = re.compile(r"\d+")
Key = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """A further repeat. drawn: the scores of models of draws."""

    setup: OpenStudy
    cells: Sequence[PlannedCell]
    drawn: Sequence[DrawCellJob]

    @classmethod
    def of(
        cls, setup: OpenStudy, cells: Iterable[PlannedCell], drawn: Iterable[DrawCellJob]
    ) -> Repeat:
        """Return a repeat of its cells and of those of the jobs that are done."""
        return cls(
            setup=setup,
            cells=[replace(one, cell=replace(one.cell, repeat=setup.repeat)) for one in cells],
            drawn=[job for job in drawn if job.is_done()],
        )

    def scores(self) -> ScoreSet:
        """Read its scores."""
        keys = [one.cell.scores_key for one in self.cells if one.cell.state == "done"]
        leakage, blends = leakage_of(self.setup), blends_of(self.cells)
        return open_scores(self.setup, keys, leakage, self.drawn, blends)


def stored_repeats(setup: OpenStudy) -> list[Repeat]:
    """Return the further repeats of a study, as the store has them."""
    found = []
    for one in repeats_of(setup)[1:]:
        history = replay(one)
        found.append(Repeat.of(one, plan_cells(one, history), draw_cells(one.jobs, history)))
    return found


def with_repeats(
    results: Results,
    scores: ScoreSet,
    setup: OpenStudy,
    cells: Sequence[Cell],
    more: Sequence[Repeat],
) -> Results:
    """Return the results of a study with means over its repeats in place of its own numbers, which
    stand beside them with those of the others. cells: of the study itself. more: its further
    repeats.
    """
    if not more:
        return results
    first = [row for row in results.rows if row.role == "detector"]
    cache, calibrations = setup.workspace.data.cache, Calibrations(setup.store)
    each = [first]
    for one in more:
        of_one = scores.of_repeat(one.setup.repeat)
        each.append(cell_rows(of_one, one.cells, cache=cache, calibrations=calibrations))
    names = [setup.name, *(one.setup.name for one in more)]
    every = [*cells, *(planned.cell for one in more for planned in one.cells)]
    means = iter(_means(scores, each, names, every))
    return replace(
        results,
        rows=tuple(_named(row, names[0], means) for row in results.rows),
        repeats=tuple(
            replace(row, repeat=name)
            for rows, name in zip(each, names, strict=True)
            for row in rows
        ),
    )


def _named(row: ResultRow, first: str, means: Iterable[ResultRow]) -> ResultRow:
    """The mean in the place of a detector's row. A null band is of the first repeat alone."""
    if row.role == "detector":
        return next(iter(means))
    return replace(row, repeat=first) if row.role == "null" else row


def _means(
    scores: ScoreSet,
    each: Sequence[Sequence[ResultRow]],
    names: Sequence[str],
    cells: Sequence[Cell],
) -> list[ResultRow]:
    """The mean over repeats of every row of the first one, in its order."""
    others = [{_key(row): row for row in rows} for rows in each[1:]]
    places: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.state == "done" and cell.degradation == NO_DEGRADATION:
            place = cell.pairing.detector, cell.pairing.train_on, cell.test_on
            places.setdefault(place, []).append(cell)
    found = []
    for row in each[0]:
        rows = [row, *(_same(row, of) for of in others)]
        mean = _mean(row, rows, names)
        if mean.has_number and _is_one_model(mean):
            total = cell_sum(scores, places[row.detector, row.train_on, row.test_on])
            mean = replace(mean, estimate=of_one_model(mean.estimate, total))
        found.append(mean)
    return found


def _is_one_model(row: ResultRow) -> bool:
    return row.is_plain and (row.metric, row.seed) == ("auc", "mean")


def _same(row: ResultRow, of: Mapping[Key, ResultRow]) -> ResultRow | None:
    """The same number of another repeat. Without what leaks it is that of all images where nothing
    leaks.
    """
    return of.get(_key(row)) or of.get(_key(replace(row, leak_free=False)))


def _key(row: ResultRow) -> Key:
    cell = row.detector, row.train_on, row.test_on, row.degradation
    return (*cell, row.level, row.subset, row.leak_free, row.seed, row.metric, row.threshold)


def _mean(row: ResultRow, rows: Sequence[ResultRow | None], names: Sequence[str]) -> ResultRow:
    """The mean of a number over repeats; none where one of them lacks it, which is said."""
    known = [one for one in rows if one is not None and one.has_number]
    lost = [n for one, n in zip(rows, names, strict=True) if one is None or not one.has_number]
    states = [one for one in rows if one is not None and one.state != "done"]
    named = replace(row, repeat=MEAN)
    if states:
        named = replace(named, state=states[0].state, reason=states[0].reason)
    if lost:
        why = row.estimate.reason if len(lost) == len(rows) else f"none in {', '.join(lost)}"
        nothing = replace(row.estimate, value=NAN, low=NAN, high=NAN, sd=NAN, reason=why)
        return replace(named, estimate=nothing)
    held = [one.estimate for one in known]
    return replace(named, estimate=_estimate(held), coverage=fmean(one.coverage for one in known))


def _estimate(held: Sequence[Estimate]) -> Estimate:
    """The means of values, ends and numbers of images, and the root mean square of the sd."""
    squares = fmean(one.sd**2 for one in held)
    return replace(
        held[0],
        value=fmean(one.value for one in held),
        low=fmean(one.low for one in held),
        high=fmean(one.high for one in held),
        n_real=round(fmean(one.n_real for one in held)),
        n_fake=round(fmean(one.n_fake for one in held)),
        sd=math.sqrt(squares) if squares >= 0 else NAN,
        note=_note([one.note for one in held]),
    )


def _note(notes: Iterable[str]) -> str:
    """What is said of some repeat, once where only numbers in it differ."""
    said = [part for note in notes for part in note.split("; ") if part]
    return "; ".join({DIGITS.sub("", part): part for part in reversed(said)}.values())
