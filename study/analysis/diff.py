"""Two studies, or two versions of one: which cells moved, by how much, and is that more than noise?

Two folders of results are read, no data and no model. A change is that of the mean over seeds of
single models. Where both hold a cell's scores, it is tested on the images that both scored, as two
detectors are; else the two intervals must do, as if of different images, which overstates the noise
where they are the same. What training sample and seeds decide stands in cells.csv. It is taken as
independent between the two, which overstates it where both learned from the same images. Holm over
all cells.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from study.analysis.cells_csv import CellFile, Place, read_cells
from study.analysis.results import ResultRow
from study.analysis.results_csv import read_matrix
from study.analysis.score_set import align
from study.analysis.significance import Verdict, judge
from study.analysis.weighted_sums import TrainingParts, difference
from study.core.errors import ScoreError, StoreError, unknown_name
from study.core.identity import derive_seed
from study.core.records import NO_DEGRADATION, Scores
from study.planning.cells import PlannedCell, test_content
from study.planning.open_study import OpenStudy
from study.statistics.comparisons import holm
from study.statistics.error_model import POWER, Finding, Part
from study.statistics.resampling import Z
from study.store.store import Store

BY_INTERVALS = "both intervals, as of different images"
SAME = "the same scores"
UNLIKE = "no image, or another label or group of one, in common"


@dataclass(frozen=True, kw_only=True)
class Version:
    """One side. cells: () where the folder has no cells.csv. rows: the AUC of each cell's images,
    mean over seeds.
    """

    name: str
    folder: Path
    study: Mapping[str, Any]
    rows: Mapping[Place, ResultRow]
    cells: tuple[CellFile, ...]

    def scores(self, place: Place) -> list[Scores]:
        """Return a cell's scores, a seed each; [] where the store has not all that cells.csv
        names.
        """
        store = Store(self.folder.parent, self.folder.name)
        named = [cell.scores for cell in self.cells if cell.place == place and cell.state == "done"]
        return [store.scores(key) for key in named] if all(map(store.has_scores, named)) else []

    def training(self, place: Place) -> Part | None:
        """Return what training sample and seeds add to a cell's error; None where it is not
        counted.
        """
        one = next((cell for cell in self.cells if cell.place == place), None)
        if one is None or math.isnan(one.training):
            return None
        return Part(variance=one.training, doubt=one.training_doubt)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A cell that both versions have a number in: AUCs as in the matrix, in [0, 1], and the second
    minus the first, tested. p_holm: over all cells. note: what is to be said of it.
    """

    place: Place
    first: float
    second: float
    finding: Finding
    p_holm: float = math.nan
    note: str = ""

    @property
    def same(self) -> bool:
        """Whether both hold the same scores."""
        return self.finding.how == SAME

    @property
    def verdict(self) -> Verdict:
        """What it is."""
        return judge(self.finding, self.p_holm, same=self.same)


@dataclass(frozen=True, kw_only=True)
class StudyDiff:
    """What differs. settings: (key, first, second) of the study files. data: (dataset, splits)
    whose content differs.

    states: (place, first, second) of cells that not both have a number in, though both have the
    cell.
    """

    first: str
    second: str
    changes: tuple[Change, ...]
    states: tuple[tuple[Place, str, str], ...]
    only_first: tuple[Place, ...]
    only_second: tuple[Place, ...]
    settings: tuple[tuple[str, str, str], ...]
    data: tuple[tuple[str, str], ...]
    data_known: bool

    @property
    def seed_only(self) -> bool:
        """Whether the study files differ in the seed and nothing else but the name, and no data are
        known to differ.
        """
        return {key for key, _, _ in self.settings} - {"name"} == {"seed"} and not self.data


def cell_files(
    setup: OpenStudy, cells: Iterable[PlannedCell], training: TrainingParts
) -> list[CellFile]:
    """Return what cells.csv says of a study's cells. training: what training sample and seeds add
    to the errors of clean cells.
    """
    return [
        CellFile(
            detector=planned.cell.pairing.detector,
            train_on=planned.cell.pairing.train_on,
            test_on=planned.cell.test_on,
            degradation=planned.cell.degradation,
            seed=planned.cell.winner_seed,
            state=planned.cell.state,
            model=planned.winner.key if planned.winner is not None else "",
            scores=planned.cell.scores_key,
            train_data=setup.keys.data.get(planned.cell.pairing.train_on, ""),
            test_data=test_content(setup, planned.cell.test_on),
            **_training(planned, training),
        )
        for planned in cells
    ]


def _training(planned: PlannedCell, training: TrainingParts) -> dict[str, float]:
    cell = planned.cell
    clean = cell.degradation == NO_DEGRADATION
    part = training.get((cell.pairing, cell.test_on)) if clean else None
    return {} if part is None else {"training": part.variance, "training_doubt": part.doubt}


def open_version(word: str, results: Path) -> Version:
    """Open a study by its name below the results, or by its folder; the audit's classifiers are no
    cells of it.

    Raises StoreError where there is no matrix in it.
    """
    folder = Path(word) if Path(word).is_dir() else results / word
    if not folder.is_dir():
        known = [path.parent.name for path in results.glob("*/study.toml")]
        raise StoreError(
            unknown_name("study", word, known, where=f"results '{results}'")
            + "; or the folder of one"
        )
    matrix = next(
        (folder / name for name in ("matrix.csv", "matrix.csv.gz") if (folder / name).is_file()),
        None,
    )
    if matrix is None:
        raise StoreError(f"'{folder}' has no matrix.csv: run cross_eval on that study first")
    rows = [
        row
        for row in read_matrix(matrix)
        if row.metric == "auc"
        and row.is_whole
        and row.level == "image"
        and row.role != "baseline"
        and row.is_first
    ]
    return Version(
        name=word,
        folder=folder.absolute(),
        study=_toml(folder / "study.toml"),
        rows={_place(row): row for row in rows if row.seed == "mean"},
        cells=tuple(read_cells(folder / "cells.csv")),
    )


