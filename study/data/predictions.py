"""Anybody's predictions, from a CSV file: labels and scores, perhaps groups and methods.

A header line first (csv_file.py has what a file may be). Other columns are ignored, but where a
column of text says the opposite of the labels in nearly all rows, the file is refused
(label_check.py).

    label   0, real, 1 or fake, in any case
    score   a finite number, higher = more fake, in one of `UNITS`
    group   which images belong together; an empty one is an image of its own, as all are without
            the column
    method  what made the image; real or fake where empty
    path    or another name of the image (`IMAGE`): each stands there once; with a column of frames
            each frame

A word for a missing value (`nan`, `None`, `NA`) is an empty field in group and method.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit as log_odds

from study.core.errors import DataError, unknown_name
from study.core.records import REAL, Scores
from study.data.class_words import SILENT, class_said
from study.data.csv_file import CsvFile, CsvRows, open_csv
from study.data.label_check import refuse_reversed, with_fake_label

# a table with gaps may have been written with 0.0 and 1.0
LABELS = {"0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}
NEEDED, OPTIONAL = ("label", "score"), ("group", "method")
# what a score is: a logit, p(fake) in [0, 1] or in [0, 100]; "" is a logit that nobody vouches for
UNITS = ("", "logit", "probability", "percent")
IMAGE = re.compile(
    r"(?i)(sample|image|img|file)s?(_?(id|name|path|file))?|((relative|full|abs)_?)?path"
    r"|id|name|key"
)
_NUMBER = re.compile(r"[-+]?\d*\.?\d+([eE][-+]?\d+)?")
FRAME = re.compile(r"(?i).*frame.*")
MANY_FOLDERS = 10  # of them on folders may be groups; below they are rather sources
LARGEST = float(np.finfo(np.float32).max)  # logits are kept as float32
EDGE = math.log(2.0**54 - 1)  # the logit of 1 - 2^-54: above that of every float below 1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """float64 logits in the order of a file's lines (ids: `line 00000012`), and notes on them.
    real_label: how the file writes the label that was read as real, "" where it has none.
    """

    scores: Scores
    notes: tuple[str, ...]
    real_label: str = ""


def read_predictions(
    path: Path,
    columns: Mapping[str, str],
    *,
    unit: str = "",
    fake_label: str = "",
    higher_is_real: bool = False,
    by_folder: bool = False,
) -> Predictions:
    """Read a CSV file. columns: any of label, score, group, method -> what the file calls it.

    label and score are needed, as are group and method where `columns` names them; else these two
    are used if the file has them.
    unit: of `UNITS`. Of p(fake), exact 0 and 1, which have no logit, are placed beyond all others,
    with a note. fake_label: the value of the label that means fake. higher_is_real: scores are
    higher for real images. by_folder: images of one folder are one group.

    Raises DataError, naming file, line and value: a file that cannot be read or lists nothing, a
    missing or doubled column, a row with too few fields, a label that is none, labels that the
    file's own words contradict, an image that stands there twice, a score that is not a finite
    number, or none of its unit, folders that are asked for and not there.
    """
    rows, missing = read_rows(path, columns).without_missing("group", "method")
    label = with_fake_label(rows, fake_label) if fake_label else labels(rows)
    missing += refuse_reversed(rows, label, "Say --fake-label {} to turn them")
    written = rows.columns["label"].to_pylist()
    _refuse_repeats(rows)
    logit, notes = logits(rows, unit=unit, higher_is_real=higher_is_real)
    if class_said(rows.names["score"]) == REAL and not higher_is_real:
        said = "is higher for real images by its name; if so, say --higher-is-real"
        notes.insert(0, f"the score column '{rows.names['score']}' {said}")
    notes += [f"{what}: {why}" for what, why in missing]
    if not by_folder:
        notes += _doubts_of_one(rows) if "group" in rows.names else _doubts_of_groups(rows)
    ids = [f"line {line:08d}" for line in rows.line.tolist()]

    def given(name: str, otherwise: Sequence[str]) -> NDArray[np.str_]:
        texts = rows.columns[name].to_pylist() if name in rows.names else otherwise
        both = zip(texts, otherwise, strict=True)
        return np.array([text or other for text, other in both], dtype=np.str_)

    scores = Scores(
        sample_id=np.array(ids, dtype=np.str_),
        group=np.array(_folders(rows), dtype=np.str_) if by_folder else given("group", ids),
        unit=np.array(ids, dtype=np.str_),
        method=given("method", [("real", "fake")[one] for one in label.tolist()]),
        label=label,
        logit=logit,
        listed=len(ids),
    )
    real = next((text for text, one in zip(written, label, strict=True) if not one), "")
    return Predictions(scores=scores, notes=tuple(notes), real_label=real)


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
    places = _of_the_image(file) if needed is NEEDED else {}
    for ours in (*needed, *optional):
        name = columns.get(ours, ours)
        place = file.place(name)
        if place is not None:
            places[ours] = place
        elif ours not in columns and ours in needed and any(map(_NUMBER.fullmatch, shown)):
            raise DataError(
                f"{where}: '{','.join(shown)}' is a row and no header; write the columns' names"
                f" above it, like {','.join(needed)}"
            )
        elif ours in columns or ours in needed:
            says = f"--{ours} NAME says which it is"
            hint = says if needed is NEEDED else "rename the column that it is"
            raise DataError(f"{unknown_name('column', name, shown, where=where)}; {hint}")
    return places


def _of_the_image(file: CsvFile) -> dict[str, int]:
    """Where the image's name stands, and the number of its frame; {} where there is no name."""
    places = {}
    for ours, pattern in (("path", IMAGE), ("frame", FRAME)):
        names = (at for at, name in enumerate(file.header) if pattern.fullmatch(name))
        place = next(names, None)
        if place is not None:
            places[ours] = place
    return places if "path" in places else {}


