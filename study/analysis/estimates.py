"""The estimates of cells, kept: what was derived of the same scores by the same code is not derived
again.

`<cache>/estimates/` has one file a call of `estimate_cell`, by the scores themselves, thresholds,
temperatures, likelihood ratios and the seed of the resamples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from study.core.cache import Cache
from study.core.records import Estimate, Scores
from study.statistics.intervals import CellEstimates, Row, estimate_cell
from study.statistics.likelihood_ratio import Evidence

ESTIMATES = Cache("estimates", [estimate_cell], libraries=("numpy", "scipy"))


def cached_estimates(
    folder: Path,
    seeds: Sequence[Scores],
    thresholds: Sequence[Mapping[str, float]],
    temperatures: Sequence[float],
    evidence: Sequence[Evidence],
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
    given = [
        [float(t), one.slope, one.offset] for t, one in zip(temperatures, evidence, strict=True)
    ]
    kept = ESTIMATES.get(
        folder,
        ([_content(scores) for scores in seeds], named, given, rng_seed, brief),
        lambda: estimate_cell(
            seeds, thresholds, temperatures, evidence, rng_seed=rng_seed, brief=brief
        ),
    )
    rows = [Row(**{**row, "estimate": Estimate(**row["estimate"])}) for row in kept["rows"]]
    return CellEstimates(rows=rows, oracle=tuple(kept["oracle"]))


def _content(scores: Scores) -> str:
    sha256 = hashlib.sha256()
    for name in ("sample_id", "label", "group", "logit"):  # nothing else of them is looked at
        column = getattr(scores, name)
        sha256.update(f"{name} {column.dtype.str} {column.shape}\0".encode())
        sha256.update(column.tobytes())
    return sha256.hexdigest()
