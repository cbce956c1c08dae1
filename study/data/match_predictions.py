"""Scores that were made elsewhere, matched to the images of a test set by sample id or path.

A CSV file with the columns

    sample_id   as in the store, `<dataset>/<path>`; or
    path        wholly or in part: the longest agreement from the file's name upwards counts, so
                that `/their/disk/fake/0001.png` and `fake/0001.png` are both
                `<dataset>/fake/0001.png`
    score       a finite number, higher = more fake, in a unit of `predictions.UNITS`
    label       need not be there; where it is, it must be the dataset's

Nothing is guessed: a path that fits several images, two lines of one image, and a label that
differs are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.records import Scores
from study.data.csv_file import CsvRows
from study.data.datasets import Dataset, strings
from study.data.datasets import labels as labels_of
from study.data.label_check import FEWEST, NEARLY_ALL
from study.data.predictions import labels, logits, read_rows

SHOWN = 3  # names in a note; the store has them all
NO_PREDICTION = "no prediction"


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """Scores of a test set's images, float64 logits; `scores.excluded` names those without one.
    notes: what a reader must know.
    """

    scores: Scores
    notes: tuple[str, ...]


def match_predictions(
    path: Path, dataset: Dataset, *, unit: str = "", higher_is_real: bool = False
) -> MatchResult:
    """Read a CSV file and match it to a dataset's test split. The dataset must hold its test rows.

    Raises DataError, naming file, line and value, for what `predictions.read_predictions` refuses;
    for a line that fits several images, a second line of one image, a label that is not the
    dataset's; and for a file of which no line is of a test image.
    """
    lines = read_rows(path, {}, needed=("score",), optional=("sample_id", "path", "label"))
    by = next((name for name in ("sample_id", "path") if name in lines.names), None)
    if by is None:
        raise DataError(
            f"{path}, line 1: there is neither a column 'sample_id' nor 'path' to match images by"
        )
    logit, notes = logits(lines, unit=unit, higher_is_real=higher_is_real)
    names = lines.columns[by].to_pylist()
    rows = _PathIndex(dataset).rows(lines, names)
    if "label" in lines.names:
        _check_labels(lines, rows, dataset)
    split, problem = strings(dataset.samples["split"]), strings(dataset.samples["problem"])
    usable = (split == "test") & (problem == "")
    matched = rows >= 0
    kept = np.flatnonzero(matched & usable[rows])
    if not len(kept):
        raise DataError(
            f"{path}: none of its {len(names)} lines is of a test image of '{dataset.name}' (line"
            f" {lines.line[0]}: '{names[0]}'; an image of it:"
            f" '{dataset.samples['id'][int(np.flatnonzero(usable)[0])]}')"
        )
    scores = _scores(dataset.samples, rows[kept], logit[kept], in_test=split == "test")

    def note(said: str, of: NDArray[np.bool_]) -> list[str]:
        some = [names[line] for line in np.flatnonzero(of)]
        return [f"{len(some)} {said}: {_some(some)}"] if some else []

    notes += note(f"lines fit no image of '{dataset.name}'", ~matched)
    for other in ("train", "val"):
        said = f"lines are of {other} images of '{dataset.name}' and are left out"
        notes += note(said, matched & (split[rows] == other))
    missing = [name for name, reason in scores.excluded if reason == NO_PREDICTION]
    if missing:
        notes.append(
            f"{len(missing)} of {scores.listed} test images have no prediction: {_some(missing)}"
        )
    return MatchResult(scores=scores, notes=tuple(notes))


class _PathIndex:
    """The images of a dataset, of all splits, by the ends of their paths. An accent is one letter
    or a letter and a mark (NFC, NFD): the ends are those of the same text.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._ids = {name: row for row, name in enumerate(dataset.samples["id"].to_pylist())}
        self._paths = {name: row for row, name in enumerate(dataset.samples["path"].to_pylist())}
        self._ends: dict[str, list[int]] = {}
        self._whole: dict[str, list[int]] = {}
        for name, row in self._paths.items():
            composed = normalize("NFC", name)
            self._whole.setdefault(composed, []).append(row)
            for end in _ends(composed):
                self._ends.setdefault(end, []).append(row)

    def rows(self, lines: CsvRows, names: Sequence[str]) -> NDArray[np.intp]:
        """Return each name's row of the dataset, (N,), -1 where there is none."""
        rows = [self._row(lines.where(line), name) for line, name in enumerate(names)]
        taken: dict[int, int] = {}
        for line, row in enumerate(rows):
            if row >= 0 and taken.setdefault(row, line) != line:
                raise DataError(
                    f"{lines.where(line)}: '{names[line]}' is the image of line"
                    f" {lines.line[taken[row]]} again; give each image once"
                )
        return np.array(rows, dtype=np.intp)

    def _row(self, where: str, name: str) -> int:
        plain = name.replace("\\", "/").removeprefix("./")
        for table in (self._ids, self._paths):
            if plain in table:
                return table[plain]
        plain = normalize("NFC", plain)
        # it is the end of an image's path, or an image's path is the end of it
        ends = (self._whole[end] for end in _ends(plain) if end in self._whole)
        fits = self._ends.get(plain) or next(ends, [])
        if len(fits) > 1:
            raise DataError(
                f"{where}: '{name}' fits {len(fits)} images of the dataset; give more of their"
                " paths"
            )
        return fits[0] if fits else -1


def _ends(path: str) -> Iterator[str]:
    """Give a path, and what is left of it without its first folder, its first two, ..."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _check_labels(lines: CsvRows, rows: NDArray[np.intp], dataset: Dataset) -> None:
    given, own = labels(lines), labels_of(dataset.samples)
    differ = np.flatnonzero((rows >= 0) & (own[rows] != given))
    if len(differ):
        line, row, known = int(differ[0]), int(rows[differ[0]]), int((rows >= 0).sum())
        turned = len(differ) >= NEARLY_ALL * known and len(differ) >= FEWEST
        remedy = (
            "1 seems to mean real in the file: rename the column label, which is not needed, and"
            " say --higher-is-real where a higher score means real"
            if turned
            else "mend one of the two"
        )
        raise DataError(
            f"{lines.where(line)}: label {given[line]}, but {dataset.samples['id'][row]} has"
            f" {own[row]} (1 is fake), and likewise in {len(differ):,} of {known:,} lines; {remedy}"
        )


def _scores(
    samples: pa.Table,
    order: NDArray[np.intp],
    logit: NDArray[np.float64],
    *,
    in_test: NDArray[np.bool_],
) -> Scores:
    by_id = np.argsort(strings(samples["id"])[order], kind="stable")
    held = np.isin(np.arange(samples.num_rows), order)
    left_out = samples.filter(pa.array(in_test & ~held))
    reasons = [problem or NO_PREDICTION for problem in left_out["problem"].to_pylist()]
    rows = samples.take(pa.array(order[by_id]))
    columns = {name: strings(rows[name]) for name in ("group", "unit", "method")}
    return Scores(
        sample_id=strings(rows["id"]),
        label=labels_of(rows),
        logit=logit[by_id],
        listed=int(in_test.sum()),
        excluded=tuple(zip(left_out["id"].to_pylist(), reasons, strict=True)),
        **columns,
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
