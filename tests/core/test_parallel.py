"""The pool of threads: order, bounded memory, and errors at their place."""

from __future__ import annotations

import threading

import pytest

from study.core.parallel import CHUNK, cpu_count, ordered_map


@pytest.mark.parametrize("n", [0, 1, CHUNK, 10 * CHUNK + 3])
@pytest.mark.parametrize("threads", [1, 3, None])
def test_results_come_in_order(n: int, threads: int | None) -> None:
    assert list(ordered_map(lambda x: x * x, range(n), threads=threads)) == [
        x * x for x in range(n)
    ]


def test_no_more_than_a_window_is_ahead() -> None:
    started = 0
    lock = threading.Lock()

    def count(x: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return x

    for x in ordered_map(count, range(2000), threads=2):
        assert started <= x + (3 * 2 + 1) * CHUNK


def test_an_error_is_raised_at_its_place_and_the_rest_is_dropped() -> None:
    seen = []

    def fail_at_40(x: int) -> int:
        if x == 40:
            raise ValueError("forty")
        return x

    with pytest.raises(ValueError, match="forty"):
        for x in ordered_map(fail_at_40, range(10_000), threads=2):
            seen.append(x)
    assert seen == list(range(40 // CHUNK * CHUNK))


def test_there_is_a_processor() -> None:
    assert cpu_count() >= 1
