"""What differs between two studies, as text and as JSON. Floor 3."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from study.planning.differences import BY_INTERVALS, Change, StudyDiff
from study.records import NO_DEGRADATION
from study.reporting.cells_csv import Place
from study.reporting.markdown import columns, number, with_interval

SCHEMA = 1


def as_text(found: StudyDiff) -> str:
    """Return the difference for a person: what moved, what is noise, what only one has, what was set otherwise."""
    parts = [f"{found.first} -> {found.second}", _summary(found), *_changes(found)]
    parts += [_listed("no number in both", [f"{_name(p)}: {a} -> {b}" for p, a, b in found.states])]
    parts += [_listed(f"only in {found.first}", [_name(p) for p in found.only_first])]
    parts += [_listed(f"only in {found.second}", [_name(p) for p in found.only_second])]
    parts += [_listed("study files", [f"{key}: {a} -> {b}" for key, a, b in found.settings])]
    parts += [_listed("data of different content", [f"{name} ({splits})" for name, splits in found.data])]
    if not found.data_known:
        parts.append("whether the data are the same is not known: one of them has no cells.csv; run its cross_eval again")
    return "\n\n".join(part for part in parts if part)


def _summary(found: StudyDiff) -> str:
    changes = found.changes
    moved, same, untested = (sum(getattr(c, kind) for c in changes) for kind in ("moved", "same", "untested"))
    return (
        f"{len(changes)} cells with an AUC in both: {moved} moved by more than noise, "
        f"{len(changes) - moved - same - untested} not by more than noise, {untested} cannot be tested, {same} hold the same scores"
    )


def _changes(found: StudyDiff) -> list[str]:
    """Tables of the cells that differ, the largest difference first."""
    parts = []
    ranked = sorted(found.changes, key=lambda c: -abs(c.second - c.first))
    for title, chosen in (
        ("moved", [c for c in ranked if c.moved]),
        ("not more than noise", [c for c in ranked if not c.moved and not c.same and not c.untested]),
        ("cannot be tested", [c for c in ranked if c.untested]),
    ):
        if chosen:
            head = ("cell", "AUC", "->", "change", "tested [95 % interval]", "p (Holm)", "by")
            parts.append(f"{title}:\n{columns([head, *map(_line, chosen)])}")
    if parts:
        parts.append(EXPLAINED)
    return parts


EXPLAINED = f"""AUC: mean over seeds, as in the matrices. Tested: the difference of the mean logits' AUCs on the same images where
both stores hold the scores, else ("{BY_INTERVALS}") the matrices' own difference, which finds less.
Only the sampling of images is in it: what another training seed would change is the sd of the matrices."""


def _line(change: Change) -> list[str]:
    d = change.difference
    p = "undefined" if math.isnan(change.p_holm) else "< 0.001" if change.p_holm < 0.001 else f"{change.p_holm:.3f}"
    how = "; ".join(text for text in (d.how, d.reason, d.note) if text)
    numbers = [number(change.first), number(change.second), number(change.second - change.first, signed=True)]
    return [_name(change.place), *numbers, with_interval(d.value, d.low, d.high, signed=True), p, how]


def _name(place: Place) -> str:
    detector, train_on, test_on, degradation = place
    return f"{detector} @ {train_on} -> {test_on}" + ("" if degradation == NO_DEGRADATION else f" ?{degradation}")


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n  ".join([f"{title}:", *lines]) if lines else ""


def as_json(found: StudyDiff) -> str:
    """Return the difference as one JSON object; NaN is null."""
    table = {
        "schema": SCHEMA,
        "first": found.first,
        "second": found.second,
        "cells": [_object(change) for change in found.changes],
        "states": [{**_place(p), "first": a, "second": b} for p, a, b in found.states],
        "only_first": [_place(p) for p in found.only_first],
        "only_second": [_place(p) for p in found.only_second],
        "settings": [{"key": key, "first": a, "second": b} for key, a, b in found.settings],
        "data": [{"dataset": name, "splits": splits} for name, splits in found.data] if found.data_known else None,
    }
    return json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False)


def _object(change: Change) -> dict[str, Any]:
    d = change.difference
    numbers = {"first": change.first, "second": change.second, "difference": d.value, "low": d.low, "high": d.high}
    tested = {name: None if math.isnan(v) else v for name, v in {**numbers, "p": d.p, "p_holm": change.p_holm}.items()}
    words = {"how": d.how, "undefined": d.reason, "note": d.note}
    return {
        **_place(change.place),
        **tested,
        "moved": change.moved,
        "untested": change.untested,
        "same_scores": change.same,
        **words,
    }


def _place(place: Place) -> dict[str, str]:
    return dict(zip(("detector", "train_on", "test_on", "degradation"), place, strict=True))
