"""manifest.csv: a dataset that says itself what its images are.

`path,label[,method,group,split,video,released]`, a header line first (csv_file.py has what a file
may be).
Columns `subgroup:NAME` (`subgroup:sex`) divide test images into levels that results are shown for.
Other columns are ignored, but where they, or the paths, say the opposite of the labels in nearly
all rows, the manifest is refused (label_check.py).

    path    relative to the manifest or absolute, never leaving its folder, each once; or a URL in
            every row (copies.py). Of a manifest that a study names (`data.manifests`) relative to
            the dataset's folder, where there is none to the data root
    label   0, real, 1 or fake, in any case
    method  what made it; `real` or `fake` where empty
    group   the split key; where empty the video, and without one the image's own pixels
    split   train, val or test, by any of their names (split_names.py); for all rows or for none
    video   the video a frame is from; frames of one video and method are one unit
    released    when the method was published: 2024, 2024-08 or 2024-08-01

A word for a missing value (`nan`, `None`, `NA`) is an empty field in all but the first two.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import DataError
from study.core.parallel import ordered_map
from study.core.paths import is_url
from study.data.csv_file import CsvFile, CsvRows, open_csv
from study.data.images.inside import file_of
from study.data.label_check import refuse_reversed, with_fake_label
from study.data.layouts.listing import (
    LEAVES,
    LISTING_SCHEMA,
    MISSING,
    Listing,
    Walker,
    stat_file,
)
from study.data.layouts.released import DATE, first_dates
from study.data.layouts.respelled import FilesBelow, leaves
from study.data.layouts.split_names import splits_among

MANIFEST = "manifest.csv"
REQUIRED = ("path", "label")
OPTIONAL = ("method", "group", "split", "video", "released")
LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}
SUBGROUP = "subgroup:"
MOST_LEVELS = 20  # of a subgroup's column: more are names or numbers, and no levels

# a path with a segment that is empty, . or .., or with a NUL
_NOT_PLAIN = r"(^|/)\.{0,2}(/|$)|\x00"
_STATS = pa.schema([LISTING_SCHEMA.field(name) for name in ("size", "changed_ns", "problem")])
# Manifest.csv, manifest.csv.txt, manifest (1).csv, manifests.tsv
_NEARLY = re.compile(r"manifests?[ _-]?(\(?\d+\)?)?(\.\w+){0,2}")
_STATS_AT_ONCE = 1024  # files a task: what waits is the file system


def read_manifest(root: Path, *, file: Path | None = None, fake_label: str = "") -> Listing:
    """Read `root/manifest.csv`, or the file that stands for it. A listed file that is missing, or a
    link that leaves the folder, is a row with a problem. fake_label: the value of the label that
    means fake, where it is none of the words.

    Raises DataError, naming file, line and value, for anything else that is not as the header of
    this file says.
    """
    table, notes = check_manifest(root, file=file, fake_label=fake_label)
    for name, column in _stats(root, table["path"]).items():
        table = table.append_column(name, column)
    released = first_dates(table["method"], table["label"], table["released"])
    table = table.select(LISTING_SCHEMA.names).cast(LISTING_SCHEMA)
    return Listing(table=table, layout=MANIFEST, skipped=tuple(notes), released=released)


def has_manifest(root: Path) -> bool:
    """Whether there is a `root/manifest.csv`; a folder of that name is none. Raises DataError for a
    link to nothing, or a pipe, and where there is none for a file that is one by its columns and
    nearly by its name.
    """
    path = root / MANIFEST
    if not os.path.lexists(path) or path.is_dir():
        _refuse_misnamed(root)
        return False
    if not path.is_file():
        what = "no regular file" if path.exists() else "a link to nothing"
        raise DataError(f"'{path}' is {what}; mend it, or delete it to have the folders decide")
    return True


def misnamed_manifests(folders: Iterable[Path]) -> list[str]:
    """Return the names of files in some folders that nearly are a manifest's: in another case, or
    with another suffix.
    """
    found: list[str] = []
    for folder in folders:
        with contextlib.suppress(OSError):  # who lists its images says that it may not be read
            names = sorted(path.name for path in folder.iterdir() if path.is_file())
            found += [n for n in names if n != MANIFEST and _NEARLY.fullmatch(n.strip().lower())]
    return found


def _refuse_misnamed(root: Path) -> None:
    for name in misnamed_manifests([root]):
        if set(REQUIRED) <= _first_line(root / name):
            raise DataError(
                f"'{root / name}' has the columns of a manifest and is not read: only the name"
                f" {MANIFEST} is. Rename it to {MANIFEST}, or, to have the folders decide, to a"
                " name without manifest"
            )


def _first_line(path: Path) -> set[str]:
    """The fields of a file's first line, whatever separates them, in lower case."""
    try:
        with open_csv(path) as file:
            line = ",".join(file.header)
    except DataError:  # it is no table, or one with a mistake
        with path.open(encoding="utf-8-sig", errors="replace") as text:
            line = text.readline(1000)
    return {field.strip().strip('"') for field in re.split(r"[,;\t]", line.lower())}


