"""The launcher without Ray: one job after the other, in this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from study.core import stop
from study.core.errors import TrialStopped
from study.core.failures import Failure, stop_all
from study.core.parallel import cpu_count
from study.core.records import EpochRecord, Report, TrialResult
from study.runtime.attempt import attempt_job, attempt_trial
from study.runtime.interface import NO_RESULT, J, Launcher, Terms, W, Work
from study.runtime.trial_run import TrialRun

if TYPE_CHECKING:
    from study.search.driver import SearchDriver


class _Listener:
    """Takes a trial's reports. `error`: what the driver raised on one; it ends the trial, and is
    not its failure.
    """

    def __init__(self, trial_run: TrialRun[Any]) -> None:
        self._trial_run = trial_run
        self.error: Exception | None = None

    def report(self, record: EpochRecord) -> None:
        try:
            reason = self._trial_run.report(record)
        except Exception as error:
            self.error = error
            raise TrialStopped("its report could not be taken in") from error
        if reason:
            raise TrialStopped(reason)


class LocalLauncher(Launcher):
    """Runs everything in this process (see `Launcher`). A job that kills it ends the study; what is
    in the store stays.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def run_trials(self, driver: SearchDriver[J], work: Callable[[J, Report], TrialResult]) -> None:
        """Work on one dealt job after the other."""
        self._take_all_cores()
        while (job := driver.next()) is not None:
            stop.check()
            listener = _Listener(TrialRun(driver, job))
            result = attempt_trial(work, job, listener.report, self._terms)
            if listener.error is not None:
                raise listener.error
            stop_all([result.failure] if result.failure else [])
            driver.tell(job, result)
        assert driver.finished(), "the driver waits for jobs that were not dealt here"

    def run_jobs(
        self,
        jobs: Sequence[W],
        work: Work[W],
        *,
        seconds: float = math.inf,
    ) -> dict[str, Failure]:
        """Do one job after the other."""
        failures: dict[str, Failure] = {}
        for job in jobs:
            stop.check()
            if job.is_done():
                continue
            self._take_all_cores()
            failed = attempt_job(work, job, self._terms)
            stop_all(failed.values())
            if failed or not job.is_done():
                failures |= failed or {job.result_key: NO_RESULT}
        return failures

    def _take_all_cores(self) -> None:
        """Nobody else of the study works on this machine now."""
        from study.training.score import compute_side_by_side

        compute_side_by_side(max(cpu_count() // self._terms.threads, 1))
