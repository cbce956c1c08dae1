"""What a file of predictions is worth: its estimates, as a table and as JSON.

A single scoring without a source: the thresholds are `fixed` (logit 0, which is p = 0.5)
and `oracle`, and there is no temperature.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.core.records import Scores
from study.data.predictions import Predictions
from study.statistics.columns import SCALED
from study.statistics.intervals import Row, estimate_cell
from study.statistics.methods import PREFIX, by_method, part
from study.statistics.metrics import COUNTS
from study.statistics.resampling import REPLICATES
from study.statistics.thresholds import FIXED

SCHEMA = 1
ROUNDING = 1e-9
RNG_SEED = 0  # of the bootstrap: the same file gives the same numbers


@dataclass(frozen=True, kw_only=True)
class ScoredFile:
    """The numbers of one file. levels: `image`, and those by method -> the rows; notes: what is to
    be said of all.
    """

    name: str
    scores: Scores
    levels: dict[str, list[Row]]
    notes: tuple[str, ...]

    @property
    def n_fake(self) -> int:
        """Fakes among the images."""
        return int(self.scores.label.sum())

    @property
    def groups(self) -> int:
        """Groups, over which the bootstrap draws."""
        return len(np.unique(self.scores.group))


def score_file(name: str, read: Predictions, *, replicates: int = REPLICATES) -> ScoredFile:
    """Estimate everything that a file of predictions allows, pooled and by method."""
    levels = {"image": _rows(read.scores, brief=False, replicates=replicates)}
    for level, places in by_method(read.scores).items():
        levels[level] = _rows(part(read.scores, places), brief=True, replicates=replicates)
    return ScoredFile(name=name, scores=read.scores, levels=levels, notes=read.notes)


def _rows(scores: Scores, *, brief: bool, replicates: int) -> list[Row]:
    cell = estimate_cell(
        [scores],
        [{"fixed": FIXED}],
        [math.nan],
        rng_seed=RNG_SEED,
        brief=brief,
        replicates=replicates,
    )
    return [row for row in cell.rows if row.seed == "0" and row.metric not in SCALED]


def as_json(found: ScoredFile) -> str:
    """Return everything as one JSON object; NaN is null, and `undefined` says why; an infinite
    number is a string.
    """
    n, fakes = len(found.scores.label), found.n_fake
    head = {
        "schema": SCHEMA,
        "file": found.name,
        "images": n,
        "real": n - fakes,
        "fake": fakes,
        "groups": found.groups,
    }
    rows = [_object(level, row) for level, rows in found.levels.items() for row in rows]
    return json.dumps(
        {**head, "notes": found.notes, "rows": rows}, indent=1, ensure_ascii=False, allow_nan=False
    )


def _object(level: str, row: Row) -> dict[str, str | float | int | None]:
    e = row.estimate
    numbers = {name: _json_number(getattr(e, name)) for name in ("value", "low", "high")}
    counts = {"n_real": e.n_real, "n_fake": e.n_fake}
    return {
        "level": level,
        "metric": row.metric,
        "threshold": row.threshold,
        **numbers,
        **counts,
        "undefined": e.reason,
        "note": e.note,
    }


def _json_number(value: float) -> float | str | None:
    return None if math.isnan(value) else value if math.isfinite(value) else str(value)


def as_text(found: ScoredFile) -> str:
    """Return everything as tables."""
    n, fakes, groups = len(found.scores.label), found.n_fake, found.groups
    kind = (
        "cluster bootstrap over groups"
        if groups < n
        else (
            "every image its own group; DeLong for the AUC, Clopper-Pearson for rates at a given"
            " threshold, else the bootstrap"
        )
    )
    share = f", prevalence {fakes / n:.3f}"
    # first: it may be that all that follows is wrong
    parts = [f"note: {note}" for note in found.notes]
    parts += [
        (
            f"{found.name}: {n} images ({n - fakes} real, {fakes} fake{share}), {groups} groups\n95"
            f" % intervals: {kind}"
        ),
        _table(
            [
                ["metric", "threshold", "value", "95 % interval", ""],
                *map(_line, found.levels["image"]),
            ]
        ),
    ]
    methods = [
        [*_method_line(level, rows)] for level, rows in found.levels.items() if level != "image"
    ]
    if methods:
        parts.append(
            _table(
                [
                    [
                        "by method",
                        "real",
                        "fake",
                        "AUC",
                        "95 % interval",
                        "called right at p = 0.5",
                        "95 % interval",
                    ],
                    *methods,
                ]
            )
        )
    thresholds = (
        "thresholds are logits: fixed is 0 (p = 0.5); oracle is chosen on these very images, an"
        " upper bound"
    )
    return "\n\n".join([*parts, thresholds])


def _line(row: Row) -> list[str]:
    e = row.estimate
    shown = _number(e.value) if row.metric not in COUNTS or math.isnan(e.value) else f"{e.value:g}"
    interval = (
        _interval(e.low, e.high)
        if row.metric not in COUNTS or math.isnan(e.low)
        else _whole(e.low, e.high)
    )
    return [row.metric, row.threshold, shown, interval, e.reason or e.note]


def _method_line(level: str, rows: Sequence[Row]) -> list[str]:
    """One method: its AUC against the other class, and the share of its own images that is called
    right.
    """
    of = {(row.metric, row.threshold): row.estimate for row in rows}
    auc = of["auc", ""]
    right = of["recall" if level.startswith(PREFIX[1]) else "real_accuracy", "fixed"]
    counts = [str(auc.n_real), str(auc.n_fake)]
    return [
        level,
        *counts,
        _number(auc.value),
        _interval(auc.low, auc.high),
        _number(right.value),
        _interval(right.low, right.high),
    ]


def _number(value: float) -> str:
    return (
        "undefined"
        if math.isnan(value)
        else f"{value:.4f}"
        if abs(value) < 1000
        else f"{value:.6g}"
    )


def _whole(low: float, high: float) -> str:
    """An interval of a count, rounded outwards, but for what rounding errors add."""
    return f"[{math.floor(low + ROUNDING)}, {math.ceil(high - ROUNDING)}]"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"[{_number(low)}, {_number(high)}]"


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
