"""Folders of tables with images inside: what their columns mean.

Parquet files (as the Hugging Face hub has datasets) or WebDataset shards (.tar) in a folder, or at
most two folders below it. Every row with an image is one; nothing is unpacked (images/inside.py).
Columns are known by their names, in any case, or by the card's `columns`:

    image     image, img, image_data, ...: a struct with `bytes`, or bytes
    label     label, labels, is_fake, ...: words or names of classes that say real or fake, or 0 for
              real and 1 for fake; other values are named in class_folders
    method    method, model, model_name, generator: what made it; without one real or fake
    group     group, group_id
    video     video, video_id
    split     split; without one the file's name (train-00000-of-00003.parquet), or its folder's
    released  released, release_date: when the method was published

Labels that contradict the words of other columns are refused as those of a manifest are
(label_check.py).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.data.class_words import SILENT, class_said
from study.data.csv_file import CsvRows
from study.data.images.inside import SHARD, TABLE
from study.data.label_check import refuse_reversed, with_fake_label
from study.data.layouts.embedded import ROLES, Embedded, holds_samples, read_embedded
from study.data.layouts.listing import LISTING_SCHEMA, Listing, Walker, joined, stat_file
from study.data.layouts.released import first_dates
from study.data.layouts.split_names import splits_among

LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}
_DEEPEST = 2  # folders between the dataset's and its files
_SHOWN = 8  # values named


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Files with images inside, and what is known of their columns beforehand.

    columns: what each of ours is called there. classes: label of values of the label column.
    methods, splits: what values stand for.
    """

    files: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableRows(CsvRows):
    """The rows of several files, as of one table. files: the file of each, whole. of_file, group,
    line: (N,) where each row is, counted from 0.
    """

    files: Sequence[str]
    of_file: NDArray[np.int32]
    group: NDArray[np.int32]

    def where(self, row: int) -> str:
        """Return file, row group and row, as a message begins."""
        file = self.files[self.of_file[row]]
        group = f", row group {self.group[row]}" if file.lower().endswith(TABLE) else ""
        return f"{file}{group}, row {self.line[row]}"


def table_files(root: Path) -> tuple[str, ...]:
    """Return the files with images inside that a folder holds, sorted: Parquet, else shards."""
    walker = Walker(root)
    for suffix in (TABLE, SHARD):
        found = sorted(_files(walker, "", suffix, _DEEPEST))
        if found and (suffix == TABLE or holds_samples(f"{root}/{found[0]}")):
            return tuple(found)
    return ()


def _files(walker: Walker, folder: str, suffix: str, deeper: int) -> Iterator[str]:
    for name in walker.files(folder):
        if name.lower().endswith(suffix):
            yield joined(folder, name)
    for name in walker.folders(folder) if deeper else []:
        yield from _files(walker, joined(folder, name), suffix, deeper - 1)


def read_tables(root: Path, tables: Tables, *, fake_label: str) -> Listing:
    """List the images inside some files. fake_label: the value of the label column that means fake,
    "" where none is given.

    Raises DataError, naming file, row group, row, column and what to do, for what is not as the
    header of this file says.
    """
    walker = Walker(root)
    stats = [stat_file(f"{root}/{file}", walker) for file in tables.files]
    for file, (_, _, problem) in zip(tables.files, stats, strict=True):
        if problem:
            raise DataError(f"'{root}/{file}': {problem}")
    read = [read_embedded(root, file, tables.columns) for file in tables.files]
    rows = _joined(root, read, tables.columns)
    rows, notes = rows.without_missing("method", "group", "video", "split")
    labels = _labels(rows, tables.classes, fake_label)
    words = pa.array(["real", "fake"]).take(labels)
    command = f"python -m study.prepare --describe {shlex.quote(str(root))} --fake-label {{}}"
    remedy = f"{command} writes a manifest with the labels turned, to copy into the folder"
    notes += refuse_reversed(rows, np.asarray(labels).astype(np.uint8), remedy)
    split, about, more = _splits(rows, read, tables.splits)
    method = _renamed(_column(rows, "method"), tables.methods)
    method = pc.if_else(pc.equal(method, ""), words, method)
    group, video = _column(rows, "group"), _column(rows, "video")
    table = pa.table(
        {
            "path": pa.chunked_array([one.path for one in read]),
            "label": labels,
            "method": method,
            "group": pc.if_else(pc.equal(group, ""), video, group),
            "video": video,
            "split": split,
            "problem": pa.array([""] * len(labels), pa.string()),
            "size": np.concatenate([one.size for one in read]),
            "changed_ns": np.repeat([ns for _, ns, _ in stats], [len(one.path) for one in read]),
        }
    ).cast(LISTING_SCHEMA)
    skipped = (*notes, *more, *(note for one in read for note in one.notes))
    layout = _about(rows, read, about)
    dates = rows.columns["released"] if "released" in rows.names else None
    released = {} if dates is None else first_dates(table["method"], labels, dates)
    return Listing(table=table, layout=layout, skipped=skipped, released=released)


