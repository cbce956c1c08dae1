"""The ledger: what the authors of published detectors claim, against what a study has.

`reproduced` and `not reproduced` are said only of the claim's own test: the same weights, images,
preprocessing, metric and threshold. Otherwise a claim is `untestable here`, because of what is
named, and the study's numbers stand beside it as numbers on other data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from study.analysis.cells_csv import read_cells
from study.analysis.results import ResultRow
from study.analysis.results_csv import MATRIX, read_matrix
from study.core.records import NO_DEGRADATION, Scores
from study.core.validation import read_toml
from study.detectors.entry import Claim, Published
from study.detectors.geometries import CHOSEN
from study.detectors.published import PUBLISHED
from study.store.store import Store

Verdict = Literal["reproduced", "not reproduced", "untestable here"]
Measured = tuple[str, str]  # metric, threshold


@dataclass(frozen=True, kw_only=True)
class Line:
    """A claim and what the study says of it. because: what makes it untestable, or on what the
    verdict rests. ours: the study's numbers, of the claim's metric and the AUC: on the claim's test
    set where it could be tested, else on all test sets.
    """

    detector: str
    card: Published
    claim: Claim
    verdict: Verdict
    because: str
    ours: tuple[ResultRow, ...]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Every claim of the published detectors of a study. rows: all their plain numbers. images: the
    digest of each test set's list of images. without_claim: detectors that none is on record of.
    """

    lines: tuple[Line, ...] = ()
    rows: tuple[ResultRow, ...] = ()
    images: Mapping[str, str]
    without_claim: tuple[str, ...] = ()


def read_ledger(folder: Path, cards: Mapping[str, Published] | None = None) -> Ledger:
    """Return the ledger of a study's results; cards: of published detectors by name. Raises
    StoreError where they cannot be read.
    """
    known = {name: line.published for name, line in PUBLISHED.items()} if cards is None else cards
    mine = {name: card for name, card in known.items() if card is not None}
    store, images = Store(folder.parent, folder.name), {}
    for cell in read_cells(folder / "cells.csv"):
        clean = cell.degradation == NO_DEGRADATION and cell.state == "done"
        if clean and cell.detector in mine and cell.test_on not in images:
            images[cell.test_on] = images_sha256(store.scores(cell.scores))
    if not images:
        return Ledger(images={})
    study = read_toml((folder / "study.toml").read_text(encoding="utf-8"))
    rows = [row for row in read_matrix(folder / MATRIX) if row.is_first]
    chosen = {name: _chosen(said) for name, said in study.get("detector", {}).items()}
    return ledger(rows, images, mine, prepared=_prepared(study["data"]), chosen=chosen)


def images_sha256(scores: Scores) -> str:
    """Return the digest of a test set's list of images: of a line `label<TAB>id` for each, sorted,
    each with its newline. label: 1 is fake.
    """
    lines = sorted(f"{y}\t{name}\n" for y, name in zip(scores.label, scores.sample_id, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def ledger(
    rows: Iterable[ResultRow],
    images: Mapping[str, str],
    cards: Mapping[str, Published],
    *,
    prepared: Sequence[str] = (),
    chosen: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Ledger:
    """Return the ledger. rows: of the matrix. prepared: what the study does to its images first;
    chosen: likewise, for one detector.
    """
    plain = tuple(r for r in rows if r.detector in cards and r.is_plain and r.seed == "mean")
    lines, without = [], []
    for name in dict.fromkeys(row.detector for row in plain):
        own = [row for row in plain if row.detector == name]
        first = [*prepared, *chosen.get(name, ())]
        lines += [_line(name, cards[name], c, own, images, first) for c in cards[name].claims]
        without += [] if cards[name].claims else [name]
    return Ledger(lines=tuple(lines), rows=plain, images=images, without_claim=tuple(without))


def _line(
    name: str,
    card: Published,
    claim: Claim,
    own: list[ResultRow],
    images: Mapping[str, str],
    prepared: Sequence[str],
) -> Line:
    wanted = {(claim.metric, claim.threshold), ("auc", "")}
    shown = [row for row in own if (row.metric, row.threshold) in wanted]
    there = [row for row in shown if row.test_on == claim.test_set]
    row = next(
        (r for r in there if (r.metric, r.threshold) == (claim.metric, claim.threshold)), None
    )
    reasons = _reasons(claim, row, images, prepared)
    verdict: Verdict = "untestable here"
    because = "; ".join(reasons)
    if row is not None and not reasons:
        inside = row.estimate.low <= claim.value + claim.step / 2
        inside = inside and claim.value - claim.step / 2 <= row.estimate.high
        same_list = bool(claim.images_sha256)
        if inside or same_list:
            verdict = "reproduced" if inside else "not reproduced"
            because = "same list of images" if same_list else "same name and number of images"
        else:
            because = (
                "the claim lies outside our interval, but of its images only the number is known"
            )
    return Line(
        detector=name,
        card=card,
        claim=claim,
        verdict=verdict,
        because=because,
        ours=tuple(there if row is not None and not reasons else shown),
    )


def _reasons(
    claim: Claim, row: ResultRow | None, images: Mapping[str, str], prepared: Sequence[str]
) -> list[str]:
    """What makes a claim untestable by a number of the study."""
    found = []
    if not claim.test_set or claim.test_set not in images:
        found.append("other test data")
    elif row is None:
        found.append(f"the study has no {claim.metric} {claim.threshold}".rstrip())
    else:
        found += _other_images(claim, row, images[claim.test_set])
        if not math.isfinite(row.estimate.low) or not math.isfinite(row.estimate.high):
            found.append(f"our number has no interval ({row.estimate.reason or row.reason})")
    if claim.of:
        found.append(f"the claim is of {claim.of}")
    if claim.preprocessing:
        found.append(f"other preprocessing: the claim's is {claim.preprocessing}")
    return found + [f"other preprocessing: the study {what}" for what in prepared]


def _prepared(data: Mapping[str, Any]) -> list[str]:
    """What a study does to its images before a detector sees them, by its file."""
    faces = data.get("faces", "none")
    said = [] if faces == "none" else [f"cuts faces out (data.faces = {faces})"]
    return said + (["re-encodes its images (data.unify)"] if data.get("unify") else [])


def _chosen(said: Mapping[str, Any]) -> list[str]:
    """What a study does otherwise than a detector's own preprocessing, by its section."""
    return [f"takes {key} = {said[key]!r}" for key in CHOSEN if key in said]


def _other_images(claim: Claim, row: ResultRow, ours: str) -> list[str]:
    """Why the images of a test set of the claim's name are not the claim's."""
    if claim.images_sha256:
        return [] if claim.images_sha256 == ours else ["other test data: another list of images"]
    if not claim.n_real or not claim.n_fake:
        return ["other test data: which images the claim is of is not known"]
    of = row.estimate
    if (of.n_real, of.n_fake) == (claim.n_real, claim.n_fake):
        return []
    return [
        f"other test data: {of.n_real:,} real and {of.n_fake:,} fake images, where the claim has"
        f" {claim.n_real:,} and {claim.n_fake:,}"
    ]
