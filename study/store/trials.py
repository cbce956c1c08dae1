"""The record of trials: a line of JSON for each, appended as it ends.

A line carries its schema number and the SHA-256 of its content. A damaged line costs its own trial,
which the next sweep runs again. Where a trial stands twice, the later line holds: it was lost by
accident and run anew.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from study.core.failures import Failure
from study.core.records import EpochRecord, Pairing, Trial, TrialResult
from study.store.files import (
    SCHEMA,
    SUM,
    DamagedFileError,
    check_schema,
    check_sum,
    content_sum,
    failure_columns,
    failure_from,
    read_table,
    said,
    unreadable,
)

_TRIAL = ("key", "number", "seed", "epochs", "origin", "search")
_DAMAGED = (DamagedFileError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
_RESULT = ("state", "note", "device_kind", "val_auc", "val_nll", "best_epoch", "seconds")


class TrialTable:
    """Trials in the order of writing, found by key and by place: the pairing and the number."""

    def __init__(self, rows: Iterable[tuple[Trial, TrialResult]] = ()) -> None:
        self._rows: dict[int, tuple[Trial, TrialResult]] = {}
        self._of_key: dict[str, list[int]] = {}
        self._at: dict[tuple[Pairing, int], list[int]] = {}
        self._added = 0
        for row in rows:
            self.add(*row)

    def __iter__(self) -> Iterator[tuple[Trial, TrialResult]]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, trial: Trial, result: TrialResult) -> None:
        """Add a trial. What it makes superfluous goes."""
        place = self._at.setdefault((trial.pairing, trial.number), [])
        for row in [row for row in place if _gives_way(*self._rows[row], trial)]:
            old, _ = self._rows.pop(row)
            place.remove(row)
            self._of_key[old.key].remove(row)
        self._rows[self._added] = trial, result
        place.append(self._added)
        self._of_key.setdefault(trial.key, []).append(self._added)
        self._added += 1

    def of_key(self, key: str) -> list[tuple[Trial, TrialResult]]:
        """Return the trials of a key."""
        return [self._rows[row] for row in self._of_key.get(key, [])]

    def at(self, pairing: Pairing, number: int) -> list[tuple[Trial, TrialResult]]:
        """Return the trials of a number in a pairing: one for each rule that proposed them."""
        return [self._rows[row] for row in self._at.get((pairing, number), [])]


def _gives_way(old: Trial, result: TrialResult, new: Trial) -> bool:
    """Tell whether a record gives way to a new one of its place: the same trial again; or one lost
    by accident, and proposed anew.
    """
    lost = result.state == "failed" and not result.permanent
    return old.search == new.search and (old.key == new.key or lost)


class Recorded(NamedTuple):
    """What a record of trials holds. damaged: what is wrong with each line that was left out."""

    trials: TrialTable
    damaged: tuple[str, ...]


def write_trials(path: Path, trials: Iterable[tuple[Trial, TrialResult]]) -> None:
    """Write a record of trials."""
    path.write_bytes(b"".join(_line(trial, result) for trial, result in trials))


def append_trial(path: Path, trial: Trial, result: TrialResult) -> None:
    """Add a trial to a record, whole or, on a full disk, not at all. A killed writer leaves at most
    half a line, which is left out.
    """
    with path.open("ab", buffering=0) as file:
        before, line = file.tell(), _line(trial, result)
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def read_trials(path: Path, tracebacks: Path, name: str = "") -> Recorded:
    """Return the trials of a record. tracebacks: the folder of their failures' files. name: of the
    record, for a person, if it is not the path.

    Raises StoreError where it cannot be read or has another schema.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise unreadable(name or path, error) from None
    trials, damaged = TrialTable(), []
    for number, line in enumerate(lines, 1):
        try:
            trials.add(*_parsed(line, tracebacks, name or path))
        except _DAMAGED:
            damaged.append(f"line {number} of '{name or path}' is not what was written")
    if rest:
        damaged.append(f"the last line of '{name or path}' is not whole")
    return Recorded(trials, tuple(damaged))


def read_older_trials(path: Path, tracebacks: Path) -> TrialTable:
    """Return the trials of a store that kept them in one Parquet table.

    Raises DamagedFileError where it cannot be read, and StoreError where it has another schema.
    """
    table = read_table(path)
    try:
        rows = table.to_pylist()
        check_sum(said(table, b"study_sha256"), rows, path)
        return TrialTable(_trial(row, tracebacks) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(path, error) from None


def _line(trial: Trial, result: TrialResult) -> bytes:
    failed = failure_columns(result.failure or Failure())
    row = {
        "schema": SCHEMA,
        "detector": trial.pairing.detector,
        "train_on": trial.pairing.train_on,
        "params": json.dumps(dict(trial.params), sort_keys=True),
        **{name: getattr(trial, name) for name in _TRIAL},
        **{name: getattr(result, name) for name in _RESULT},
        **failed,
        "reason": failed["reason"] or result.reason,
        "history": [asdict(epoch) for epoch in result.history],
    }
    return json.dumps({**row, SUM: content_sum(row)}).encode() + b"\n"


def _parsed(line: bytes, tracebacks: Path, path: Path | str) -> tuple[Trial, TrialResult]:
    row = json.loads(line)
    check_sum(row.pop(SUM), row, path)
    check_schema(str(row["schema"]), path)
    return _trial(row, tracebacks)


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
