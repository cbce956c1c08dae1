"""A trial under way, as the driver's process sees it: what it has reported, and whether it is to be
stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from study.core.records import EpochRecord, TrialResult
from study.runtime.attempt import stopped_trial
from study.runtime.interface import J

if TYPE_CHECKING:
    from study.search.driver import SearchDriver


class TrialRun(Generic[J]):
    """The course of one job, over all its attempts.

    A trial that is begun again, because its worker died, sends again what its checkpoint holds: of
    an epoch the last record counts, and the driver hears of it once. `reason`: why it is to be
    stopped, "" while it is not.
    """

    def __init__(self, driver: SearchDriver[J], job: J) -> None:
        self._driver, self.job = driver, job
        self._history: dict[int, EpochRecord] = {}
        self.reason = ""

    def report(self, record: EpochRecord) -> str:
        """Take in an epoch; return "" to let the trial go on, or why it is to be stopped now."""
        new = record.epoch not in self._history
        self._history[record.epoch] = record
        if new and not self.reason:
            self.reason = self._driver.report(self.job, record)
        return self.reason

    def stopped(self) -> TrialResult:
        """Return the result of the trial that was stopped."""
        assert self.reason, "nobody stopped it"
        return stopped_trial(
            self.job.trial.key,
            self.reason,
            [self._history[epoch] for epoch in sorted(self._history)],
        )
