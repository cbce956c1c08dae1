"""What a cluster of this machine leaves behind, however its process ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study.core.identity import this_machine
from study.runtime import guard
from study.runtime.guard import Guard, is_secret, without_secrets

OWNER = """
import subprocess, sys, time
from pathlib import Path
from study.runtime.guard import Guard

def beside(*command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)

guard = Guard()
log = guard.folder / "ray" / "agent.log"
log.parent.mkdir()
log.touch()
# as a viewer of the log, and as a process of Ray's that holds it open
waits = "import sys, time; file = open(sys.argv[1]); print(flush=True); time.sleep(600)"
agent = Path(sys.argv[1]) / "ray" / "agent.py"
agent.parent.mkdir()
agent.write_text(waits)
processes = beside(sys.executable, "-c", waits, log), beside(sys.executable, agent, log)
for process in processes:
    process.stdout.readline()
print(guard.folder, guard._process.pid, *(process.pid for process in processes), flush=True)
time.sleep(600)
"""


def ends(pid: int) -> Callable[[], bool]:
    """Return what waits for the end of a process, and tells whether it came."""
    file = os.pidfd_open(pid)
    return lambda: bool(select.select([file], [], [], 60)[0])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="this system does not show processes")
def test_a_killed_process_leaves_no_folder_and_no_process_of_rays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as owner:
        assert owner.stdout is not None
        folder, *pids = owner.stdout.readline().split()
        kept, viewer, agent = map(int, pids)
        guard_ends, agent_ends = ends(kept), ends(agent)
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        os.killpg(owner.pid, signal.SIGKILL)
    try:
        assert guard_ends() and agent_ends()
        assert not Path(folder).exists()
        os.kill(viewer, 0)  # somebody who reads the log is let alone
    finally:
        os.kill(viewer, signal.SIGKILL)


def test_a_closed_guard_removes_its_folder_and_ends() -> None:
    one = Guard()
    (one.folder / "ray").mkdir()
    (one.folder / "ray" / "log").write_text("x", encoding="utf-8")
    one.close()
    assert not one.folder.exists() and one._process.returncode == 0


def test_what_a_run_left_that_was_killed_with_its_guard_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    here = f"study-{this_machine()}"
    gone = tmp_path / f"{here}-{ended.pid}-abcd"
    alive = tmp_path / f"{here}-{os.getpid()}-abcd"
    # of another container, and of a person
    others = [tmp_path / f"study-{name}" for name in (f"12345678-{ended.pid}-abcd", "9999999-run")]
    for folder in (gone, alive, *others):
        (folder / "ray").mkdir(parents=True)
    guard._clear_left(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, *others])
    monkeypatch.setattr(os, "getuid", lambda: -1)  # of another user
    gone.mkdir()
    guard._clear_left(tmp_path)
    assert gone.is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "KAGGLE_KEY",
        "KAGGLE_USERNAME",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "WANDB_API_KEY",
        "db_password",
    ],
)
def test_a_secret_is_not_inherited(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret-value")
    shown = [sys.executable, "-c", "import os; print(dict(os.environ))"]
    with without_secrets():
        inherited = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert "secret-value" not in inherited and "PATH" in inherited
    assert os.environ[name] == "secret-value"


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "RAY_AUTH_TOKEN", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS", "HF_HOME"],
)
def test_what_a_worker_needs_is_inherited(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.ray
def test_a_cluster_of_this_machine_listens_on_the_loopback_alone(ray_address: str) -> None:
    host, _, _ = ray_address.rpartition(":")
    assert host == "127.0.0.1"