def _refuse_repeats(rows: CsvRows) -> None:
    """An image that counts twice narrows every interval. A path that is the group may repeat."""
    name = rows.names.get("path")
    if name is None or name == rows.names.get("group"):
        return
    parts = [rows.columns[ours].to_pylist() for ours in ("path", "frame") if ours in rows.names]
    images = [
        image if image[0] else (str(row),) for row, image in enumerate(zip(*parts, strict=True))
    ]
    repeats = len(images) - len(set(images))
    if not repeats:
        return
    first: dict[tuple[str, ...], int] = {}
    row = next(row for row, image in enumerate(images) if first.setdefault(image, row) != row)
    raise DataError(
        f"{rows.where(row)}: {name} '{images[row][0]}' stands in line"
        f" {rows.line[first[images[row]]]} already, one of {repeats:,} repeats in {len(images):,}"
        " rows. Each image counts once: take the repeats out (a distributed sampler pads its last"
        f" batch with them), or, where {name} names several images, say --group {name}"
    )


def _folders(rows: CsvRows) -> list[str]:
    """The folder of each row's image. Raises DataError where no path has one."""
    if "path" not in rows.names:
        raise DataError(
            f"{rows.path} has no column of paths, so --group-by-folder has no folders; name it"
            " 'path', or say --group COLUMN"
        )
    paths = [text.replace("\\", "/") for text in rows.columns["path"].to_pylist()]
    folders = [path.rpartition("/")[0] for path in paths]
    if not all(folders):
        row = folders.index("")
        raise DataError(
            f"{rows.where(row)}: {rows.names['path']} '{paths[row]}' has no folder for"
            " --group-by-folder; write the whole path, or say --group COLUMN"
        )
    return folders


def _doubts_of_one(rows: CsvRows) -> list[str]:
    """What a group beside others may be that has most of the images: a word for a missing value, or
    -1, as programs number what is in no group.
    """
    groups = Counter(filter(None, rows.columns["group"].to_pylist()))
    (name, images), *others = groups.most_common() or [("", 0)]
    if len(others) < 2 or 2 * images <= rows.columns.num_rows:
        return []
    return [
        f"{rows.names['group']} '{name}' has {images:,} of {rows.columns.num_rows:,} images, and"
        " they count as one independent case. If it stands for no group, leave it empty"
    ]


