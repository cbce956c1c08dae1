"""What a study on Ray may leave behind: places that are held, and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

OF_GROUPS = (
    "RayTrainWorker",
    "TrainController",
    "SeveralWorkers",
    "ResourceTrainable",
    "SynchronizationActor",
    "PlacementGroupCleaner",
)


def nothing_is_held() -> bool:
    """Tell whether the cluster's CPUs are all free and no placement group is left."""
    import ray

    from study.runtime.places import placement_groups

    return becomes(
        lambda: (
            not placement_groups()
            and ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"]
        ),
    )


def nothing_is_left(before: list[str]) -> bool:
    """Tell whether nothing is held, and no more processes of training groups run than `before` (see
    `left_processes`).
    """
    return nothing_is_held() and becomes(lambda: len(left_processes()) <= len(before))


def left_processes() -> list[str]:
    """The processes of this session's cluster that train in groups, or watch over one, by their
    titles.
    """
    titles = [
        _title(path) for path in Path("/proc").glob("[0-9]*") if _is_descendant(int(path.name))
    ]
    return [
        title
        for title in titles
        if title.startswith("ray::") and any(name in title for name in OF_GROUPS)
    ]


def becomes(condition: Callable[[], bool], *, seconds: int = 60) -> bool:
    """Ask until it is so, or a minute is over."""
    for _ in range(10 * seconds):
        if condition():
            return True
        time.sleep(0.1)
    return False


def _title(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def _is_descendant(pid: int) -> bool:
    """Tell whether a process is this one's child, or a child's child."""
    while pid > 1:
        try:
            pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
        if pid == os.getpid():
            return True
    return False
