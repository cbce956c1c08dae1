"""Ctrl-C, SIGTERM and SIGHUP end a command soon and in order. A second one ends it at once.

Python raises at whatever line is under way. Where that line is a callback that swallows what is
raised in it, the signal is lost. So the signal is remembered here too, and `check` raises it again.
Work that takes long calls that: after every batch, every chunk of images, every job.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A signal asked this command to end. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number) or str(number))
        self.number = number


class _Asked:
    """What this process was asked. listening: whether signals come here; signal: 0 before one."""

    listening = False
    signal = 0


@contextmanager
def listening() -> Iterator[None]:
    """Take the signals of this process while the block runs. One that is ignored (`nohup`) stays
    ignored.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _Asked.listening, _Asked.signal = True, 0
    listen_again()
    try:
        yield
    finally:
        _Asked.listening, _Asked.signal = False, 0
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


def listen_again() -> None:
    """Take the signals back from a library that took them; nothing where nobody listens."""
    if _Asked.listening:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _take)


def end_at_once() -> None:
    """Have a signal end this process without a word from here on: all is written, and it leaves."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))


def check() -> None:
    """Raise Stopped where a signal came, however often."""
    if _Asked.signal:
        raise Stopped(_Asked.signal)


def _take(number: int, _: FrameType | None) -> None:
    if _Asked.signal:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nended at once\n")
        os._exit(128 + number)
    _Asked.signal = number
    raise Stopped(number)
