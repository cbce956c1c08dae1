"""What every way to run a study offers: `Launcher`, and what its parts have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from study.core.failures import Failure
from study.core.records import Report, TrialResult

if TYPE_CHECKING:
    from study.jobs.workspace import Job
    from study.search.driver import Job as SearchJob
    from study.search.driver import SearchDriver

J = TypeVar("J", bound="SearchJob")
W = TypeVar("W", bound="Job")
Work = Callable[[W], Mapping[str, Failure] | None]  # does a job; returns the failures of its parts
RETRIES = 1  # of a trial or a job whose worker died by itself
LOST_NODES = 5  # of one whose whole node was lost, which is no fault of the work
NO_RESULT = Failure(type="NoResult", message="the work ended without leaving a result")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What holds for every piece of work of a launcher.

    threads: CPU threads of one worker, a constant of the study. failures: the folder in which a
    worker leaves the traceback of what raised, `<key>.txt`. debug: the first failure is raised, as
    WorkFailed.
    """

    threads: int
    failures: Path
    debug: bool = False


class Launcher(ABC):
    """Runs a search's trials and lists of jobs. A context manager; after `close` nothing that it
    started is left.
    """

    @abstractmethod
    def run_trials(self, driver: SearchDriver[J], work: Callable[[J, Report], TrialResult]) -> None:
        """Work on what the driver deals until it has finished; every result is told to it in this
        process.

        work: (job, report) to the trial's result; a module-level function, as the jobs are records
        that pickle. `report` takes each epoch's record, which goes to the driver; a trial that it
        wants stopped ends there, as a `stopped` result with its reason. What the work raises
        becomes a failed result, and the other trials go on. So does a worker that dies twice over
        the same trial; it is given one retry. A trial whose node is lost is begun again, up to
        `LOST_NODES` times.

        With several workers per trial each of them does the work, in one torch.distributed group;
        the first one's reports and result count, and so does a failure of any.

        Raises KeyboardInterrupt after an orderly stop, and whatever the driver's callbacks raise.
        """

    @abstractmethod
    def run_jobs(
        self,
        jobs: Sequence[W],
        work: Work[W],
        *,
        seconds: float = math.inf,
    ) -> dict[str, Failure]:
        """Do every job that is not done; return the failures by the key of the result, in the order
        of `jobs`.

        seconds: of all the command's jobs what this process would do by one core, one after the
        other, as far as is known. Where a cluster of this machine would save less of it than it
        takes to start, they are done in this process.

        work: does one job and leaves its result in the store; module-level and idempotent. Of a job
        with several results it may return the failures of some. Jobs are begun in their order:
        neighbours had better share their data. A job whose worker dies is begun once more, and one
        whose node is lost up to `LOST_NODES` times.

        Raises KeyboardInterrupt after an orderly stop.
        """

    def close(self) -> None:  # noqa: B027 - nothing to stop is the common case
        """Stop what was started. More than once does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
