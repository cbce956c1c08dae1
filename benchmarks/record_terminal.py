"""Record what a command shows and when, on a terminal of 100 columns or through a pipe, and say how
long it was silent.

    python benchmarks/record_terminal.py -- python -m study.sweep quick --local
    python benchmarks/record_terminal.py --pipe --cast sweep.cast -- python -m study.sweep quick

`asciinema play sweep.cast` shows a recording again. The bars are 5 seconds on a terminal and 60
seconds through a pipe. A longer silence is exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

COLUMNS, LINES = 100, 30
BARS = {"terminal": 5.0, "pipe": 60.0}  # seconds
Shown = list[tuple[float, bytes]]  # seconds since the start, what came


def record(command: Sequence[str], *, pipe: bool) -> tuple[Shown, float, int]:
    """Run a command; return what it showed, how long it took, and its exit code."""
    ours, theirs = os.pipe() if pipe else pty.openpty()
    if not pipe:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown: Shown = []
    with contextlib.suppress(OSError):  # a terminal whose other end is closed has no end of file
        while data := os.read(ours, 65536):
            shown.append((time.monotonic() - start, data))
    code = process.wait()
    os.close(ours)
    return shown, time.monotonic() - start, code


def longest_silence(shown: Shown, seconds: float) -> tuple[float, float]:
    """Return how long nothing came at most, and when that began."""
    times = [0.0, *(at for at, _ in shown), seconds]
    return max((b - a, a) for a, b in pairwise(times))


def write_cast(path: Path, shown: Shown) -> None:
    """Write a recording in asciinema's format, version 2."""
    head = {"version": 2, "width": COLUMNS, "height": LINES}
    lines = [head, *([at, "o", data.decode(errors="replace")] for at, data in shown)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--pipe", action="store_true", help="through a pipe, not on a terminal")
    parser.add_argument("--cast", type=Path, metavar="FILE", help="write the recording to a file")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND", help="what to run")
    options = parser.parse_args()
    shown, seconds, code = record(options.command, pipe=options.pipe)
    if options.cast:
        write_cast(options.cast, shown)
    silence, at = longest_silence(shown, seconds)
    kind = "pipe" if options.pipe else "terminal"
    last = next((data for t, data in reversed(shown) if t <= at), b"")
    sys.stdout.buffer.write(b"".join(data for _, data in shown))
    print(f"\n{kind}: {seconds:.0f} s, exit code {code}, {len(shown)} writes")
    print(f"longest silence: {silence:.1f} s, from {at:.1f} s on, after {last[-100:]!r}")
    return int(silence > BARS[kind] or code != 0)


if __name__ == "__main__":
    sys.exit(main())
