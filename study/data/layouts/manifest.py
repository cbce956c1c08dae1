"""manifest.csv: a dataset that says itself what its images are.

`path,label[,method,group,split,video]`, a header line first, UTF-8 with or without a
byte-order mark. Other columns are ignored.

    path    relative to the manifest, never leaving its folder, each once; or a URL in every row
    (copies.py) label   0, real, 1 or fake, in any case
    method  what made it; `real` or `fake` where empty
    group   the split key; where empty the video, and without one the image's own pixels
    split   train, val, valid, validation or test; for all rows or for none
    video   the video a frame is from; frames of one video and method are one unit
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.parallel import ordered_map
from study.core.paths import is_url
from study.data.csv_file import CsvFile, open_csv
from study.data.layouts.listing import BLOCK, LEAVES, LISTING_SCHEMA, Listing, Walker, stat_file

MANIFEST = "manifest.csv"
REQUIRED = ("path", "label")
OPTIONAL = ("method", "group", "split", "video")
LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}
SPLITS = {
    "": "",
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

# a path with a segment that is empty, . or .., or with a NUL
_NOT_PLAIN = r"(^|/)\.{0,2}(/|$)|\x00"
_STATS_AT_ONCE = 1024  # files a task: what waits is the file system


def read_manifest(root: Path) -> Listing:
    """Read `root/manifest.csv`. A listed file that is missing, or a link that leaves the folder, is
    a row with a problem.

    Raises DataError, naming file, line and value, for anything else that is not as the header of
    this file says.
    """
    table = check_manifest(root)
    paths = table["path"]
    for name, column in _stats(root, paths).items():
        table = table.append_column(name, column)
    return Listing(table=table.select(LISTING_SCHEMA.names).cast(LISTING_SCHEMA), layout=MANIFEST)


def has_manifest(root: Path) -> bool:
    """Whether there is a `root/manifest.csv`; a folder of that name is none. Raises DataError for a
    link to nothing, or a pipe.
    """
    path = root / MANIFEST
    if not os.path.lexists(path) or path.is_dir():
        return False
    if not path.is_file():
        what = "no regular file" if path.exists() else "a link to nothing"
        raise DataError(f"'{path}' is {what}; mend it, or delete it to have the folders decide")
    return True


def lists_urls(root: Path) -> bool:
    """Whether the paths of `root/manifest.csv` are URLs, which its first row decides. False for
    what `read_manifest` refuses.
    """
    if not (root / MANIFEST).is_file():
        return False
    try:
        with open_csv(root / MANIFEST) as file:
            place = _header(file.header, path=file.path)["path"]
            first = next(file.rows(place), [])
    except DataError:
        return False
    return len(first) > place and is_url(first[place].strip())


def missing_hint(root: Path, path: str) -> str:
    """Return what may be wrong with a path, if its file is missing and there is one where it may
    mean; "" otherwise.
    """
    if os.path.lexists(f"{root}/{path}"):
        return ""
    slashes = path.replace("\\", "/")
    if os.path.isfile(f"{root}/{slashes}"):  # noqa: PTH113 - also of a path too long to be one
        return f"; write / and not \\ between folders: '{slashes}'"
    for above in (root.parent, root.parent.parent):
        if os.path.isfile(f"{above}/{slashes}"):  # noqa: PTH113 - likewise
            return f"; paths are relative to the manifest's folder '{root}', and not to '{above}'"
    return ""


def check_manifest(root: Path, *, urls: bool = False) -> pa.Table:
    """Return the columns of a listing that `root/manifest.csv` itself gives; no file is looked at.
    Raises as `read_manifest`.

    urls: paths are URLs, and stay as they are.
    """
    columns, lines = _columns(root / MANIFEST)
    where = _Where(root / MANIFEST, lines)
    if urls and not all(map(is_url, columns["path"].to_pylist())):
        row = next(row for row, path in enumerate(columns["path"].to_pylist()) if not is_url(path))
        raise DataError(
            f"{where(row)}: path '{columns['path'][row]}' is no URL, and the first row's is; make"
            " all of them URLs, or none"
        )
    paths = columns["path"] if urls else _inside(columns["path"], where=where)
    _refuse_duplicates(paths, where=where)
    labels = _translate(
        columns["label"], LABELS, "label", "must be 0 or real, 1 or fake", where=where
    )
    splits = _translate(
        columns["split"], SPLITS, "split", "must be train, val or test", where=where
    )
    without = pc.index(splits, "").as_py()
    if without >= 0 and pc.any(pc.not_equal(splits, "")).as_py():
        raise DataError(
            f"{where(without)}: split is empty while other rows have one; give every row a split,"
            " or none"
        )
    method, group, video = (columns[name] for name in ("method", "group", "video"))
    by_label = pc.if_else(pc.equal(labels, 1), "fake", "real")
    return pa.table(
        {
            "path": paths,
            "label": labels,
            "method": pc.if_else(pc.equal(method, ""), by_label, method),
            "group": pc.if_else(pc.equal(group, ""), video, group),
            "video": video,
            "split": splits,
        }
    )


class _Where:
    """Names the file and the line of a row, for messages."""

    def __init__(self, path: Path, lines: NDArray[np.int64]) -> None:
        self.path, self.lines = path, lines

    def __call__(self, row: int) -> str:
        return f"{self.path}, line {self.lines[row]}"


def _columns(path: Path) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return the known columns as texts, stripped, and the line at which each row ends."""
    with open_csv(path) as file:
        blocks = [(block, np.array(lines, dtype=np.int64)) for block, lines in _blocks(file)]
    if not blocks:
        raise DataError(f"{path} lists no images")
    tables, lines = zip(*blocks, strict=True)
    return pa.concat_tables(tables), np.concatenate(lines)


