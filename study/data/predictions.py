"""Anybody's predictions, from a CSV file: labels and scores, perhaps groups and methods.

A header line first, UTF-8 with or without a byte-order mark; other columns are ignored.

    label   0, real, 1 or fake, in any case
    score   a finite number, higher = more fake: a logit, or with `probability` p(fake) in [0, 1]
    group   which images belong together; an empty one is an image of its own, as all are without
    the column method  what made the image; real or fake where empty
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
from study.data.csv_file import open_csv

# a table with gaps may have been written with 0.0 and 1.0
LABELS = {"0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}
NEEDED, OPTIONAL = ("label", "score"), ("group", "method")
EDGE = math.log(2.0**54 - 1)  # the logit of 1 - 2^-54: above that of every float below 1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A file's scores, float64 logits in the order of its lines (`sample_id` is `line 00000012`),
    and notes on them.
    """

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
    found, lines = fields(path, columns)
    score, notes = logits(
        path, lines, found["score"], columns.get("score", "score"), probability=probability
    )
    label = labels(path, lines, found["label"], columns.get("label", "label"))
    ids = [f"line {line:08d}" for line in lines]
    group = (
        [name or own for name, own in zip(found["group"], ids, strict=True)]
        if "group" in found
        else ids
    )
    methods = found.get("method", [""] * len(ids))
    method = [
        name or ("real", "fake")[one] for name, one in zip(methods, label.tolist(), strict=True)
    ]
    scores = Scores(
        sample_id=np.array(ids, dtype=np.str_),
        group=np.array(group, dtype=np.str_),
        unit=np.array(ids, dtype=np.str_),
        method=np.array(method, dtype=np.str_),
        label=label,
        logit=score,
        listed=len(ids),
    )
    return Predictions(scores=scores, notes=tuple(notes))


def fields(
    path: Path,
    columns: Mapping[str, str],
    needed: Sequence[str] = NEEDED,
    optional: Sequence[str] = OPTIONAL,
) -> tuple[dict[str, list[str]], list[int]]:
    """Return the columns that are there, by our names, stripped, and the line at which each row
    ends.

    columns: our names -> the file's, where these differ; needed, optional: ours. Raises DataError
    as `read_predictions` does.
    """
    lines: list[int] = []
    with open_csv(path) as file:
        places = _header(path, file.header, columns, needed, optional)
        found: dict[str, list[str]] = {name: [] for name in places}
        for row in file.rows(max(places.values())):
            for name, place in places.items():
                found[name].append(row[place].strip())
            lines.append(file.line)
    if not lines:
        raise DataError(f"{path} lists no images: there is no line below the header")
    return found, lines


def _header(
    path: Path,
    names: Sequence[str],
    columns: Mapping[str, str],
    needed: Sequence[str],
    optional: Sequence[str],
) -> dict[str, int]:
    """Return where each of our columns stands."""
    if not any(names):
        raise DataError(
            f"{path}, line 1: the file is empty; it must begin with the columns' names, like"
            f" {','.join(needed)}"
        )
    places = {}
    if len(names) == 1 and ";" in names[0]:
        raise DataError(
            f"{path}, line 1: the file is separated by ';' ({names[0]}); it must be by ',': save it"
            " as such"
        )
    for ours in (*needed, *optional):
        name = columns.get(ours, ours)
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1: the column '{name}' stands there twice")
        if name in names:
            places[ours] = names.index(name)
        elif ours in columns or ours in needed:
            known = unknown_name(
                "column", name, [shown for shown in names if shown], where=f"{path}, line 1"
            )
            hint = (
                f"--{ours} NAME says which it is"
                if needed is NEEDED
                else "rename the column that it is"
            )
            raise DataError(f"{known}; {hint}")
    return places


def logits(
    path: Path, lines: Sequence[int], texts: Sequence[str], name: str, *, probability: bool
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the scores of a column as float64 logits (N,), and notes on them. Raises DataError as
    `read_predictions` does.
    """
    score = _numbers(path, lines, texts, name)
    if probability:
        _refuse_improbable(path, lines, score)
        return _logits(score)
    doubtful = len(score) and score.min() >= 0 and score.max() <= 1
    note = (
        "all scores lie in [0, 1] and are taken as logits; if they are probabilities, say"
        " --probability"
    )
    return score, [note] if doubtful else []


def _numbers(
    path: Path, lines: Sequence[int], texts: Sequence[str], name: str
) -> NDArray[np.float64]:
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        try:
            values[row] = float(text)
        except ValueError:
            raise DataError(f"{path}, line {lines[row]}: {name} '{text}' is not a number") from None
        if not math.isfinite(values[row]):
            raise DataError(
                f"{path}, line {lines[row]}: {name} '{text}' is not finite; leave such images out,"
                " and say how many"
            )
    return values


def labels(path: Path, lines: Sequence[int], texts: Sequence[str], name: str) -> NDArray[np.uint8]:
    """Return the labels of a column, (N,) uint8. Raises DataError, naming the line, for one that is
    none.
    """
    words = [LABELS.get(text.lower()) for text in texts]
    if None in words:
        row = words.index(None)
        raise DataError(
            f"{path}, line {lines[row]}: {name} '{texts[row]}' must be 0 or real, 1 or fake"
        )
    return np.array(words, dtype=np.uint8)


def _refuse_improbable(path: Path, lines: Sequence[int], score: NDArray[np.float64]) -> None:
    bad = np.flatnonzero((score < 0) | (score > 1))
    if bad.size:
        where = f"{path}, line {lines[bad[0]]}"
        raise DataError(
            f"{where}: score {score[bad[0]]:g} is no probability in [0, 1]; leave --probability out"
            " for logits"
        )


def _logits(probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
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
        f" {low:.1f} and {EDGE:.1f}, "
    )
    note += "beyond all others; the nll depends on that"
    return logit, [note] if clipped else []
