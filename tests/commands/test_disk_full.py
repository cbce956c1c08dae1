"""A disk that is full ends a command in one sentence, and with more room the same matrix comes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import StudyRun

ROOM = "400m"


def mount(*options: str | Path) -> bool:
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of so many kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = mount("-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", folder)
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a file system in memory")
    yield folder
    subprocess.run(["umount", folder], check=True)


def run(command: str, study: str, results: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", f"study.{command}", study, "--results", str(results), "--local"]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("disk", [100, 1_000, 3_000, 6_000, 8_000, 20_000], indirect=True)
def test_a_full_disk_is_one_sentence_and_with_room_the_same_matrix_comes(
    disk: Path, local_run: StudyRun
) -> None:
    study = local_run.arguments[0]
    for command in ("sweep", "cross_eval"):
        done = run(command, study, disk / "results")
        assert "Traceback" not in done.stdout + done.stderr
        if done.returncode:
            (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
            assert "disk is full" in error or "No space left" in error
            break
    assert mount("-o", f"remount,size={ROOM}", disk)
    for command in ("sweep", "cross_eval"):
        done = run(command, study, disk / "results")
        assert done.returncode == 0, done.stderr
    matrix = (disk / "results" / "small" / "matrix.csv").read_text(encoding="utf-8")
    assert matrix == local_run.store.matrix_file.read_text(encoding="utf-8")
