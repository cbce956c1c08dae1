"""Two studies, or two versions of one: which cells moved, by how much, and is that more than noise?

Two folders of results are read, no data and no model. Where both hold a cell's scores, the
AUCs of the mean logits over seeds are compared on the images that both scored, as two detectors are
(DeLong's paired test, or the paired cluster bootstrap); else the two intervals must do, as if of
different images, which overstates the noise where they are the same. Only what neither the images
nor the training seeds nor both at once explain is more than noise, as between detectors. Holm over
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
from numpy.typing import NDArray
from scipy.special import ndtr

from study.analysis.cells_csv import CellFile, Place, read_cells
from study.analysis.results import ResultRow
from study.analysis.results_csv import read_matrix
from study.analysis.significance import Verdict, by_p, judge
from study.core.errors import StoreError, unknown_name
from study.core.identity import derive_seed
from study.core.records import NO_TRAINING, Scores
from study.planning.cells import PlannedCell, test_content
from study.planning.open_study import OpenStudy
from study.statistics.comparisons import PairedAucs, holm
from study.statistics.differences import Difference, smallest_difference
from study.statistics.metrics import auc
from study.statistics.ranking import Floats
from study.statistics.resampling import Z
from study.statistics.seeds import SeedLead, lead_over_seeds, p_of_both, same_logits
from study.store.store import Store

BY_INTERVALS = "both intervals, as of different images"
SAME = "the same scores"
UNLIKE = "no image, or another label or group of one, in common"


@dataclass(frozen=True, kw_only=True)
class Version:
    """One side. cells: () where the folder has no cells.csv. rows: the AUC of each cell's images,
    mean over seeds.

    of_seeds: the AUCs of each cell by seed, as far as they are defined.
    """

    name: str
    folder: Path
    study: Mapping[str, Any]
    rows: Mapping[Place, ResultRow]
    of_seeds: Mapping[Place, tuple[float, ...]]
    cells: tuple[CellFile, ...]

    def scores(self, place: Place) -> list[Scores]:
        """Return a cell's scores, a seed each; [] where the store has not all that cells.csv
        names.
        """
        store = Store(self.folder.parent, self.folder.name)
        named = [cell.scores for cell in self.cells if cell.place == place and cell.state == "done"]
        return [store.scores(key) for key in named] if all(map(store.has_scores, named)) else []


@dataclass(frozen=True, kw_only=True)
class Change:
    """A cell that both versions have a number in: AUCs as in the matrix, in [0, 1], and the second
    minus the first, tested.

    difference, p_holm: over images. seeds: over training seeds. p_noise: the largest p of images,
    of seeds and of both at once,
        after Holm; NaN where that of the seeds is unknown.
    """

    place: Place
    first: float
    second: float
    difference: Difference
    seeds: SeedLead
    p_holm: float = math.nan
    p_noise: float = math.nan

    @property
    def same(self) -> bool:
        """Whether both hold the same scores."""
        return self.difference.how == SAME

    @property
    def verdict(self) -> Verdict:
        """What it is, over images and seeds."""
        return judge(self.p_holm, by_p(self.p_noise), same=self.same)


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


def cell_files(setup: OpenStudy, cells: Iterable[PlannedCell]) -> list[CellFile]:
    """Return what cells.csv says of a study's cells."""
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
        )
        for planned in cells
    ]


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
        if row.metric == "auc" and row.is_whole and row.level == "image" and row.role != "baseline"
    ]
    of_seeds: dict[Place, list[float]] = {}
    for row in rows:
        if row.seed != "mean" and row.has_number:
            of_seeds.setdefault(_place(row), []).append(row.estimate.value)
    return Version(
        name=word,
        folder=folder.absolute(),
        study=_toml(folder / "study.toml"),
        rows={_place(row): row for row in rows if row.seed == "mean"},
        of_seeds={place: tuple(aucs) for place, aucs in of_seeds.items()},
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
    images = holm([math.nan if change.same else change.difference.p for change in changes])
    noise = holm([change.p_noise for change in changes])
    return StudyDiff(
        first=first.name,
        second=second.name,
        changes=tuple(
            replace(c, p_holm=float(p), p_noise=float(q))
            for c, p, q in zip(changes, images, noise, strict=True)
        ),
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
    scores = first.scores(place), second.scores(place)
    fixed = place[1] == NO_TRAINING
    by_matrix = [
        version.of_seeds.get(place, (row.estimate.value,))
        for version, row in ((second, rows[1]), (first, rows[0]))
    ]
    found, seeds = _paired(*scores, place) or (
        _by_intervals(*rows),
        lead_over_seeds(*by_matrix, seedless=(fixed, fixed)),
    )
    if all(scores) and found.how == BY_INTERVALS:
        found = replace(found, note="; ".join(text for text in (found.note, UNLIKE) if text))
    tested = [found.p, seeds.p, p_of_both(found.value, found.error**2, seeds)]
    return Change(
        place=place,
        first=rows[0].estimate.value,
        second=rows[1].estimate.value,
        difference=found,
        seeds=seeds,
        p_noise=math.nan if found.how == SAME else float(np.max(tested)),
    )


def _paired(
    first: Sequence[Scores], second: Sequence[Scores], place: Place
) -> tuple[Difference, SeedLead] | None:
    """Compare on the images that all seeds of both scored, over images and over seeds; None where
    that cannot be.
    """
    if not first or not second:
        return None
    common = first[0].sample_id
    for one in (*first[1:], *second):
        common = np.intersect1d(common, one.sample_id)
    kept = [[np.isin(one.sample_id, common) for one in seeds] for seeds in (first, second)]
    label, group = first[0].label[kept[0][0]], first[0].group[kept[0][0]]
    theirs = second[0].label[kept[1][0]], second[0].group[kept[1][0]]
    if (
        not len(common)
        or not np.array_equal(label, theirs[0])
        or not np.array_equal(group, theirs[1])
    ):
        return None
    logits = [
        [one.logit[keep].astype(np.float64) for one, keep in zip(seeds, keeps, strict=True)]
        for seeds, keeps in zip((first, second), kept, strict=True)
    ]
    means = [np.mean(of_seeds, axis=0) for of_seeds in logits]
    lead = _over_seeds(label, logits[1], logits[0], untrained=place[1] == NO_TRAINING)
    if np.array_equal(*means) and len(common) == len(first[0].label) == len(second[0].label):
        return Difference(value=0.0, low=0.0, high=0.0, p=1.0, how=SAME), lead
    found = PairedAucs(label, means, group, rng_seed=derive_seed("diff", place[2])).difference(1, 0)
    fewer = max(len(first[0].label), len(second[0].label)) - len(common)
    note = "; ".join(
        t
        for t in (found.note, f"on the {len(common)} images that both scored" if fewer else "")
        if t
    )
    return replace(found, note=note), lead


def _over_seeds(
    label: NDArray[np.uint8], logits: Sequence[Floats], others: Sequence[Floats], *, untrained: bool
) -> SeedLead:
    """How far the AUCs of some seeds' logits (N,) lie above those of others, of the same images."""
    aucs = [[auc(label, one) for one in side] for side in (logits, others)]
    fixed = [untrained or same_logits(side) for side in (logits, others)]
    return lead_over_seeds(*aucs, seedless=(fixed[0], fixed[1]))


def _by_intervals(first: ResultRow, second: ResultRow) -> Difference:
    """Compare two AUCs by their own intervals, taken as independent: each end by the reaches that
    lead to it.

    MOVER (Zou and Donner, 2008). An AUC's interval reaches farther to the side away from 1, where
    half its width would be too little. p belongs to the end nearer to 0, so that the two agree.
    """
    a, b = first.estimate, second.estimate
    value = b.value - a.value
    down = math.hypot(b.value - b.low, a.high - a.value)
    up = math.hypot(b.high - b.value, a.value - a.low)
    if not min(down, up) > 0:
        return Difference(
            value=value,
            how=BY_INTERVALS,
            reason="an interval has no width" if min(down, up) == 0 else "no interval",
        )
    toward = down if value > 0 else up
    return Difference(
        value=value,
        low=max(value - down, -1.0),
        high=min(value + up, 1.0),
        p=float(2 * ndtr(-abs(value) * Z / toward)),
        smallest=smallest_difference(max(down, up) / Z),
        error=toward / Z,
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
