"""What deliveries change, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from study.analysis.deliveries import EVERY, SAME, Deliveries, Flips, RankStability
from study.core.csv_lines import csv_line
from study.render.numbers import number, with_interval
from study.render.table import Column, markdown, table
from study.statistics.ranks import tied_ranks

FLIPS = (
    "The share of verdicts that are others than under the detector's own geometry: the same"
    " winners, the same images of all test sets, mean over seeds [95 % interval by group, of these"
    " models]. The threshold is that of the source's val; of a detector without a source it is"
    " logit 0. Each test set, and which way verdicts turn, is in deliveries.csv."
)
RANKS = (
    "Whether detectors keep their order: Kendall's tau-b between their mean AUCs over the"
    " cross-domain cells under their own geometries and under a delivery, on the same images. It"
    " has no interval: where leads are no more than noise, another sample of images turns pairs"
    " too. delivery_ranks.csv has the AUCs."
)
FILES = ("deliveries.csv", "delivery_ranks.csv")


def deliveries_markdown(found: Deliveries) -> str:
    """Return both tables, "" where the study has no delivery. Ends with a newline."""
    if not found.flips:
        return ""
    parts = ["# Deliveries", FLIPS, _flips_table(found.flips), *_flips_notes(found.flips)]
    parts += ["## Ranks under deliveries", RANKS, _tau_table(found.ranks), _rank_table(found.ranks)]
    return "\n\n".join(filter(None, [*parts, *_rank_notes(found.ranks)])) + "\n"


def _flips_table(found: Sequence[Flips]) -> str:
    whole = [one for one in found if one.test_on == EVERY]
    names = list(dict.fromkeys(one.delivery for one in whole))
    rows: dict[tuple[str, str], dict[str, Flips]] = {}
    for one in whole:
        rows.setdefault((one.detector, one.train_on), {})[one.delivery] = one
    lines = [
        (
            *(detector, train_on, f"{max(one.images for one in of.values()):,}"),
            *(_share(of[name]) if name in of else "-" for name in names),
        )
        for (detector, train_on), of in rows.items()
    ]
    return markdown(table(("detector", "train on", Column("images", "count"), *names), lines))


def _share(one: Flips) -> str:
    if one.reason:
        return f"undefined ({one.reason})"
    if one.note.startswith(SAME):
        return "own geometry"
    return with_interval(one.share, one.low, one.high)


def _flips_notes(found: Sequence[Flips]) -> list[str]:
    """What is to be said of a table: thresholds of another kind, exact bounds, missing test sets,
    and leaks.
    """
    whole = [one for one in found if one.test_on == EVERY]
    fixed = dict.fromkeys(one.detector for one in whole if one.threshold == "fixed")
    said = [f"Without a source, so judged at logit 0: {', '.join(fixed)}."] if fixed else []
    notes: dict[str, list[str]] = {}
    for one in whole:
        if one.note and not one.note.startswith(SAME):
            notes.setdefault(one.note, []).append(_name(one))
    said += [f"{note}: {', '.join(names)}." for note, names in notes.items()]
    leaked = {one.train_on: one.leaked for one in whole if one.leaked}
    if leaked:
        what = ", ".join(f"{name} {count}" for name, count in leaked.items())
        said.append(f"Test images that leak from training are left out: {what}.")
    return said


def _name(one: Flips) -> str:
    return f"{one.detector} @ {one.train_on} under {one.delivery}"


def _tau_table(found: Sequence[RankStability]) -> str:
    head = (
        *("delivery", Column("detectors", "count"), Column("cells", "count"), "tau"),
        "pairs in the other order",
    )
    lines = [
        (
            *(one.delivery, len(one.own), len(one.places)),
            f"undefined ({one.reason})" if one.reason else number(one.tau),
            f"{one.turned} of {one.pairs}",
        )
        for one in found
    ]
    return markdown(table(head, lines))


def _rank_table(found: Sequence[RankStability]) -> str:
    """Every detector's rank and mean AUC, under its own geometry and each delivery."""
    first = found[0]
    if not first.own:
        return ""
    columns: list[tuple[str, dict[str, str]]] = [("own geometry", _ranked(first.own.items()))]
    columns += [(one.delivery, _ranked(one.delivered.items())) for one in found]
    order = sorted(first.own, key=lambda name: -first.own[name])
    lines = [(name, *(held.get(name, "-") for _, held in columns)) for name in order]
    said = "Rank, and mean AUC over the cross-domain cells:"
    return f"{said}\n\n{markdown(table(('detector', *(name for name, _ in columns)), lines))}"


def _ranked(aucs: Iterable[tuple[str, float]]) -> dict[str, str]:
    return {name: f"{rank:g} ({number(auc)})" for name, auc, rank in _with_ranks(aucs)}


def _with_ranks(aucs: Iterable[tuple[str, float]]) -> list[tuple[str, float, float]]:
    """(detector, AUC, rank), the highest AUC first in rank; ties share their mean rank."""
    held = list(aucs)
    found = tied_ranks([-auc for _, auc in held]).tolist()
    return [(name, auc, rank) for (name, auc), rank in zip(held, found, strict=True)]


def _rank_notes(found: Sequence[RankStability]) -> list[str]:
    first, said = found[0], []
    if first.marked:
        said.append(
            "All these cells are on test sets that the audit marks, as there are no others."
        )
    if first.left_out:
        said.append(
            f"Without a rank, as cross-domain cells are missing: {', '.join(first.left_out)}."
        )
    return said


def flips_csv(found: Sequence[Flips]) -> str:
    """Return deliveries.csv: the fields of `Flips`; test_on is `(all)` for all test sets
    together.
    """
    names = [field.name for field in fields(Flips)]
    lines = [csv_line(names)]
    for one in found:
        held = {**vars(one), "test_on": one.test_on or "(all)"}
        lines.append(csv_line([held[name] for name in names]))
    return "".join(lines)


def ranks_csv(found: Sequence[RankStability]) -> str:
    """Return delivery_ranks.csv: a line a delivery and detector, with the delivery's tau."""
    head = ("delivery", "detector", "own_auc", "auc", "own_rank", "rank", "tau", "turned", "pairs")
    lines = [csv_line((*head, "cells", "reason"))]
    for one in found:
        delivered = {name: (auc, rank) for name, auc, rank in _with_ranks(one.delivered.items())}
        for name, own, own_rank in _with_ranks(one.own.items()):
            auc, rank = delivered[name]
            of_all = (one.tau, one.turned, one.pairs, len(one.places), one.reason)
            lines.append(csv_line((one.delivery, name, own, auc, own_rank, rank, *of_all)))
    return "".join(lines)
