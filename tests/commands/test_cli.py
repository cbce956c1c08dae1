"""What all commands share."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from typing import NamedTuple

import pytest

from study import cli
from study.core.log import set_up


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
        (KeyboardInterrupt(), cli.INTERRUPTED, "run the same command again"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            cli.BAD_INPUT,
            "No space left on device: '/x'",
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


def test_weights_root_comes_from_the_option_then_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path))
    assert cli.weights_root(argparse.Namespace(weights_root=None)) == tmp_path
    assert cli.weights_root(argparse.Namespace(weights_root="~/w")) == Path.home() / "w"
    monkeypatch.delenv("STUDY_WEIGHTS")
    assert cli.weights_root(argparse.Namespace(weights_root=None)) is None
