"""Where the work of a study runs: in this process, or on a Ray cluster. The same work, the same
results.

Everything heavy is imported where it is first needed: opening a launcher costs nothing, and Ray
starts with the first work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from study.core.errors import ConfigError
from study.core.records import Report, TrialResult

if TYPE_CHECKING:
    from study.search.driver import Job, SearchDriver


J = TypeVar("J", bound="Job")
W = TypeVar("W")


class Launcher(Protocol):
    """Runs a search's trials and lists of jobs. A context manager; after `close` nothing that it
    started is left.
    """

    def run_trials(self, driver: SearchDriver[J], work: Callable[[J, Report], TrialResult]) -> None:
        """Work on what the driver deals until it has finished; every result is told to it in this
        process.

        work: (job, report) to the trial's result; a module-level function, as the jobs are records
        that pickle. `report` takes each epoch's record, which goes to the driver; a trial that it
        wants stopped ends there, as a `stopped` result with its reason. What the work raises
        becomes a failed result with `<type>: <message>` as its reason, `permanent` for a
        DivergedError, and the other trials go on. So does a worker that dies twice over the same
        trial; it is given one retry.

        With several workers per trial each of them does the work, in one torch.distributed group;
        the first one's reports and result count, and so does a failure of any.

        Raises KeyboardInterrupt after an orderly stop, and whatever the driver's callbacks raise.
        """
        ...

    def run_jobs(
        self, jobs: Sequence[W], work: Callable[[W], None], done: Callable[[W], bool]
    ) -> list[tuple[W, str]]:
        """Do every job that is not done; return those that failed, in the order of `jobs`, each
        with its reason.

        work: does one job and leaves its result in the store; module-level and idempotent. done:
        says whether the store has the result. Jobs are begun in their order: neighbours had better
        share their data. A job whose worker dies is begun once more.

        Raises KeyboardInterrupt after an orderly stop.
        """
        ...

    def close(self) -> None:
        """Stop what was started. More than once does no harm."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def open_launcher(
    *,
    local: bool,
    address: str | None,
    threads: int,
    slots: int | None,
    scratch: Path,
    workers: int = 1,
    gpus_per_trial: float | None = None,
) -> Launcher:
    """Return the launcher that the options ask for.

    local: everything in this process, one job at a time, without Ray. address: the Ray cluster to
    join (`HOST:PORT`, or `auto` for the one of this machine); None starts a cluster of this machine
    alone. threads: CPU threads of one job, a constant of the study.
    slots: how many jobs run side by side at most; None, and any number above it, give what the
    resources allow without sharing a
    core or a GPU. scratch: a folder for what Ray writes while it runs, seen by all nodes; emptied
    again.
    workers: processes that train one trial together, each with `threads` CPUs; jobs of a list have
    one each. gpus_per_trial: the part of a GPU that a trial of one worker holds, above 0; None for
    one GPU a worker where there is one.

    Raises ConfigError for several workers in this process, and for numbers of GPUs that cannot be
    had.
    """
    if local and workers > 1:
        raise ConfigError(
            f"run.workers_per_trial = {workers} needs Ray: leave --local away, or --set"
            " run.workers_per_trial=1"
        )
    _check_gpus(workers, gpus_per_trial)
    if local:
        from study.runtime.local import LocalLauncher

        return LocalLauncher(threads=threads)
    from study.runtime.cluster import RayLauncher

    return RayLauncher(
        address=address,
        threads=threads,
        slots=slots,
        scratch=scratch,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
    )


def _check_gpus(workers: int, gpus_per_trial: float | None) -> None:
    if gpus_per_trial is None:
        return
    if workers > 1:
        raise ConfigError(
            f"run.gpus_per_trial = {gpus_per_trial:g} with run.workers_per_trial = {workers}: "
            "every worker has a GPU of its own where there are any; leave gpus_per_trial away"
        )
    if not 0 < gpus_per_trial <= 1:
        raise ConfigError(
            f"run.gpus_per_trial = {gpus_per_trial:g}: one worker holds a part of a GPU, above 0"
            " and at most 1"
        )
