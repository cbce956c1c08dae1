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
from study.core.records import DrawScores, EpochRecord, Pairing, Scores, Trial, TrialResult
from study.store.files import (
    DamagedFileError,
    check_sum,
    content_sum,
    not_of,
    read_table,
    write_table,
)

_TRIAL = ("key", "number", "seed", "epochs", "origin", "search")  # fields that are columns
_RESULT = ("state", "note", "device_kind", "val_auc", "val_nll", "best_epoch", "seconds")
_SUM = b"study_sha256"
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
    table = pa.Table.from_pylist(rows, schema=_COLUMNS)
    write_table(path, table, {_SUM: content_sum(table.to_pylist())})


def read_trials(path: Path, tracebacks: Path, name: str = "") -> list[tuple[Trial, TrialResult]]:
    """Return trials in the order of the table. tracebacks: the folder of their failures' files.
    name: of the table, for a person, if it is not the path.

    Raises DamagedFileError where it cannot be read, and StoreError where it has another schema.
    """
    table = read_table(path, name)
    try:
        rows = table.to_pylist()
        check_sum(_said(table, _SUM), rows, name or path)
        return [_trial(row, tracebacks) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(name or path, error) from None


def _said(table: pa.Table, name: bytes) -> str | None:
    found = (table.schema.metadata or {}).get(name)
    return None if found is None else found.decode(errors="replace")


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


_SCORES, _KEY = b"study_scores", b"study_key"
_TEXTS = ("sample_id", "group", "unit", "method")


def write_scores(path: Path, scores: Scores, key: str = "") -> None:
    """Write scores, a row for each image. key: of what they are the scores of."""
    columns = {name: pa.array(getattr(scores, name).tolist(), pa.string()) for name in _TEXTS}
    columns["label"] = pa.array(scores.label.astype(np.uint8))
    columns["logit"] = pa.array(scores.logit)  # float64 where somebody else made them
    meta = json.dumps({"listed": scores.listed, "excluded": list(scores.excluded)})
    sums = {_KEY: key, _SUM: content_sum(*_content(scores, meta))}
    write_table(path, pa.table(columns), {_SCORES: meta, **sums})


def read_scores(path: Path, key: str = "") -> Scores:
    """Return scores. key: what they have to be of; "" where that is not known.

    Raises StoreError where they cannot be read, are another's or not what was written, or have
    another schema.
    """
    table = read_table(path)
    found, written = _said(table, _KEY), _said(table, _SUM)
    if not_of(key, found or ""):
        raise DamagedFileError(path, ValueError(f"it is of {found}"))
    try:
        text = str(_said(table, _SCORES))
        meta = json.loads(text)
        scores = Scores(
            label=table["label"].to_numpy().astype(np.uint8),
            logit=table["logit"].to_numpy().copy(),
            listed=meta["listed"],
            excluded=tuple((name, reason) for name, reason in meta["excluded"]),
            **{name: np.asarray(table[name].to_pylist(), dtype=np.str_) for name in _TEXTS},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(path, error) from None
    if written is not None and written != content_sum(*_content(scores, text)):
        raise DamagedFileError(path, ValueError("it holds what was not written"))
    return scores


def write_draw_scores(path: Path, scores: DrawScores, key: str) -> None:
    """Write the logits of the models of draws, a row for each image. key: of what they are."""
    rows = np.ascontiguousarray(scores.logits.T, dtype=np.float32)
    logits = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    ids = pa.array(scores.sample_id.tolist(), pa.string())
    sums = {_KEY: key, _SUM: content_sum(*_drawn_content(scores))}
    write_table(path, pa.table({"sample_id": ids, "logits": logits}), sums)


def read_draw_scores(path: Path, key: str) -> DrawScores:
    """Return what `write_draw_scores` wrote. Raises StoreError as `read_scores` does."""
    table = read_table(path)
    found = _said(table, _KEY)
    if not_of(key, found or ""):
        raise DamagedFileError(path, ValueError(f"it is of {found}"))
    try:
        logits = table["logits"].combine_chunks()
        rows = logits.values.to_numpy().reshape(table.num_rows, logits.type.list_size)
        ids = np.asarray(table["sample_id"].to_pylist(), dtype=np.str_)
        scores = DrawScores(sample_id=ids, logits=np.ascontiguousarray(rows.T))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(path, error) from None
    if _said(table, _SUM) != content_sum(*_drawn_content(scores)):
        raise DamagedFileError(path, ValueError("it holds what was not written"))
    return scores


def _drawn_content(scores: DrawScores) -> list[bytes]:
    ids = "\0".join(scores.sample_id.tolist()).encode()
    return [ids, np.ascontiguousarray(scores.logits, dtype=np.float32).tobytes()]


def _content(scores: Scores, meta: str) -> list[bytes]:
    texts = ("\0".join(getattr(scores, name).tolist()).encode() for name in _TEXTS)
    numbers = scores.label.astype(np.uint8).tobytes(), scores.logit.tobytes()
    return [meta.encode(), str(scores.logit.dtype).encode(), *numbers, *texts]
