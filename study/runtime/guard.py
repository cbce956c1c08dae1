"""What a cluster that is started here leaves on the machine, and the process that clears it up.

A process that is killed clears up nothing. So a small one waits for the end of the process that
started Ray, however that comes. It then ends what is left of Ray (its agents live on for a minute)
and removes its folder of sockets and logs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from study.core import child
from study.core.identity import is_running, this_machine

# Names of environment variables that hold what nobody else may read. Ray's own token lets its
# processes in.
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|^KAGGLE_|^AWS_")
NO_SECRET = re.compile(r"^RAY_|^TOKENIZERS_")


class Guard:
    """A private folder for a cluster of this machine, and the process that removes it.

    folder: 0700, whatever Ray makes of the folders in it.
    """

    def __init__(self) -> None:
        # Sockets lie under this folder and their paths end at 107 bytes, so TMPDIR is not asked.
        base = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())
        _clear_left(base)
        prefix = f"study-{this_machine()}-{os.getpid()}-"
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        with without_secrets():
            self._process = child.start(__name__, apart=True)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self.folder}\n".encode())
        self._process.stdin.flush()

    def close(self) -> None:
        """Have the folder removed, once Ray was stopped."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)  # where somebody killed the guard


@contextmanager
def without_secrets() -> Iterator[None]:
    """Start processes in the block: they do not inherit what only this one may read."""
    hidden = {name: value for name, value in os.environ.items() if is_secret(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def is_secret(name: str) -> bool:
    """Tell whether an environment variable holds what only this process may read."""
    return bool(SECRET.search(name.upper())) and not NO_SECRET.search(name.upper())


def _clear_left(base: Path) -> None:
    """Remove the folders of this machine's processes that were killed together with their guard.
    Containers may share a folder, and do not see each other's processes.
    """
    for folder in base.glob(f"study-{this_machine()}-*-*"):
        owner = folder.name.split("-")[2]
        with suppress(OSError):
            mine = owner.isdecimal() and folder.is_dir() and folder.lstat().st_uid == os.getuid()
            if mine and not is_running(int(owner)):
                _end(str(folder))
                shutil.rmtree(folder, ignore_errors=True)


def _end(folder: str) -> None:
    """End every process of Ray that has a file of the folder open. Where the system does not show
    them, Ray's agents end by themselves.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            command = (process / "cmdline").read_bytes()
            if command.startswith(b"ray::") or b"/ray/" in command:
                files = (str(file.readlink()) for file in (process / "fd").iterdir())
                if any(file.startswith(f"{folder}/") for file in files):
                    os.kill(int(process.name), signal.SIGKILL)


def main() -> None:
    """Wait until the input ends, and clear up."""
    folder = sys.stdin.readline().rstrip("\n")
    if not folder:
        return
    sys.stdin.read()
    _end(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
