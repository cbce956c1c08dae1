"""Failures as values: their text, their type, and the file with the traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from study.core import failures
from study.core.errors import DiskFullError, DivergedError, UnwritableError, WeightsError
from study.core.failures import (
    LONGEST,
    TRIES,
    Failure,
    Said,
    WorkFailed,
    failure_of,
    raise_elsewhere,
    stop_all,
    tried,
)


def planted() -> None:
    raise ValueError("two\n  lines")


def caught(file: Path) -> Failure:
    try:
        planted()
    except ValueError as error:
        return failure_of(error, file)
    raise AssertionError


def test_a_failure_is_one_short_line() -> None:
    assert Failure.of(ValueError("two\n  lines")).text == "ValueError: two lines"
    assert Failure.of(RuntimeError()).text == "RuntimeError"
    assert len(Failure.of(ValueError("x" * 1000)).text) == LONGEST


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("DivergedError: the loss is nan", "DivergedError", "the loss is nan"),
        ("RuntimeError", "RuntimeError", ""),
        ("its worker process died 2 times (A: b)", "", "its worker process died 2 times (A: b)"),
    ],
)
def test_texts_of_older_stores_are_understood(text: str, kind: str, message: str) -> None:
    failure = Failure.parse(text)
    assert (failure.type, failure.message, failure.text) == (kind, message, text)
    assert failure.permanent == (kind == "DivergedError")


def test_only_what_would_fail_again_is_permanent() -> None:
    assert Failure.of(DivergedError("nan")).permanent
    assert not Failure.of(ValueError("nan")).permanent


def test_the_traceback_names_file_and_line_and_its_path_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "failures" / "k.txt"
    failure = caught(file)
    text = file.read_text(encoding="utf-8")
    assert f'test_failures.py", line {planted.__code__.co_firstlineno + 1}, in planted' in text
    assert [path.name for path in file.parent.iterdir()] == ["k.txt"]
    assert str(failure) == f"ValueError: two lines (traceback: {file})"
    monkeypatch.chdir(tmp_path)
    assert str(failure) == "ValueError: two lines (traceback: failures/k.txt)"
    with pytest.raises(WorkFailed, match="in planted"):
        raise_elsewhere(failure)


def test_where_nothing_can_be_written_the_failure_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("in the way")
    failure = caught(tmp_path / "failures" / "k.txt")
    assert failure == Failure(type="ValueError", message="two lines")
    assert str(failure) == failure.text
    with pytest.raises(WorkFailed, match="ValueError: two lines"):
        raise_elsewhere(failure)


def test_equal_failures_are_said_once() -> None:
    said = Said()
    first, second = (
        Failure(type="OSError", message="full", traceback_file=Path("/f") / name) for name in "ab"
    )
    assert [said(first), said(second)] == [
        "OSError: full (traceback: /f/a)",
        "OSError, as above",
    ]
    assert said(Failure(type="OSError", message="gone")) == "OSError: gone"


def _raised(raise_it: Callable[[], None]) -> BaseException:
    try:
        raise_it()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def _of_another_library() -> None:
    try:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "/scratch/x")
    except OSError:
        raise ValueError("could not write the tensors") from None


def _as_text() -> None:
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def _quota_as_text() -> None:
    raise RuntimeError("Error while serializing: I/O error: Disk quota exceeded (os error 122)")


@pytest.mark.parametrize(
    ("raise_it", "where"),
    [(_of_another_library, ", at '/scratch/x'"), (_as_text, ""), (_quota_as_text, "")],
)
def test_a_full_disk_is_known_by_whoever_says_it(raise_it: Callable[[], None], where: str) -> None:
    failure = Failure.of(_raised(raise_it))
    assert failure.ends_all and not failure.permanent
    assert failure.message.startswith(f"the disk is full{where}: free some room")
    with pytest.raises(DiskFullError, match="what was finished is kept"):
        stop_all([Failure(type="ValueError", message="x"), failure])


def test_what_was_said_of_a_full_disk_stays() -> None:
    failure = Failure.of(DiskFullError("the disk is full: 'd' needs 3.0 kB, and has 1.0 kB free"))
    assert failure.ends_all and failure.message.endswith("needs 3.0 kB, and has 1.0 kB free")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EMFILE, errno.ENFILE])
def test_what_nobody_can_write_ends_all_and_is_no_result(number: int) -> None:
    failure = Failure.of(OSError(number, os.strerror(number), "/results/cache/x"))
    assert failure.ends_all and not failure.permanent
    assert failure.message.startswith(f"{os.strerror(number)} at '/results/cache/x': mend that")
    with pytest.raises(UnwritableError, match="what was finished is kept"):
        stop_all([Failure(type="ValueError", message="x"), failure])


def _of_its_own() -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "/home/own/table")


def _of_weights() -> None:
    try:
        raise OSError(errno.EROFS, "Read-only file system", "/hub")
    except OSError as error:
        raise WeightsError("fetch the weights, put them at /w") from error


def _after_a_handled_one() -> None:
    try:
        raise PermissionError(errno.EACCES, "Permission denied", "/home/cache")
    except PermissionError:
        int("no number")


@pytest.mark.parametrize(
    ("raise_it", "kind"),
    [
        (_after_a_handled_one, "ValueError"),
        (_of_its_own, "PermissionError"),
        (_of_weights, "WeightsError"),
    ],
)
def test_an_error_of_one_detector_ends_nothing(raise_it: Callable[[], None], kind: str) -> None:
    failure = Failure.of(_raised(raise_it))
    assert not failure.ends_all and failure.type == kind


def test_other_failures_end_nothing_unless_asked_to() -> None:
    failures = [Failure.of(OSError(errno.EIO, "I/O error", "/x")), Failure.of(ValueError("space"))]
    stop_all(failures)
    with pytest.raises(WorkFailed, match="I/O error"):
        stop_all(failures, debug=True)


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (MemoryError(), TRIES),
        (OutOfMemoryError("CUDA out of memory"), TRIES),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), TRIES),
        (ValueError("a bug"), 1),
        (DivergedError("the loss is nan"), 1),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(
    error: Exception, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "PAUSE_SECONDS", 0)
    begun = []

    def work() -> None:
        begun.append(1)
        raise error

    with pytest.raises(type(error)):
        tried(work)
    assert len(begun) == times


def test_work_that_goes_well_the_second_time_gives_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures, "PAUSE_SECONDS", 0)
    ends: list[Exception | None] = [TimeoutError(errno.ETIMEDOUT, "away"), None]

    def work() -> str:
        if (end := ends.pop(0)) is not None:
            raise RuntimeError("it could not be read") from end
        return "done"

    assert tried(work) == "done" and not ends
