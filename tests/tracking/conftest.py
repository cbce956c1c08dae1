"""An MLflow database that is made once and copied, a real server on it, and made-up trials and
winners.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.tracking.mlflow_helpers import HERE, Server, free_port, is_up


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An empty database as MLflow makes it, and what was printed meanwhile. Making one takes
    seconds, so tests copy it.
    """
    from study.tracking import mlflow_tracker
    from study.tracking.mlflow_tracker import Tracker
    from tests.views_here import MAKE_DATABASE

    folder = tmp_path_factory.mktemp("new_database")
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    printed = io.StringIO()
    with (
        mock.patch.object(mlflow_tracker, "_make_database", MAKE_DATABASE),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        Tracker("first", results=folder)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before
    return folder / "mlflow.db", printed.getvalue()


@pytest.fixture
def results(new_database: tuple[Path, str], tmp_path: Path) -> Path:
    """A results folder with an empty MLflow database."""
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(new_database[0], folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Start the command that users are told, on a free port; every server is stopped with all its
    processes at the end.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> Server:
        folder, port = tmp_path_factory.mktemp("server"), free_port()
        words = [sys.executable, "-m", *shlex.split(command)]
        words[words.index("--port") + 1] = str(port)
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        address, end = f"http://{HERE}:{port}", time.monotonic() + 90
        while not is_up(address):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"mlflow did not come up: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        return Server(address)

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
