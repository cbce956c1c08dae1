"""What a result says of the code that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from study.jobs.workspace import provenance

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_a_checkout_has_its_commit_with_a_plus_where_files_differ() -> None:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    commit, _, rest = provenance()["commit"].partition("+")
    assert commit and git("rev-parse", "HEAD").startswith(commit) and not rest
    assert provenance()["commit"].endswith("+") == bool(git("status", "--porcelain", "study"))
