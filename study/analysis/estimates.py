"""The estimates of cells, kept: what was derived of the same scores by the same code is not derived
again.

`<cache>/estimates/<key>.json`, one file a call of `estimate_cell`, keyed by all that
decides its numbers: the scores themselves, thresholds, temperatures, the seed of the resamples,
numpy, scipy and the code of study/statistics/ with its constants.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import study.statistics
from study.core.identity import code_digest, digest, whole_file
from study.core.records import Estimate, Scores
from study.data.file_index import cache_writes
from study.statistics.intervals import CellEstimates, Row, estimate_cell


def cached_estimates(
    folder: Path,
    seeds: Sequence[Scores],
    thresholds: Sequence[Mapping[str, float]],
    temperatures: Sequence[float],
    *,
    rng_seed: int,
    brief: bool,
) -> CellEstimates:
    """Return what `estimate_cell` gives, from the cache in `folder` where that has it, and keep it
    there where not.

    Raises what `estimate_cell` raises, and StoreError where the cache cannot be written.
    """
    # their order is that of the columns
    named = [[[name, float(value)] for name, value in one.items()] for one in thresholds]
    contents = [_content(scores) for scores in seeds]
    key = digest(
        "estimates", _code(), contents, named, [float(one) for one in temperatures], rng_seed, brief
    )
    path = folder / "estimates" / f"{key}.json"
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError):  # absent, or none of ours: made anew
        found = estimate_cell(seeds, thresholds, temperatures, rng_seed=rng_seed, brief=brief)
        with cache_writes(folder), whole_file(path) as temporary:
            temporary.write_text(_text(found), encoding="utf-8")
        return found


def _code() -> str:
    return code_digest(Path(study.statistics.__path__[0]), libraries=("numpy", "scipy"))


def _content(scores: Scores) -> str:
    sha256 = hashlib.sha256()
    for name in ("sample_id", "label", "group", "logit"):  # nothing else of them is looked at
        column = getattr(scores, name)
        sha256.update(f"{name} {column.dtype.str} {column.shape}\0".encode())
        sha256.update(column.tobytes())
    return sha256.hexdigest()


def _text(found: CellEstimates) -> str:
    rows = [
        [row.metric, row.threshold, row.seed, *dataclasses.astuple(row.estimate)]
        for row in found.rows
    ]
    return json.dumps({"rows": rows, "oracle": found.oracle})


def _read(path: Path) -> CellEstimates:
    held = json.loads(path.read_text(encoding="utf-8"))
    names = [field.name for field in dataclasses.fields(Estimate)]
    rows = [
        Row(
            metric=metric,
            threshold=threshold,
            seed=seed,
            estimate=Estimate(**dict(zip(names, values, strict=True))),
        )
        for metric, threshold, seed, *values in held["rows"]
    ]
    return CellEstimates(rows=rows, oracle=tuple(held["oracle"]))
