"""Two machines, played by two network namespaces: `ray start` on each, the study's driver on the
first, and the second one is killed and brought back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.core.identity import derive_seed
from tests.runtime.leftovers import becomes
from tests.runtime.on_nodes import JOBS

pytestmark = [pytest.mark.ray, pytest.mark.slow]
HEAD, OTHER = "10.231.77.1", "10.231.77.2"
RAY = str(Path(sys.executable).with_name("ray"))


def ip(*words: str) -> bool:
    try:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Machine:
    """A network namespace with an address, and what runs in it."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name, self.address, self.folder = name, address, folder
        self.started: list[subprocess.Popen[bytes]] = []
        # sockets lie in it, whose paths end at 107 bytes
        self.temporary = Path(f"/tmp/{name}")
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
        self.environment = {**os.environ, **token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program in it, with a log of what it says."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *words],
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def ray(self, *words: str) -> subprocess.Popen[bytes]:
        """Start its part of the cluster."""
        small = ("--num-cpus=1", f"--object-store-memory={80 << 20}", "--disable-usage-stats")
        here = (f"--node-ip-address={self.address}", "--block", *small)
        return self.start(RAY, "start", *words, *here)

    def kill(self) -> None:
        """End all that runs in it at once, as a machine that loses its power."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        for pid in listed.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        for process in self.started:
            process.wait()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines on one wire."""
    names = [f"study-{os.getpid()}-{number}" for number in range(2)]
    wires = [f"st{os.getpid() % 10**6}{number}" for number in range(2)]
    made = all(ip("netns", "add", name) for name in names)
    made = made and ip("link", "add", wires[0], "type", "veth", "peer", "name", wires[1])
    for name, wire, address in zip(names, wires, (HEAD, OTHER), strict=True):
        made = made and ip("link", "set", wire, "netns", name)
        made = made and ip("-n", name, "addr", "add", f"{address}/24", "dev", wire)
        made = made and ip("-n", name, "link", "set", wire, "up")
        made = made and ip("-n", name, "link", "set", "lo", "up")
    both = [Machine(n, a, tmp_path) for n, a in zip(names, (HEAD, OTHER), strict=True)]
    try:
        if not made:
            pytest.skip("this user may not make network namespaces")
        yield both[0], both[1]
    finally:
        for machine in both:
            machine.kill()
            ip("netns", "del", machine.name)
            shutil.rmtree(machine.temporary, ignore_errors=True)


def test_a_machine_that_is_killed_and_comes_back_changes_no_number(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    head, other = machines
    temporary = f"--temp-dir={head.temporary}"
    head.ray("--head", "--port=6379", "--include-dashboard=false", temporary)
    join = f"--address={HEAD}:6379"
    code = [sys.executable, "-m", "tests.runtime.on_nodes", "machines", str(tmp_path)]
    (tmp_path / "victim").write_text("nobody yet")
    driver = head.start(*code, f"{HEAD}:6379")
    other.ray(join)
    seen = tmp_path / "found.json"
    assert becomes(lambda: seen.is_file() or len(list(tmp_path.glob("at-*"))) == 2, seconds=240), (
        log(tmp_path)
    )
    assert not seen.is_file(), seen.read_text()
    other.kill()
    (tmp_path / "lost").touch()
    other.ray(join)
    assert driver.wait(400) == 0, log(tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    names = [f"job-{number}" for number in range(JOBS)]
    assert found["failed"] == {}
    assert found["values"] == {name: derive_seed(name) for name in names}
    assert found["begun"] > JOBS


def log(folder: Path) -> str:
    return "".join(path.read_text(errors="replace")[-3000:] for path in folder.glob("*.log"))
