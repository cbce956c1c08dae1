"""Errors that a user can mend. Every one is shown as a single line, without a traceback, and ends a
command with exit code 2.

An error of this family names the thing, the value it has, and what to do; an invariant of
our own is an `assert`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class StudyError(Exception):
    """Something outside the program is not as it must be: a file, a name, a value. The message is
    for a person.
    """


class ConfigError(StudyError):
    """A study file, a search space, a card or a command-line value is wrong."""


class DataError(StudyError):
    """A dataset is missing, empty, or has no usable split."""


class WeightsError(StudyError):
    """Pretrained weights were asked for and could not be loaded; training never goes on with random
    ones instead.
    """


class FirewallError(StudyError):
    """Search or selection tried to open a test split (PROTOCOL section 3)."""


class StoreError(StudyError):
    """The results folder cannot be written, is in use, or was written by an incompatible
    version.
    """


class ScoreError(StudyError):
    """A score is not finite or does not fit its image; the message names the image."""


class DiskFullError(StudyError):
    """A disk has no room left: nothing goes on until it has."""


class UnwritableError(StoreError):
    """A file or folder that all work needs cannot be written or opened: nothing goes on until it
    can.
    """


class DivergedError(StudyError):
    """Training produced a loss that is not finite. Deterministic: the same trial diverges again, so
    it is recorded and kept.
    """


class TrialStopped(Exception):  # noqa: N818
    """A scheduler stops a trial at the end of an epoch. Raised by a trial's `report`, caught by
    whoever runs the trial.
    """


@contextmanager
def located(where: str) -> Iterator[None]:
    """Open the message of a ConfigError that is raised inside with where it is wrong: `where: `,
    nothing for "".
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from None


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name closest in spelling to `name`, or None where nothing is close."""
    matches = difflib.get_close_matches(
        name.lower(), {v.lower(): v for v in valid}, n=1, cutoff=0.5
    )
    return next((v for v in valid if matches and v.lower() == matches[0]), None)


def in_a_line(error: Exception, longest: int = 160) -> str:
    """Return the type and the text of an exception of another library, cut where it is long."""
    text = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {text[:longest]}{'...' if len(text) > longest else ''}"


def unknown_name(kind: str, name: str, valid: Iterable[str], *, where: str = "") -> str:
    """Return the message for an unknown name: what it is, the nearest valid one, and all valid
    ones.

    >>> unknown_name("detector", "nprr", ["npr", "spectrum"])
    "unknown detector 'nprr': did you mean 'npr'? Valid: npr, spectrum"
    """
    names = sorted(valid)
    close = nearest(name, names)
    hint = f": did you mean '{close}'?" if close else "."
    return (
        f"{where + ': ' if where else ''}unknown {kind} '{name}'{hint} Valid:"
        f" {', '.join(names) or '(none)'}"
    )
