"""Where the work of a study runs: in this process, or on a Ray cluster. The same work, the same
results.

Opening a launcher costs nothing: Ray starts with the first work.
"""

from __future__ import annotations

from pathlib import Path

from study.core.errors import ConfigError
from study.runtime.cluster import RayLauncher
from study.runtime.interface import Launcher, Terms
from study.runtime.local import LocalLauncher


def open_launcher(
    *,
    local: bool,
    address: str | None,
    terms: Terms,
    slots: int | None,
    scratch: Path,
    workers: int = 1,
    gpus_per_trial: float | None = None,
) -> Launcher:
    """Return the launcher that the options ask for.

    local: everything in this process, one job at a time, without Ray. address: the Ray cluster to
    join (`HOST:PORT`, or `auto` for the one of this machine); None starts a cluster of this machine
    alone. slots: how many jobs run side by side at most; None, and any number above it, give what
    the resources allow without sharing a core or a GPU. scratch: a folder for what Ray writes while
    it runs, seen by all nodes; emptied again. workers: processes that train one trial together,
    each with `terms.threads` CPUs; jobs of a list have one each. gpus_per_trial: the part of a GPU
    that a trial of one worker holds, above 0; None for one GPU a worker where there is one.

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
        return LocalLauncher(terms)
    return RayLauncher(
        terms,
        address=address,
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
