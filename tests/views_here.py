"""The process that writes the views as a thread of this one, for tests of other things: it has
MLflow imported already, and new databases are copies of one.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from study.core.parallel import one_at_a_time
from study.tracking import mlflow_tracker
from study.tracking.view_process import serve

MAKE_DATABASE = mlflow_tracker._make_database


class ViewsHere:
    """As much of a `subprocess.Popen` as `Views` uses."""

    def __init__(self, errors: IO[bytes]) -> None:
        requests, stdin = os.pipe()
        stdout, answers = os.pipe()
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(requests, answers), daemon=True)
        self._thread.start()

    def _serve(self, requests: int, answers: int) -> None:
        stopped = self._stopped

        class Answers(io.FileIO):
            def write(self, data: Any) -> int:
                if stopped.is_set():
                    raise BrokenPipeError
                return super().write(data) or 0

        with (
            os.fdopen(requests, "rb") as read,
            Answers(answers, "wb") as write,
            contextlib.suppress(BrokenPipeError),
        ):
            serve(read, cast(BinaryIO, write), stopped.set)

    def terminate(self) -> None:
        self._stopped.set()

    def kill(self) -> None:
        self._stopped.set()

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired("views", timeout or 0)
        return 0


def copied_database(folder: Path) -> Callable[..., None]:
    """Return what makes a SQLite file that is not there, as MLflow's tracker does: the first in
    `folder`, which the others are copies of.
    """
    import sqlalchemy

    making = threading.Lock()

    def empty() -> Path:
        with making:
            if not (folder / "mlflow.db").is_file():
                MAKE_DATABASE(f"sqlite:///{folder}/mlflow.db", lock=folder / "lock")
        return folder / "mlflow.db"

    def make(uri: str, *, lock: Path) -> None:
        url = sqlalchemy.make_url(uri)
        if url.get_backend_name() != "sqlite" or not url.database or Path(url.database).is_file():
            return
        lock.parent.mkdir(parents=True, exist_ok=True)
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(lock):
            if not Path(url.database).is_file():
                shutil.copy(empty(), f"{url.database}.tmp")
                Path(f"{url.database}.tmp").rename(url.database)

    return make
