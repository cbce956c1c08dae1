"""The places of a cluster: how many jobs run side by side and what each holds; and giving places
back.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from study.core.errors import ConfigError

SHARES = 10_000  # Ray counts in ten-thousandths of a GPU


@dataclass(frozen=True, kw_only=True)
class Places:
    """How many jobs run side by side, how many workers each of them has, and what one worker holds
    (`gpus` may be below 1).
    """

    slots: int
    cpus: int
    gpus: float
    workers: int = 1

    @property
    def resources(self) -> dict[str, float]:
        """The resources of one worker, in the words of Tune."""
        return {"cpu": float(self.cpus)} | ({"gpu": float(self.gpus)} if self.gpus else {})

    def __str__(self) -> str:
        one = f"{self.cpus} CPU{'s' * (self.cpus > 1)}" + (
            f" and {self.gpus:g} GPU" if self.gpus else ""
        )
        return one if self.workers == 1 else f"{self.workers} workers with {one} each"


def share_out(
    nodes: Sequence[dict[str, float]],
    *,
    threads: int,
    slots: int | None,
    workers: int = 1,
    gpus_per_trial: float | None = None,
) -> Places:
    """Share out a cluster: `threads` CPUs for each worker and, where there are any, one GPU. No
    core is shared between jobs.

    nodes: resources of each node (`CPU`, `GPU`). slots: an upper limit. workers: of one job; they
    may lie on several nodes.
    gpus_per_trial: 0.5 lets two jobs of one worker share a GPU, and no part ever spans two of them;
    None is one for each worker where there is one. A machine with fewer cores than `threads` runs
    one job of one worker at a time.

    Raises ConfigError where not even one job fits.
    """
    most = max(int(node.get("CPU", 0)) for node in nodes)
    cpus = threads if workers > 1 else max(1, min(threads, most))
    if gpus_per_trial is None:
        gpus = 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    else:
        gpus = math.floor(gpus_per_trial * SHARES + 1e-6) / SHARES
    possible = sum(_fitting(node, cpus, gpus) for node in nodes) // workers
    at_once = max(1, min(possible, slots or possible))
    places = Places(slots=at_once, cpus=cpus, gpus=gpus, workers=workers)
    if not possible:
        there = ", ".join(
            f"a node with {int(node.get('CPU', 0))} CPU and {int(node.get('GPU', 0))} GPU"
            for node in nodes
        )
        way_out = _way_out(workers, gpus_per_trial)
        raise ConfigError(f"one trial needs {places}; the cluster has {there}: {way_out}")
    return places


def _fitting(node: dict[str, float], cpus: int, gpus: float) -> int:
    """How many workers fit on a node."""
    by_cpu = int(node.get("CPU", 0)) // cpus
    return min(by_cpu, int(node.get("GPU", 0)) * math.floor(1 / gpus + 1e-6)) if gpus else by_cpu


def _way_out(workers: int, gpus_per_trial: float | None) -> str:
    if workers > 1:
        return "lower run.workers_per_trial or run.threads, or join a larger cluster"
    if gpus_per_trial is not None:
        return "leave run.gpus_per_trial away, or join a cluster with GPUs"
    return "join another cluster"


def placement_groups() -> set[str]:
    """Return the placement groups that this driver holds. Ray ends their names with the name of the
    driver's job.
    """
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    held = (name for name, one in placement_group_table().items() if one["state"] != "REMOVED")
    return {name for name in held if name.endswith(job)}


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """Give back every place taken during the block, however it ends. Whatever still runs there is
    killed.

    Ray's own cleaning is not enough. A training controller that is killed, or that fails while it
    stops its workers (the memory monitor kills several at a time), leaves their places taken, and
    the next group would wait for them for ever.
    """
    import ray
    from ray.util.placement_group import PlacementGroup

    before = placement_groups()
    try:
        yield
    finally:
        for name in placement_groups() - before:
            ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))