def _joined(root: Path, read: Sequence[Embedded], named: Mapping[str, str]) -> TableRows:
    """The columns of all files that mean something, and those of text that say a class."""
    names = _roles(read, named)
    ours = set(names.values())
    texts = {n for one in read for n in one.columns.column_names} - ours - {"", "name"}
    kept = {our: name for our, name in names.items() if name}

    def column(name: str) -> pa.ChunkedArray:
        nothing = [
            one.columns[name]
            if name in one.columns.column_names
            else pa.chunked_array([[""] * len(one.path)], pa.string())
            for one in read
        ]
        return pa.chunked_array([chunk for part in nothing for chunk in part.chunks], pa.string())

    columns = {our: column(name) for our, name in kept.items()}
    if any("name" in one.columns.column_names for one in read):
        columns, kept = {**columns, "path": column("name")}, {**kept, "path": "name of the file"}
    sizes = [len(one.path) for one in read]
    return TableRows(
        path=root,
        columns=pa.table(columns),
        names=kept,
        line=np.concatenate([np.arange(size, dtype=np.int64) for size in sizes]),
        texts=pa.table({name: column(name) for name in sorted(texts) if _is_words(column(name))}),
        files=[f"{root}/{one.file}" for one in read],
        of_file=np.repeat(np.arange(len(read), dtype=np.int32), sizes),
        group=np.concatenate([one.group for one in read]),
    )