def _blocks(file: CsvFile) -> Iterator[tuple[pa.Table, list[int]]]:
    """Yield the rows in tables of `BLOCK` rows, with the line at which each row ends: no more of
    them are ever Python objects.
    """
    places = _header(file.header, path=file.path)
    rows: list[list[str]] = []
    lines: list[int] = []
    for fields in file.rows(max(places.values())):
        rows.append(fields)
        lines.append(file.line)
        if len(rows) == BLOCK:
            yield _texts(rows, places), lines
            rows, lines = [], []
    if rows:
        yield _texts(rows, places), lines


def _texts(rows: Sequence[Sequence[str]], places: Mapping[str, int]) -> pa.Table:
    def texts(name: str) -> list[str]:
        place = places.get(name)
        return [""] * len(rows) if place is None else [fields[place].strip() for fields in rows]

    return pa.table({name: pa.array(texts(name), pa.string()) for name in (*REQUIRED, *OPTIONAL)})


def _header(fields: Sequence[str], *, path: Path) -> dict[str, int]:
    names = [field.lower() for field in fields]
    for name in REQUIRED:
        if name not in names:
            raise DataError(
                f"{path}, line 1: no column '{name}' in '{','.join(names)}'; it must be"
                " path,label[,method,group,split,video]"
            )
    for name in (*REQUIRED, *OPTIONAL):
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1: the column '{name}' stands there twice")
    return {name: names.index(name) for name in (*REQUIRED, *OPTIONAL) if name in names}


def _inside(paths: pa.ChunkedArray, *, where: Callable[[int], str]) -> pa.ChunkedArray:
    """Return paths in their one spelling. Raises DataError where one is empty, absolute or climbs
    out of the folder.
    """
    first, spelled = 0, []
    for chunk in paths.chunks:
        unusual = pc.match_substring_regex(chunk, _NOT_PLAIN)
        rows = np.flatnonzero(unusual)
        respelled = [
            _spelled(chunk[row].as_py(), where=where, row=first + int(row)) for row in rows.tolist()
        ]
        spelled.append(
            pc.replace_with_mask(chunk, unusual, pa.array(respelled, pa.string()))
            if respelled
            else chunk
        )
        first += len(chunk)
    return pa.chunked_array(spelled, pa.string())


