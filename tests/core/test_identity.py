"""Whole folders: what killed processes leave behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from study.core.identity import whole_folder

FILLS = """
import os, signal, sys
from pathlib import Path
from study.core.identity import whole_folder

with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(bytes(1000))
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_killed_processes_leave_is_removed_and_what_others_write_is_not(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", FILLS, str(tmp_path / "an-other"), "dies"], check=False
        )
        assert done.returncode == -signal.SIGKILL
    # of another machine, which has numbers of its own
    elsewhere = tmp_path / ".pack.0123abcd-1-89abcdef.tmp"
    elsewhere.mkdir()
    assert len(list(tmp_path.iterdir())) == 2  # the second already removed what the first left
    writer = [sys.executable, "-c", FILLS, str(tmp_path / "pack"), "waits"]
    with subprocess.Popen(
        writer, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as alive:
        assert alive.stdout is not None
        growing = Path(alive.stdout.readline().strip())
        with whole_folder(tmp_path / "mine") as folder:
            (folder / "x").touch()
        assert set(tmp_path.iterdir()) == {tmp_path / "mine", growing, elsewhere}
        alive.communicate()
    assert alive.returncode == 0
    assert set(tmp_path.iterdir()) == {tmp_path / "mine", tmp_path / "pack", elsewhere}
