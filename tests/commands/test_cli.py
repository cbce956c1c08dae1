"""What all commands share."""

from __future__ import annotations

import argparse
import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from study import cli
from study.core import live
from study.core.errors import StoreError
from study.core.log import set_up
from tests.factories import write_dataset


def test_durations_as_a_person_says_them() -> None:
    assert [cli.seconds_text(s) for s in (4.26, 59.94, 75, 3600, 7260)] == [
        "4.3 s",
        "59.9 s",
        "1 min 15 s",
        "1 h 0 min",
        "2 h 1 min",
    ]


def test_every_job_is_announced_once_and_what_failed_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up()
    finished: set[int] = set()

    class Job(NamedTuple):
        result_key: str

        def is_done(self) -> bool:
            return int(self.result_key) in finished

    jobs = [Job(number) for number in "123"]
    with cli.announced(jobs, lambda job: f"job {job.result_key}"):
        finished.update((3, 1))
    assert capsys.readouterr().out.splitlines() == ["[1/3] job 1", "[2/3] job 3"]


def test_what_goes_on_after_the_last_job_is_not_called_a_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray takes a while to end its workers: "79 of 80" would not be true any more."""
    shown: list[tuple[object, ...]] = []
    monkeypatch.setattr(live, "show", lambda *of: shown.append(of))
    done: list[bool] = []

    class Job(NamedTuple):
        result_key: str

        def is_done(self) -> bool:
            return bool(done)

    with cli.announced([Job("a")], lambda job: job.result_key, what="cells"):
        done.append(True)
    assert shown == [("cells", 0, 1, "not done yet: a"), ("all cells done, ending the workers",)]


def test_the_next_command_names_the_same_study_in_the_same_places() -> None:
    options = argparse.Namespace(
        study="my study.toml",
        set=["budget.trials=2"],
        results="r",
        data_root="~/d",
        weights_root=None,
        local=True,
        address=None,
        slots=None,
    )
    expected = (
        "python -m study.sweep 'my study.toml' --set budget.trials=2 --results r --data-root '~/d'"
        " --local"
    )
    assert cli.again(options, "sweep") == expected


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "run the same command again"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            cli.BAD_INPUT,
            "error: the disk is full, at '/x': free some room and run the same command again",
        ),
    ],
)
def test_interruptions_and_full_disks_are_one_line(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: object) -> int:
        raise raised

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == code
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), StoreError("damaged"), OSError("full"), ValueError("a mistake")]
)
def test_whatever_ends_a_command_ends_what_is_drawn_on_the_terminal(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def main(_: object) -> int:
        cli.show_progress("images", 1, 3)
        assert live.above("a line above what is drawn")
        raise raised

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    try:
        with pytest.raises((SystemExit, ValueError)):
            cli.run(main)
        assert not live.above("a line of the shell")
    finally:
        live.clear()
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_weights_root_comes_from_the_option_then_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path))
    assert cli.weights_root(argparse.Namespace(weights_root=None)) == tmp_path
    assert cli.weights_root(argparse.Namespace(weights_root="~/w")) == Path.home() / "w"
    monkeypatch.delenv("STUDY_WEIGHTS")
    assert cli.weights_root(argparse.Namespace(weights_root=None)) is None


def describe_elsewhere(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`prepare --describe` in a process of its own, where no locale is set but what is given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    places = ("--results", str(folder.parent / "results"), "--out", str(folder.parent / "out"))
    return subprocess.run(
        [sys.executable, "-m", "study.prepare", "--describe", str(folder), *places],
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


def test_names_that_the_output_has_no_letters_for_are_printed(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "mine", n=2, size=8)
    (folder / "fake" / "\U0001f600.png").write_bytes(b"x")
    (folder / "fake" / "\u00e9.png").write_bytes(b"x")
    done = describe_elsewhere(folder, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert done.returncode == cli.DONE, done.stderr
    assert r"fake/\U0001f600.png: " in done.stdout and r"fake/\xe9.png: " in done.stdout


def test_a_locale_in_which_names_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "mine", n=2, size=8)
    given = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = describe_elsewhere(folder, **given)
    if sys.platform == "linux":
        assert done.returncode == cli.BAD_INPUT
        assert "with LC_ALL=C Python takes them for ascii; set PYTHONUTF8=1" in done.stderr
    assert describe_elsewhere(folder, **{**given, "PYTHONUTF8": "1"}).returncode == cli.DONE
