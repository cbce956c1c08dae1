"""A command that is told to end: its exit code, what it says, and that nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study import sweep
from study.store.store import Store


def ended(study: Path, results: Path, number: int, *extra: str) -> tuple[int, str]:
    """Send a signal to a sweep as soon as its first trial is done; return its exit code and what
    it said.
    """
    command = [sys.executable, "-m", "study.sweep", str(study), "--results", str(results), *extra]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if " trial 0 " in line:
                process.send_signal(number)
                break
        said += process.stdout.read()
        return process.wait(), said


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        pytest.param(signal.SIGINT, 130, "interrupted:", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "ended by SIGTERM:"),
        pytest.param(signal.SIGHUP, 129, "ended by SIGHUP:", marks=pytest.mark.slow),
    ],
)
def test_a_sweep_that_is_told_to_end_says_how_to_go_on(
    study_file: Path, tmp_path: Path, number: int, code: int, word: str
) -> None:
    found, said = ended(study_file, tmp_path, number, "--local")
    assert found == code, said
    assert word in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    done = len(Store(tmp_path, "small").trials())
    assert 0 < done < 18
    # what was finished stays, and the same command does the rest
    assert sweep.main([str(study_file), "--results", str(tmp_path), "--local"]) == 0
    assert len(Store(tmp_path, "small").trials()) == 18


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_on_ray_too(study_file: Path, tmp_path: Path, number: int, code: int) -> None:
    found, said = ended(study_file, tmp_path, number)
    assert found == code, said
    assert "Traceback" not in said
