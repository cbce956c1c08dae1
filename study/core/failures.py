"""Failures as values: what went wrong with a piece of work, and the file with its traceback.

A trial, a winner or a cell that raises does not end a command. The worker leaves the traceback in
`results/<study>/failures/<key>.txt`, and the failure travels on as a record.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from study.core import stop
from study.core.errors import DiskFullError, DivergedError, StudyError, UnwritableError
from study.core.identity import whole_file

LOG = logging.getLogger(__name__)
LONGEST = 400  # characters of a failure's text: it stands in one line of a table
FULL = (errno.ENOSPC, errno.EDQUOT)
# a disk that only reads, too many open files: all other work would meet it, too
BARRED = (errno.EROFS, errno.EMFILE, errno.ENFILE)
# a file system elsewhere that was away for a moment
AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET)
TRIES = 3  # of work whose error may pass by itself
PAUSE_SECONDS = 5.0  # between two of them
T = TypeVar("T")
ENDING: dict[str, type[StudyError]] = {
    one.__name__: one for one in (DiskFullError, UnwritableError)
}
PERMANENT = (DivergedError.__name__,)  # the same work fails so again, and is not tried again


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a piece of work has no result.

    type: the name of the exception's class, or what befell the worker (`WorkerDied`, `NoResult`);
    "" for a text whose type nobody knows. message: one line. traceback_file: None where nothing was
    raised, or nothing could be written.
    """

    type: str = ""
    message: str = ""
    traceback_file: Path | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return an exception as a failure, its message in one line and cut to `LONGEST`."""
        if is_disk_full(error):
            return cls(type=DiskFullError.__name__, message=full_text(error))
        if (barred := barred_text(error)) is not None:
            return cls(type=UnwritableError.__name__, message=barred)
        kind = type(error).__name__
        message, room = " ".join(str(error).split()), LONGEST - len(f"{kind}: ")
        return cls(
            type=kind, message=message if len(message) <= room else message[: room - 3] + "..."
        )

    @classmethod
    def parse(cls, text: str) -> Failure:
        """Return the failure that a text `Type: message` tells of, as older stores have it."""
        found = re.fullmatch(r"([A-Za-z_]\w*)(?:: (.*))?", text, re.DOTALL)
        return cls(type=found[1], message=found[2] or "") if found else cls(message=text)

    @property
    def text(self) -> str:
        """`Type: message`, the same for the same failure of several jobs."""
        return ": ".join(part for part in (self.type, self.message) if part)

    @property
    def permanent(self) -> bool:
        """Whether the same work would fail in the same way again."""
        return self.type in PERMANENT

    @property
    def ends_all(self) -> bool:
        """Whether all other work would fail in the same way now. It is then no result, and in no
        record: a search that went on would know of it for ever.
        """
        return self.type in ENDING

    def __str__(self) -> str:
        """Return the text with the path of the traceback, short where it is in this folder."""
        if self.traceback_file is None:
            return self.text
        path, here = self.traceback_file, Path.cwd()
        return (
            f"{self.text} (traceback: {path.relative_to(here) if here in path.parents else path})"
        )


class WorkFailed(Exception):  # noqa: N818
    """With `--debug`: a piece of work failed, and nothing goes on. No user's error: it is shown
    with its traceback.
    """


class Said:
    """Says each failure once: its text and path at first, and later that it is the same."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def __call__(self, failure: Failure) -> str:
        """Return what to say of a failure."""
        if failure.text in self._texts:
            return f"{failure.type or 'the same'}, as above"
        self._texts.add(failure.text)
        return str(failure)


def failure_of(error: BaseException, file: Path) -> Failure:
    """Return an exception as a failure, and leave its traceback in a file, whole. A full disk does
    not hide what failed: then there is no file.
    """
    failure, text = Failure.of(error), "".join(traceback.format_exception(error))
    LOG.debug(text.rstrip())
    with contextlib.suppress(OSError):
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        failure = replace(failure, traceback_file=file)
    return failure


def may_pass(error: BaseException) -> bool:
    """Tell whether the same work may go well a moment later: memory was another process', or a file
    system was away. Anything else would fail again.
    """
    return any(
        isinstance(one, MemoryError)
        or type(one).__name__ == "OutOfMemoryError"  # torch's
        or getattr(one, "errno", None) in (*AWAY, errno.ENOMEM)
        for one in _chain(error)
    )


def tried(work: Callable[[], T]) -> T:
    """Do a piece of work, `TRIES` times at most while what it raises may pass; raise the last."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except Exception as error:
            if not may_pass(error):
                raise
            LOG.debug("tried again: %s", Failure.of(error).text)
        stop.check()
        threading.Event().wait(PAUSE_SECONDS)
    return work()


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an exception, or one that it came from, is of a disk without room."""
    # other libraries (safetensors, Arrow) keep the text of the system's error alone
    texts = [os.strerror(number) for number in FULL]
    return any(
        isinstance(one, DiskFullError)
        or getattr(one, "errno", None) in FULL
        or any(text in str(one) for text in texts)
        for one in _chain(error)
    )


def full_text(error: BaseException) -> str:
    """Return what to say of a full disk; what was said already stays."""
    said = next((str(one) for one in _chain(error) if isinstance(one, DiskFullError)), "")
    if said:
        return said
    names = [name for one in _chain(error) if (name := getattr(one, "filename", None))]
    where = f", at '{names[0]}'" if names else ""
    return (
        f"the disk is full{where}: free some room and run the same command again; what was"
        " finished is kept"
    )


def barred_text(error: BaseException) -> str | None:
    """Return what to say of a place that nobody can write, or of too many open files; None of any
    other error. A file that may not be opened can be a detector's own, so that it ends nothing.
    """
    if isinstance(error, UnwritableError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in BARRED:
        return None
    where = f" at '{error.filename}'" if error.filename else ""
    return (
        f"{os.strerror(error.errno)}{where}: mend that and run the same command again; what was"
        " finished is kept"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def stop_all(failures: Iterable[Failure], *, debug: bool = False) -> None:
    """Raise the first failure that ends all work; with `debug` any does."""
    for failure in failures:
        if debug or failure.ends_all:
            raise_elsewhere(failure)


def raise_elsewhere(failure: Failure) -> None:
    """Raise WorkFailed for the failure of another process, with what it left of its traceback; of a
    failure that ends all work its own error.
    """
    if failure.ends_all:
        raise ENDING[failure.type](failure.message)
    text = ""
    if failure.traceback_file is not None:
        with contextlib.suppress(OSError):
            text = "\n\n" + failure.traceback_file.read_text(encoding="utf-8").rstrip()
    raise WorkFailed(f"{failure}{text}")
