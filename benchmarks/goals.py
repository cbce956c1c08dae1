"""Goals of speed: what the project takes, what a peer takes, what the hardware allows, in one run.

Each goal is a file of this folder with a function `goal`, which gives its rows. A row's ways run in
turn, round after round, so that a busy machine hurts all of them. Ratios are of CPU seconds (of
this process and of those it started), medians over the rounds; seconds of the wall stand beside.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROJECT, PEER, LIMIT = "project", "peer", "limit"


@dataclass(frozen=True)
class Options:
    """What a goal may use. data, weights: roots of real images and of weights, or None."""

    rounds: int
    data: Path | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Way:
    """One way of doing something. run: does it. times: how often it would be done for what the row
    is about, where only a part is run.
    """

    run: Callable[[], object]
    times: float = 1.0


@dataclass(frozen=True)
class Taken:
    """Seconds, medians over the rounds."""

    cpu: float
    wall: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured. name: of the row within its goal. peer_goal, limit_goal: the ratios that
    are wanted at least, None for none: the peer's seconds over the project's, and the limit's over
    those of `limited` (the project's where that is not there). note: for a reader. by_wall: ratios
    are of the wall's seconds, because some processes' CPU seconds are not seen.
    """

    name: str
    taken: Mapping[str, Taken]
    peer_goal: float | None = None
    limit_goal: float | None = None
    note: str = ""
    limited: str = PROJECT
    by_wall: bool = False

    def _ratio(self, way: str, of: str) -> float | None:
        if way not in self.taken:
            return None
        pair = (self.taken[way], self.taken[of])
        one, other = (taken.wall if self.by_wall else taken.cpu for taken in pair)
        return one / max(other, 1e-9)

    @property
    def peer_ratio(self) -> float | None:
        """How many times as long the peer takes; None without one."""
        return self._ratio(PEER, PROJECT)

    @property
    def limit_ratio(self) -> float | None:
        """Which share of the limit is reached; None without one."""
        return self._ratio(LIMIT, self.limited)

    @property
    def met(self) -> bool:
        """Whether what is wanted is reached."""
        pairs = ((self.peer_ratio, self.peer_goal), (self.limit_ratio, self.limit_goal))
        return all(
            found is not None and found >= wanted for found, wanted in pairs if wanted is not None
        )

    @property
    def goal(self) -> str:
        """What is wanted, in words."""
        said = [
            f"{word} >= {wanted:g}"
            for word, wanted in (("peer", self.peer_goal), ("limit", self.limit_goal))
            if wanted is not None
        ]
        return ", ".join(said)


@dataclass
class Goal:
    """A goal and its rows."""

    key: str
    title: str
    rows: list[Row] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Of several rows the least ratios, and all of them in `rows`."""

        def least(name: str) -> float | None:
            found = [value for row in self.rows if (value := getattr(row, name)) is not None]
            return min(found, default=None)

        return {
            "title": self.title,
            "peer_ratio": least("peer_ratio"),
            "limit_ratio": least("limit_ratio"),
            "goal": "; ".join(dict.fromkeys(row.goal for row in self.rows)),
            "met": all(row.met for row in self.rows),
            "rows": [
                {
                    "name": row.name,
                    "peer_ratio": row.peer_ratio,
                    "limit_ratio": row.limit_ratio,
                    "goal": row.goal,
                    "met": row.met,
                    "note": row.note,
                    "seconds": {way: asdict(taken) for way, taken in row.taken.items()},
                }
                for row in self.rows
            ],
        }


def spent() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def in_turn(ways: Mapping[str, Way], rounds: int, warm_up: bool = True) -> dict[str, Taken]:
    """Run all ways, round after round; return what each takes. warm_up: run each once before."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values() if warm_up else ():
        way.run()
    for _ in range(rounds):
        for name, way in ways.items():
            cpu, wall = spent(), time.perf_counter()
            way.run()
            taken = (spent() - cpu) * way.times, (time.perf_counter() - wall) * way.times
            measured[name].append(taken)
    return {name: median_of(of) for name, of in measured.items()}


def median_of(taken: Sequence[tuple[float, float]]) -> Taken:
    """Return the medians of (CPU seconds, seconds of the wall)."""
    return Taken(*(statistics.median(one[i] for one in taken) for i in (0, 1)))
