"""manifest.csv: a dataset that says itself what its images are.

Floor 1. `path,label[,method,group,split,video]`, a header line first, UTF-8 with or without a byte-order mark. Other columns are
ignored.

    path    relative to the manifest, never leaving its folder, each once
    label   0, real, 1 or fake, in any case
    method  what made it; `real` or `fake` where empty
    group   the split key; where empty the video, and without one the image's own pixels
    split   train, val, valid, validation or test; for all rows or for none
    video   the video a frame is from; frames of one video and method are one unit
"""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from study.data.listing import LEAVES, LISTING_SCHEMA, Listing, Walker, readable, stat_file
from study.errors import DataError

V = TypeVar("V", int, str)

MANIFEST = "manifest.csv"
REQUIRED = ("path", "label")
OPTIONAL = ("method", "group", "split", "video")
LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}
SPLITS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_manifest(root: Path) -> Listing:
    """Read `root/manifest.csv`. A listed file that is missing, or a link that leaves the folder, is a row with a problem.

    Raises DataError, naming file, line and value, for anything else that is not as the header of this file says.
    """
    columns, lines = _columns(root / MANIFEST)
    where = _Where(root / MANIFEST, lines)
    paths = [_inside(path, where=where, row=row) for row, path in enumerate(columns["path"])]
    _refuse_duplicates(paths, where=where)
    labels = _translate(columns["label"], LABELS, "label", "must be 0 or real, 1 or fake", where=where)
    splits = _translate(columns["split"], SPLITS, "split", "must be train, val or test", where=where)
    if "" in splits and any(splits):
        row = splits.index("")
        raise DataError(f"{where(row)}: split is empty while other rows have one; give every row a split, or none")
    stats = _stats(root, paths)
    table = pa.table(
        {
            "path": paths,
            "label": labels,
            "method": [method or ("real", "fake")[label] for method, label in zip(columns["method"], labels, strict=True)],
            "group": [group or video for group, video in zip(columns["group"], columns["video"], strict=True)],
            "video": columns["video"],
            "split": splits,
            "problem": [problem for _, _, problem in stats],
            "size": [size for size, _, _ in stats],
            "mtime_ns": [mtime_ns for _, mtime_ns, _ in stats],
        },
        schema=LISTING_SCHEMA,
    )
    return Listing(table=table, layout=MANIFEST)


class _Where:
    """Names the file and the line of a row, for messages."""

    def __init__(self, path: Path, lines: Sequence[int]) -> None:
        self.path, self.lines = path, lines

    def __call__(self, row: int) -> str:
        return f"{self.path}, line {self.lines[row]}"


def _columns(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Return the known columns, stripped, and the line at which each row ends."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            places = _header(next(reader, []), path=path)
            columns: dict[str, list[str]] = {name: [] for name in (*REQUIRED, *OPTIONAL)}
            lines: list[int] = []
            for fields in reader:
                if fields:
                    _take(fields, places, columns, path=path, line=reader.line_num)
                    lines.append(reader.line_num)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not lines:
        raise DataError(f"{path} lists no images")
    return columns, lines


def _header(fields: Sequence[str], *, path: Path) -> dict[str, int]:
    names = [field.strip().lower() for field in fields]
    for name in REQUIRED:
        if name not in names:
            raise DataError(
                f"{path}, line 1: no column '{name}' in '{','.join(names)}'; it must be path,label[,method,group,split,video]"
            )
    for name in (*REQUIRED, *OPTIONAL):
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1: the column '{name}' stands there twice")
    return {name: names.index(name) for name in (*REQUIRED, *OPTIONAL) if name in names}


def _take(fields: Sequence[str], places: Mapping[str, int], columns: dict[str, list[str]], *, path: Path, line: int) -> None:
    if len(fields) <= max(places.values()):
        raise DataError(f"{path}, line {line}: {len(fields)} fields, fewer than the header asks for")
    for name, values in columns.items():
        values.append(fields[places[name]].strip() if name in places else "")


def _inside(path: str, *, where: Callable[[int], str], row: int) -> str:
    """Return the path in its one spelling. Raises DataError where it is empty, absolute or climbs out of the folder."""
    if not path:
        raise DataError(f"{where(row)}: path is empty")
    spelled = posixpath.normpath(path)
    if spelled.startswith(("/", "../")) or spelled in ("..", ".") or "\0" in spelled:
        raise DataError(f"{where(row)}: path '{path}' must be a file below the manifest's folder")
    return spelled


def _refuse_duplicates(paths: Sequence[str], *, where: _Where) -> None:
    if len(set(paths)) == len(paths):
        return
    first: dict[str, int] = {}
    for row, path in enumerate(paths):
        if path in first:
            raise DataError(f"{where(row)}: path '{path}' is listed already in line {where.lines[first[path]]}")
        first[path] = row


def _translate(values: Sequence[str], valid: Mapping[str, V], name: str, rule: str, *, where: Callable[[int], str]) -> list[V]:
    words = {value: valid.get(value.lower()) for value in set(values)}
    wrong = {value for value, word in words.items() if word is None}
    if wrong:
        row = next(row for row, value in enumerate(values) if value in wrong)
        raise DataError(f"{where(row)}: {name} '{values[row]}' {rule}")
    return [valid[value.lower()] for value in values]


def _stats(root: Path, paths: Sequence[str]) -> list[tuple[int, int, str]]:
    """(bytes, mtime_ns, problem) of every file. Folders are resolved once each, files only where they are links."""
    walker = Walker(root)
    leaves = {folder: not walker.holds(os.path.realpath(root / folder)) for folder in {posixpath.dirname(path) for path in paths}}
    stats = []
    for path in paths:
        full = f"{root}/{path}"
        if leaves[posixpath.dirname(path)] or (os.path.islink(full) and not walker.holds(os.path.realpath(full))):  # noqa: PTH114
            stats.append((-1, -1, LEAVES))
        else:
            stats.append(stat_file(root, readable(path)))
    return stats
