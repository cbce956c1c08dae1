"""From the store to the matrix: which cells there are, what state they are in, and the numbers of
those that are scored.

Metrics are always derived from scores, so this trains nothing and scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.core.records import (
    NO_DEGRADATION,
    Cell,
    CellState,
    Pairing,
    TrainedDetector,
)
from study.jobs.cell import CellJob
from study.jobs.ensemble import EnsembleJob
from study.jobs.workspace import open_catalog
from study.planning.setup import SearchHistory, Setup

Place = tuple[Pairing, str, int, str]  # pairing, test set, winner seed, degradation


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, and the job that would score it; the job is None while its winner is not trained.

    Of an ensemble the job derives the cell; it is None while a member's cell is not scored.
    """

    cell: Cell
    winner: TrainedDetector | None
    job: CellJob | EnsembleJob | None


def plan_cells(
    setup: Setup, history: Mapping[Pairing, SearchHistory] | None = None
) -> list[PlannedCell]:
    """Return every cell of the study in the order pairing, test set, degradation, seed.

    history: what `setup.replay()` gave, if it is known.
    """
    history = setup.replay() if history is None else history
    failures, pairings = setup.store.failures(), setup.study.pairings()
    ensembles = [pairing for pairing in pairings if pairing.detector in setup.study.ensembles]
    cells: dict[Place, PlannedCell] = {}
    for pairing in pairings:
        if pairing not in ensembles:
            cells.update(_built_cells(setup, pairing, history.get(pairing), failures))
    for pairing in ensembles:
        cells.update(_ensemble_cells(setup, pairing, cells, failures))
    return [cells[place] for pairing in pairings for place in _places(setup, pairing)]


def _places(setup: Setup, pairing: Pairing) -> list[Place]:
    study = setup.study
    seeds, conditions = range(study.seeds_of(pairing)), study.conditions()
    return [
        (pairing, test_on, seed, condition)
        for test_on in study.test_on
        for condition in conditions
        for seed in seeds
    ]


def _built_cells(
    setup: Setup, pairing: Pairing, searched: SearchHistory | None, failures: Mapping[str, str]
) -> Iterator[tuple[Place, PlannedCell]]:
    """Give the cells of a pairing whose winners are networks. searched: None where it is not
    trained.
    """
    found = (
        [setup.untrained_job(pairing)] if searched is None else setup.winner_jobs(pairing, searched)
    )
    jobs = {job.winner_seed: job for job in found}
    lost = (
        why_no_winner(searched) if searched is not None and searched.complete and not jobs else ""
    )
    waiting = "not built yet" if searched is None else "not trained yet"
    winners = {
        seed: setup.store.model(job.trial.key)
        for seed, job in jobs.items()
        if setup.store.has_model(job.trial.key)
    }
    for place in _places(setup, pairing):
        _, test_on, seed, degradation = place
        if seed in winners:
            job = setup.cell_job(winners[seed].key, test_on, degradation)
            planned = scored_or_not(setup, place, winners[seed], job, failures)
        else:
            reason = lost or (failures.get(jobs[seed].trial.key, "") if seed in jobs else "")
            planned = _unscored(place, "failed" if reason else "planned", reason=reason or waiting)
        yield place, planned


def _ensemble_cells(
    setup: Setup, pairing: Pairing, cells: Mapping[Place, PlannedCell], failures: Mapping[str, str]
) -> Iterator[tuple[Place, PlannedCell]]:
    """Give the cells of an ensemble, from those of its members."""
    members = [
        Pairing(detector=name, train_on=pairing.train_on)
        for name in setup.study.ensembles[pairing.detector]
    ]
    for place in _places(setup, pairing):
        parts = [cells[member, *place[1:]] for member in members]
        missing = [part.cell for part in parts if part.cell.state != "done"]
        if missing:
            worst = _worst(missing)
            reason = f"its member {worst.pairing.detector}: {worst.reason or 'not scored yet'}"
            yield place, _unscored(place, worst.state, reason=reason)
            continue
        job = EnsembleJob(
            workspace=setup.workspace,
            pairing=pairing,
            winner_seed=place[2],
            members=tuple(member.detector for member in members),
            models=tuple(part.winner.key for part in parts if part.winner is not None),
            scores=tuple(part.cell.scores_key for part in parts),
        )
        winner = setup.store.model(job.key) if setup.store.has_model(job.key) else None
        yield place, scored_or_not(setup, place, winner, job, failures)


def _unscored(place: Place, state: CellState, *, reason: str) -> PlannedCell:
    return PlannedCell(cell=_cell(place, state, reason=reason), winner=None, job=None)


def scored_or_not(
    setup: Setup,
    place: Place,
    winner: TrainedDetector | None,
    job: CellJob | EnsembleJob,
    failures: Mapping[str, str],
) -> PlannedCell:
    """Return the cell of a trained detector, as the store has it, and the job that scores it."""
    key = job.scores_key
    if winner is not None and setup.store.has_scores(key):
        cell = _cell(place, "done", scores_key=key)
    elif place[3] != NO_DEGRADATION and (reason := setup.store.not_applicable(key)):
        cell = _cell(place, "not_applicable", reason=reason, scores_key=key)
    else:
        cell = _cell(
            place,
            "failed" if key in failures else "planned",
            reason=failures.get(key, ""),
            scores_key=key,
        )
    return PlannedCell(cell=cell, winner=winner, job=job)


def _cell(place: Place, state: CellState, *, reason: str = "", scores_key: str = "") -> Cell:
    pairing, test_on, seed, degradation = place
    return Cell(
        pairing=pairing,
        winner_seed=seed,
        test_on=test_on,
        degradation=degradation,
        state=state,
        reason=reason,
        scores_key=scores_key,
    )


def _worst(missing: Sequence[Cell]) -> Cell:
    """The cell that stands for several without a number: a failed one where there is one."""
    return next((cell for cell in missing if cell.state == "failed"), missing[0])


def why_no_winner(searched: SearchHistory) -> str:
    """Say why a search that has used its budget selected nothing."""
    reasons = [result.reason for _, result in searched.trials if result.state == "failed"]
    return (
        f"no trial gave a result ({reasons[-1]})"
        if reasons
        else "no trial gave a defined validation AUC"
    )


def test_content(setup: Setup, test_on: str) -> str:
    """The content key of a test split: detectors are compared on the same resamples of the same
    images.
    """
    return open_catalog(setup.workspace.data, firewall=setup.workspace.firewall).key(
        test_on, ("test",)
    )
