"""MLflow and Optuna's storage as views of the store, written by a process of their own.

Importing MLflow takes seconds, so does making its database, and each trial costs 35 ms more. None
of that is in a command's way: `Views` hands records to the process and goes on. A view that fails
costs one line and the view. The results and the exit code stay the same.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from study.core import child, live
from study.core.errors import in_a_line

if TYPE_CHECKING:
    from study.analysis.results import ResultRow
    from study.core.records import EpochRecord, TrainedDetector, Trial, TrialResult
    from study.search.spaces import Space

LOG = logging.getLogger(__name__)
PROGRAM = "study.tracking.view_process"
BOTH = "MLflow and Optuna's storage"
WAIT_SECONDS = 120.0  # without one more record written, at the end of a command
PATIENCE_SECONDS = 15.0  # until it is said that something is waited for
STOP_SECONDS = 5.0
LONGEST = 300  # of a line that is quoted


def start(errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process that writes. errors: takes what it and its libraries print."""
    return child.start(PROGRAM, stdout=subprocess.PIPE, stderr=errors)


def _made_by() -> dict[str, str]:
    """Who writes, and by what program, by MLflow's names."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as containers have it
        user = str(os.getuid())
    return {"user": user, "source.name": Path(sys.argv[0]).name, "source.type": "LOCAL"}


class Views:
    """What shows a study elsewhere. A context manager: after it the process has ended.

    The process starts at once, so that it is ready when the study is opened. Who is to have
    everything written calls `wait` before leaving.
    """

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        self._process = start(self._errors)
        self._outbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._sent = self._written = 0
        self._remedy = ""
        self.matrix_page = ""  # where in MLflow's pages the matrix is, once it is written
        self._lost: set[str] = set()
        self._silent = False  # it was said that nothing more is written, or it is on purpose
        self._over = threading.Event()  # no more answers come
        for work in (self._send, self._receive):
            threading.Thread(target=work, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._unwritten > 0:
            self._lose(f"{self._unwritten} records are not yet written to {BOTH}")
        self._silent = True
        self._outbox.put(None)
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._over.wait(STOP_SECONDS)  # its last line is read
        self._errors.close()

    def open(
        self,
        study: str,
        results: Path,
        *,
        remedy: str,
        rebuild: bool = False,
        data: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Say which study follows. remedy: the command that writes what a view lacks. rebuild:
        what MLflow has of it is set aside first. data: the digest of each training set, by name.
        """
        self._remedy = remedy
        self._put("open", study, results.absolute(), rebuild, _made_by(), dict(data))

    def add_trial(self, trial: Trial, result: TrialResult, space: Space) -> None:
        """Show a trial that has ended."""
        self._put("trial", trial, result, space)

    def add_epoch(self, trial: Trial, record: EpochRecord) -> None:
        """Show an epoch of a trial under way. One of less than a second comes with its trial: to
        write it by itself would take longer than to train it.
        """
        if record.seconds >= 1:
            self._put("epoch", trial, record)

    def add_winner(self, trained: TrainedDetector, folder: Path) -> None:
        """Show a trained winner, with the files of its folder."""
        self._put("winner", trained, folder)

    def add_matrix(
        self,
        rows: Sequence[ResultRow],
        files: Sequence[Path],
        champion: str = "",
        *,
        commit: str = "",
    ) -> None:
        """Show the matrix, with its tables and figures. champion: the best pairing, "" for none.
        commit: of the code that made them, "" where it is not known.
        """
        self._put("matrix", tuple(rows), tuple(files), champion, commit)

    def wait(self, seconds: float = WAIT_SECONDS) -> bool:
        """Wait until all is written; no longer than `seconds` without one more record. Say so where
        something is missing, and tell whether nothing is.
        """
        self._outbox.put(("end",))
        written, patience = self._written, min(PATIENCE_SECONDS, seconds)
        live.show(f"writing the last records to {BOTH}")
        try:
            return self._wait(written, patience, seconds)
        finally:
            live.clear()

    def _wait(self, written: int, patience: float, seconds: float) -> bool:
        if not self._over.wait(patience):
            LOG.info(f"writing the last records to {BOTH} ...")
        while not self._over.wait(seconds - patience):
            if written == self._written:
                self._lose(
                    f"{self._unwritten} records are missing in {BOTH}: none was written for"
                    f" {seconds:.0f} s"
                )
                return False
            written, patience = self._written, 0.0
        self._say_ended()
        return not self._silent and not self._lost

    @property
    def _unwritten(self) -> int:
        """How many records were handed over and not written. The study's opening is none."""
        return self._sent - max(self._written, 1)

    def _put(self, *message: object) -> None:
        self._sent += 1
        self._outbox.put(message)

    def _send(self) -> None:
        """Send what is there to send. A full pipe makes this thread wait, and no command."""
        requests = self._process.stdin
        assert requests is not None
        with contextlib.suppress(OSError), requests:  # it has ended, which `_receive` says
            while (message := self._outbox.get()) is not None:
                requests.write(self._packed(message))
                requests.flush()

    def _packed(self, message: tuple[Any, ...]) -> bytes:
        """The message as bytes; the end instead of one that cannot be sent, which is said."""
        try:
            return pickle.dumps(message)
        except Exception as error:  # whatever a record holds, a view ends no command
            self._lose(f"nothing more is written to {BOTH}: {in_a_line(error)}")
            return pickle.dumps(("end",))

    def _receive(self) -> None:
        """Take the answers, until there are no more."""
        answers = self._process.stdout
        assert answers is not None
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                kind, *words = pickle.load(answers)
                if kind == "written":
                    self._written += 1
                elif kind == "page":
                    (self.matrix_page,) = words
                else:
                    self._say_lost(*words)
        self._say_ended()
        self._over.set()

    def _say_ended(self) -> None:
        if self._written < self._sent and not self._silent:
            self._lose(f"nothing more is written to {BOTH}: their process has ended{self._why()}")

    def _why(self) -> str:
        """What the process says of its end: the signal, or the last line that it has printed."""
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        if code < 0:
            return f" ({signal.strsignal(-code)})"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip()[:LONGEST]})" if lines else ""

    def _say_lost(self, view: str, why: str, traceback: str) -> None:
        self._lost.add(view)
        LOG.warning(f"warning: nothing more is written to {view}: {why}; {self._way_on()}")
        LOG.debug(traceback)

    def _lose(self, what: str) -> None:
        if not self._silent:
            self._silent = True
            LOG.warning(f"warning: {what}; {self._way_on()}")

    def _way_on(self) -> str:
        return f"the results are not touched. To write what is missing there: {self._remedy}"
