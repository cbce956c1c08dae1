"""Work on many small files by a pool of threads, results in order, memory bounded.

Threads and not processes: reading, hashing and decoding release Python's lock, and no
pixels are copied between processes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

from study.core import stop

T = TypeVar("T")
R = TypeVar("R")

# how a lock says that another process holds it
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
# items a task: hides the cost of a task (about 30 us) behind that of an image (80 us and more)
CHUNK = 16
M_ARENA_MAX = -8  # of mallopt(3)


def cpu_count() -> int:
    """Return the number of processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def share_heap() -> None:
    """Let all threads that begin from now on take memory from one heap (glibc; elsewhere nothing).

    By default each has one of its own, which holds no block of 64 MB and more. Such blocks are
    given back to the kernel at once, and it clears them again: networks that compute in two threads
    took a third more of the processor.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time make what is kept under a path; the others wait, and find it there.

    The lock falls with the process that holds it.
    """
    lock = path.parent / ".locks" / path.name
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        # a file system without locks: it is then made twice, and one copy kept
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(file: IO[str] | int, *, shared: bool = False) -> bool:
    """Lock a file, or a folder by its descriptor, while it is open; False where another process
    holds it. Several may share a lock. On a file system without locks nobody holds one.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD
    return True


def ordered_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int | None = None,
    at_once: int = CHUNK,
) -> Iterator[R]:
    """Yield `function(item)` for every item, in order. At most three chunks a thread are unfinished
    or waiting to be taken.

    Items are taken in this thread, as they are wanted. at_once: items a task. An exception out of
    `function` is raised at its place, and what had not begun is dropped.
    """
    threads = threads or min(32, cpu_count())
    remaining = iter(items)
    chunks = iter(lambda: list(islice(remaining, at_once)), [])

    def run(chunk: Sequence[T]) -> list[R]:
        return [function(item) for item in chunk]

    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode")
    waiting: deque[Future[list[R]]] = deque()
    try:
        waiting.extend(pool.submit(run, chunk) for chunk in islice(chunks, 3 * threads))
        while waiting:
            stop.check()
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(run, chunk) for chunk in islice(chunks, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
