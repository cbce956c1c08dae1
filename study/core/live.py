"""Life signs of long work: on a terminal one line that is always drawn anew, through a pipe a line
every half minute.

Whoever works says where it is by `show`, and `clear` when it has ended. Lines of the log go above
the display.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from study.core.log import ABOVE, ASIDE, LAST, LOG, shows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

QUIET = 30.0  # seconds without a line, through a pipe
TICK = 0.5


@dataclass(frozen=True, kw_only=True)
class Sign:
    """What goes on. total: 0 where it is not known how much there is. began, first: when it began,
    by the clock of `time.monotonic`, and how much was done by then.
    """

    what: str
    done: int
    total: int
    detail: str
    began: float
    first: int = 0

    def text(self, now: float) -> str:
        """Return it as a line, with the time that it has taken and the time that is left.

        >>> Sign(what="cells", done=2, total=4, detail="npr", began=0).text(60)
        'cells: 2/4, 1 min 0 s, about 1 min 0 s left of the cells, npr'
        """
        passed = now - self.began
        parts = [f"{self.what}: {self.done}/{self.total}" if self.total else self.what]
        parts.append(duration(passed))
        if self.first < self.done < self.total:
            left = passed / (self.done - self.first) * (self.total - self.done)
            parts.append(f"about {duration(left)} left of the {self.what}")
        return ", ".join([*parts, self.detail] if self.detail else parts)


def duration(seconds: float) -> str:
    """Return a duration in whole seconds, minutes or hours.

    >>> duration(4.2), duration(75), duration(7260)
    ('4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


class _Display:
    """What is shown now, and the thread that shows it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sign: Sign | None = None
        self._around: Sign | None = None  # what goes on again once `_sign` is finished
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        self._since = time.monotonic()  # from here on silence counts, before the first line

    def show(self, what: str, done: int, total: int, detail: str) -> None:
        with self._lock:
            before = self._sign
            if before and before.what != what:
                before, self._around = self._around, before
            made = Sign(
                what=what,
                done=done,
                total=total,
                detail=detail,
                began=time.monotonic(),
                first=done,
            )
            if before and before.what == what:
                made = replace(made, began=before.began, first=before.first)
            self._sign = made
            if self._live is None and sys.stderr.isatty() and shows(logging.INFO):
                self._live = _live(self._line)
                self._live.start()
            if self._live is None and self._thread is None:
                self._thread = threading.Thread(target=self._speak, daemon=True)
                self._thread.start()

    def finish(self, what: str) -> None:
        with self._lock:
            if self._around and self._around.what == what:
                self._around = None
            if self._sign and self._sign.what == what:
                self._sign, self._around = self._around, None
            if self._sign is None:
                self.clear()

    def clear(self) -> None:
        with self._lock:
            self._sign = self._around = None
            if self._live is not None:
                self._live.stop()
                self._live = None

    def console(self) -> Console | None:
        """The terminal, while something is drawn on it."""
        live = self._live
        return live.console if live else None

    def _line(self) -> str:
        sign = self._sign
        return sign.text(time.monotonic()) if sign else ""

    def _speak(self) -> None:
        """Through a pipe: say where the work is, where nothing has been said for a while."""
        while True:
            time.sleep(TICK)
            with self._lock:
                if self._sign is None:
                    self._thread = None
                    return
                if line := self.overdue(time.monotonic()):
                    LOG.info(line, extra=ASIDE)

    def overdue(self, now: float) -> str:
        """Return the line that is to be said now, "" where something was said lately."""
        sign = self._sign
        if sign is None or now - max(LAST[0], self._since) < QUIET:
            return ""
        return f"  ... {sign.text(now)}"


def _live(line: Callable[[], str]) -> Live:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    spinner = Spinner("dots")

    def drawn() -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row(spinner, Text(line()))
        return grid

    return Live(
        get_renderable=drawn,
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


_DISPLAY = _Display()


def show(what: str, done: int = 0, total: int = 0, detail: str = "") -> None:
    """Say what goes on, and how much of it is done."""
    _DISPLAY.show(what, done, total, detail)


def finish(what: str) -> None:
    """Say that this is done: what it was a part of goes on."""
    _DISPLAY.finish(what)


def clear() -> None:
    """Say that nothing goes on any more."""
    _DISPLAY.clear()


def above(line: str) -> bool:
    """Print a line above the display; return whether there is one."""
    console = _DISPLAY.console()
    if console is None:
        return False
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    return True


ABOVE[0] = above