def _doubts_of_groups(rows: CsvRows) -> list[str]:
    """What the folders of paths say of images that nobody grouped: many folders of several images
    may be videos or people. A folder that is named by its class is none of these.
    """
    paths = rows.columns["path"].to_pylist() if "path" in rows.names else []
    folders = Counter(path.replace("\\", "/").rpartition("/")[0] for path in paths)
    held = {
        folder: images
        for folder, images in folders.items()
        if folder and class_said(folder.rpartition("/")[2], only=True) == SILENT
    }
    images = sum(held.values())
    if len(held) < MANY_FOLDERS or images < 2 * len(held):
        return []
    return [
        f"{rows.names['path']} has {len(held):,} folders of {images / len(held):.0f} images each on"
        f" average, like '{next(iter(held))}', and every image counts as independent. If the images"
        " of a folder belong together (frames of a video, photos of a person), all intervals are"
        " too narrow: say --group-by-folder, or --group COLUMN"
    ]


def logits(
    rows: CsvRows, *, unit: str, higher_is_real: bool = False
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the scores as float64 logits (N,), and notes on them. Raises DataError."""
    score = _numbers(rows, "score")
    if unit in ("probability", "percent"):
        logit, notes = _log_odds(_shares(rows, score, unit))
    else:
        logit, notes = score, [] if unit else _doubts(rows, score)
    return (-logit if higher_is_real else logit), notes


def _shares(rows: CsvRows, score: NDArray[np.float64], unit: str) -> NDArray[np.float64]:
    """p(fake) in [0, 1] from scores of a unit. Raises DataError for one that is none."""
    most = 100 if unit == "percent" else 1
    outside = (score < 0) | (score > most)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        percent = unit == "probability" and score.min() >= 0 and score.max() <= 100
        remedy = "say --percent for percentages, or" if percent else ""
        raise DataError(
            f"{rows.where(row)}: score {score[row]:g} is no {unit} in [0, {most}];"
            f" {remedy} leave --{unit} out for logits".replace(";  ", "; ")
        )
    return score / most


def _doubts(rows: CsvRows, score: NDArray[np.float64]) -> list[str]:
    """What scores that are taken as logits may be instead. Raises DataError for what is no logit:
    up to 100, none below 0, and beyond every logit that a probability can have.
    """
    low, high = float(score.min()), float(score.max())
    if low >= 0 and high <= 1:
        return [
            "all scores lie in [0, 1] and are taken as logits; if they are probabilities, say"
            " --probability"
        ]
    if low >= 0 and EDGE < high <= 100:
        row = int(score.argmax())
        raise DataError(
            f"{rows.where(row)}: score {high:g}, and all lie in [0, 100]: as logits they would call"
            " every image fake. Say --percent if they are percentages, or --logit if they are"
            " logits all the same"
        )
    if (low >= 0 or high <= 0) and len(score) > 1:
        side, word = ("below", "fake") if low >= 0 else ("above", "real")
        return [
            f"no score is {side} 0, so as logits they call every image {word} at p = 0.5; if they"
            " have another unit, say --percent or --probability"
        ]
    return []


def _numbers(rows: CsvRows, name: str) -> NDArray[np.float64]:
    values = np.empty(rows.columns.num_rows)
    for row, text in enumerate(rows.columns[name].to_pylist()):
        shown = f"{rows.names[name]} '{text}'"
        try:
            values[row] = float(text)
        except ValueError:
            hint = "; take the sign off and say --percent" if text.endswith("%") else ""
            hint = "; write a point before decimals" if "," in text else hint
            raise DataError(f"{rows.where(row)}: {shown} is not a number{hint}") from None
        if not math.isfinite(values[row]):
            raise DataError(
                f"{rows.where(row)}: {shown} is not finite; leave such images out, and say how many"
            )
        if abs(values[row]) > LARGEST:
            raise DataError(
                f"{rows.where(row)}: {shown} is beyond {LARGEST:.2g}, the largest logit; divide all"
                " scores by one number, which keeps their order"
            )
    return values


def labels(rows: CsvRows) -> NDArray[np.uint8]:
    """Return the column label, (N,) uint8. Raises DataError, naming the line, for another word."""
    if class_said(rows.names["label"]) == REAL:
        raise DataError(
            f"{rows.path}: 1 in a column '{rows.names['label']}' means real by its name, and fake"
            " here; say --fake-label 0 (or 1, if it is not meant so)"
        )
    rule = "must be 0 or real, 1 or fake; of two other words --fake-label says which means fake"
    found = rows.translated("label", LABELS, rule)
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