def lists_urls(manifest: Path) -> bool:
    """Whether the paths of a manifest are URLs, which its first row decides. False for what
    `read_manifest` refuses.
    """
    if not manifest.is_file():
        return False
    try:
        with open_csv(manifest) as file:
            place = _places(file)["path"]
            first = next(file.rows(place), [])
    except DataError:
        return False
    return len(first) > place and is_url(first[place].strip())


def check_manifest(
    root: Path, *, file: Path | None = None, urls: bool = False, fake_label: str = ""
) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Return the columns of a listing that a manifest itself gives, with `released`, and
    (what, why) of what was passed over; no file is looked at but those that paths from elsewhere
    may mean. Raises as `read_manifest`.

    urls: paths are URLs, and stay as they are.
    """
    with open_csv(file or root / MANIFEST) as opened:
        of_levels = _subgroup_places(opened)
        rows = opened.read({**_places(opened), **of_levels})
    _refuse_many_levels(rows, of_levels)
    rows, notes = rows.without_missing(*OPTIONAL)
    paths = _urls(rows) if urls else _inside(rows, root)
    _refuse_duplicates(paths, rows)
    labels = _labels(rows, fake_label)
    command = f"python -m study.prepare --describe {shlex.quote(str(root))} --fake-label {{}}"
    turned = f"{command} writes a manifest with the labels turned, to copy over this one"
    if file not in (None, root / MANIFEST):
        turned = "Turn them there"
    notes += refuse_reversed(rows, np.asarray(labels).astype(np.uint8), turned)
    splits = _splits(rows)
    nothing = pa.array([""] * len(paths), pa.string())
    method, group, video, released = (
        rows.columns[name] if name in rows.names else nothing
        for name in ("method", "group", "video", "released")
    )
    _refuse_no_dates(released, rows)
    by_label = pc.if_else(pc.equal(labels, 1), "fake", "real")
    table = pa.table(
        {
            "path": paths,
            "label": labels,
            "method": pc.if_else(pc.equal(method, ""), by_label, method),
            "group": pc.if_else(pc.equal(group, ""), video, group),
            "video": video,
            "split": splits,
            "released": released,
        }
    )
    return table, notes


def _refuse_no_dates(dates: pa.ChunkedArray | pa.Array, rows: CsvRows) -> None:
    for text in pc.unique(dates).to_pylist():
        if text and not DATE.fullmatch(text):
            where = rows.where(pc.index(dates, text).as_py())
            raise DataError(
                f"{where}: released '{text}' is no date; write 2024, 2024-08 or 2024-08-01"
            )


def manifest_subgroups(root: Path, file: Path | None = None) -> dict[str, dict[str, str]]:
    """Return what the columns `subgroup:NAME` of a manifest say: name -> path -> level;
    what is empty or a word for a missing value is left out. Raises as `read_manifest`.
    """
    with open_csv(file or root / MANIFEST) as opened:
        of_levels = _subgroup_places(opened)
        if not of_levels:
            return {}
        rows = opened.read({**_places(opened), **of_levels})
    rows, _ = rows.without_missing(*of_levels)
    paths = _inside(rows, root).to_pylist()
    return {
        name.removeprefix(SUBGROUP): {
            path: level
            for path, level in zip(paths, rows.columns[name].to_pylist(), strict=True)
            if level
        }
        for name in of_levels
    }


def _subgroup_places(file: CsvFile) -> dict[str, int]:
    """Where the columns of subgroups stand, in any case; their names as they are."""
    found = {}
    for place, field in enumerate(file.header):
        prefix, name = field[: len(SUBGROUP)].lower(), field[len(SUBGROUP) :].strip()
        if prefix == SUBGROUP:
            if not name or SUBGROUP + name in found:
                why = "stands there twice" if name else "has no name: write subgroup:NAME"
                raise DataError(f"{file.path}, line 1: the column '{field}' {why}")
            found[SUBGROUP + name] = place
    return found


def _refuse_many_levels(rows: CsvRows, names: Iterable[str]) -> None:
    for name in names:
        levels = pc.count_distinct(rows.columns[name]).as_py()
        if levels > MOST_LEVELS:
            raise DataError(
                f"{rows.path}: the column '{name}' has {levels:,} different values, and a subgroup"
                f" has at most {MOST_LEVELS}; put them into fewer levels, or rename the column"
            )


def _labels(rows: CsvRows, fake_label: str) -> pa.ChunkedArray:
    if fake_label:
        return pa.chunked_array([with_fake_label(rows, fake_label)])
    folder = shlex.quote(str(rows.path.parent))
    rule = (
        "must be 0 or real, 1 or fake; where two other words stand for them, this writes them so:"
        f" python -m study.prepare --describe {folder} --fake-label WORD"
    )
    return rows.translated("label", LABELS, rule)


def manifest_labels(root: Path, *, fake_label: str = "") -> list[int]:
    """Return the label of every row of `root/manifest.csv`, in its order. Raises DataError."""
    with open_csv(root / MANIFEST) as file:
        return list(_labels(file.read(_places(file)), fake_label).to_pylist())


def _splits(rows: CsvRows) -> pa.ChunkedArray:
    """The split of every row, "" for all where there is none. Raises DataError for some only."""
    if "split" not in rows.names:
        return pa.chunked_array([[""] * rows.columns.num_rows], pa.string())
    given = pc.unique(pc.utf8_lower(rows.columns["split"])).to_pylist()
    words = {"": "", **splits_among(given)}
    splits = rows.translated("split", words, "must be train, val or test")
    without = pc.index(splits, "").as_py()
    if without >= 0 and pc.any(pc.not_equal(splits, "")).as_py():
        raise DataError(
            f"{rows.where(without)}: split is empty while other rows have one; give every row a"
            " split, or none"
        )
    return splits


def _places(file: CsvFile) -> dict[str, int]:
    """Where our columns stand, in any case."""
    header = [field.lower() for field in file.header]
    places = {name: file.place(name, header) for name in (*REQUIRED, *OPTIONAL)}
    for name in REQUIRED:
        if places[name] is None:
            raise DataError(
                f"{file.path}, line 1: no column '{name}' in '{','.join(header)}'; it must be"
                " path,label[,method,group,split,video]"
            )
    return {name: place for name, place in places.items() if place is not None}


def _urls(rows: CsvRows) -> pa.ChunkedArray:
    paths = rows.columns["path"]
    row = next((row for row, path in enumerate(paths.to_pylist()) if not is_url(path)), None)
    if row is not None:
        raise DataError(
            f"{rows.where(row)}: path '{paths[row]}' is no URL, and the first row's is; make all of"
            " them URLs, or none"
        )
    return paths


def _inside(rows: CsvRows, root: Path) -> pa.ChunkedArray:
    """Return paths in their one spelling. Raises DataError for one that is empty or leaves."""
    paths = rows.columns["path"]
    unusual = pc.match_substring_regex(paths, _NOT_PLAIN)
    at, files = np.flatnonzero(unusual).tolist(), FilesBelow(root)
    respelled = [_spelled(paths[row].as_py(), files, rows.where(row)) for row in at]
    return pc.replace_with_mask(paths, unusual.combine_chunks(), pa.array(respelled, pa.string()))


def _spelled(path: str, files: FilesBelow, where: str) -> str:
    """A path relative to the root. One from elsewhere stays as it is where it ends like a file
    below the root: that is a missing file, and the message says where it is.
    """
    if not path:
        raise DataError(f"{where}: path is empty")
    if is_url(path):
        raise DataError(
            f"{where}: path '{path}' is a URL, and the first row's is none; make all of them URLs,"
            " or none"
        )
    spelled = files.relative(posixpath.normpath(path))
    if spelled in ("..", ".") or "\0" in spelled or (leaves(spelled) and not files.meant(spelled)):
        raise DataError(f"{where}: path '{path}' must be a file below the manifest's folder")
    return spelled


def _refuse_duplicates(paths: pa.ChunkedArray, rows: CsvRows) -> None:
    if pc.count_distinct(paths).as_py() == len(paths):
        return
    first: dict[str, int] = {}
    for row, path in enumerate(paths.to_pylist()):
        if path in first:
            raise DataError(
                f"{rows.where(row)}: path '{path}' is listed already in line"
                f" {rows.line[first[path]]}"
            )
        first[path] = row


def _stats(root: Path, paths: pa.ChunkedArray) -> dict[str, pa.Array]:
    """Columns size, changed_ns and problem of every file. Folders are looked at once each, and
    resolved only where links.
    """
    walker, files = Walker(root), FilesBelow(root)
    links: dict[str, bool] = {"": False}
    for folder in pc.unique(pc.replace_substring_regex(paths, r"/?[^/]*$", "")).to_pylist():
        if not leaves(folder):
            _leaves(walker, folder, links)

    def stats_of(path: str) -> tuple[int, int, str]:
        if not leaves(path):
            if links[posixpath.dirname(path)]:
                return -1, -1, LEAVES
            found = stat_file(f"{root}/{file_of(path)}", walker)
            if found[2] != MISSING:
                return found
        meant = files.meant(path)
        return -1, -1, f"{MISSING}: {meant.why}" if meant else MISSING

    def stats(block: pa.ChunkedArray) -> pa.Table:
        names = block.to_pylist()
        found = [stats_of(path) for path in names]
        return pa.table(list(zip(*found, strict=True)), schema=_STATS)

    blocks = [paths.slice(start, _STATS_AT_ONCE) for start in range(0, len(paths), _STATS_AT_ONCE)]
    joined = pa.concat_tables(ordered_map(stats, blocks, at_once=1)).combine_chunks()
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
