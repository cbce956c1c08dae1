"""Work on three nodes of one machine, of which one is lost while it works: a program of its own,
as a process has one connection to Ray.

    python -m tests.runtime.on_nodes {trials,together,jobs} FOLDER
    python -m tests.runtime.on_nodes machines FOLDER ADDRESS    # jobs on a cluster that is there

Leaves what came of it in FOLDER/found.json.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from study.core.identity import derive_seed
from study.core.records import EpochRecord, TrialResult
from study.runtime.interface import Launcher
from study.runtime.launcher import open_launcher
from tests.runtime.small_work import (
    PAIRINGS,
    RecordedSearch,
    SmallJob,
    begun,
    compute,
    meet,
    terms,
)

TRIALS, JOBS = 6, 12


def here(folder: Path) -> None:
    """Say that a worker is on its node; wait for the end on the one that is to be lost, and for
    that on the others.
    """
    import ray

    node = ray.get_runtime_context().get_node_id()
    (folder / f"at-{node}").touch()
    while not (folder / "lost").exists() or node == (folder / "victim").read_text():
        time.sleep(0.05)


def trial(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """A trial of one worker, or of two."""
    here(job.folder)
    meet()
    return compute(job, report)


class Part(NamedTuple):
    """A job of a list."""

    folder: Path
    result_key: str

    def is_done(self) -> bool:
        return (self.folder / self.result_key).exists()


def part(job: Part) -> None:
    """Compute a number that follows from the job's name, slowly enough that others are left when
    the loss is noticed.
    """
    with (job.folder / f"{job.result_key}.log").open("a") as log:
        log.write("begun\n")
    here(job.folder)
    time.sleep(2)
    (job.folder / job.result_key).write_text(str(derive_seed(job.result_key)))


def run(kind: str, folder: Path, launcher: Launcher) -> dict[str, Any]:
    """Do the work; return what came of it."""
    if kind == "jobs":
        jobs = [Part(folder, f"job-{number}") for number in range(JOBS)]
        failed = {key: str(one) for key, one in launcher.run_jobs(jobs, part).items()}
        done = [job for job in jobs if job.is_done()]
        values = {job.result_key: int((folder / job.result_key).read_text()) for job in done}
        return {"failed": failed, "values": values, "begun": sum(begun(*job) for job in jobs)}
    history = RecordedSearch(folder, pairings=PAIRINGS[1:2], trials=TRIALS)
    launcher.run_trials(history.driver, trial)
    results = {str(job.trial.number): result for job, result in history.results}
    return {
        "failed": {n: str(r.failure) for n, r in results.items() if r.failure},
        "values": {number: result.val_auc for number, result in results.items()},
        "told": len(history.results),
    }


def on_machines(folder: Path, address: str) -> None:
    """Do the jobs on a cluster of others as soon as it has two nodes."""
    import ray

    while True:
        try:
            ray.init(address, logging_level="CRITICAL", log_to_driver=False)
            break
        except (ConnectionError, RuntimeError):  # its head is starting
            time.sleep(0.5)
    while sum(node["Alive"] for node in ray.nodes()) < 2:
        time.sleep(0.1)
    ray.shutdown()
    launcher = open_launcher(
        local=False, address=address, terms=terms(folder), slots=None, scratch=folder / "scratch"
    )
    with launcher:
        found = run("jobs", folder, launcher)
    (folder / "found.json").write_text(json.dumps(found))


def main(kind: str, folder: Path) -> None:
    """Start three nodes with a CPU each, take one away when it is at work, and go on."""
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
    nodes = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    victim, _ = nodes.add_node(**small), nodes.add_node(**small)
    (folder / "victim").write_text(victim.node_id)

    def lose() -> None:
        while not (folder / f"at-{victim.node_id}").exists():
            time.sleep(0.05)
        nodes.remove_node(victim, allow_graceful=False)
        (folder / "lost").touch()

    threading.Thread(target=lose, daemon=True).start()
    launcher = open_launcher(
        local=False,
        address=nodes.address,
        terms=terms(folder),
        slots=None,
        scratch=folder / "scratch",
        workers=2 if kind == "together" else 1,
    )
    began = time.monotonic()
    try:
        with launcher:
            found = run(kind, folder, launcher)
    finally:
        nodes.shutdown()
    found["seconds"] = time.monotonic() - began
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "machines":
        on_machines(Path(sys.argv[2]), sys.argv[3])
    else:
        main(sys.argv[1], Path(sys.argv[2]))
