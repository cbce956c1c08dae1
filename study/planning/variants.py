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

from study.core.records import NO_DEGRADATION, Pairing
from study.data.names import is_in_domain
from study.jobs.winner import WinnerJob
from study.planning.cells import PlannedCell, scored_or_not
from study.planning.selection import select
from study.planning.setup import SearchHistory, Setup

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


def variants(setup: Setup, history: Mapping[Pairing, SearchHistory]) -> list[Variant]:
    """Return what the study's budget asks for, of the pairings that have winners. A source without
    a winner gives none.
    """
    found = []
    for pairing, searched in history.items():
        if not setup.winner_jobs(pairing, searched):
            continue
        if setup.study.budget.default_winners:
            default = setup.jobs_with(
                pairing, setup.spaces[pairing.detector].default(), 0, role="default"
            )
            found.append(Variant(pairing=pairing, source=DEFAULT, jobs=tuple(default)))
        if setup.study.budget.transfer:
            found += _from_others(setup, pairing, history)
    return found


def _from_others(
    setup: Setup, pairing: Pairing, history: Mapping[Pairing, SearchHistory]
) -> list[Variant]:
    found = []
    for other, searched in history.items():
        selected = select(searched.trials) if searched.complete else None
        if other.detector == pairing.detector and other != pairing and selected is not None:
            jobs = setup.jobs_with(
                pairing, selected[0].params, -1, role=f"best on {other.train_on},"
            )
            found.append(Variant(pairing=pairing, source=other.train_on, jobs=tuple(jobs)))
    return found


def variant_jobs(setup: Setup, history: Mapping[Pairing, SearchHistory]) -> list[WinnerJob]:
    """Return the jobs of all variants that are no winner's, each once, but those that diverged:
    these would diverge again.
    """
    taken = {
        job.trial.key
        for pairing, searched in history.items()
        for job in setup.winner_jobs(pairing, searched)
    }
    failures = setup.store.failures()
    jobs = {
        job.trial.key: job
        for variant in variants(setup, history)
        for job in variant.jobs
        if job.trial.key not in taken
    }
    return [
        job for key, job in jobs.items() if not failures.get(key, "").startswith("DivergedError")
    ]


def fits_of(setup: Setup, pairing: Pairing) -> int:
    """Return how many fits of a pairing are variants, at most: none of them is known before its
    search has ended.
    """
    budget = setup.study.budget
    others = sum(
        other.detector == pairing.detector and other != pairing for other in setup.study.searched()
    )
    return budget.seeds * (budget.default_winners + budget.transfer * others)


def variant_cells(
    setup: Setup, found: Sequence[Variant]
) -> list[tuple[Variant, list[PlannedCell]]]:
    """Return the cells of each variant, where it is trained: the default's on every test set, the
    others' on the in-domain ones.
    """
    failures = setup.store.failures()
    return [(variant, _cells(setup, variant, failures)) for variant in found]


def _cells(setup: Setup, variant: Variant, failures: Mapping[str, str]) -> list[PlannedCell]:
    source = variant.pairing.train_on
    places = [y for y in setup.study.test_on if variant.is_default or is_in_domain(source, y)]
    trained = [
        setup.store.model(job.trial.key)
        for job in variant.jobs
        if setup.store.has_model(job.trial.key)
    ]
    seeds = {job.trial.key: job.winner_seed for job in variant.jobs}
    return [
        scored_or_not(
            setup,
            (variant.pairing, y, seeds[one.key], NO_DEGRADATION),
            one,
            setup.cell_job(one.key, y),
            failures,
        )
        for y in places
        for one in trained
    ]
