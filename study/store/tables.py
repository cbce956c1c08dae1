"""The two tables of a store: the record of all trials, and the scores of a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from study.core.failures import Failure
from study.core.records import EpochRecord, Pairing, Scores, Trial, TrialResult
from study.store.files import read_table, write_table

_TRIAL = ("key", "number", "seed", "epochs", "origin", "search")  # fields that are columns
_RESULT = ("state", "note", "device_kind", "val_auc", "val_nll", "best_epoch", "seconds")
_TYPES = {"int": pa.int32(), "float": pa.float64(), "str": pa.string()}
_EPOCH = pa.struct([(field.name, _TYPES[str(field.type)]) for field in fields(EpochRecord)])
_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("detector", "train_on", "key", "origin", "search")),
        ("params", pa.string()),  # JSON: every detector has its own
        *((name, pa.string()) for name in ("state", "note", "device_kind")),
        *((name, pa.string()) for name in ("reason", "failure_type", "traceback_file")),
        *((name, pa.int32()) for name in ("number", "epochs", "best_epoch")),
        ("seed", pa.int64()),
        *((name, pa.float64()) for name in ("val_auc", "val_nll", "seconds")),
        ("history", pa.list_(_EPOCH)),
    ]
)


def write_trials(path: Path, trials: Sequence[tuple[Trial, TrialResult]]) -> None:
    """Write trials, a row each."""
    rows = [_row(trial, result) for trial, result in trials]
    write_table(path, pa.Table.from_pylist(rows, schema=_COLUMNS))


def read_trials(path: Path, tracebacks: Path, name: str = "") -> list[tuple[Trial, TrialResult]]:
    """Return trials in the order of the table. tracebacks: the folder of their failures' files.
    name: of the table, for a person, if it is not the path.

    Raises DamagedFileError where it cannot be read, and StoreError where it has another schema.
    """
    return [_trial(row, tracebacks) for row in read_table(path, name).to_pylist()]


def _row(trial: Trial, result: TrialResult) -> dict[str, Any]:
    failed = failure_columns(result.failure or Failure())
    return {
        "detector": trial.pairing.detector,
        "train_on": trial.pairing.train_on,
        "params": json.dumps(dict(trial.params), sort_keys=True),
        **{name: getattr(trial, name) for name in _TRIAL},
        **{name: getattr(result, name) for name in _RESULT},
        **failed,
        "reason": failed["reason"] or result.reason,
        "history": [asdict(epoch) for epoch in result.history],
    }


def _trial(row: Mapping[str, Any], tracebacks: Path) -> tuple[Trial, TrialResult]:
    trial = Trial(
        pairing=Pairing(detector=row["detector"], train_on=row["train_on"]),
        params=json.loads(row["params"]),
        **{name: row[name] for name in _TRIAL},
    )
    failed = {name: row.get(name) or "" for name in ("reason", "failure_type", "traceback_file")}
    is_failure = row["state"] == "failed" and any(failed.values())
    result = TrialResult(
        key=row["key"],
        reason="" if is_failure else row["reason"],
        failure=failure_from(failed, tracebacks) if is_failure else None,
        history=tuple(EpochRecord(**epoch) for epoch in row["history"]),
        **{name: row[name] for name in _RESULT if name in row},  # older tables lack device_kind
    )
    return trial, result


def failure_columns(failure: Failure) -> dict[str, str]:
    """Return a failure as the store has it; of its file the name, because stores are moved."""
    file = failure.traceback_file
    return {
        "reason": failure.message,
        "failure_type": failure.type,
        "traceback_file": file.name if file else "",
    }


def failure_from(columns: Mapping[str, str], tracebacks: Path) -> Failure:
    """Return the failure of `failure_columns`. Older stores have its type before its message."""
    if not columns["failure_type"]:
        return Failure.parse(columns["reason"])
    name = columns["traceback_file"]
    return Failure(
        type=columns["failure_type"],
        message=columns["reason"],
        traceback_file=tracebacks / name if name else None,
    )


_TEXTS = ("sample_id", "group", "unit", "method")


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores, a row for each image."""
    columns = {name: pa.array(getattr(scores, name).tolist(), pa.string()) for name in _TEXTS}
    columns["label"] = pa.array(scores.label.astype(np.uint8))
    columns["logit"] = pa.array(scores.logit)  # float64 where somebody else made them
    meta = {"listed": scores.listed, "excluded": list(scores.excluded)}
    write_table(path, pa.table(columns), {b"study_scores": json.dumps(meta)})


def read_scores(path: Path) -> Scores:
    """Return scores. Raises StoreError where they cannot be read or have another schema."""
    table = read_table(path)
    meta = json.loads(table.schema.metadata[b"study_scores"])
    return Scores(
        label=table["label"].to_numpy().astype(np.uint8),
        logit=table["logit"].to_numpy().copy(),
        listed=meta["listed"],
        excluded=tuple((name, reason) for name, reason in meta["excluded"]),
        **{name: np.asarray(table[name].to_pylist(), dtype=np.str_) for name in _TEXTS},
    )
