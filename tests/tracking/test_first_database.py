"""MLflow's database is made once, whole: by studies that start together, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from study.tracking.mlflow_tracker import Tracker

CODE = """
import sys
from pathlib import Path
from study.tracking.mlflow_tracker import Tracker
Tracker(sys.argv[2], results=Path(sys.argv[1]))
"""


def begin(results: Path, study: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, str(results), study]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_studies_that_start_together_share_it(tmp_path: Path) -> None:
    both = [begin(tmp_path, name) for name in ("first", "second")]
    assert [(one.communicate()[1], one.returncode) for one in both] == [("", 0), ("", 0)]
    names = {e.name for e in Tracker("first", results=tmp_path)._client.search_experiments()}
    assert {"first", "second"} <= names
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "mlflow.db"]


def test_a_kill_while_it_is_made_leaves_none(tmp_path: Path) -> None:
    process = begin(tmp_path, "first")
    while not any(tmp_path.glob(".mlflow-*/new.db")):
        assert process.poll() is None, process.communicate()
        os.sched_yield()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    assert Tracker("first", results=tmp_path)._client.get_experiment_by_name("first")
