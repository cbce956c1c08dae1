"""A cluster that is lost: its head (GCS), or Ray's process on this machine (raylet), is gone.

Ray says nothing then. It waits for ever, or ends the process after a minute with exit code 1. So a
thread asks both again and again for a connection, and ends the command in one line.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.core import live

LOG = logging.getLogger(__name__)
CLUSTER_LOST = 3  # the exit code of a command
EVERY_SECONDS = 1.0
CONNECT_SECONDS = 5.0
GONE_SECONDS = 5.0  # a process of this machine that nobody starts again
AWAY_SECONDS = 45.0  # the head elsewhere: it may be started again; Ray itself gives up after 60 s


@dataclass(frozen=True, kw_only=True)
class Place:
    """A process of the cluster. what: it is, in words. patience: seconds for which it may be out of
    reach. Tries are counted for that, not the clock: it jumps where a machine was paused.
    """

    what: str
    host: str
    port: int
    patience: float

    def answers(self) -> bool:
        """Tell whether it takes a connection. The kernel does so for a process that is busy."""
        try:
            with socket.create_connection((self.host, self.port), CONNECT_SECONDS):
                return True
        except OSError:
            return False

    @property
    def lost(self) -> str:
        """What is said where it is gone."""
        return f"{self.what} at {self.host}:{self.port} does not answer for {self.patience:g} s"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A cluster of this machine that begins: until it has an address its head is looked at.
    ended: tells whether the head has ended. patience: seconds for which Ray may say so itself.
    """

    ended: Callable[[], bool]
    patience: float
    lost: str = "its head ended while it began"

    def answers(self) -> bool:
        """Tell whether all are there."""
        return not self.ended()


class Watch:
    """Looks after the processes of a cluster until `close`."""

    def __init__(self, places: Sequence[Place | Start]) -> None:
        self._places, self._closed = places, threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Look no more: the cluster is left."""
        self._closed.set()

    def _run(self) -> None:
        missed = dict.fromkeys(self._places, 0)
        while not self._closed.wait(EVERY_SECONDS):
            for place in self._places:
                missed[place] = 0 if place.answers() else missed[place] + 1
                if missed[place] * EVERY_SECONDS > place.patience and not self._closed.is_set():
                    _end(place)


def _end(place: Place | Start) -> None:
    """End this process at once. Whatever asks Ray for something now would wait for ever, and what
    closes it does.
    """
    live.clear()
    LOG.error(
        f"error: the Ray cluster is lost: {place.lost}; what was finished is kept, and the same"
        " command goes on from there"
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CLUSTER_LOST)