def _place(row: ResultRow) -> Place:
    return row.detector, row.train_on, row.test_on, row.degradation


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StoreError(f"'{path}' cannot be read ({error})") from None


def compare_versions(first: Version, second: Version) -> StudyDiff:
    """Compare two versions. Raises StoreError where a file of scores cannot be read."""
    both = [place for place in first.rows if place in second.rows]
    numbered = [
        place for place in both if first.rows[place].has_number and second.rows[place].has_number
    ]
    changes = [_change(first, second, place) for place in numbered]
    adjusted = holm([math.nan if change.same else change.finding.p for change in changes])
    return StudyDiff(
        first=first.name,
        second=second.name,
        changes=tuple(replace(c, p_holm=float(p)) for c, p in zip(changes, adjusted, strict=True)),
        states=tuple(
            (p, _state(first.rows[p]), _state(second.rows[p])) for p in both if p not in numbered
        ),
        only_first=tuple(place for place in first.rows if place not in second.rows),
        only_second=tuple(place for place in second.rows if place not in first.rows),
        settings=tuple(_settings(first.study, second.study)),
        data=tuple(_data(first.cells, second.cells)),
        data_known=bool(first.cells and second.cells),
    )


def _state(row: ResultRow) -> str:
    return (
        f"{row.estimate.value:.3f}"
        if row.has_number
        else "undefined"
        if row.state == "done"
        else row.state
    )


def _change(first: Version, second: Version, place: Place) -> Change:
    rows = first.rows[place], second.rows[place]
    parts = first.training(place), second.training(place)
    training = parts[0] + parts[1] if parts[0] is not None and parts[1] is not None else None
    scores = first.scores(place), second.scores(place)
    counted = training is not None
    finding, note = _paired(*scores, place, training) or (
        _by_intervals(*rows, counted=counted),
        UNLIKE if all(scores) else "",
    )
    return Change(
        place=place,
        first=rows[0].estimate.value,
        second=rows[1].estimate.value,
        finding=finding,
        note=note,
    )


def _paired(
    first: Sequence[Scores], second: Sequence[Scores], place: Place, training: Part | None
) -> tuple[Finding, str] | None:
    """Compare on the images that all seeds of both scored; with what is to be said of it. None
    where that cannot be.
    """
    if not first or not second:
        return None
    try:
        held = align([*second, *first])
    except ScoreError:
        return None
    if not len(held):
        return None
    fewer = max(len(one.label) for one in (*first, *second)) - len(held)
    if not fewer and _same(first, second):
        return Finding(value=0.0, low=0.0, high=0.0, p=1.0, how=SAME), ""
    sides = tuple(range(len(second))), tuple(range(len(second), len(second) + len(first)))
    total = difference(held, sides, test_on=place[2], rng_seed=derive_seed("diff", place[2]))
    fewer_words = f"on the {len(held)} images that both scored" if fewer else ""
    return total.judged(training), "; ".join(filter(None, (total.note, fewer_words)))


def _same(first: Sequence[Scores], second: Sequence[Scores]) -> bool:
    """Whether all seeds hold the same logits."""
    return len(first) == len(second) and all(
        np.array_equal(a.logit, b.logit) for a, b in zip(first, second, strict=True)
    )


def _by_intervals(first: ResultRow, second: ResultRow, *, counted: bool) -> Finding:
    """Compare two AUCs by their own intervals, taken as independent: each end by the reaches that
    lead to it. counted: whether both intervals count the training sample.

    MOVER (Zou and Donner, 2008). An AUC's interval reaches farther to the side away from 1, where
    half its width would be too little. p belongs to the end nearer to 0, so that the two agree.
    """
    a, b = first.estimate, second.estimate
    value = b.value - a.value
    down = math.hypot(b.value - b.low, a.high - a.value)
    up = math.hypot(b.high - b.value, a.value - a.low)
    if not min(down, up) > 0:
        why = "an interval has no width" if min(down, up) == 0 else "no interval"
        return Finding(value=value, counted=counted, how=BY_INTERVALS, reason=why)
    toward = down if value > 0 else up
    return Finding(
        value=value,
        low=max(value - down, -1.0),
        high=min(value + up, 1.0),
        p=float(2 * ndtr(-abs(value) * Z / toward)),
        counted=counted,
        error=toward / Z,
        smallest=(Z + float(ndtri(POWER))) * max(down, up) / Z,
        how=BY_INTERVALS,
    )


def _settings(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterable[tuple[str, str, str]]:
    a, b = dict(_flat(first)), dict(_flat(second))
    return (
        (key, a.get(key, "(not there)"), b.get(key, "(not there)"))
        for key in {**a, **b}
        if a.get(key) != b.get(key)
    )


def _flat(table: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)


def _data(first: Sequence[CellFile], second: Sequence[CellFile]) -> list[tuple[str, str]]:
    """The datasets, and which of their splits, that both have with different content."""
    found: list[tuple[str, str]] = []
    for splits, name, key in (
        ("train and val", "train_on", "train_data"),
        ("test", "test_on", "test_data"),
    ):
        a, b = (
            {getattr(cell, name): getattr(cell, key) for cell in cells} for cells in (first, second)
        )
        found += [(dataset, splits) for dataset in a if dataset in b and a[dataset] != b[dataset]]
    return found
