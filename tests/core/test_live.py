"""Life signs: what is drawn on a terminal, and what is said through a pipe."""

from __future__ import annotations

import io
import time

import pytest

from study.core import live
from study.core.log import ASIDE, LAST, LOG, set_up


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_time_left_counts_what_was_done_since_it_began() -> None:
    """Six of ten were in the store: two more in a minute leave two, for a minute."""
    sign = live.Sign(what="trials", done=8, total=10, detail="npr", began=100.0, first=6)
    assert sign.text(160.0) == "trials: 8/10, 1 min 0 s, about 1 min 0 s left of the trials, npr"
    assert live.Sign(what="starting", done=0, total=0, detail="", began=0.0).text(7300) == (
        "starting, 2 h 1 min"
    )


def test_a_terminal_is_drawn_on_and_lines_of_the_log_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    set_up()
    live.show("cells", 3, 8, "npr")
    LOG.info("[3/8] a line that [bold]stays[/bold]")
    live.clear()
    drawn = terminal.getvalue()
    assert "cells: 3/8" in drawn
    assert "[3/8] a line that [bold]stays[/bold]\n" in drawn  # no markup is read in it
    assert not live.above("no display any more")
    LOG.info("afterwards")
    assert terminal.getvalue().endswith("afterwards\n")


def test_through_a_pipe_a_line_comes_after_half_a_minute_of_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up()
    now = time.monotonic()
    monkeypatch.setattr(live._DISPLAY, "_since", now)
    LAST[0] = 0.0
    live.show("opening", 1, 2)
    live.show("cells", 3, 8)  # other work is no line
    try:
        assert not live._DISPLAY.overdue(now + 29)
        line = live._DISPLAY.overdue(now + 31)
        assert line.startswith("  ... cells: 3/8, 3")
        LAST[0] = now + 20  # something else was said
        assert not live._DISPLAY.overdue(now + 31)
        assert live._DISPLAY.overdue(now + 51)
        LOG.info(line, extra=ASIDE)
    finally:
        live.clear()
        LAST[0] = 0.0
    assert not live._DISPLAY.overdue(now + 100)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == f"{line}\n"  # stdout may be JSON for a file


def test_what_is_part_of_other_work_gives_way_to_it_again() -> None:
    shown = live._DISPLAY

    def line() -> str:
        return shown._line().partition(",")[0]

    live.show("trials", 3, 8)
    try:
        for number in range(2):
            live.show("packing", number, 2)
            assert line() == f"packing: {number}/2"
        live.finish("packing")
        assert line() == "trials: 3/8"
        live.show("packing", 0, 2)
        live.show("trials", 4, 8)
        live.finish("packing")  # it ended while the other one was shown
        assert line() == "trials: 4/8"
        live.finish("trials")
        assert line() == ""
    finally:
        live.clear()


def test_quiet_commands_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    set_up(30)
    live.show("cells", 3, 8)
    live.clear()
    set_up()
    assert terminal.getvalue() == ""
