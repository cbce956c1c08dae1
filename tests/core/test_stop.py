"""Signals: taken once in order, remembered where they were swallowed, and ignored where they were
before.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from study.core import stop


def run(code: str, *, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program that listens to signals, and says what it saw."""
    # whoever runs the tests may ignore some (nohup does)
    fresh = "for n in (1, 2, 15): signal.signal(n, signal.SIG_DFL)"
    program = f"import os, signal\n{fresh}\n{before}\nfrom study.core import stop\n"
    program += "block = stop.listening()\nblock.__enter__()\n"
    program += "def send(n): os.kill(os.getpid(), n)\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_raised_with_its_number(name: str) -> None:
    done = run(f"""
        try:
            send(signal.{name})
        except stop.Stopped as error:
            print(error.number)
        """)
    assert done.stdout.split() == [str(int(getattr(signal, name)))]


def test_a_signal_that_a_callback_swallowed_is_raised_by_the_next_check() -> None:
    done = run("""
        class Swallows:
            def __del__(self):
                send(signal.SIGINT)
                sum(range(100))
        Swallows()
        try:
            stop.check()
        except KeyboardInterrupt:
            print("raised")
        """)
    assert "Exception ignored" in done.stderr
    assert done.stdout.split() == ["raised"]


def test_a_second_signal_ends_at_once() -> None:
    done = run("""
        try:
            send(signal.SIGTERM)
        except KeyboardInterrupt:
            try:
                send(signal.SIGTERM)
            finally:
                print("never")
        """)
    assert done.returncode == 143
    assert done.stdout == ""
    assert "at once" in done.stderr


def test_what_is_ignored_stays_ignored() -> None:
    done = run(
        "send(signal.SIGHUP); stop.check(); print('on')",
        before="signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    )
    assert done.stdout.split() == ["on"]


def test_without_a_signal_nothing_is_raised() -> None:
    assert run("stop.check(); print('on')").stdout.split() == ["on"]


def test_after_the_block_signals_go_where_they_went_and_none_is_left() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(stop.Stopped), stop.listening():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    stop.check()  # raises nothing


def command(body: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose `main` has this body."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import atexit, os, signal\nfrom study import cli\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "def send(): os.kill(os.getpid(), signal.SIGINT); sum(range(100))\n"
            f"def main(_):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n    return 0\n"
            "cli.run(main)\n",
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_signal_that_was_swallowed_to_the_end_is_no_success() -> None:
    done = command("""
        class Swallows:
            def __del__(self):
                send()
        Swallows()
        """)
    assert done.returncode == 130
    assert "interrupted: what was finished is kept" in done.stderr


def test_a_signal_while_a_command_leaves_ends_it_without_a_word() -> None:
    done = command("atexit.register(send)\nprint('all is written')")
    assert (done.returncode, done.stdout, done.stderr) == (130, "all is written\n", "")


@pytest.mark.parametrize(
    ("argv0", "code", "said"),
    [("-m", 130, ""), ("/venv/bin/study", 130, ""), ("theirs.py", 1, "KeyboardInterrupt")],
)
def test_a_command_that_has_just_begun_ends_without_a_traceback(
    argv0: str, code: int, said: str
) -> None:
    """Before it listens. A program of somebody else that imports this package keeps its way."""
    program = (
        "import os, signal, sys; signal.signal(2, signal.default_int_handler);"
        f" sys.argv = [{argv0!r}]; import study\n"
        "try: os.kill(os.getpid(), 2)\n"
        "except KeyboardInterrupt: sys.exit('KeyboardInterrupt')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (code, said)
