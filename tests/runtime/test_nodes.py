"""A node that is lost while it works: the same numbers come, and no work fails for it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from study.core.identity import derive_seed
from study.runtime.attempt import Deaths, is_node_lost
from study.runtime.interface import LOST_NODES, RETRIES
from study.runtime.local import LocalLauncher
from tests.runtime.on_nodes import JOBS, TRIALS
from tests.runtime.small_work import PAIRINGS, RecordedSearch, compute, terms

NODE_DIED = "The actor died because its node has died. Node Id: 0123"
WORKER_DIED = "The actor is dead because its worker process has died."


def found_on_nodes(kind: str, folder: Path) -> dict[str, Any]:
    home = folder / "home"
    home.mkdir()
    # libraries that send how they are used do not so in a test
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST", "CI"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.on_nodes", kind, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        env={**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(home.rglob("telemetry*"))
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trials", "together"])
def test_trials_outlive_a_node(kind: str, tmp_path: Path) -> None:
    found = found_on_nodes(kind, tmp_path)
    alone = RecordedSearch(tmp_path, pairings=PAIRINGS[1:2], trials=TRIALS)
    LocalLauncher(terms(tmp_path)).run_trials(alone.driver, compute)
    expected = {str(job.trial.number): result.val_auc for job, result in alone.results}
    assert (found["failed"], found["values"], found["told"]) == ({}, expected, TRIALS)


@pytest.mark.ray
@pytest.mark.slow
def test_a_list_of_jobs_outlives_a_node(tmp_path: Path) -> None:
    """With the two nodes that are left: a group of three would wait for the third for ever."""
    found = found_on_nodes("jobs", tmp_path)
    names = [f"job-{number}" for number in range(JOBS)]
    assert found["failed"] == {}
    assert found["values"] == {name: derive_seed(name) for name in names}
    assert found["begun"] > JOBS  # the one on the lost node, at least


def test_a_lost_node_is_no_death_of_the_work() -> None:
    assert is_node_lost(ray.exceptions.RayActorError(error_msg=NODE_DIED))
    assert not is_node_lost(ray.exceptions.RayActorError(error_msg=WORKER_DIED))
    deaths = Deaths()
    node, own = RuntimeError(NODE_DIED), RuntimeError(WORKER_DIED)
    assert [deaths.again("a", node) for _ in range(LOST_NODES)] == [True] * LOST_NODES
    assert [deaths.again("a", own) for _ in range(RETRIES + 1)] == [True] * RETRIES + [False]
    assert deaths.failure("a", own).text.startswith("WorkerDied: its worker process died 2 times")
    assert not deaths.again("a", node)
    lost = deaths.failure("a", node)
    assert lost.text == f"NodeLost: the machine that it ran on was lost, {LOST_NODES + 1} times"
    assert deaths.again("b", own)
    assert dataclasses.replace(lost).permanent is False
