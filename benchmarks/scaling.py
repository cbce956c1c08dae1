"""How does a sweep scale to many slots, and what do lost nodes cost? A discrete-event simulation.

    python benchmarks/scaling.py

No cluster is needed: trials take what those of `recorded_trials.csv` took, times a factor, and are
dealt as `study/search/driver.py` deals them: each pairing generation by generation, whichever
pairing has something to begin. A node has 8 slots and is lost at random moments. Its trials begin
again from their last epoch, and it comes back after ten minutes. Its peer is a sweep on Ray with
two slots, which was measured (`search_overhead.py`).
"""

from __future__ import annotations

import csv
import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

SEEDS = 10  # of the moments at which nodes are lost
NODE_SLOTS = 8
AWAY_SECONDS = 600.0
EPOCHS = 5  # of a trial: at most one is lost with its node


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """seconds: of each pairing's trials, in their order. generation: trials that are proposed
    together; the next ones wait for all of them. overhead: of each trial, in the driver, which
    deals one at a time.
    """

    seconds: Sequence[Sequence[float]]
    generation: int
    overhead: float = 0.06

    @property
    def work(self) -> float:
        """Seconds of one slot."""
        return sum(map(sum, self.seconds))


class Pairing:
    """How far one search has come."""

    def __init__(self, seconds: Sequence[float], generation: int) -> None:
        self._left, self._generation = deque(seconds), generation
        self.waiting: deque[float] = deque()
        self.running = 0
        self._open()

    def _open(self) -> None:
        while self._left and len(self.waiting) < self._generation:
            self.waiting.append(self._left.popleft())

    def ended(self) -> None:
        """A trial has ended; the last of a generation opens the next one."""
        self.running -= 1
        if not self.running and not self.waiting:
            self._open()


def losses(slots: int, per_node_hour: float, rng: random.Random) -> Iterator[tuple[float, int]]:
    """Yield the moments at which nodes are lost, and which, in order."""
    nodes, moment = max(1, slots // NODE_SLOTS), 0.0
    while per_node_hour > 0:
        moment += rng.expovariate(per_node_hour * nodes / 3600)
        yield moment, rng.randrange(nodes)


def simulated(sweep: Sweep, slots: int, *, per_node_hour: float = 0.0, seed: int = 0) -> float:
    """Return the seconds from the first trial's start to the last one's end."""
    pairings = [Pairing(one, sweep.generation) for one in sweep.seconds]
    free, away = set(range(slots)), set[int]()
    ends: list[tuple[float, int, int, float]] = []  # moment, slot, pairing, when it began
    backs: list[tuple[float, int]] = []
    lost = losses(slots, per_node_hour, random.Random(seed))
    next_loss = next(lost, None)
    now = driver_free = 0.0
    while True:
        for number, pairing in enumerate(pairings):
            while pairing.waiting and free:
                slot = min(free)
                free.remove(slot)
                driver_free = max(now, driver_free) + sweep.overhead
                pairing.running += 1
                seconds = pairing.waiting.popleft()
                heapq.heappush(ends, (driver_free + seconds, slot, number, driver_free))
        if not ends and not any(pairing.waiting for pairing in pairings):
            return now
        moments = [heap[0][0] for heap in (ends, backs) if heap]
        now = min([*moments, next_loss[0]] if next_loss else moments)
        if next_loss and now == next_loss[0]:
            node = set(range(next_loss[1] * NODE_SLOTS, (next_loss[1] + 1) * NODE_SLOTS)) - away
            for end in [end for end in ends if end[1] in node]:
                ends.remove(end)
                pairing = pairings[end[2]]
                pairing.running -= 1
                left, whole = end[0] - now, end[0] - end[3]
                pairing.waiting.appendleft(min(whole, left + whole / EPOCHS))
            heapq.heapify(ends)
            free -= node
            away |= node
            for slot in node & set(range(slots)):
                heapq.heappush(backs, (now + AWAY_SECONDS, slot))
            next_loss = next(lost, None)
        elif backs and now == backs[0][0]:
            slot = heapq.heappop(backs)[1]
            away.discard(slot)
            free.add(slot)
        else:
            _, slot, number, _ = heapq.heappop(ends)
            free.add(slot)
            pairings[number].ended()


def recorded() -> list[float]:
    """Return the seconds of the recorded trials."""
    file = Path(__file__).with_name("recorded_trials.csv")
    with file.open(encoding="utf-8", newline="") as rows:
        return [float(row["seconds"]) for row in csv.DictReader(rows)]


def main() -> None:
    """Print the tables."""
    # search_overhead.py: 24 trials of 2 s over 3 pairings took Ray 37.33 s, of which 11.90 start-up
    # and 1.59 the views' end
    peer = Sweep(seconds=[[2.0] * 8] * 3, generation=4)
    print(f"2 slots, 24 trials of 2 s: simulated {simulated(peer, 2):.1f} s, Ray took 23.8 s")
    times, rng = recorded(), random.Random(0)
    sizes = {"4 detectors x 4 sets x 30": (16, 30), "16 x 16 x 30": (256, 30)}
    for name, (pairings, trials) in sizes.items():
        drawn = [[20 * rng.choice(times) for _ in range(trials)] for _ in range(pairings)]
        sweep = Sweep(seconds=drawn, generation=4)
        longest = max(map(max, drawn)) / 60
        print(f"\n{name}: {sweep.work / 3600:,.0f} h of one slot, longest trial {longest:.0f} min")
        print("slots   hours  of the ideal   a node lost every 10 h   every hour")
        for slots in (8, 16, 32, 64, 128, 256, 512, 1024):
            plain = simulated(sweep, slots)
            rare, often = (
                fmean(simulated(sweep, slots, per_node_hour=p, seed=n) for n in range(SEEDS))
                for p in (0.1, 1.0)
            )
            print(
                f"{slots:5d} {plain / 3600:7.1f} {sweep.work / slots / plain:13.0%}"
                f" {rare / plain - 1:+24.1%} {often / plain - 1:+12.1%}"
            )


if __name__ == "__main__":
    main()
