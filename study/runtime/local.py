"""The launcher without Ray: one job after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from study.core.errors import TrialStopped
from study.core.records import EpochRecord, Report, TrialResult
from study.runtime.attempt import attempt_job, attempt_trial
from study.runtime.launcher import J, W
from study.runtime.trial_run import TrialRun

if TYPE_CHECKING:
    from study.search.driver import SearchDriver

NO_RESULT = "the work ended without leaving a result"


class _Listener:
    """Takes a trial's reports. `error`: what the driver raised on one; it is not the trial's
    failure.
    """

    def __init__(self, trial_run: TrialRun[Any]) -> None:
        self._course = trial_run
        self.error: Exception | None = None

    def report(self, record: EpochRecord) -> None:
        try:
            reason = self._course.report(record)
        except Exception as error:
            self.error = error
            raise
        if reason:
            raise TrialStopped(reason)


class LocalLauncher:
    """Runs everything in this process (see `Launcher`). A job that kills it ends the study; what is
    in the store stays.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads

    def run_trials(self, driver: SearchDriver[J], work: Callable[[J, Report], TrialResult]) -> None:
        """Work on one dealt job after the other."""
        while (job := driver.next()) is not None:
            listener = _Listener(TrialRun(driver, job))
            result = attempt_trial(work, job, listener.report, threads=self._threads)
            if listener.error is not None:
                raise listener.error
            driver.tell(job, result)
        assert driver.finished(), "the driver waits for jobs that were not dealt here"

    def run_jobs(
        self, jobs: Sequence[W], work: Callable[[W], None], done: Callable[[W], bool]
    ) -> list[tuple[W, str]]:
        """Do one job after the other."""
        failed = []
        for job in jobs:
            if done(job):
                continue
            reason = attempt_job(work, job, threads=self._threads)
            if reason or not done(job):
                failed.append((job, reason or NO_RESULT))
        return failed

    def close(self) -> None:
        """Nothing was started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
