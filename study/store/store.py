"""The store: the one place results are kept, and the only writer of them (docs/design.md has the
folder layout).

Every file appears whole or not at all, carries a schema number, and is found again by a
key that holds everything that decides its content. Nothing is ever deleted but what is under way:
the checkpoint of a fit, the parts of a cell, once it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import types
import typing
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.core.errors import StoreError
from study.core.failures import Failure
from study.core.identity import whole_file, whole_folder
from study.core.parallel import try_lock
from study.core.records import EpochRecord, Pairing, Scores, TrainedDetector, Trial, TrialResult

SCHEMA = 1
_RESULT_COLUMNS = (
    "state",
    "note",
    "device_kind",
    "val_auc",
    "val_nll",
    "best_epoch",
    "seconds",
)
_SCHEMA_KEY = b"study_schema"
_TRIAL_COLUMNS = pa.schema(
    [
        ("detector", pa.string()),
        ("train_on", pa.string()),
        ("number", pa.int32()),
        ("key", pa.string()),
        ("params", pa.string()),  # JSON: every detector has its own
        ("seed", pa.int64()),
        ("epochs", pa.int32()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("note", pa.string()),
        ("device_kind", pa.string()),
        ("origin", pa.string()),
        ("search", pa.string()),
        ("failure_type", pa.string()),
        ("traceback_file", pa.string()),
        ("val_auc", pa.float64()),
        ("val_nll", pa.float64()),
        ("best_epoch", pa.int32()),
        ("seconds", pa.float64()),
        (
            "history",
            pa.list_(
                pa.struct(
                    [
                        ("epoch", pa.int32()),
                        ("phase", pa.string()),
                        ("train_loss", pa.float64()),
                        ("val_auc", pa.float64()),
                        ("val_nll", pa.float64()),
                        ("learning_rate", pa.float64()),
                        ("seconds", pa.float64()),
                    ]
                )
            ),
        ),
    ],
    metadata={_SCHEMA_KEY: str(SCHEMA).encode()},
)
Record = TypeVar("Record")


class Store:
    """The results of one study, in `<results>/<study>/`. Opening one writes nothing; `prepare`
    makes the folder.
    """

    def __init__(self, results: Path, study: str) -> None:
        self.results = results
        self.folder = results / study
        self.trials_file = self.folder / "trials.parquet"
        self.matrix_file = self.folder / "matrix.csv"
        self.study_file = self.folder / "study.toml"
        self.audit_file = self.folder / "audit.json"
        self.failures_file = self.folder / "failures.json"
        self.run_log = self.folder / "run.log"
        self.tracebacks = self.folder / "failures"  # `<key>.txt`, written by workers
        self.figures = self.folder / "figures"

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
            yield

    def save_study(self, toml: str) -> None:
        """Write the resolved study file."""
        self.save_text(self.study_file, toml)

    def save_text(self, path: Path, text: str) -> None:
        """Write a rendering of the store (a table, a note)."""
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    # Trials

    def trials(self) -> list[tuple[Trial, TrialResult]]:
        """Return every trial on record, in the order of writing; [] before the first."""
        if not self.trials_file.exists():
            return []
        rows = self._read_table(self.trials_file).to_pylist()
        return [_trial_from_row(row, self.tracebacks) for row in rows]

    def save_trials(self, trials: list[tuple[Trial, TrialResult]]) -> None:
        """Replace the record of trials."""
        table = pa.Table.from_pylist(
            [_row_from_trial(t, r) for t, r in trials], schema=_TRIAL_COLUMNS
        )
        with whole_file(self.trials_file) as path:
            pq.write_table(table, path)

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
        from safetensors.torch import save_file

        with whole_file(self.epoch_file(key, epoch, under_way=True)) as path:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)

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
        try.
        """
        if not self.failures_file.is_file():
            return {}
        try:
            table = json.loads(self.failures_file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise StoreError(
                f"'{self.failures_file}' cannot be read ({error}); remove it and run the command"
                " again"
            ) from None
        check_schema(str(table.get("schema", "")), self.failures_file)
        # older stores have texts
        return {key: Failure.parse(text) for key, text in table.get("reasons", {}).items()} | {
            key: _failure(tracebacks=self.tracebacks, **columns)
            for key, columns in table.get("failures", {}).items()
        }

    def save_failures(self, tried: Iterable[str], failed: Mapping[str, Failure]) -> None:
        """Record the outcome of jobs that were tried: `failed` holds the failures of those without
        a result.
        """
        before = self.failures()
        for key in tried:
            before.pop(key, None)
        table = {key: _columns(failure) for key, failure in (before | dict(failed)).items()}
        self.save_text(
            self.failures_file, json.dumps({"schema": SCHEMA, "failures": table}, indent=2) + "\n"
        )

    # Trained detectors

    def model_folder(self, key: str) -> Path:
        """Where the trained detector with this key is, or will be."""
        return self.folder / "models" / key

    def has_model(self, key: str) -> bool:
        """Tell whether the detector is trained. Its folder appears in one step, so its presence is
        enough.
        """
        return (self.model_folder(key) / "detector.json").is_file()

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
        from safetensors.torch import save_file

        with whole_folder(self.model_folder(trained.key)) as folder:
            if weights is not None:
                tensors = {
                    name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()
                }
                save_file(tensors, folder / "detector.safetensors")
            if val is not None:
                _write_scores(folder / "val_scores.parquet", val)
            record = {
                "schema": SCHEMA,
                **dataclasses.asdict(trained),
                "history": history,
                "seconds": seconds,
            }
            text = json.dumps(record, indent=2, default=dataclasses.asdict, allow_nan=True)
            (folder / "detector.json").write_text(text + "\n", encoding="utf-8")

    def model(self, key: str) -> TrainedDetector:
        """Return the record of a trained detector. Raises StoreError where there is none."""
        return read_trained(self.model_folder(key))

    def find_model(self, key: str) -> TrainedDetector | None:
        """Return the record of a trained detector, None where it is not trained."""
        return self.model(key) if self.has_model(key) else None

    def val_scores(self, key: str) -> Scores:
        """Return what a trained detector scored on its source's val. Raises StoreError for one that
        was not trained.
        """
        path = self.model_folder(key) / "val_scores.parquet"
        if not path.is_file():
            raise StoreError(
                f"'{path.parent}' has no scores on a source's val: the detector was not trained"
                " on any"
            )
        return self._read_scores(path)

    # Scores

    def scores_file(self, key: str) -> Path:
        """Where the scores of one cell are, or will be."""
        return self.folder / "scores" / f"{key}.parquet"

    def save_scores(self, key: str, scores: Scores) -> None:
        """Write the scores of one cell."""
        with whole_file(self.scores_file(key)) as path:
            _write_scores(path, scores)

    def has_scores(self, key: str) -> bool:
        """Tell whether a cell is scored."""
        return self.scores_file(key).is_file()

    def scores(self, key: str) -> Scores:
        """Return the scores of one cell. Raises StoreError where they are missing or of another
        schema.
        """
        return self._read_scores(self.scores_file(key))

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
            np.savez(file, schema=SCHEMA, logit=logit.astype(np.float32), excluded=left_out)

    def part(
        self, key: str, start: int, stop: int
    ) -> tuple[NDArray[np.float32], tuple[tuple[str, str], ...]]:
        """Return what `save_part` was given. Raises StoreError where it is damaged or of another
        schema.
        """
        path = self.part_file(key, start, stop)
        try:
            with np.load(path) as arrays:
                check_schema(str(arrays["schema"]), path)
                return arrays["logit"], tuple(
                    (str(sample), str(reason)) for sample, reason in arrays["excluded"]
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StoreError(
                f"'{path}' cannot be read ({error}); remove it and run the command again"
            ) from None

    def drop_parts(self, key: str) -> None:
        """Remove the parts of a cell that is whole."""
        shutil.rmtree(self.folder / "parts" / key, ignore_errors=True)
        with contextlib.suppress(OSError):  # other cells' parts are there
            (self.folder / "parts").rmdir()

    def save_not_applicable(self, key: str, reason: str) -> None:
        """Record that a cell has no number because its degradation cannot be applied to its
        images.
        """
        self.save_text(
            self._not_applicable_file(key), json.dumps({"schema": SCHEMA, "reason": reason}) + "\n"
        )

    def not_applicable(self, key: str) -> str:
        """Return why a cell's degradation cannot be applied; "" where it can, or nobody has
        tried.
        """
        path = self._not_applicable_file(key)
        if not path.is_file():
            return ""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise StoreError(
                f"'{path}' cannot be read ({error}); remove it and run the command again"
            ) from None
        check_schema(str(table.get("schema", "")), path)
        return str(table["reason"])

    def _not_applicable_file(self, key: str) -> Path:
        return self.folder / "scores" / f"{key}.not_applicable.json"

    # Files

    def _read_scores(self, path: Path) -> Scores:
        table = self._read_table(path)
        meta = json.loads(table.schema.metadata[b"study_scores"])
        return Scores(
            sample_id=_strings(table, "sample_id"),
            group=_strings(table, "group"),
            unit=_strings(table, "unit"),
            method=_strings(table, "method"),
            label=table["label"].to_numpy().astype(np.uint8),
            logit=table["logit"].to_numpy().copy(),
            listed=meta["listed"],
            excluded=tuple((name, reason) for name, reason in meta["excluded"]),
        )

    def _read_table(self, path: Path) -> pa.Table:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"'{path}' cannot be read ({error}); remove it and run the command again"
            ) from None
        check_table(table, path)
        return table


def check_table(table: pa.Table, path: Path | str) -> None:
    """Refuse a table of another schema by name. Raises StoreError."""
    check_schema((table.schema.metadata or {}).get(_SCHEMA_KEY, b"").decode(), path)


def check_schema(found: str, path: Path | str) -> None:
    """Refuse a file of another schema by name. Raises StoreError."""
    if found != str(SCHEMA):
        raise StoreError(
            f"'{path}' has schema {found or '(none)'}, this version reads {SCHEMA}; use --results"
            " with another folder"
        )


def read_trained(folder: Path) -> TrainedDetector:
    """Return the record of the trained detector in `folder`. Raises StoreError where it is missing
    or of another schema.
    """
    path = folder / "detector.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise StoreError(f"no trained detector in '{folder}' ({error})") from None
    check_schema(str(table.get("schema", "")), path)
    return _record(TrainedDetector, table)


def _record(kind: type[Record], table: Mapping[str, Any]) -> Record:
    """Rebuild a frozen record from its JSON form: nested records, and tuples where the record has
    them.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        value, hint = table[field.name], hints[field.name]
        if dataclasses.is_dataclass(hint):
            value = _record(typing.cast(type[Any], hint), value)
        elif typing.get_origin(hint) is tuple and not isinstance(hint, types.UnionType):
            value = tuple(value)
        values[field.name] = value
    return kind(**values)


def _strings(table: pa.Table, name: str) -> NDArray[np.str_]:
    return np.asarray(table[name].to_pylist(), dtype=np.str_)


def _write_scores(path: Path, scores: Scores) -> None:
    columns = {
        "sample_id": pa.array(scores.sample_id.tolist(), pa.string()),
        "group": pa.array(scores.group.tolist(), pa.string()),
        "unit": pa.array(scores.unit.tolist(), pa.string()),
        "method": pa.array(scores.method.tolist(), pa.string()),
        "label": pa.array(scores.label.astype(np.uint8)),
        "logit": pa.array(scores.logit),  # float64 where somebody else made them
    }
    meta = {"listed": scores.listed, "excluded": list(scores.excluded)}
    table = pa.table(columns).replace_schema_metadata(
        {_SCHEMA_KEY: str(SCHEMA), b"study_scores": json.dumps(meta)}
    )
    pq.write_table(table, path)


def _columns(failure: Failure) -> dict[str, str]:
    """A failure as the store has it; of its file the name, because stores are moved."""
    file = failure.traceback_file
    return {
        "reason": failure.message,
        "failure_type": failure.type,
        "traceback_file": file.name if file else "",
    }


def _failure(*, tracebacks: Path, reason: str, failure_type: str, traceback_file: str) -> Failure:
    if not failure_type:  # as older stores have it
        return Failure.parse(reason)
    file = tracebacks / traceback_file if traceback_file else None
    return Failure(type=failure_type, message=reason, traceback_file=file)


def _row_from_trial(trial: Trial, result: TrialResult) -> dict[str, Any]:
    failed = _columns(result.failure or Failure())
    return {
        "detector": trial.pairing.detector,
        "train_on": trial.pairing.train_on,
        "number": trial.number,
        "key": trial.key,
        "params": json.dumps(dict(trial.params), sort_keys=True),
        "seed": trial.seed,
        "epochs": trial.epochs,
        "origin": trial.origin,
        "search": trial.search,
        **failed,
        "reason": failed["reason"] or result.reason,
        **{name: getattr(result, name) for name in _RESULT_COLUMNS},
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
    }


def _trial_from_row(row: Mapping[str, Any], tracebacks: Path) -> tuple[Trial, TrialResult]:
    pairing = Pairing(detector=row["detector"], train_on=row["train_on"])
    trial = Trial(
        key=row["key"],
        pairing=pairing,
        number=row["number"],
        params=json.loads(row["params"]),
        seed=row["seed"],
        epochs=row["epochs"],
        origin=row["origin"],
        search=row["search"],
    )
    # older tables have no device_kind, and a failure's type before its message
    values = {name: row[name] for name in ("key", *_RESULT_COLUMNS) if name in row}
    failed = {name: row.get(name) or "" for name in ("reason", "failure_type", "traceback_file")}
    values |= (
        {"failure": _failure(tracebacks=tracebacks, **failed)}
        if row["state"] == "failed" and any(failed.values())
        else {"reason": row["reason"]}
    )
    result = TrialResult(**values, history=tuple(EpochRecord(**epoch) for epoch in row["history"]))
    return trial, result
