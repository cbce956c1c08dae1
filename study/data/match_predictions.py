"""Scores that were made elsewhere, matched to the images of a test set by sample id or path.

A CSV file with the columns

    sample_id   as in the store, `<dataset>/<path>`; or path, wholly or in part: the longest
    agreement from the file's name upwards
                counts, so that `/their/disk/fake/0001.png` and `fake/0001.png` are both
                `<dataset>/fake/0001.png`
    score       a finite number, higher = more fake: a logit, or with `probability` p(fake) in [0,
    1]
    label       need not be there; where it is, it must be the dataset's

Nothing is guessed: a path that fits several images, two lines of one image, and a label that
differs are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from study.core.errors import DataError
from study.core.records import Scores
from study.data.datasets import Dataset
from study.data.datasets import labels as labels_of
from study.data.datasets import strings as strings_of
from study.data.predictions import fields, labels, logits

SHOWN = 3  # names in a note; the store has them all
NO_PREDICTION = "no prediction"


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """Scores of a test set's images, float64 logits; `scores.excluded` names those without one.
    notes: what a reader must know.
    """

    scores: Scores
    notes: tuple[str, ...]


def match_predictions(path: Path, dataset: Dataset, *, probability: bool = False) -> MatchResult:
    """Read a CSV file and match it to a dataset's test split. The dataset must hold its test rows.

    Raises DataError, naming file, line and value, for what `predictions.read_predictions` refuses;
    for a line that fits several images, a second line of one image, a label that is not the
    dataset's; and for a file of which no line is of a test image.
    """
    found, lines = fields(path, {}, needed=("score",), optional=("sample_id", "path", "label"))
    name = next((name for name in ("sample_id", "path") if name in found), None)
    if name is None:
        raise DataError(
            f"{path}, line 1: there is neither a column 'sample_id' nor 'path' to match images by"
        )
    logit, notes = logits(path, lines, found["score"], "score", probability=probability)
    rows = _Images(dataset).rows(path, lines, found[name])
    if "label" in found:
        _check_labels(path, lines, rows, labels(path, lines, found["label"], "label"), dataset)
    split, problem = strings_of(dataset.samples["split"]), strings_of(dataset.samples["problem"])
    usable = (split == "test") & (problem == "")
    kept = [i for i, row in enumerate(rows) if row is not None and usable[row]]
    if not kept:
        raise DataError(
            f"{path}: none of its {len(lines)} lines is of a test image of '{dataset.name}' (line"
            f" {lines[0]}: '{found[name][0]}'; an image of it:"
            f" '{dataset.samples['id'][int(np.flatnonzero(usable)[0])].as_py()}')"
        )
    order = np.array([rows[i] for i in kept], dtype=np.intp)
    scores = _scores(
        dataset.samples,
        order,
        logit[kept],
        listed=int((split == "test").sum()),
        usable=usable,
        split=split,
    )
    notes += _extra(found[name], rows, split, dataset.name)
    notes += _missing(scores)
    return MatchResult(scores=scores, notes=tuple(notes))


class _Images:
    """The images of a dataset, of all splits, by the ends of their paths."""

    def __init__(self, dataset: Dataset) -> None:
        self._ids = {name: row for row, name in enumerate(dataset.samples["id"].to_pylist())}
        self._paths = {name: row for row, name in enumerate(dataset.samples["path"].to_pylist())}
        self._ends: dict[str, list[int]] = {}
        for name, row in self._paths.items():
            for end in _ends(name):
                self._ends.setdefault(end, []).append(row)

    def rows(self, path: Path, lines: Sequence[int], names: Sequence[str]) -> list[int | None]:
        """Return each name's row of the dataset, None where there is none."""
        rows: list[int | None] = []
        taken: dict[int, int] = {}
        for line, name in zip(lines, names, strict=True):
            row = self._row(path, line, name)
            if row is not None and row in taken:
                raise DataError(
                    f"{path}, line {line}: '{name}' is the image of line {taken[row]} again; give"
                    " each image once"
                )
            if row is not None:
                taken[row] = line
            rows.append(row)
        return rows

    def _row(self, path: Path, line: int, name: str) -> int | None:
        plain = name.replace("\\", "/").removeprefix("./")
        for table in (self._ids, self._paths):
            if plain in table:
                return table[plain]
        fits = self._ends.get(plain, [])  # it names the end of an image's path
        if len(fits) > 1:
            raise DataError(
                f"{path}, line {line}: '{name}' fits {len(fits)} images of the dataset; give more"
                " of their paths"
            )
        if fits:
            return fits[0]
        # an image's path is the end of it
        return next((self._paths[end] for end in _ends(plain) if end in self._paths), None)


def _ends(path: str) -> Iterator[str]:
    """Give a path, and what is left of it without its first folder, its first two, ..."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _check_labels(
    path: Path,
    lines: Sequence[int],
    rows: Sequence[int | None],
    given: np.ndarray,
    dataset: Dataset,
) -> None:
    own = labels_of(dataset.samples)
    for line, row, label in zip(lines, rows, given.tolist(), strict=True):
        if row is not None and own[row] != label:
            name = dataset.samples["id"][row].as_py()
            raise DataError(
                f"{path}, line {line}: label {label}, but {name} has {own[row]} (1 is fake); mend"
                " one of the two"
            )


def _scores(
    samples: pa.Table,
    order: np.ndarray,
    logit: np.ndarray,
    *,
    listed: int,
    usable: np.ndarray,
    split: np.ndarray,
) -> Scores:
    sorted_by_id = np.argsort(strings_of(samples["id"])[order], kind="stable")
    order, logit = order[sorted_by_id], logit[sorted_by_id]
    held = np.isin(np.arange(samples.num_rows), order)
    left_out = samples.filter(pa.array((split == "test") & ~held))
    reasons = [problem or NO_PREDICTION for problem in left_out["problem"].to_pylist()]
    rows = samples.take(pa.array(order))
    columns = {name: strings_of(rows[name]) for name in ("group", "unit", "method")}
    return Scores(
        sample_id=strings_of(rows["id"]),
        label=labels_of(rows),
        logit=logit,
        listed=listed,
        excluded=tuple(zip(left_out["id"].to_pylist(), reasons, strict=True)),
        **columns,
    )


def _extra(
    names: Sequence[str], rows: Sequence[int | None], split: np.ndarray, dataset: str
) -> list[str]:
    """What is to be said of the lines that no test image has."""
    unknown = [name for name, row in zip(names, rows, strict=True) if row is None]
    notes = (
        [f"{len(unknown)} lines fit no image of '{dataset}': {_some(unknown)}"] if unknown else []
    )
    for other in ("train", "val"):
        here = [
            name
            for name, row in zip(names, rows, strict=True)
            if row is not None and split[row] == other
        ]
        notes += (
            [
                f"{len(here)} lines are of {other} images of '{dataset}' and are left out:"
                f" {_some(here)}"
            ]
            if here
            else []
        )
    return notes


def _missing(scores: Scores) -> list[str]:
    missing = [name for name, reason in scores.excluded if reason == NO_PREDICTION]
    return (
        [f"{len(missing)} of {scores.listed} test images have no prediction: {_some(missing)}"]
        if missing
        else []
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