def _spelled(path: str, *, where: Callable[[int], str], row: int) -> str:
    if not path:
        raise DataError(f"{where(row)}: path is empty")
    if is_url(path):
        raise DataError(
            f"{where(row)}: path '{path}' is a URL, and the first row's is none; make all of them"
            " URLs, or none"
        )
    spelled = posixpath.normpath(path)
    if spelled.startswith(("/", "../")) or spelled in ("..", ".") or "\0" in spelled:
        raise DataError(f"{where(row)}: path '{path}' must be a file below the manifest's folder")
    return spelled


def _refuse_duplicates(paths: pa.ChunkedArray, *, where: _Where) -> None:
    if pc.count_distinct(paths).as_py() == len(paths):
        return
    first: dict[str, int] = {}
    for row, path in enumerate(paths.to_pylist()):
        if path in first:
            raise DataError(
                f"{where(row)}: path '{path}' is listed already in line {where.lines[first[path]]}"
            )
        first[path] = row


def _translate(
    values: pa.ChunkedArray,
    valid: Mapping[str, int] | Mapping[str, str],
    name: str,
    rule: str,
    *,
    where: Callable[[int], str],
) -> pa.ChunkedArray:
    spellings = values.unique()
    words = [valid.get(value.lower()) for value in spellings.to_pylist()]
    if None in words:
        wrong = spellings.filter(pa.array([word is None for word in words]))
        row = pc.index(pc.is_in(values, value_set=wrong), True).as_py()
        raise DataError(f"{where(row)}: {name} '{values[row].as_py()}' {rule}")
    return pa.chunked_array(
        [pa.array(words).take(pc.index_in(chunk, value_set=spellings)) for chunk in values.chunks]
    )


def _stats(root: Path, paths: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """Columns size, changed_ns and problem of every file. Folders are looked at once each, and
    resolved only where links.
    """
    walker = Walker(root)
    leaves: dict[str, bool] = {"": False}
    for folder in pc.unique(pc.replace_substring_regex(paths, r"/?[^/]*$", "")).to_pylist():
        _leaves(walker, folder, leaves)
    leaving = frozenset(folder for folder, gone in leaves.items() if gone)
    blocks = [paths.slice(start, _STATS_AT_ONCE) for start in range(0, len(paths), _STATS_AT_ONCE)]
    tables = list(ordered_map(partial(_stat_block, str(root), walker, leaving), blocks, at_once=1))
    joined = pa.concat_tables(tables).combine_chunks()
    return {name: joined[name] for name in joined.column_names}


def _leaves(walker: Walker, folder: str, known: dict[str, bool]) -> bool:
    """Whether a folder's real place is outside the root: a link's own, else its parent's. known: of
    folders looked at.
    """
    new = [folder]
    while new[-1] not in known:
        new.append(posixpath.dirname(new[-1]))
    gone = known[new.pop()]
    for below in reversed(new):
        path = f"{walker.root}/{below}"
        if os.path.islink(path):  # noqa: PTH114 - a string
            gone = not walker.holds(os.path.realpath(path))
        known[below] = gone
    return gone


def _stat_block(
    root: str, walker: Walker, leaving: frozenset[str], paths: pa.ChunkedArray
) -> pa.Table:
    sizes, times, problems = [], [], []
    for path in paths.to_pylist():
        gone = bool(leaving) and posixpath.dirname(path) in leaving
        size, changed_ns, problem = (
            (-1, -1, LEAVES) if gone else stat_file(f"{root}/{path}", walker)
        )
        sizes.append(size)
        times.append(changed_ns)
        problems.append(problem)
    return pa.table(
        {
            "problem": pa.array(problems, pa.string()),
            "size": pa.array(sizes, pa.int64()),
            "changed_ns": pa.array(times, pa.int64()),
        }
    )
