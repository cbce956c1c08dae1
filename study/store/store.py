"""The store: the one place results are kept, and the only writer of them (results/README.md
has the folder layout).

Every file appears whole or not at all (the record of trials grows by whole lines). It carries a
schema number, and is found again by a key that holds everything that decides its content. It says
its key and the SHA-256 of its content, which are checked at every read. What fails is set aside in
`damaged/`, and the same command makes it again. Nothing is ever deleted but what is under way: the
checkpoint of a fit, the parts of a cell, once it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import shutil
import typing
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from study.core.errors import StoreError
from study.core.failures import Failure
from study.core.identity import whole_file, whole_folder
from study.core.parallel import try_lock
from study.core.records import (
    DrawScores,
    EpochRecord,
    Scores,
    TrainedDetector,
    Trial,
    TrialResult,
)
from study.store.files import (
    SCHEMA,
    DamagedFileError,
    check_schema,
    failure_columns,
    failure_from,
    json_text,
    not_of,
    read_json,
    unreadable,
)
from study.store.tables import (
    read_draw_scores,
    read_scores,
    write_draw_scores,
    write_scores,
)
from study.store.trials import (
    TrialTable,
    append_trial,
    read_older_trials,
    read_trials,
    write_trials,
)
from study.store.weights_file import read_weights, write_weights

Record = TypeVar("Record")
LOG = logging.getLogger(__name__)
TRIALS = "trials.jsonl"
RECORD, WEIGHTS = "detector.json", "detector.safetensors"  # of a trained detector
AGAIN = "run the command again, which makes it anew"
SWEEP = "run the sweep again, which trains it anew (cross_eval makes an ensemble)"


class Store:
    """The results of one study, in `<results>/<study>/`. Opening one writes nothing; `prepare`
    makes the folder.
    """

    def __init__(self, results: Path, study: str) -> None:
        self.results = results
        self.folder = results / study
        self.trials_file = self.folder / TRIALS
        self.matrix_file = self.folder / "matrix.csv"
        self.study_file = self.folder / "study.toml"
        self.audit_file = self.folder / "audit.json"
        self.frozen_file = self.folder / "frozen.json"
        self.failures_file = self.folder / "failures.json"
        self.run_log = self.folder / "run.log"
        self.tracebacks = self.folder / "failures"  # `<key>.txt`, written by workers
        self.figures = self.folder / "figures"
        self._warned: set[str] = set()

    def shown_files(self) -> list[Path]:
        """Return the tables and figures that go with a matrix."""
        kinds = "*.csv", "*.md", "*.html", self.study_file.name, self.audit_file.name, "figures/*.*"
        return sorted(path for kind in kinds for path in self.folder.glob(kind))

    # The folder itself

    def prepare(self) -> None:
        """Make the folder and prove that it can be written. Raises StoreError where it cannot."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self.folder / ".writable") as probe:
                probe.write_bytes(b"")
            (self.folder / ".writable").unlink()
        except OSError as error:
            raise StoreError(
                f"results folder '{self.folder}' cannot be written ({error.strerror}); choose"
                " another with --results"
            ) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for one writing command. Raises StoreError while another one holds it; a
        killed one holds nothing.

        On a file system without locks nothing is held, and it is the user's to run one command at a
        time.
        """
        with (self.folder / ".lock").open("a+") as file:
            if not try_lock(file):
                file.seek(0)
                holder = file.read().strip() or "(unknown)"
                raise StoreError(
                    f"the study in '{self.folder}' is in use by process {holder}; wait for it or"
                    " stop it"
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            with in_use(self.results):
                yield

    def save_study(self, toml: str) -> None:
        """Write the resolved study file."""
        self.save_text(self.study_file, toml)

    def save_text(self, path: Path, text: str) -> None:
        """Write a rendering of the store (a table, a note)."""
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def save_json(self, path: Path, table: Mapping[str, Any]) -> None:
        """Write a small table that `read_json` reads again."""
        self.save_text(path, json_text(table))

    # Trials

    def has_trials(self) -> bool:
        """Tell whether a trial was ever recorded."""
        return self.trials_record is not None

    @property
    def trials_record(self) -> Path | None:
        """The file that trials are read from; None where no trial was ever recorded."""
        files = self.trials_file, self._older_trials
        return next((file for file in files if file.is_file()), None)

    def trials(self, *, of_another: bool = False) -> list[tuple[Trial, TrialResult]]:
        """Return every trial on record, in the order of writing; [] before the first. A damaged
        line is left out, with a warning where it is not `of_another` study than the command's.

        Raises StoreError where the record cannot be read or has another schema.
        """
        if self.trials_file.is_file():
            found = read_trials(self.trials_file, self.tracebacks)
            for what in () if of_another else found.damaged:
                again = f"the next sweep of {self.folder.name} runs it again"
                self._warn(f"{what}: its trial is lost, and {again}")
            return [*found.trials]
        if self._older_trials.is_file():
            return [*read_older_trials(self._older_trials, self.tracebacks)]
        return []

    def open_trials(self) -> TrialTable:
        """Return every trial on record, before more are added. A record with damaged lines is set
        aside and written anew without them.
        """
        trials = TrialTable(self.trials())
        if self.trials_file.is_file():
            if not read_trials(self.trials_file, self.tracebacks).damaged:
                return trials
            aside = self._aside(self.trials_file)
            shutil.copyfile(self.trials_file, aside)
            LOG.info(f"the record with the damaged lines is kept as '{aside}'")
        elif not trials:
            return trials
        self.save_trials(trials)
        return trials

    def add_trial(self, trial: Trial, result: TrialResult) -> None:
        """Add a trial to the record that `open_trials` gave."""
        append_trial(self.trials_file, trial, result)

    def save_trials(self, trials: Iterable[tuple[Trial, TrialResult]]) -> None:
        """Replace the record of trials."""
        with whole_file(self.trials_file) as path:
            write_trials(path, trials)

    @property
    def _older_trials(self) -> Path:
        """Where versions before 0.2 kept the trials."""
        return self.folder / "trials.parquet"

    def _warn(self, text: str) -> None:
        """Say what was found, once."""
        if text not in self._warned:
            self._warned.add(text)
            LOG.warning(f"warning: {text}")

    # Checkpoints of fits under way

    def checkpoint_file(self, key: str) -> Path:
        """Where the fit with this key keeps its last epoch."""
        return self.folder / "checkpoints" / f"{key}.pt"

    def drop_checkpoint(self, key: str) -> None:
        """Remove a checkpoint whose fit is on record."""
        self.checkpoint_file(key).unlink(missing_ok=True)

    # Every epoch of winners that keep them

    def epochs_folder(self, key: str, *, under_way: bool = False) -> Path:
        """Where the weights of a winner's epochs are, `<epoch>.safetensors` each; `under_way`,
        while they are still made.
        """
        return self.folder / "epochs" / (f"{key}.part" if under_way else key)

    def epoch_file(self, key: str, epoch: int, *, under_way: bool = False) -> Path:
        """Where the weights of one epoch are, of the tensors that its fit ever moves."""
        return self.epochs_folder(key, under_way=under_way) / f"{epoch}.safetensors"

    def save_epoch(self, key: str, epoch: int, weights: Mapping[str, Any]) -> None:
        """Keep the weights of one epoch of a fit that is under way."""
        with whole_file(self.epoch_file(key, epoch, under_way=True)) as path:
            write_weights(path, weights, f"{key} epoch {epoch}")

    def epoch_weights(self, key: str, epoch: int) -> dict[str, Any]:
        """Return the weights of one epoch of a winner. Raises StoreError where they are damaged."""
        path = self.epoch_file(key, epoch)
        with self._set_aside(self.epochs_folder(key), SWEEP):
            return read_weights(path, f"{key} epoch {epoch}")

    def close_epochs(self, key: str) -> None:
        """Say that a fit has ended, and all of its epochs are here."""
        if not self.epochs_folder(key).is_dir():
            self.epochs_folder(key, under_way=True).rename(self.epochs_folder(key))

    def epochs(self, key: str) -> list[int]:
        """Return the epochs that a winner has kept, in order; [] where it was trained without
        keeping them.
        """
        return sorted(int(path.stem) for path in self.epochs_folder(key).glob("*.safetensors"))

    # Winners and cells that failed

    def failures(self) -> dict[str, Failure]:
        """Return the failures of winners (by trial key) and cells (by scores key) at their last
        try. A damaged file is set aside, with a warning: whatever failed is tried again.
        """
        if not self.failures_file.is_file():
            return {}
        try:
            table = read_json(self.failures_file)
        except DamagedFileError as error:
            aside = self.failures_file.rename(self._aside(self.failures_file))
            self._warn(
                f"{error.what}: it is set aside as '{aside}', and what failed is tried again"
            )
            return {}
        # older stores have texts
        return {key: Failure.parse(text) for key, text in table.get("reasons", {}).items()} | {
            key: failure_from(columns, self.tracebacks)
            for key, columns in table.get("failures", {}).items()
        }

    def save_failures(self, tried: Iterable[str], failed: Mapping[str, Failure]) -> None:
        """Record the outcome of jobs that were tried: `failed` holds the failures of those without
        a result.
        """
        before = self.failures()
        now = {key: one for key, one in before.items() if key not in {*tried}} | dict(failed)
        if now != before:
            table = {key: failure_columns(failure) for key, failure in now.items()}
            self.save_json(self.failures_file, {"failures": table})

    # Trained detectors

    def model_folder(self, key: str) -> Path:
        """Where the trained detector with this key is, or will be."""
        return self.folder / "models" / key

    def has_model(self, key: str) -> bool:
        """Tell whether the detector is trained. Its folder appears in one step, so its presence is
        enough.
        """
        return (self.model_folder(key) / RECORD).is_file()

    def save_model(
        self,
        trained: TrainedDetector,
        weights: Mapping[str, Any] | None,
        val: Scores | None,
        history: tuple[EpochRecord, ...],
        seconds: float,
    ) -> None:
        """Write a trained detector: weights (name -> tensor), its record with the history of its
        fit, its scores on source val.

        An ensemble has no weights; a detector that is not trained has no source, and so no scores
        on its val.
        """
        with whole_folder(self.model_folder(trained.key)) as folder:
            if weights is not None:
                write_weights(folder / WEIGHTS, weights, trained.key)
            if val is not None:
                write_scores(folder / "val_scores.parquet", val, trained.key)
            record = {**dataclasses.asdict(trained), "history": history, "seconds": seconds}
            (folder / RECORD).write_text(json_text(record), encoding="utf-8")

    def model(self, key: str) -> TrainedDetector:
        """Return the record of a trained detector. Raises StoreError where there is none, and where
        it is damaged or another's: its folder is then set aside.
        """
        folder = self.model_folder(key)
        with self._set_aside(folder, SWEEP):
            trained = read_trained(folder)
            if trained.key != key:
                raise DamagedFileError(folder / RECORD, ValueError(f"it is of {trained.key}"))
        return trained

    def weights(self, key: str, *, prefix: str = "") -> dict[str, Any]:
        """Return the tensors of a trained detector, those whose names begin with `prefix`. Raises
        StoreError where they are damaged: the detector is then set aside.
        """
        folder = self.model_folder(key)
        with self._set_aside(folder, SWEEP):
            return read_weights(folder / WEIGHTS, key, prefix=prefix)

    @contextlib.contextmanager
    def _set_aside(self, path: Path, then: str) -> Iterator[None]:
        """Where the block finds a damaged file, move `path` aside, and say what to do `then`."""
        try:
            yield
        except DamagedFileError as error:
            aside = self._aside(path)
            with contextlib.suppress(FileNotFoundError):  # another worker was first
                path.rename(aside)
            raise StoreError(f"{error.what}: it is set aside as '{aside}'; {then}") from None

    def _aside(self, path: Path) -> Path:
        aside = self.folder / "damaged" / f"{path.name}-{uuid.uuid4().hex[:6]}"
        aside.parent.mkdir(exist_ok=True)
        return aside

    def find_model(self, key: str) -> TrainedDetector | None:
        """Return the record of a trained detector, None where it is not trained."""
        return self.model(key) if self.has_model(key) else None

    def val_scores(self, key: str) -> Scores:
        """Return what a trained detector scored on its source's val. Raises StoreError for one that
        was not trained, and where they are gone: its folder is then set aside.
        """
        path = self.model_folder(key) / "val_scores.parquet"
        if not path.is_file():
            if not math.isnan(self.model(key).temperature):
                with self._set_aside(path.parent, SWEEP):
                    raise DamagedFileError(path, ValueError("it is missing"))
            raise StoreError(
                f"'{path.parent}' has no scores on a source's val: the detector was not trained"
                " on any"
            )
        with self._set_aside(path.parent, SWEEP):
            return read_scores(path, key)

    # Scores

    def scores_file(self, key: str) -> Path:
        """Where the scores of one cell are, or will be."""
        return self.folder / "scores" / f"{key}.parquet"

    def save_scores(self, key: str, scores: Scores) -> None:
        """Write the scores of one cell."""
        with whole_file(self.scores_file(key)) as path:
            write_scores(path, scores, key)

    def has_scores(self, key: str) -> bool:
        """Tell whether a cell is scored."""
        return self.scores_file(key).is_file()

    def scores(self, key: str) -> Scores:
        """Return the scores of one cell. Raises StoreError where they are missing, of another
        schema, or damaged: they are then set aside.
        """
        with self._set_aside(self.scores_file(key), AGAIN):
            return read_scores(self.scores_file(key), key)

    # Linear probes on a detector's frozen body: what they scored on source val

    def probe_file(self, key: str) -> Path:
        """Where the scores of a probe are, or will be."""
        return self.folder / "probes" / f"{key}.parquet"

    def save_probe(self, key: str, scores: Scores) -> None:
        """Write the scores of a probe on source val."""
        with whole_file(self.probe_file(key)) as path:
            write_scores(path, scores, key)

    def has_probe(self, key: str) -> bool:
        """Tell whether a probe is fitted."""
        return self.probe_file(key).is_file()

    def probe(self, key: str) -> Scores:
        """Return what a probe scored. Raises StoreError where that is missing or damaged: it is
        then set aside.
        """
        with self._set_aside(self.probe_file(key), SWEEP):
            return read_scores(self.probe_file(key), key)

    # Models of draws of the training set, and their scores: no winners, and in no list of them

    def draws_file(self, key: str) -> Path:
        """Where the models of some draws are, or will be."""
        return self.folder / "draws" / f"{key}.safetensors"

    def save_draws(self, key: str, weights: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Write the models of some draws: their tensors, and what made them."""
        with whole_file(self.draws_file(key)) as path:
            write_weights(path, weights, key, json_text(record))

    def has_draws(self, key: str) -> bool:
        """Tell whether the models of some draws are trained."""
        return self.draws_file(key).is_file()

    def draws(self, key: str) -> dict[str, Any]:
        """Return the tensors of the models of some draws. Raises StoreError where they are missing
        or damaged: they are then set aside.
        """
        with self._set_aside(self.draws_file(key), SWEEP):
            return read_weights(self.draws_file(key), key)

    def draw_scores_file(self, key: str) -> Path:
        """Where the logits of the models of some draws on a test set are, or will be."""
        return self.folder / "draw_scores" / f"{key}.parquet"

    def save_draw_scores(self, key: str, scores: DrawScores) -> None:
        """Write the logits of the models of some draws on a test set."""
        with whole_file(self.draw_scores_file(key)) as path:
            write_draw_scores(path, scores, key)

    def has_draw_scores(self, key: str) -> bool:
        """Tell whether the models of some draws are scored on a test set."""
        return self.draw_scores_file(key).is_file()

    def draw_scores(self, key: str) -> DrawScores:
        """Return what `save_draw_scores` was given. Raises StoreError where it is missing or
        damaged: it is then set aside.
        """
        with self._set_aside(self.draw_scores_file(key), AGAIN):
            return read_draw_scores(self.draw_scores_file(key), key)

    # Cells under way: stretches of a test set, and those that there is nothing to score in

    def part_file(self, key: str, start: int, stop: int) -> Path:
        """Where the logits of one cell for the images from `start` to before `stop` are, or will
        be.
        """
        return self.folder / "parts" / key / f"{start}-{stop}.npz"

    def save_part(
        self, key: str, start: int, logit: NDArray[np.float32], excluded: Sequence[tuple[str, str]]
    ) -> None:
        """Write a stretch of a cell: logits (N,), NaN for the images that are left out; (sample id,
        reason) of those.
        """
        left_out = np.array(excluded, dtype=np.str_).reshape(-1, 2)
        with (
            whole_file(self.part_file(key, start, start + len(logit))) as path,
            path.open("wb") as file,
        ):
            of = f"{key} {start}"
            np.savez(file, schema=SCHEMA, of=of, logit=logit.astype(np.float32), excluded=left_out)

    def part(
        self, key: str, start: int, stop: int
    ) -> tuple[NDArray[np.float32], tuple[tuple[str, str], ...]]:
        """Return what `save_part` was given. Raises StoreError where it is of another schema, or
        damaged: it is then set aside.
        """
        path = self.part_file(key, start, stop)
        with self._set_aside(path, AGAIN):
            try:
                with np.load(path) as arrays:
                    check_schema(str(arrays["schema"]), path)
                    if not_of(f"{key} {start}", str(arrays["of"]) if "of" in arrays else ""):
                        raise ValueError(f"it is of {arrays['of']}")
                    return arrays["logit"], tuple(
                        (str(sample), str(reason)) for sample, reason in arrays["excluded"]
                    )
            except OSError as error:
                raise unreadable(path, error) from None
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise DamagedFileError(path, error) from None

    def drop_parts(self, key: str) -> None:
        """Remove the parts of a cell that is whole."""
        shutil.rmtree(self.folder / "parts" / key, ignore_errors=True)
        with contextlib.suppress(OSError):  # other cells' parts are there
            (self.folder / "parts").rmdir()

    def save_not_applicable(self, key: str, reason: str) -> None:
        """Record that a cell has no number because its degradation cannot be applied to its
        images.
        """
        self.save_json(self._not_applicable_file(key), {"reason": reason})

    def not_applicable(self, key: str) -> str:
        """Return why a cell's degradation cannot be applied; "" where it can, or nobody has
        tried.
        """
        path = self._not_applicable_file(key)
        return str(read_json(path)["reason"]) if path.is_file() else ""

    def _not_applicable_file(self, key: str) -> Path:
        return self.folder / "scores" / f"{key}.not_applicable.json"


