"""Anybody's predictions, from a CSV file: labels and scores, perhaps groups and methods.

A header line first, UTF-8 with or without a byte-order mark; other columns are ignored.

    label   0, real, 1 or fake, in any case
    score   a finite number, higher = more fake: a logit, or with `probability` p(fake) in [0, 1]
    group   which images belong together; an empty one is an image of its own, as all are without
            the column
    method  what made the image; real or fake where empty
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit as log_odds

from study.core.errors import DataError, unknown_name
from study.core.records import Scores
from study.data.csv_file import CsvFile, CsvRows, open_csv

# a table with gaps may have been written with 0.0 and 1.0
LABELS = {"0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}
NEEDED, OPTIONAL = ("label", "score"), ("group", "method")
EDGE = math.log(2.0**54 - 1)  # the logit of 1 - 2^-54: above that of every float below 1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """float64 logits in the order of a file's lines (ids: `line 00000012`), and notes on them."""

    scores: Scores
    notes: tuple[str, ...]


def read_predictions(
    path: Path, columns: Mapping[str, str], *, probability: bool = False
) -> Predictions:
    """Read a CSV file. columns: any of label, score, group, method -> what the file calls it.

    label and score are needed, as are group and method where `columns` names them; else these two
    are used if the file has them.
    probability: scores are p(fake), and become logits; exact 0 and 1, which have none, are placed
    beyond all others, with a note.

    Raises DataError, naming file, line and value: a file that cannot be read or lists nothing, a
    missing or doubled column, a row with too few fields, a label that is none, a score that is not
    a finite number, or no probability where it must be one.
    """
    rows = read_rows(path, columns)
    logit, notes = logits(rows, probability=probability)
    label = labels(rows)
    ids = [f"line {line:08d}" for line in rows.line.tolist()]

    def given(name: str, otherwise: Sequence[str]) -> NDArray[np.str_]:
        texts = rows.columns[name].to_pylist() if name in rows.names else otherwise
        both = zip(texts, otherwise, strict=True)
        return np.array([text or other for text, other in both], dtype=np.str_)

    scores = Scores(
        sample_id=np.array(ids, dtype=np.str_),
        group=given("group", ids),
        unit=np.array(ids, dtype=np.str_),
        method=given("method", [("real", "fake")[one] for one in label.tolist()]),
        label=label,
        logit=logit,
        listed=len(ids),
    )
    return Predictions(scores=scores, notes=tuple(notes))


def read_rows(
    path: Path,
    columns: Mapping[str, str],
    needed: Sequence[str] = NEEDED,
    optional: Sequence[str] = OPTIONAL,
) -> CsvRows:
    """Return the columns that are there. columns: our names -> the file's, where these differ;
    needed, optional: ours. Raises DataError as `read_predictions` does.
    """
    with open_csv(path) as file:
        return file.read(_places(file, columns, needed, optional))


def _places(
    file: CsvFile, columns: Mapping[str, str], needed: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    """Return where each of our columns stands."""
    where, shown = f"{file.path}, line 1", [name for name in file.header if name]
    if not shown:
        raise DataError(
            f"{where}: the file is empty; it must begin with the columns' names, like"
            f" {','.join(needed)}"
        )
    if len(file.header) == 1 and ";" in shown[0]:
        raise DataError(
            f"{where}: the file is separated by ';' ({shown[0]}); it must be by ',': save it as"
            " such"
        )
    places = {}
    for ours in (*needed, *optional):
        name = columns.get(ours, ours)
        place = file.place(name)
        if place is not None:
            places[ours] = place
        elif ours in columns or ours in needed:
            says = f"--{ours} NAME says which it is"
            hint = says if needed is NEEDED else "rename the column that it is"
            raise DataError(f"{unknown_name('column', name, shown, where=where)}; {hint}")
    return places


def logits(rows: CsvRows, *, probability: bool) -> tuple[NDArray[np.float64], list[str]]:
    """Return the scores as float64 logits (N,), and notes on them. Raises DataError."""
    score = _numbers(rows, "score")
    outside = (score < 0) | (score > 1)
    if not probability:
        note = "all scores lie in [0, 1] and are taken as logits; if they are probabilities, say"
        return score, [] if outside.any() else [f"{note} --probability"]
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"{rows.where(row)}: score {score[row]:g} is no probability in [0, 1]; leave"
            " --probability out for logits"
        )
    return _log_odds(score)


def _numbers(rows: CsvRows, name: str) -> NDArray[np.float64]:
    values = np.empty(rows.columns.num_rows)
    for row, text in enumerate(rows.columns[name].to_pylist()):
        shown = f"{rows.names[name]} '{text}'"
        try:
            values[row] = float(text)
        except ValueError:
            raise DataError(f"{rows.where(row)}: {shown} is not a number") from None
        if not math.isfinite(values[row]):
            raise DataError(
                f"{rows.where(row)}: {shown} is not finite; leave such images out, and say how many"
            )
    return values


def labels(rows: CsvRows) -> NDArray[np.uint8]:
    """Return the column label, (N,) uint8. Raises DataError, naming the line, for another word."""
    found = rows.translated("label", LABELS, "must be 0 or real, 1 or fake")
    return np.asarray(found).astype(np.uint8)


def _log_odds(probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """Probabilities as logits, and a note where some are exactly 0 or 1: these go just beyond all
    others, on their side.
    """
    inside = (probability > 0) & (probability < 1)
    logit = np.asarray(log_odds(np.where(inside, probability, 0.5)))
    low = min(-EDGE, float(logit.min(initial=0.0)) - math.log(2))
    logit[probability == 0], logit[probability == 1] = low, EDGE
    clipped = int((~inside).sum())
    note = (
        f"{clipped} of {len(logit)} probabilities are exactly 0 or 1 and have no logit: taken as"
        f" {low:.1f} and {EDGE:.1f}, beyond all others; the nll depends on that"
    )
    return logit, [note] if clipped else []
