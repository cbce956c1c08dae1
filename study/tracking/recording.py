"""What is written down while a sweep runs: each trial to the store, which is the truth, and then to
its views.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from study.core.errors import StoreError
from study.core.records import EpochRecord, Pairing, Trial, TrialResult
from study.jobs.trial import TrialJob
from study.planning.open_study import OpenStudy
from study.store.store import Store
from study.tracking.views import Views

LOG = logging.getLogger(__name__)


class TrialRecord:
    """Takes in every trial of a search as it ends, and answers what the store has already.

    say: told of each that ended now: its place (`[3/12]`), trial, result, and the pairing's best
    val AUC so far.
    held: trials that the store had. ran: trials that ended now. total: of the whole search.
    standing_failures: of those held, failed ones that are not tried again because later generations
    build on them. views: None for a repeat of a study, which they do not show. retry: whether every
    failed trial is tried again, once.
    """

    def __init__(
        self,
        setup: OpenStudy,
        views: Views | None,
        say: Callable[[str, Trial, TrialResult, float], None],
        *,
        retry: bool = False,
    ) -> None:
        self._setup, self._views, self._say, self._retry = setup, views, say, retry
        self._tried: set[str] = set()  # keys of trials that ended now
        self._trials = setup.store.open_trials()
        self._last: dict[tuple[Pairing, str], int] = {}  # number, by pairing and rules
        for trial, _ in self._trials:
            self._note(trial)
        self._best: dict[Pairing, float] = {}
        self._answered: set[str] = set()
        self.total = sum(search.trials for search in setup.searches.values())
        self._ended: set[tuple[Pairing, int]] = set()
        self.held, self.ran, self.standing_failures = 0, 0, 0

    @property
    def ended(self) -> int:
        """How many trials have ended, now or before."""
        return len(self._ended)

    def known(self, job: TrialJob) -> TrialResult | None:
        """Answer from the store, else from another study's in the same folder of results: what has
        the same key is the same.

        A failure that need not happen again (a killed worker, a full disk) is tried once more,
        unless later generations were proposed knowing it: to try it now would put all of them in
        doubt.
        """
        for trial, result in reversed(self._trials.of_key(job.trial.key)):
            if self._retry and result.state == "failed" and trial.key not in self._tried:
                continue
            if self._setup.study.search.takes(result) or self._is_built_upon(job.trial, result):
                self._answered.add(trial.key)
                return result
        return self._elsewhere.get(job.trial.key)

    @cached_property
    def _elsewhere(self) -> dict[str, TrialResult]:
        """The trials that other studies in the folder of results have done, by key. They are read
        when this study lacks one. A study that cannot be read has none.
        """
        own, found = self._setup.store, dict[str, TrialResult]()
        for folder in sorted(own.results.glob("*/")):
            other = Store(own.results, folder.name)
            if folder == own.folder:
                continue
            try:
                trials = other.trials(of_another=True)
            except StoreError as error:
                LOG.debug("no trials of another study: %s", error)
                continue
            note = f"reused from study {folder.name}"
            for trial, result in trials:
                if result.state == "done":
                    notes = [result.note] if "reused from" in result.note else [result.note, note]
                    said = "; ".join(filter(None, notes))
                    found.setdefault(trial.key, replace(result, note=said))
        return found

    def _is_built_upon(self, trial: Trial, result: TrialResult) -> bool:
        study = self._setup.study
        if result.state != "failed" or study.search.mode != "generations":
            return False
        size = study.budget.generation
        last = self._last.get((trial.pairing, trial.search), 0)
        return last // size > trial.number // size

    def _note(self, trial: Trial) -> None:
        place = trial.pairing, trial.search
        self._last[place] = max(self._last.get(place, 0), trial.number)

    def add(self, job: TrialJob, result: TrialResult) -> None:
        """Take a result in; what the store had already is only counted, and shown where a view
        lacks it.
        """
        trial = job.trial
        auc = result.val_auc if result.state == "done" else 0.0
        self._best[trial.pairing] = max(self._best.get(trial.pairing, 0.0), auc)
        is_new = (trial.pairing, trial.number) not in self._ended
        self._ended.add((trial.pairing, trial.number))
        if trial.key in self._answered and self._is_on_record(trial):
            self.held += is_new
            self.standing_failures += is_new and result.state == "failed" and not result.permanent
            # of one that was killed just after its record was written
            self._drop_checkpoint(trial, result)
            self._show(trial, result)
            return
        self.ran += 1
        self._tried.add(trial.key)
        self._trials.add(trial, result)
        self._note(trial)
        self._setup.store.add_trial(trial, result)
        self._drop_checkpoint(trial, result)
        place = f"[{len(self._ended):>{len(str(self.total))}}/{self.total}]"
        self._say(place, trial, result, self._best[trial.pairing])
        self._show(trial, result)

    def hear(self, job: TrialJob, epoch: EpochRecord) -> None:
        """Show an epoch of a trial under way."""
        if self._views is not None:
            self._views.add_epoch(job.trial, epoch)

    def _show(self, trial: Trial, result: TrialResult) -> None:
        if self._views is not None:
            self._views.add_trial(trial, result, self._setup.searches[trial.pairing].space)

    def _drop_checkpoint(self, trial: Trial, result: TrialResult) -> None:
        if self._setup.study.search.takes(result):
            self._setup.store.drop_checkpoint(trial.key)

    def _is_on_record(self, trial: Trial) -> bool:
        """Tell whether the store has this trial. An asynchronous search goes by its own record,
        whatever other rules found.
        """
        own = self._setup.study.search.mode == "async"
        return any(
            t.key == trial.key and (not own or t.search == trial.search)
            for t, _ in self._trials.at(trial.pairing, trial.number)
        )
