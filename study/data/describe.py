"""A folder described: how it is understood, and what it holds, for a person who is about to use it
as a dataset.

The folder is read as `--data-root` on its parent would read it: the same layout, groups
and splits.
"""

from __future__ import annotations

import csv
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.identity import unit_interval, whole_file
from study.core.paths import is_url
from study.core.records import DatasetCard
from study.data import datasets
from study.data.csv_file import open_csv
from study.data.file_index import Progress, quiet
from study.data.images.videos import (
    FRAMES_PER_VIDEO,
    load_image,
    map_files,
    split_frame,
)
from study.data.layouts.folders import Layout
from study.data.layouts.manifest import MANIFEST, manifest_labels
from study.data.layouts.respelled import FilesBelow, leaves
from study.data.name_groups import NameGroups, name_groups
from study.data.names import RESERVED, can_name
from study.data.sources.locate import Sources

MANIFEST_COLUMNS = ("path", "label", "method", "group", "split")  # and video, where there are any


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a folder is understood to be.

    table: its images, columns path, label, method, group, video, split, sha256, problem. group is
    "" for an image that is a group by itself; where `refusal` says why it is no dataset, split is
    what the folder gives.
    official: whether the splits came with the folder.
    formats: (label, format, width, height) -> number of usable images; format "" for what is no
    image. regrouped: file -> the group that was proposed for it, where it had another.
    """

    name: str
    card: DatasetCard | None
    layout: Layout
    table: pa.Table
    official: bool
    refusal: str
    skipped: tuple[tuple[str, str], ...]
    formats: Mapping[tuple[int, str, int, int], int]
    regrouped: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_manifest(self) -> Path | None:
        """The manifest by which the folder is understood; None where its folders decide."""
        is_other = self.layout.parts or self.layout.tables
        return None if is_other else self.layout.way[-1] / MANIFEST

    @property
    def files(self) -> int:
        """The number of its images and videos."""
        paths = self.table["path"].to_pylist()
        return len({(split_frame(path) or (path, 0))[0] for path in paths})


def describe_folder(
    folder: Path,
    *,
    class_folders: Mapping[str, int],
    cache: Path,
    fake_label: str = "",
    frames_per_video: int = FRAMES_PER_VIDEO,
    progress: Progress = quiet,
) -> Description:
    """Read a folder: list, hash, group and split its images.

    class_folders: label (0 or 1) of class folders that are named otherwise than real/fake. cache:
    for the index of hashes. fake_label: the value of its manifest's label that means fake. Raises
    DataError for a folder that is not there or not understood, or has no manifest whose label could
    be meant, StoreError where the cache cannot be written.
    """
    name = _name_of(folder)
    sources = Sources(
        root=folder.parent,
        cache=cache,
        class_folders=class_folders,
        fake_label=fake_label,
        progress=progress,
    )
    found = sources.whole(name, shown=name)
    assert found is not None, "with download=True a source is found or an error raised"
    card, layout = found
    if fake_label and layout.parts:
        raise DataError(
            f"--fake-label {fake_label}: '{folder}' has no manifest.csv whose label it could be;"
            " folders are told by --class-folder"
        )
    listed = datasets.list_folder(
        name, card, layout, cache=cache, frames_per_video=frames_per_video, progress=progress
    )
    table, official, refusal = _assembled(listed)
    return Description(
        name=name,
        card=listed.card,
        layout=listed.layout,
        table=table,
        official=official,
        refusal=refusal,
        skipped=listed.listing.skipped,
        formats=_formats(datasets.usable(table), listed.layout.root, progress),
    )


def _name_of(folder: Path) -> str:
    if not folder.is_dir():
        raise DataError(f"'{folder}' is not a folder")
    if not folder.name or not can_name(folder.name):
        raise DataError(
            f"'{folder}' cannot be a dataset by that name: rename it without {' '.join(RESERVED)}"
            " and a leading dot"
        )
    return folder.name


def _assembled(folder: datasets.ListedFolder) -> tuple[pa.Table, bool, str]:
    """The images with groups and splits, whether these are official, and why it is no dataset."""
    try:
        dataset = datasets.assemble(folder)
        table, official, refusal = dataset.samples, dataset.official, ""
    except DataError as error:
        table, refusal = folder.listing.table.sort_by("path"), str(error)
        table = datasets.with_columns(table, folder.index.fingerprint(table))
        official = pc.any(pc.not_equal(table["split"], "")).as_py()
    # nothing says what an image belongs to that is a group by itself
    own = pc.equal(table["group"], datasets.own_groups(table))
    group = pc.if_else(own, "", table["group"])
    return datasets.with_columns(table, {"group": group}), official, refusal


def _formats(
    table: pa.Table, root: Path, progress: Progress
) -> dict[tuple[int, str, int, int], int]:
    paths = table["path"].to_pylist()
    items = [*zip((f"{root}/{path}" for path in paths), table["label"].to_pylist(), strict=True)]
    counts: Counter[tuple[int, str, int, int]] = Counter()
    headers = map_files(lambda file, of: [(one, file.header()) for one in of], items)
    for done, (label, header) in enumerate(headers, start=1):
        counts[(label, *(header or ("", 0, 0)))] += 1
        if done % 256 == 0 or done == len(items):
            progress("reading headers", done, len(items))
    return dict(counts)


def examples(description: Description, each: int) -> dict[tuple[int, str], tuple[int, list[str]]]:
    """Return for every (label, method) the number of its usable images and `each` paths of them,
    the same at every call.

    They are of as many groups as there are: not eight frames of one video.
    """
    usable = datasets.usable(description.table)
    found: dict[tuple[int, str], list[tuple[str, str]]] = {}
    columns = (usable[name].to_pylist() for name in ("label", "method", "path", "group"))
    for label, method, path, group in zip(*columns, strict=True):
        found.setdefault((label, method), []).append((path, group))
    return {key: (len(found[key]), _spread(found[key])[:each]) for key in sorted(found)}


def _spread(images: Sequence[tuple[str, str]]) -> list[str]:
    """Paths of (path, group) by a hash: one of every group, then the second of each, and so on."""
    ordered = sorted(images, key=lambda image: unit_interval("contact sheet", image[0]))
    seen: Counter[str] = Counter()
    turns = []
    for place, (path, group) in enumerate(ordered):
        turns.append((seen[group or path], place, path))
        seen[group or path] += 1
    return [path for _, _, path in sorted(turns)]


def load_example(description: Description, path: str) -> NDArray[np.uint8]:
    """Return the pixels of a usable image, (H, W, 3). Raises UndecodableError if it changed."""
    return load_image(f"{description.layout.root}/{path}")


def proposed(description: Description) -> NameGroups | None:
    """Return the groups that the names of images without a group propose, None for none."""
    without = description.table.filter(pc.equal(description.table["group"], ""))
    return name_groups(without["path"].to_pylist()) if without.num_rows else None


def with_groups(description: Description, groups: NameGroups) -> Description:
    """Return a description with the groups that `proposed` gives."""
    table = description.table
    empty = pc.equal(table["group"], "").combine_chunks()
    group = pc.replace_with_mask(table["group"], empty, pa.array(groups.groups, pa.string()))
    return replace(description, table=datasets.with_columns(table, {"group": group}))


def write_manifest(description: Description, path: Path) -> int:
    """Write a description as a manifest that means the same as the folder does; return the number
    of rows. None is written where there is none.

    A manifest of the folder's own is written with every row and column that it has, its labels as
    words, and paths as the disk has them. Else group and split are empty where the folder does not
    give them, so that they follow from what is edited, and images that are left out for another
    reason than that they cannot be decoded are not listed. Raises DataError where the file exists
    already.
    """
    if path.exists():
        raise DataError(
            f"'{path}' exists and is not written over; move it away, or name another folder with"
            " --out"
        )
    own = description.own_manifest
    header, rows = _respelled(description, own) if own else _manifest_rows(description)
    if not rows:
        return 0
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, lineterminator="\n")
        # the plain one leaves a carriage return bare
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(header)
        for row in rows:
            (quoting if any("\r" in field for field in row) else plain).writerow(row)
    return len(rows)


Rows = tuple[Sequence[str], list[Sequence[str]]]  # a header, and what stands below it


def _respelled(description: Description, own: Path) -> Rows:
    """The folder's own manifest, with labels in words and the disk's names for missing files."""
    files = FilesBelow(own.parent)
    labels = manifest_labels(own.parent, fake_label=description.layout.fake_label)
    with open_csv(own) as file:
        names = [name.lower() for name in file.header]
        path, label = names.index("path"), names.index("label")
        more = [name for name in MANIFEST_COLUMNS if name not in names]
        header, root = [*file.header, *more], description.layout.root
        group = [name.lower() for name in header].index("group")
        rows: list[Sequence[str]] = []
        for number, fields in enumerate(file.rows(max(path, label))):
            row = [*fields[: len(names)], *[""] * (max(len(names) - len(fields), 0) + len(more))]
            given = row[path].strip()
            spelled = files.relative(posixpath.normpath(given))
            there = not leaves(spelled) and (own.parent / spelled).is_file()
            meant = None if there or is_url(given) else files.meant(given)
            row[path] = meant.path if meant else row[path]
            row[label] = ("real", "fake")[labels[number]]
            place = own.parent / posixpath.normpath(row[path].strip())
            if place.is_relative_to(root):
                of_file = place.relative_to(root).as_posix()
                row[group] = description.regrouped.get(of_file, row[group])
            rows.append(row)
    return header, rows


def _manifest_rows(description: Description) -> Rows:
    """The header, and a row for every file; a video's frames are one row."""
    names = ("path", "label", "method", "group", "split", "video", "problem", "sha256")
    rows: dict[str, tuple[str, ...]] = {}
    for path, label, method, group, split, video, problem, sha256 in zip(
        *(description.table[name].to_pylist() for name in names), strict=True
    ):
        file = (split_frame(path) or (path, 0))[0]
        if not problem or sha256 or file == video:
            given = split if description.official else ""
            # a reader takes outer spaces of a field for none
            spelled = file if file == file.strip() else f"./{file}"
            words = (spelled, ("real", "fake")[label], method, group, given)
            rows[file] = (*words, "" if video == file else video)
    if any(row[-1] for row in rows.values()):
        return (*MANIFEST_COLUMNS, "video"), list(rows.values())
    return MANIFEST_COLUMNS, [row[:-1] for row in rows.values()]
