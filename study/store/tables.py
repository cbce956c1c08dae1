"""The scores of a store: of a cell, and of the models of draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from study.core.records import DrawScores, Scores
from study.store.files import (
    DamagedFileError,
    content_sum,
    not_of,
    read_table,
    said,
    write_table,
)

_SUM = b"study_sha256"
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
    found, written = said(table, _KEY), said(table, _SUM)
    if not_of(key, found or ""):
        raise DamagedFileError(path, ValueError(f"it is of {found}"))
    try:
        text = str(said(table, _SCORES))
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
    found = said(table, _KEY)
    if not_of(key, found or ""):
        raise DamagedFileError(path, ValueError(f"it is of {found}"))
    try:
        logits = table["logits"].combine_chunks()
        rows = logits.values.to_numpy().reshape(table.num_rows, logits.type.list_size)
        ids = np.asarray(table["sample_id"].to_pylist(), dtype=np.str_)
        scores = DrawScores(sample_id=ids, logits=np.ascontiguousarray(rows.T))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(path, error) from None
    if said(table, _SUM) != content_sum(*_drawn_content(scores)):
        raise DamagedFileError(path, ValueError("it holds what was not written"))
    return scores


def _drawn_content(scores: DrawScores) -> list[bytes]:
    ids = "\0".join(scores.sample_id.tolist()).encode()
    return [ids, np.ascontiguousarray(scores.logits, dtype=np.float32).tobytes()]


def _content(scores: Scores, meta: str) -> list[bytes]:
    texts = ("\0".join(getattr(scores, name).tolist()).encode() for name in _TEXTS)
    numbers = scores.label.astype(np.uint8).tobytes(), scores.logit.tobytes()
    return [meta.encode(), str(scores.logit.dtype).encode(), *numbers, *texts]