def _is_words(column: pa.ChunkedArray) -> bool:
    """Whether a column is worth comparing with the labels: it is no numbers, and of few values."""
    values = pc.unique(column)
    few = len(values) <= max(1000, len(column) // 20)
    return few and pc.any(pc.match_substring_regex(values, "[A-Za-z]")).as_py() is True


def _roles(read: Sequence[Embedded], named: Mapping[str, str]) -> dict[str, str]:
    """What each of our columns is called in the files; label is in all of them."""
    there = list(dict.fromkeys(name for one in read for name in one.columns.column_names))
    lower = {name.lower(): name for name in reversed(there)}
    found: dict[str, str] = {}
    for role, known in ROLES.items():
        wanted = named.get(role, "")
        found[role] = wanted or next((lower[n] for n in known.split() if n in lower), "")
    label = found["label"]
    for one in read:
        if not label or label not in one.columns.column_names:
            what = f"no column '{label}'" if label else "no column that is a label by its name"
            raise DataError(
                f"'{one.file}' has {what} ({', '.join(one.names)}): write one that is"
                " called label, 0 or real and 1 or fake (with the library datasets:"
                " rename_column('NAME', 'label')), or list the images in a manifest.csv"
            )
    return found


def _labels(rows: TableRows, classes: Mapping[str, int], fake_label: str) -> pa.ChunkedArray:
    if fake_label:
        return pa.chunked_array([with_fake_label(rows, fake_label)])
    column = rows.columns["label"]
    values = pc.unique(column).to_pylist()
    lower = {name.lower(): label for name, label in classes.items()}
    words: dict[str, int | str] = {
        value.lower(): lower.get(value.lower(), LABELS.get(value.lower(), class_said(value)))
        for value in values
    }
    unknown = [value for value in values if words[value.lower()] == SILENT]
    shown = ", ".join(repr(value) for value in unknown[:_SHOWN])
    options = " ".join(f"--class-folder {shlex.quote(f'{v}=fake')}" for v in unknown[:_SHOWN] if v)
    rule = (
        f"must be 0 or real, 1 or fake; {shown} say neither. What they mean goes into"
        " data.class_folders, or, with prepare --describe and init, into"
        f" {options or '--class-folder VALUE=fake'} (or =real)"
    )
    if unknown == [""]:
        rule = "is empty; leave such rows out, or write their label"
    return rows.translated("label", {w: k for w, k in words.items() if k != SILENT}, rule)


def _column(rows: TableRows, name: str) -> pa.ChunkedArray:
    if name in rows.names:
        return rows.columns[name]
    return pa.chunked_array([[""] * rows.columns.num_rows], pa.string())


def _renamed(method: pa.ChunkedArray, methods: Mapping[str, str]) -> pa.ChunkedArray:
    """Methods as the card calls them."""
    values = pc.unique(method)
    called = pa.array([methods.get(value, value) for value in values.to_pylist()], pa.string())
    return called.take(pc.index_in(method, value_set=values))


def _splits(
    rows: TableRows, read: Sequence[Embedded], by_card: Mapping[str, str]
) -> tuple[pa.ChunkedArray, str, list[tuple[str, str]]]:
    """The split of every row, where it is from, and (what, why) of one that is not used."""
    none = pa.chunked_array([[""] * rows.columns.num_rows], pa.string())
    if "split" in rows.names:
        what, given = f"column '{rows.names['split']}'", rows.columns["split"]
    else:
        words = [_split_word(one.file, by_card) for one in read]
        what = "the names of the files"
        given = pa.chunked_array([pa.array(words).take(rows.of_file)], pa.string())
    values = [value for value in pc.unique(given).to_pylist() if value]
    known = _known_splits(values, by_card)
    if not known:
        shown = ", ".join(values[:_SHOWN])
        return none, "", [(what, f"{shown}: no splits by their names, not used")] if values else []
    unknown = [value for value in values if value not in known]
    if set(known.values()) == {"train"} and not (by_card or unknown):
        return none, "", [(what, "all is train, as of a set without a split: one is made by group")]
    if unknown or pc.any(pc.equal(given, "")).as_py():
        row = pc.index(given, unknown[0] if unknown else "").as_py()
        raise DataError(
            f"{rows.where(row)}: '{given[row]}' is no split by {what}, and {', '.join(known)} are;"
            " call it train, val or test, or list the images in a manifest.csv"
        )
    splits = pa.array([known[value] for value in values], pa.string())
    return splits.take(pc.index_in(given, value_set=pa.array(values))), what, []


def _split_word(file: str, by_card: Mapping[str, str]) -> str:
    """The word of a file's path that is a split: `data/train-00000-of-00003.parquet`."""
    *folders, base = file.split("/")
    for word in (re.split(r"[-.]", base)[0], base.rpartition(".")[0], *reversed(folders)):
        if _known_splits([word], by_card):
            return word
    return ""


def _known_splits(values: Sequence[str], by_card: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): split for name, split in by_card.items()}
    given = {value: lower[value.lower()] for value in values if value.lower() in lower}
    return {**splits_among([value for value in values if value not in given]), **given}


def _about(rows: TableRows, read: Sequence[Embedded], split: str) -> str:
    kind = "Parquet" if read[0].file.lower().endswith(TABLE) else "WebDataset shards"
    files = f"{len(read)} file{'' if len(read) == 1 else 's'}"
    said = [f"{our} = {name}" for our, name in rows.names.items() if our not in (name, "path")]
    said += [f"image = {read[0].images}"] if read[0].images not in ("", "image") else []
    said += [f"split by {split}"] if split and "column" not in split else []
    return "; ".join([f"{kind}, {files}", *said])
