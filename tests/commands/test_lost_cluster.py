"""A cluster that is killed while a command works on it: one line, an exit code of its own, nothing
left, and the same command goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study import sweep
from study.runtime.watch import CLUSTER_LOST
from study.store.store import Store
from tests.runtime.leftovers import becomes


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "after"),
    [
        ("gcs_server", " trial 0 "),
        ("raylet/raylet", " trial 0 "),
        ("gcs_server", "starting Ray on this machine"),
    ],
)
def test_a_sweep_whose_cluster_is_killed_says_so_and_goes_on_later(
    study_file: Path, tmp_path: Path, process: str, after: str
) -> None:
    command = [sys.executable, "-m", "study.sweep", str(study_file), "--results", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        said = ""
        for line in run.stdout:
            said += line
            if after in line:  # the head begins, then Ray's own process, which it waits for
                assert becomes(lambda: of_cluster("raylet/raylet", run.pid) is not None)
                lost = of_cluster(process, run.pid)
                assert lost is not None
                os.kill(lost, signal.SIGKILL)
                break
        said += run.stdout.read()
        assert run.wait() == CLUSTER_LOST, said
    assert said.count("error: the Ray cluster is lost: ") == 1 and "Traceback" not in said
    assert becomes(lambda: not list(Path("/tmp").glob(f"study-*-{run.pid}-*")))
    arguments = [str(study_file), "--results", str(tmp_path)]
    assert sweep.main([*arguments, "--local"]) == 0
    assert len(Store(tmp_path, "small").trials()) == 18


def of_cluster(name: str, driver: int) -> int | None:
    """The process of this name in the cluster that a process has started, where there is one."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        mine = any(f"-{driver}-" in word and "/study-" in word for word in words)
        if mine and words[0].endswith(f"/{name}"):
            return int(process.name)
    return None
