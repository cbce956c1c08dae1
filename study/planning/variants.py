"""Further winners: other configurations than the selected one, trained with its seeds, so that
tuning itself can be judged.

Behind the firewall as all training is. Two kinds, each a switch of the study's budget:

    the default        trial 0's configuration, of every pairing: what tuning has gained
    best on X          the configuration selected on another training set: whether what was tuned
    there holds here

They are not in the matrix and in no ranking. A configuration that is the selected one is the same
job, and is not trained twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.core.failures import Failure
from study.core.records import NO_DEGRADATION, Cell, Pairing
from study.data.names import is_in_domain
from study.jobs.draws import DrawCellJob, DrawsJob
from study.jobs.winner import WinnerJob
from study.planning.cells import CellStates, PlannedCell
from study.planning.jobs import Jobs
from study.planning.selection import SearchHistory
from study.planning.study import Study

DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Another configuration of a pairing. source: `DEFAULT`, or the training set whose search
    selected it. jobs: one a seed.
    """

    pairing: Pairing
    source: str
    jobs: tuple[WinnerJob, ...]

    @property
    def is_default(self) -> bool:
        """Whether it is the default, else a configuration from another training set."""
        return self.source == DEFAULT


def variants(jobs: Jobs, history: Mapping[Pairing, SearchHistory]) -> list[Variant]:
    """Return what the study's budget asks for, of the pairings that have winners. A source without
    a winner gives none, and a further repeat of a study has none.
    """
    budget, found = jobs.study.budget, []
    if jobs.keys.is_repeat:
        return []
    winners = {pairing: one.winner for pairing, one in history.items() if one.winner}
    for pairing in winners:
        if budget.default_winners:
            default = jobs.searches[pairing].space.default()
            found.append((pairing, DEFAULT, jobs.retrained(pairing, default, 0, role="default")))
        for other, winner in winners.items() if budget.transfer else ():
            if other.detector == pairing.detector and other != pairing:
                role = f"best on {other.train_on},"
                mine = jobs.retrained(pairing, winner.params, -1, role=role)
                found.append((pairing, other.train_on, mine))
    return [Variant(pairing=p, source=source, jobs=tuple(mine)) for p, source, mine in found]


def variant_jobs(
    jobs: Jobs, history: Mapping[Pairing, SearchHistory], failures: Mapping[str, Failure]
) -> list[WinnerJob]:
    """Return the jobs of all variants that are no winner's, each once, but those that diverged:
    these would diverge again.
    """
    taken = {
        job.trial.key
        for pairing, searched in history.items()
        for job in jobs.winners(pairing, searched)
    }
    found = {job.trial.key: job for variant in variants(jobs, history) for job in variant.jobs}
    return [
        job
        for key, job in found.items()
        if key not in taken and not (key in failures and failures[key].permanent)
    ]


def draws_jobs(
    jobs: Jobs, history: Mapping[Pairing, SearchHistory], failures: Mapping[str, Failure]
) -> list[DrawsJob]:
    """Return the jobs that train winners' configurations on draws of their training sets, but those
    that diverged: these would diverge again.
    """
    return [
        job
        for pairing, searched in history.items()
        for job in jobs.draws(pairing, searched)
        if not (job.trial.key in failures and failures[job.trial.key].permanent)
    ]


def draw_cells(jobs: Jobs, history: Mapping[Pairing, SearchHistory]) -> list[DrawCellJob]:
    """Return the jobs that score the models of draws on every clean test set, where they are
    trained.
    """
    trained = [job for p, searched in history.items() for job in jobs.draws(p, searched)]
    trained = [job for job in trained if job.is_done()]
    return [jobs.draw_cell(job, test_on) for test_on in jobs.study.test_on for job in trained]


def fits_of(study: Study, pairing: Pairing) -> int:
    """Return how many fits of a pairing are variants, at most: none of them is known before its
    search has ended.
    """
    others = sum(
        other.detector == pairing.detector and other != pairing for other in study.searched()
    )
    return study.budget.seeds * (study.budget.default_winners + study.budget.transfer * others)


def variant_cells(jobs: Jobs, found: Sequence[Variant]) -> list[tuple[Variant, list[PlannedCell]]]:
    """Return the cells of each variant, where it is trained: the default's on every test set, the
    others' on the in-domain ones.
    """
    states = CellStates(jobs.workspace.store)
    return [(variant, _cells(jobs, variant, states)) for variant in found]


def _cells(jobs: Jobs, variant: Variant, states: CellStates) -> list[PlannedCell]:
    pairing, cells = variant.pairing, []
    models = [(job.winner_seed, states.store.find_model(job.trial.key)) for job in variant.jobs]
    for test_on in jobs.study.test_on:
        if not (variant.is_default or is_in_domain(pairing.train_on, test_on)):
            continue
        for seed, model in models:
            if model is not None:
                cell = Cell(
                    pairing=pairing,
                    winner_seed=seed,
                    test_on=test_on,
                    degradation=NO_DEGRADATION,
                    state="planned",
                )
                cells.append(states.of(cell, model, jobs.cell(model.key, test_on)))
    return cells
