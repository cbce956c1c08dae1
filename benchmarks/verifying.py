"""What does it cost that everything stored is checked? The share of a run's CPU time.

    python benchmarks/verifying.py sweep quick --local --results DIR
    python benchmarks/verifying.py cross_eval quick --local --results DIR

Runs a command with a clock in every function that makes or compares a checksum of what is stored or
kept: of the cache's entries, of JSON, trials and scores (with the text that they are made of), and
of weights. So writing counts as well as reading. Limit: 2 % of the CPU time of the process.
CPU time depends little on other programs.
"""

from __future__ import annotations

import atexit
import runpy
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

LIMIT = 0.02
SPENT: Counter[str] = Counter()


def timed(module: Any, name: str, clock: Callable[[], float] = time.thread_time) -> None:
    """Put a clock into a function of a module."""
    function = getattr(module, name)

    def call(*given: Any, **named: Any) -> Any:
        began = clock()
        try:
            return function(*given, **named)
        finally:
            SPENT[f"{module.__name__}.{name}"] += clock() - began

    setattr(module, name, call)


def say() -> None:
    """Print what the checksums took."""
    total, checks = time.process_time(), sum(SPENT.values())
    for name, seconds in SPENT.most_common():
        print(f"{seconds:8.3f} s  {name}")
    share = checks / total
    word = "met" if share < LIMIT else "NOT MET"
    print(f"{checks:8.3f} s of {total:.1f} s of CPU: {share:.2%} (limit {LIMIT:.0%}: {word})")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    from study.store import files

    timed(files, "content_sum")  # before it is imported elsewhere
    from study.core import cache
    from study.store import tables, weights_file

    timed(cache, "_sums_of", time.process_time)  # blocks are summed by threads
    for name in ("_content", "_drawn_content"):
        timed(tables, name)
    timed(weights_file, "_sum")
    _, command, *given = sys.argv
    sys.argv = [command, *given]
    atexit.register(say)
    runpy.run_module(f"study.{command}", run_name="__main__")


if __name__ == "__main__":
    main()