@contextlib.contextmanager
def in_use(results: Path) -> Iterator[None]:
    """Use what is kept in a folder of results while the block runs; others may, too. Raises
    StoreError while `study.gc` removes something there.
    """
    with _folder_locked(results, shared=True) as is_mine:
        if not is_mine:
            raise StoreError(
                f"what is not used is being removed from '{results}'; run the command again when"
                " study.gc has ended"
            )
        yield


@contextlib.contextmanager
def nobody_else(results: Path) -> Iterator[None]:
    """Let no command write a study of a folder of results, or fill its cache, while the block runs.
    Raises StoreError where one does.
    """
    with _folder_locked(results, shared=False) as is_mine:
        if not is_mine:
            raise StoreError(
                f"a command is at work in '{results}', so nothing is removed; wait for it or stop"
                " it"
            )
        yield


@contextlib.contextmanager
def _folder_locked(folder: Path, *, shared: bool) -> Iterator[bool]:
    """Lock a folder itself, without a file of its own, and say whether that was possible."""
    number = os.open(folder, os.O_RDONLY)
    try:
        yield try_lock(number, shared=shared)
    finally:
        os.close(number)


def read_trained(folder: Path) -> TrainedDetector:
    """Return the record of the trained detector in `folder`. Raises StoreError where it is missing,
    damaged, or of another schema.
    """
    path, instead = folder / RECORD, f"remove the folder '{folder}' and run again"
    if not path.is_file():
        raise StoreError(f"no trained detector in '{folder}' (there is no {path.name})")
    try:
        return _record(TrainedDetector, read_json(path, instead))
    except (KeyError, TypeError) as error:
        raise DamagedFileError(path, error, instead) from None


def _record(kind: type[Record], table: Mapping[str, Any]) -> Record:
    """Rebuild a frozen record from its JSON form: nested records, and tuples where the record has
    them.
    """
    values: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        value = table[name]
        if dataclasses.is_dataclass(hint):
            value = _record(typing.cast(type[Any], hint), value)
        elif typing.get_origin(hint) is tuple:
            value = tuple(value)
        values[name] = value
    return kind(**values)
