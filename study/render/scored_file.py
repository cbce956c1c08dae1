"""What a file of predictions is worth, as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from study.analysis.scored_file import ScoredFile
from study.render.numbers import between, json_number
from study.render.table import Cell, Column, table, text
from study.statistics.intervals import Row
from study.statistics.methods import PREFIX
from study.statistics.metrics import METRICS

SCHEMA = 1
ROUNDING = 1e-9


def as_json(found: ScoredFile) -> str:
    """Return everything as one JSON object; NaN is null, and `undefined` says why; an infinite
    number is a string.
    """
    n, fakes = len(found.scores.label), found.n_fake
    document = {
        **{"schema": SCHEMA, "file": found.name, "images": n, "real": n - fakes, "fake": fakes},
        **{"groups": found.groups, "notes": found.notes},
        "rows": [_object(level, row) for level, rows in found.levels.items() for row in rows],
    }
    return json.dumps(document, indent=1, allow_nan=False)


def _object(level: str, row: Row) -> dict[str, str | float | int | None]:
    e = row.estimate
    return {
        **{"level": level, "metric": row.metric, "threshold": row.threshold},
        **{name: _json(getattr(e, name)) for name in ("value", "low", "high")},
        **{"n_real": e.n_real, "n_fake": e.n_fake, "undefined": e.reason, "note": e.note},
    }


def _json(value: float) -> float | str | None:
    return str(value) if math.isinf(value) else json_number(value)


def as_text(found: ScoredFile) -> str:
    """Return everything as tables."""
    n, fakes, groups = len(found.scores.label), found.n_fake, found.groups
    kind = (
        "every image its own group; DeLong for the AUC, Clopper-Pearson for rates at a given"
        " threshold, else the bootstrap"
    )
    if groups < n:
        kind = "cluster bootstrap over groups"
    classes = f"{n - fakes} real, {fakes} fake, prevalence {fakes / n:.3f}"
    methods = [_method(level, rows) for level, rows in found.levels.items() if level != "image"]
    parts = [
        # first: it may be that all that follows is wrong
        *(f"note: {note}" for note in found.notes),
        f"{found.name}: {n} images ({classes}), {groups} groups\n95 % intervals: {kind}",
        text(table(HEAD, map(_row, found.levels["image"]))),
        *([text(table(HEAD_BY_METHOD, methods))] if methods else []),
        "thresholds are logits: fixed is 0 (p = 0.5); oracle is chosen on these very images, an"
        " upper bound",
    ]
    return "\n\n".join(parts)


HEAD = ("metric", "threshold", Column("value", "number", places=4), "95 % interval", "")
HEAD_BY_METHOD = (
    *("by method", Column("real", "count"), Column("fake", "count")),
    *(Column("AUC", "number", places=4), "95 % interval"),
    *(Column("called right at p = 0.5", "number", places=4), "95 % interval"),
)


def _row(row: Row) -> list[Cell]:
    e = row.estimate
    value: Cell = e.value
    interval = between(e.low, e.high, places=4)
    if METRICS[row.metric].is_count and math.isfinite(e.value):
        value = f"{e.value:g}"
        # rounded outwards, but for what rounding errors add
        ends = (math.floor(e.low + ROUNDING), math.ceil(e.high - ROUNDING)) if interval else ()
        interval = f"{[*ends]}" if ends else ""
    return [row.metric, row.threshold, value, interval, e.reason or e.note]


def _method(level: str, rows: Sequence[Row]) -> list[Cell]:
    """One method: its AUC against the other class, and the share of its own images that is called
    right.
    """
    of = {(row.metric, row.threshold): row.estimate for row in rows}
    auc = of["auc", ""]
    right = of["recall" if level.startswith(PREFIX[1]) else "real_accuracy", "fixed"]
    shown = [(e.value, between(e.low, e.high, places=4)) for e in (auc, right)]
    return [level, auc.n_real, auc.n_fake, *shown[0], *shown[1]]
