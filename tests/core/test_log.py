"""What the terminal gets of a name that would steer it."""

from __future__ import annotations

import logging

import pytest

from study import cli
from study.core import log
from study.core.errors import DataError

STEERING = "a\nb\x1b[31mred\x9b2J\x7f\u202egnp.exe"
SHOWN = r"a\nb\x1b[31mred\x9b2J\x7f\u202egnp.exe"
WORLD = "naïve, 日本, 👩\u200d🔬 and\u00a0a space"


def test_an_error_is_one_line_that_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(_: object) -> int:
        raise DataError(f"'{STEERING}' is no image of {WORLD}")

    with pytest.raises(SystemExit) as ended:
        cli.run(refused)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: '{SHOWN}' is no image of {WORLD}\n"


def test_a_line_of_the_log_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up()
    logging.getLogger("study.test").info("first\n  %s", STEERING.replace("\n", "\t"))
    assert capsys.readouterr().out == "first\n  " + SHOWN.replace(r"\n", "\t") + "\n"
