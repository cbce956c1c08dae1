"""Starting a module of this package as a process of its own, which is spoken to by its input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO


def start(
    module: str,
    *,
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    apart: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `python -m module` with this code, wherever it was imported from. stdout, stderr: as
    subprocess takes them. apart: what the terminal sends this process (Ctrl-C) is not sent to it.
    """
    code = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=apart,
    )
