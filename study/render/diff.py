"""What differs between two studies, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from study.analysis.cells_csv import Place
from study.analysis.diff import BY_INTERVALS, SAME, Change, StudyDiff
from study.analysis.significance import Verdict
from study.core.records import NO_DEGRADATION
from study.render.numbers import json_number
from study.render.table import GAP, Cell, Column, table, text

SCHEMA = 4
SEED_ONLY = """The study files differ in the seed only: whatever moved, moved by chance, of images,
of training or of the search's draw, and the last of these is in no interval and no p here."""


def as_text(found: StudyDiff) -> str:
    """Return the difference for a person: what moved, what is noise, what only one has, what was
    set otherwise.
    """
    parts = [f"{found.first} -> {found.second}", SEED_ONLY if found.seed_only else ""]
    parts += [_summary(found), *_changes(found)]
    lists = {
        "no number in both": [f"{_name(p)}: {a} -> {b}" for p, a, b in found.states],
        f"only in {found.first}": [_name(place) for place in found.only_first],
        f"only in {found.second}": [_name(place) for place in found.only_second],
        "study files": [f"{key}: {a} -> {b}" for key, a, b in found.settings],
        "data of different content": [f"{name} ({splits})" for name, splits in found.data],
    }
    parts += [f"\n{GAP}".join([f"{title}:", *lines]) for title, lines in lists.items() if lines]
    if not found.data_known:
        parts.append(
            "whether the data are the same is not known: one of them has no cells.csv; run its"
            " cross_eval again"
        )
    return "\n\n".join(part for part in parts if part)


def _summary(found: StudyDiff) -> str:
    number = Counter(change.verdict for change in found.changes)
    counts = [
        f"{GAP}{number[verdict]} {verdict.value}"
        for verdict in Verdict
        if number[verdict] or verdict is Verdict.MORE_THAN_NOISE
    ]
    return "\n".join([f"{len(found.changes)} cells with an AUC in both:", *counts])


def _changes(found: StudyDiff) -> list[str]:
    """Tables of the cells that differ, the largest difference first."""
    parts = []
    ranked = sorted(found.changes, key=lambda c: -abs(c.second - c.first))
    for verdict in Verdict:
        chosen = [c for c in ranked if c.verdict is verdict]
        if chosen and verdict is not Verdict.SAME:
            parts.append(f"{verdict.value}:\n{text(table(HEAD, map(_row, chosen)))}")
    if parts:
        parts.append(EXPLAINED)
    return parts


EXPLAINED = f"""AUC and change: of single models, mean over seeds, as in the matrices. The change is
tested on the same images where both stores hold the scores, else ("{BY_INTERVALS}") by the two
intervals, which finds less. Its interval and p count images, training sample and seeds; the last
two are taken as independent between the studies, which overstates them where both learned from the
same images. p: after Holm over all cells."""


HEAD = (
    "cell",
    Column("AUC", "number"),
    Column("->", "number"),
    Column("change [95 % interval]", "interval", signed=True),
    Column("p (Holm)", "p"),
    "by",
)


def _row(change: Change) -> list[Cell]:
    d = change.finding
    by = {BY_INTERVALS: BY_INTERVALS, SAME: SAME, "": ""}.get(d.how, f"the same images, {d.how}")
    return [
        _name(change.place),
        *(change.first, change.second),
        *((d.value, d.low, d.high), change.p_holm),
        "; ".join(filter(None, (by, d.reason, change.note))),
    ]


def _name(place: Place) -> str:
    detector, train_on, test_on, degradation = place
    degraded = "" if degradation == NO_DEGRADATION else f" ?{degradation}"
    return f"{detector} @ {train_on} -> {test_on}{degraded}"


def as_json(found: StudyDiff) -> str:
    """Return the difference as one JSON object; NaN is null."""
    data = [{"dataset": name, "splits": splits} for name, splits in found.data]
    document = {
        "schema": SCHEMA,
        "first": found.first,
        "second": found.second,
        "cells": [_object(change) for change in found.changes],
        "states": [{**_place(p), "first": a, "second": b} for p, a, b in found.states],
        "only_first": [_place(p) for p in found.only_first],
        "only_second": [_place(p) for p in found.only_second],
        "seed_only": found.seed_only,
        "settings": [{"key": key, "first": a, "second": b} for key, a, b in found.settings],
        "data": data if found.data_known else None,
    }
    return json.dumps(document, indent=1, allow_nan=False)


def _object(change: Change) -> dict[str, Any]:
    d, verdict = change.finding, change.verdict
    numbers = {"first": change.first, "second": change.second, "difference": d.value}
    numbers |= {"low": d.low, "high": d.high, "p": d.p, "p_holm": change.p_holm}
    numbers |= {"images_variance": d.images, "training_variance": d.training}
    return {
        **_place(change.place),
        **{name: json_number(value) for name, value in numbers.items()},
        "moved": verdict is Verdict.MORE_THAN_NOISE,
        "training_counted": d.counted,
        "untested": verdict is Verdict.UNTESTED,
        "same_scores": verdict is Verdict.SAME,
        "verdict": verdict.value,
        "how": d.how,
        "undefined": d.reason,
        "note": change.note,
    }


def _place(place: Place) -> dict[str, str]:
    return dict(zip(("detector", "train_on", "test_on", "degradation"), place, strict=True))
