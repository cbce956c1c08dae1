"""The searches of a study: the driver that decides which trial runs next, and how far the store
says that each search has come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.core.records import EpochRecord, Pairing, Params, Trial, TrialResult
from study.jobs.trial import TrialJob
from study.planning.jobs import Jobs
from study.planning.open_study import OpenStudy
from study.planning.selection import SearchHistory
from study.search.driver import SearchDriver
from study.search.remembered import remembered

Known = Callable[[TrialJob], TrialResult | None]


def search_driver(
    opened: OpenStudy,
    known: Known,
    on_result: Callable[[TrialJob, TrialResult], None],
    *,
    trials: int | None = None,
    heard: Callable[[TrialJob, EpochRecord], None] = lambda job, record: None,
) -> SearchDriver[TrialJob]:
    """Return the driver of a study's searches, which has dealt nothing yet. A launcher asks it for
    trials, runs them and tells it their results.

    trials: only the first so many of each pairing. heard: told of every epoch of a trial under way.
    `known` is asked of every job; in an
    asynchronous search, of every trial on record that was proposed under the same rules.
    """
    study = opened.study

    def make_job(
        pairing: Pairing, number: int, params: Params, proposed: Sequence[Params]
    ) -> TrialJob:
        origin = driver.origin(pairing, number)
        return opened.jobs.trial(pairing, number, params, proposed, origin=origin)

    driver = SearchDriver(
        list(opened.searches.values()),
        trials=trials or study.budget.trials,
        generation=study.budget.generation,
        study_seed=study.seed,
        make_job=make_job,
        known=known,
        on_result=on_result,
        sampler=study.search.sampler,
        asynchronous=study.search.mode == "async",
        halving=study.search.scheduler == "asha",
        seconds=study.budget.gpu_seconds / study.run.devices_per_trial,
        history=lambda pairing: _recorded(opened.jobs, pairing, known),
        proposer=remembered(opened.workspace.data.cache),
        heard=heard,
    )
    return driver


def _recorded(jobs: Jobs, pairing: Pairing, known: Known) -> list[tuple[TrialJob, TrialResult]]:
    """The trials on record that were proposed under today's rules and would be the same trials
    today, in the order of record.
    """
    rules = jobs.keys.rules(jobs.searches[pairing])
    found: dict[int, tuple[TrialJob, TrialResult]] = {}
    for trial, _ in jobs.workspace.store.trials():
        if trial.pairing == pairing and trial.search == rules:
            job = jobs.trial(pairing, trial.number, trial.params)
            result = known(job) if job.trial == trial else None
            if result is not None:
                found.setdefault(trial.number, (job, result))
    return list(found.values())


def replay(opened: OpenStudy) -> dict[Pairing, SearchHistory]:
    """Return how far each search of a study has come in the store. Trains nothing."""
    halving = opened.study.search.scheduler == "asha"
    records = {
        trial.key: result
        for trial, result in opened.store.trials()
        if result.state != "stopped" or halving
    }
    ended: dict[Pairing, dict[int, tuple[Trial, TrialResult]]] = {p: {} for p in opened.searches}

    def add(job: TrialJob, result: TrialResult) -> None:
        ended[job.trial.pairing][job.trial.number] = job.trial, result

    driver = search_driver(opened, lambda job: records.get(job.trial.key), add)
    complete = {pairing: driver.has_ended(pairing) for pairing in ended}
    return {
        pairing: SearchHistory(
            trials=[trials[number] for number in sorted(trials)], complete=complete[pairing]
        )
        for pairing, trials in ended.items()
    }
