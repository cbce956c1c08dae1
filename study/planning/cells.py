"""Which cells a study has, and what the store has of each: its state, its winner, its scores.

Nothing is trained here, and nothing scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from study.core.failures import Failure
from study.core.records import NO_DEGRADATION, Cell, Pairing, TrainedDetector
from study.jobs.cell import CellJob
from study.jobs.ensemble import EnsembleJob
from study.planning.jobs import Jobs
from study.planning.open_study import OpenStudy
from study.planning.searches import replay
from study.planning.selection import SearchHistory
from study.planning.study import Study
from study.store.store import Store


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, and the job that would score it; the job is None while its winner is not trained.

    Of an ensemble the job derives the cell; it is None while a member's cell is not scored.
    """

    cell: Cell
    winner: TrainedDetector | None
    job: CellJob | EnsembleJob | None
    failure: Failure | None = None


def plan_cells(
    opened: OpenStudy, history: Mapping[Pairing, SearchHistory] | None = None
) -> list[PlannedCell]:
    """Return every cell of the study in the order pairing, test set, degradation, seed.

    history: what `replay` gave, if it is known.
    """
    history = replay(opened) if history is None else history
    study, states = opened.study, CellStates(opened.store)
    planned: dict[Cell, PlannedCell] = {}
    for pairing in study.pairings():
        if pairing.detector not in study.ensembles:
            planned.update(_built_cells(opened.jobs, pairing, history.get(pairing), states))
    cells = [cell for pairing in study.pairings() for cell in _cells_of(study, pairing)]
    return _with_ensembles(opened.jobs, planned, cells, states)


def refreshed(jobs: Jobs, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Return planned cells as the store has them by now. What they are, and the jobs that score
    them, stays; an ensemble's depend on its members, which must be among them.
    """
    states, now = CellStates(jobs.workspace.store), {}
    for one in cells:
        cell = replace(one.cell, state="planned", reason="", scores_key="")
        job = one.job
        now[cell] = states.of(cell, one.winner, job) if isinstance(job, CellJob) else one
    return _with_ensembles(jobs, now, [*now], states)


class CellStates:
    """What a store has of cells: their scores, or why there are none. Failures are read once."""

    def __init__(self, store: Store) -> None:
        self.store, self._failures = store, store.failures()

    def of(
        self, cell: Cell, winner: TrainedDetector | None, job: CellJob | EnsembleJob
    ) -> PlannedCell:
        """Return a cell as the store has it, and the job that scores it. winner: None while an
        ensemble is not made.
        """
        key, failure = job.scores_key, None
        cell = replace(cell, scores_key=key)
        if winner is not None and self.store.has_scores(key):
            cell = replace(cell, state="done")
        elif cell.degradation != NO_DEGRADATION and (reason := self.store.not_applicable(key)):
            cell = replace(cell, state="not_applicable", reason=reason)
        elif failure := self._failures.get(key):
            cell = replace(cell, state="failed", reason=str(failure))
        return PlannedCell(cell=cell, winner=winner, job=job, failure=failure)

    def lost(self, cell: Cell, failure: Failure | None = None, *, winner: str = "") -> PlannedCell:
        """Return a cell that no job can score yet; a failed one for a failure, of its own or of its
        `winner`, given by its key.
        """
        failure = failure or self._failures.get(winner)
        if failure is not None:
            cell = replace(cell, state="failed", reason=str(failure))
        return PlannedCell(cell=cell, winner=None, job=None, failure=failure)


def _cells_of(study: Study, pairing: Pairing) -> list[Cell]:
    """The cells of a pairing, before anything is known of them."""
    return [
        Cell(
            pairing=pairing,
            winner_seed=seed,
            test_on=test_on,
            degradation=degradation,
            state="planned",
        )
        for test_on in study.test_on
        for degradation in study.conditions()
        for seed in range(study.seeds_of(pairing))
    ]


def _built_cells(
    jobs: Jobs, pairing: Pairing, searched: SearchHistory | None, states: CellStates
) -> Iterator[tuple[Cell, PlannedCell]]:
    """Give the cells of a pairing whose winners are networks. searched: None where it is not
    trained.
    """
    if searched is None:
        winners, lost, waiting = [jobs.untrained(pairing)], None, "not built yet"
    else:
        winners, waiting = jobs.winners(pairing, searched), "not trained yet"
        lost = searched.why_no_winner() if searched.complete and not winners else None
    keys = {job.winner_seed: job.trial.key for job in winners}
    models = {seed: states.store.find_model(key) for seed, key in keys.items()}
    for cell in _cells_of(jobs.study, pairing):
        winner = models.get(cell.winner_seed)
        if winner is not None:
            scoring = jobs.cell(winner.key, cell.test_on, cell.degradation)
            yield cell, states.of(cell, winner, scoring)
        else:
            key = keys.get(cell.winner_seed, "")
            yield cell, states.lost(replace(cell, reason=waiting), lost, winner=key)


def _with_ensembles(
    jobs: Jobs,
    planned: dict[Cell, PlannedCell],
    cells: Sequence[Cell],
    states: CellStates,
) -> list[PlannedCell]:
    """The cells in order. planned: what is known of them, but of those of ensembles."""
    for cell in cells:
        if names := jobs.study.ensembles.get(cell.pairing.detector):
            pairings = [replace(cell.pairing, detector=name) for name in names]
            members = [planned[replace(cell, pairing=pairing)] for pairing in pairings]
            planned[cell] = _ensemble_cell(jobs, cell, members, states)
    return [planned[cell] for cell in cells]


def _ensemble_cell(
    jobs: Jobs, cell: Cell, members: Sequence[PlannedCell], states: CellStates
) -> PlannedCell:
    """A cell of an ensemble, from those of its members."""
    missing = [member.cell for member in members if member.cell.state != "done"]
    if missing:
        one = worst(missing)
        name = f"its member {one.pairing.detector}: "
        failure = next(member.failure for member in members if member.cell is one)
        if failure is not None:
            failure = replace(failure, type="", message=name + failure.text)
        reason = name + (one.reason or "not scored yet")
        return states.lost(replace(cell, state=one.state, reason=reason), failure)
    models = {one.cell.pairing.detector: one.winner.key for one in members if one.winner}
    scores = [one.cell.scores_key for one in members]
    job = jobs.ensemble_cell(cell.pairing, cell.winner_seed, models, scores)
    return states.of(cell, states.store.find_model(job.key), job)


def worst(missing: Sequence[Cell]) -> Cell:
    """Return the cell that stands for several without a number: a failed one where there is one."""
    return next((cell for cell in missing if cell.state == "failed"), missing[0])


def test_content(opened: OpenStudy, test_on: str) -> str:
    """The content key of a test split: detectors are compared on the same resamples of the same
    images.
    """
    return opened.workspace.catalog.key(test_on, ("test",))
