"""What a command says while it runs: plain lines on the terminal, and the study's `run.log`.

Progress and notes are INFO and go to stdout, warnings, errors and life signs to stderr. What is the
result of a command (tables, listings, what to do next) is printed and not logged.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOG = logging.getLogger("study")  # every module's logger is below it
FILE_ONLY = {"file_only": True}  # `extra` of what the terminal need not show
OF_INPUTS = {"of_inputs": True}  # `extra` of a warning that the same inputs give every time
ASIDE = {"aside": True}  # `extra` of what is no part of the output, which may be JSON in a file


LAST = [0.0]  # when the last line was shown, by the clock of `time.monotonic`
# prints a line above what is drawn on the terminal, if anything is (live.py)
ABOVE: list[Callable[[str], bool]] = [lambda line: False]


# what a terminal obeys instead of showing it, and what turns the order of letters about
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def written_out(text: str, but: str = "") -> str:
    """Return a text in which every control character is written out, except those in `but`.

    >>> print(written_out("a\\nb\\x1b[31m"))
    a\\nb\\x1b[31m
    """
    return CONTROL.sub(
        lambda c: c[0] if c[0] in but else c[0].encode("unicode_escape").decode(), text
    )


class _Terminal(logging.Handler):
    """Plain lines; the streams are those of the moment."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines; of a name in them, its control characters written out."""
        return written_out(super().format(record), but="\n\t")

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record. A reader that has gone is the command's business."""
        if hasattr(record, "file_only"):
            return
        LAST[0] = time.monotonic()
        is_aside = record.levelno >= logging.WARNING or hasattr(record, "aside")
        stream = sys.stderr if is_aside else sys.stdout
        if not (stream.isatty() and ABOVE[0](self.format(record))):
            print(self.format(record), file=stream, flush=True)


class _RunLog(logging.FileHandler):
    """Lines with the time. A full disk ends no command: what it does comes first."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, where that is possible."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing."""


class _Timed(logging.Formatter):
    """The time before a line, without the empty lines around it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return f"{self.formatTime(record)} {record.message.strip()}"


def set_up(level: int = logging.INFO) -> None:
    """Show what is at or above a level on the terminal, and end what an earlier command set up."""
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
        handler.close()
    LOG.setLevel(min(level, logging.INFO))
    LOG.propagate = False
    terminal = _Terminal(level)
    LOG.addHandler(terminal)


def shows(level: int) -> bool:
    """Tell whether the terminal shows records of a level."""
    return any(isinstance(h, _Terminal) and level >= h.level for h in LOG.handlers)


def keep(path: Path) -> None:
    """Append what is said from now on to a file, from INFO on."""
    handler = _RunLog(path, encoding="utf-8", delay=True)
    handler.setFormatter(_Timed())
    handler.setLevel(logging.INFO)
    LOG.addHandler(handler)
