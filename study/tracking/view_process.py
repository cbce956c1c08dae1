"""The process that writes the views, MLflow and Optuna's storage. `views.py` starts and feeds it.

    python -m study.tracking.view_process

It reads pickled messages from stdin and answers on stdout: ("written",) to each, ("lost", view,
why, traceback) where a view takes no more, ("page", path) where the matrix is shown. It ends after
the message ("end",), and at once where the command that feeds it is gone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from study.analysis.results import ResultRow
from study.core.errors import StudyError
from study.core.records import EpochRecord, Pairing, TrainedDetector, Trial, TrialResult
from study.search.spaces import Space
from study.tracking.mlflow_tracker import Tracker, load_mlflow
from study.tracking.optuna_record import OptunaRecord

CLEAN_UP_SECONDS = 3.0  # to leave no half-made database behind, once the command is gone
MLFLOW, OPTUNA = "MLflow", "Optuna's storage"
REGISTRY, SYSTEM = "MLflow's model registry", "MLflow's system metrics"  # parts of MLflow's view


class Writers:
    """Both views of one study, each given up at its first error. MLflow's database is made at once,
    because that takes seconds.

    told: called with ("lost", view, why, traceback), and with ("page", where the matrix is shown).
    rebuild: what MLflow has of the study is set aside first. made_by, data: as for `Tracker`.
    """

    def __init__(
        self,
        study: str,
        results: Path,
        rebuild: bool,
        made_by: Mapping[str, str],
        data: Mapping[str, str],
        told: Callable[..., None],
    ) -> None:
        self._study, self._results, self._told = study, results, told
        self._made_by, self._data = made_by, data
        self._tracker: Tracker | None = None
        self._optuna = OptunaRecord(study, results=results)
        self._given_up: set[str] = set()
        self._try(MLFLOW, lambda: self._mlflow().set_aside() if rebuild else self._mlflow())
        self._try(SYSTEM, lambda: self._mlflow().watch(), part_of=MLFLOW)

    def trial(self, trial: Trial, result: TrialResult, space: Space) -> None:
        """Show a trial that has ended."""
        self._try(MLFLOW, lambda: self._mlflow().log_trial(trial, result))
        self._try(OPTUNA, lambda: self._optuna.add(trial, result, space))

    def epoch(self, trial: Trial, record: EpochRecord) -> None:
        """Show an epoch of a trial under way."""
        self._try(MLFLOW, lambda: self._mlflow().log_epoch(trial, record))

    def winner(self, trained: TrainedDetector, folder: Path) -> None:
        """Show a trained winner."""
        self._try(MLFLOW, lambda: self._mlflow().log_winner(trained, folder))

    def matrix(
        self, rows: Sequence[ResultRow], files: Sequence[Path], champion: str, commit: str
    ) -> None:
        """Show the matrix, with its tables and figures."""
        self._try(
            MLFLOW, lambda: self._told("page", self._mlflow().log_matrix(rows, files, commit))
        )
        self._try(REGISTRY, lambda: self._mlflow().register(rows, champion), part_of=MLFLOW)
        searched = {Pairing(detector=row.detector, train_on=row.train_on): None for row in rows}
        self._try(OPTUNA, lambda: self._optuna.add_figures(searched, files))

    def close(self) -> None:
        """End what runs beside the writing."""
        if self._tracker is not None:
            self._try(SYSTEM, self._tracker.close)

    def _mlflow(self) -> Tracker:
        if self._tracker is None:
            self._tracker = Tracker(
                self._study, results=self._results, made_by=self._made_by, data=self._data
            )
        return self._tracker

    def _try(self, view: str, write: Callable[[], object], *, part_of: str = "") -> None:
        if self._given_up & {view, part_of}:
            return
        try:
            write()
        except Exception as error:  # whatever a library raises, a view ends no command
            self._given_up.add(view)
            text = str(error) if isinstance(error, StudyError) else _one_line(error)
            self._told("lost", view, text, traceback.format_exc())


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def serve(requests: BinaryIO, answers: BinaryIO, gone: Callable[[], None]) -> None:
    """Write what comes, until it ends. gone: called, in another thread, where requests end without
    their end.
    """
    inbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()

    def read() -> None:
        message: tuple[Any, ...] = ("",)
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            while message[0] != "end":
                message = pickle.load(requests)
                inbox.put(message)
        if message[0] != "end":
            gone()
            inbox.put(None)

    def answer(*words: object) -> None:
        pickle.dump(words, answers)
        answers.flush()

    threading.Thread(target=read, daemon=True).start()
    with contextlib.suppress(ImportError):  # said when it is used
        load_mlflow()
    writers: Writers | None = None
    try:
        while (message := inbox.get()) is not None and message[0] != "end":
            kind, *given = message
            if kind == "open":
                writers = Writers(*given, told=answer)
            else:
                getattr(writers, kind)(*given)
            answer("written")
    finally:
        if writers is not None:
            writers.close()


def main() -> None:
    """Serve on stdin and stdout. What libraries print goes nowhere."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for name in ("SIGINT", "SIGHUP"):  # the command hears them, and decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    def gone() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(CLEAN_UP_SECONDS)
        os._exit(1)

    code = 0
    try:
        with contextlib.suppress(BrokenPipeError):
            serve(sys.stdin.buffer, answers, gone)
    except SystemExit:
        code = 1
    # The command waits for this. To take MLflow apart object by object, as Python does at its end,
    # takes as long as all else.
    os._exit(code)


if __name__ == "__main__":
    main()
