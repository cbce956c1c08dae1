"""A dataset: its listing with groups, units, splits and the identity of every image's bytes.

`Dataset.samples` is an Arrow table, sorted by id, one row a listed image:

    id       `<dataset>/<path>`
    path     relative to `root`
    label    uint8, 1 = fake
    method   what made it
    group    the split key
    video    "" where there is none
    unit     `<dataset>/<method>/<video>`, or the id where there is no video
    split    train, val, test
    size     of the file in bytes, -1 if missing
    sha256   of the file's bytes, hexadecimal, "" if unreadable
    pixels   digest of the decoded pixels, "" if undecodable
    problem  why the image is left out, "" for usable ones
    face     with `faces` alone: the region that stands for the image (images/faces.py)
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.identity import KEY_LENGTH, digest
from study.core.records import DatasetCard, Split
from study.data import splits
from study.data.file_index import FileIndex, Progress, quiet
from study.data.groups import pattern_columns
from study.data.layouts.folders import Layout, other_paths, read_layout
from study.data.layouts.frames import with_frames
from study.data.layouts.listing import MISSING, Listing
from study.data.layouts.published_lists import missing_images, with_test_list
from study.data.layouts.respelled import FilesBelow
from study.data.names import parse_name

# what a dataset is, wherever it lies and whatever its name
CONTENT = ("path", "label", "method", "group", "video", "split", "sha256")
IDENTITY = (*CONTENT, "problem")  # what `content_digest` reads


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset with its splits. `official` says that the splits came with it; `skipped` are
    folders that were passed over.

    unified_px: the side in pixels of all its images where they are re-encoded alike
    (images/unify.py), else None. faces: the step by which each image is its face
    (images/faces.py), else "". released: method -> when it was published (2024, 2024-08,
    2024-08-01), and `dataset`, as far as the card or the rows say it. incomplete: sentences that
    say what of the published is not here.
    """

    name: str
    card: DatasetCard | None
    root: Path
    layout: str
    official: bool
    samples: pa.Table
    skipped: tuple[tuple[str, str], ...] = ()
    unified_px: int | None = None
    faces: str = ""
    released: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()
    manifest: Path | None = None

    @property
    def digest(self) -> str:
        """The identity of the content: changes with any path, label, method, group, video, split or
        byte; no name or place.

        It changes also with which of the images can be decoded.
        """
        return content_digest(self.samples)

    @property
    def usable(self) -> pa.Table:
        """The samples that can be used: those without a problem."""
        return usable(self.samples)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return (real, fake) of every split, usable images only."""
        return splits.realised(words(self.usable["split"]), labels(self.usable))

    def rows(self, split: Split, columns: Sequence[str] = ()) -> pa.Table:
        """Return the samples of one split, sorted by id; all columns, or some. Raises DataError
        where the dataset has no such split.
        """
        samples = self.samples.select(columns) if columns else self.samples
        rows = samples.filter(pc.equal(self.samples["split"], split))
        if not rows.num_rows:
            raise DataError(
                f"dataset '{self.name}' has no {split} split ({splits.show_counts(self.counts())})"
            )
        return rows

    def without(self, split: Split) -> Dataset:
        """Return the dataset with no trace of one split."""
        others = pc.not_equal(self.samples["split"], split)
        return replace(self, samples=self.samples.filter(others))


def usable(rows: pa.Table) -> pa.Table:
    """Return the rows without a problem; all of them are the same table, not a copy."""
    good = pc.equal(rows["problem"], "")
    return rows if pc.all(good).as_py() else rows.filter(good)


def unusable(rows: pa.Table, name: str = "id") -> list[tuple[str, str]]:
    """Return (id, reason) of the rows with a problem; another column in place of the id."""
    left_out = rows.filter(pc.not_equal(rows["problem"], ""))
    return [*zip(left_out[name].to_pylist(), left_out["problem"].to_pylist(), strict=True)]


@dataclass(frozen=True, kw_only=True)
class ListedFolder:
    """A dataset's folder, listed, with frames in the place of videos. index: of its files."""

    name: str
    card: DatasetCard | None
    layout: Layout
    listing: Listing
    index: FileIndex


class FindFaces(Protocol):
    """What finds faces (face_regions.py). step: its name in a study."""

    step: str

    def on(self, table: pa.Table, root: Path, name: str) -> pa.Table:
        """Return listed images with a column `face`, and a problem where there is none."""
        ...


def list_folder(
    name: str,
    card: DatasetCard | None,
    layout: Layout,
    *,
    cache: Path,
    frames_per_video: int,
    one_class: bool = False,
    progress: Progress = quiet,
) -> ListedFolder:
    """List a folder. one_class: whether one suffices. Raises what `read_layout` and `with_frames`
    raise.
    """
    index = FileIndex(cache=cache, root=layout.root, name=parse_name(name).base, progress=progress)
    listing = with_frames(
        _held_to_card(read_layout(layout, name=name, one_class=one_class), card, layout, name),
        name=name,
        index=index,
        frames_per_video=frames_per_video,
        grouped=bool(card and card.group_pattern),
    )
    if layout.tables:  # which column is what, is known when they are read
        layout = replace(layout, rule=listing.layout)
    return ListedFolder(name=name, card=card, layout=layout, listing=listing, index=index)


def _held_to_card(listing: Listing, card: DatasetCard | None, layout: Layout, name: str) -> Listing:
    """A listing with the split and the gaps that a card's lists and numbers show."""
    if card and card.test_list and not pc.any(pc.not_equal(listing.table["split"], "")).as_py():
        listing = with_test_list(listing, card.test_list, layout.way)
    if card and card.expected:
        parsed = parse_name(name)
        only = [*layout.methods, *([parsed.member] if parsed.member else [])]
        lacks = missing_images(listing, card.expected, card.names_sha256, only=only)
        listing = replace(listing, incomplete=(*listing.incomplete, *lacks))
    return listing


def assemble(
    folder: ListedFolder,
    *,
    max_per_class: int | None = None,
    whole: bool = False,
    faces: FindFaces | None = None,
    fold: int = 0,
) -> Dataset:
    """Turn a listing into a dataset: groups, subset, splits, digests. whole: whether it is only
    tested on: all images are in test where no split came with them, and one class suffices. faces:
    what finds the face that stands for each image.

    Raises DataError for a split without both classes and where only some images have one, what
    `faces` raises, StoreError where the index cannot be written.
    """
    name, card, layout, listing = folder.name, folder.card, folder.layout, folder.listing
    table = in_order(listing.table)
    if card and card.group_pattern:
        others = other_paths(layout, listing)
        read = pattern_columns(table, card.group_pattern, way=layout.way, others=others)
        table = with_columns(table, read)
    if pc.any(pc.equal(table["group"], "")).as_py():
        table = _pixel_groups(with_columns(table, folder.index.fingerprint(table)))
    official = bool(pc.any(pc.not_equal(table["split"], "")).as_py())
    if official:
        _refuse_unsplit(table, name=name)
    codes, groups = group_codes(table)
    only_tested, whole = whole, whole and not official
    split = splits.assign_splits(codes, groups, words(table["split"]), fold)
    split = np.full(len(codes), "test") if whole else split
    table = with_columns(table, {"split": pa.array(split, pa.string())})
    if max_per_class:
        taken = splits.take_per_class(codes, groups, labels(table), max_per_class)
        table = table.filter(pa.array(taken))
    table = _looked_at(table, folder, faces)
    good = usable(table)
    if not only_tested:  # one class suffices for a test set: a newsroom's archive of reals
        splits.check_splits(
            words(good["split"]),
            labels(good),
            name=name,
            official=official,
            groups=lambda: _groups(good),
            limited=bool(max_per_class),
        )
    samples = with_columns(table, _identities(table, name=name)).drop_columns(["changed_ns"])
    _refuse_torn_units(samples, name=name)
    return Dataset(
        name=name,
        card=card,
        root=layout.root,
        layout=listing.layout,
        manifest=layout.manifest,
        official=official,
        samples=samples,
        skipped=listing.skipped,
        faces=faces.step if faces else "",
        released={**listing.released, **(card.released if card else {})},
        incomplete=listing.incomplete,
    )


def _looked_at(table: pa.Table, folder: ListedFolder, faces: FindFaces | None) -> pa.Table:
    """The rows with what is known of their bytes, and with the face of each where they are asked
    for. Raises DataError where none can be used.
    """
    name, root = folder.name, folder.layout.root
    if "pixels" not in table.column_names:
        table = with_columns(table, folder.index.fingerprint(table))
    if faces:
        table = faces.on(table, root, name)
    if not usable(table).num_rows:
        raise DataError(
            f"dataset '{name}': none of its {table.num_rows} images can be used,"
            f" {_why_none(table, root)}"
        )
    return table


def in_order(table: pa.Table) -> pa.Table:
    """Return rows sorted by path; those that are sorted are the same table, not a copy."""
    return table if _is_in_order(table) else table.sort_by("path")


def _is_in_order(table: pa.Table) -> bool:
    """Whether every path is below the next one."""
    path = table["path"].combine_chunks()
    is_sorted = pc.all(pc.less(path.slice(0, max(len(path) - 1, 0)), path.slice(1))).as_py()
    return is_sorted is not False


def _why_none(table: pa.Table, root: Path) -> str:
    """Why the first image cannot be used, and what a missing file's path may mean."""
    path, problem = table["path"][0].as_py(), table["problem"][0].as_py()
    meant = FilesBelow(root).meant(path) if problem.startswith(MISSING) else None
    why = f"'{path}' because: {problem}"
    if not meant:
        return why
    command = f"python -m study.prepare --describe {shlex.quote(str(root))}"
    return f"{why}. '{meant.path}' is there: {command} writes a manifest with the disk's names"


def _groups(good: pa.Table) -> str:
    """What is to be said of groups that are too few or too large to be split."""
    counts = good.group_by("group").aggregate([([], "count_all")])
    largest = counts.sort_by([("count_all", "descending"), ("group", "ascending")]).slice(0, 1)
    group, images = largest["group"][0].as_py(), largest["count_all"][0].as_py()
    if images == 1:
        return ""
    alike = good.filter(pc.equal(good["group"], group))
    same = len(pc.unique(alike["pixels"])) == 1
    named = "which have equal pixels" if same else f"'{group}', say the groups"
    remedy = "look at the files" if same else "leave it empty where images do not belong together"
    few = f"{counts.num_rows:,} group{'' if counts.num_rows == 1 else 's'}"
    return (
        f"; {good.num_rows:,} images are of {few}, the largest has {images:,} of them ({named}),"
        f" and a group is never parted: {remedy}"
    )


def _refuse_unsplit(table: pa.Table, *, name: str) -> None:
    """An image in no split would be trained and tested on by nobody, and counted nowhere."""
    unsplit = table.filter(pc.equal(table["split"], ""))
    if unsplit.num_rows:
        raise DataError(
            f"dataset '{name}': '{unsplit['path'][0]}' has no split, and"
            f" {table.num_rows - unsplit.num_rows} other images have one; put all images into split"
            " folders or none, or give every one a split in manifest.csv"
        )


def _refuse_torn_units(samples: pa.Table, *, name: str) -> None:
    """A unit (the frames of one video) has one label and one group, and so one split: its frames
    must not be on both sides.
    """
    columns = ("label", "group", "split")
    frames = samples.filter(pc.not_equal(samples["video"], ""))
    counts = frames.group_by("unit").aggregate([(name, "count_distinct") for name in columns])
    for column in columns:
        torn = counts.filter(pc.greater(counts[f"{column}_count_distinct"], 1))["unit"]
        if len(torn):
            raise DataError(
                f"dataset '{name}': the frames of {torn[0]} have more than one {column}; a video"
                " has one"
            )


def content_digest(rows: pa.Table) -> str:
    """Return a key of `KEY_LENGTH` hexadecimal digits for the `CONTENT` columns of samples, in the
    order of their paths.

    Where files that are there cannot be decoded, also for which: another machine's libraries may
    decode them.
    """
    content = columns_digest(rows, CONTENT, by_path=True)
    broken = rows.filter(
        pc.and_(pc.not_equal(rows["sha256"], ""), pc.not_equal(rows["problem"], ""))
    )
    return (
        digest("broken", content, sorted(broken["path"].to_pylist()))
        if broken.num_rows
        else content
    )


def columns_digest(rows: pa.Table, names: Sequence[str], *, by_path: bool = False) -> str:
    """Return a key of `KEY_LENGTH` hexadecimal digits for named columns, in the order of the rows
    or of their paths. One column at a time is sorted: a whole table would need its memory again.

    Of each column the lengths of its values as texts, in characters (int64, little-endian), and
    then the texts themselves.
    """
    sha256 = hashlib.sha256(f"{rows.num_rows}".encode())
    order = None if not by_path or _is_in_order(rows) else pc.sort_indices(rows["path"])
    for name in names:
        column = rows[name] if order is None else rows[name].take(order)
        texts = pc.fill_null(pc.cast(column, pa.string()), "")
        sha256.update(f"\0{name}\0".encode())
        for chunk in texts.chunks:
            sha256.update(np.asarray(pc.utf8_length(chunk)).astype("<i8").tobytes())
        for chunk in texts.chunks:
            sha256.update(_bytes_of(chunk))
    return sha256.hexdigest()[:KEY_LENGTH]


def _bytes_of(texts: pa.StringArray) -> memoryview:
    """Return the UTF-8 bytes of all texts of an array, one after the other, without a copy."""
    offsets, data = texts.buffers()[1:]
    if not len(texts) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def group_codes(table: pa.Table, *, named: bool = True) -> tuple[NDArray[np.integer], list[str]]:
    """Return every row's index into the list of distinct group keys, (N,), and that list; no list
    where the groups need not be `named`.
    """
    encoded = _encoded(table["group"])
    if not named:
        return np.asarray(encoded.indices), []
    return np.asarray(encoded.indices), cast(list[str], encoded.dictionary.to_pylist())


def strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Return a text column as (N,) str."""
    return np.array(column.to_pylist(), dtype=np.str_)


def words(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Return a text column of few values as (N,) str: `strings` without an object a row."""
    encoded = _encoded(column)
    values: NDArray[np.str_] = np.array(encoded.dictionary.to_pylist() or [""], dtype=np.str_)
    return cast("NDArray[np.str_]", values[np.asarray(encoded.indices)])


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    return encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded


def labels(table: pa.Table) -> NDArray[np.uint8]:
    """Return the labels, (N,) uint8, 1 = fake."""
    return np.asarray(table["label"]).astype(np.uint8)


def with_columns(table: pa.Table, columns: pa.Table | Mapping[str, Any]) -> pa.Table:
    """Return a table with some columns replaced or added."""
    for name in columns if isinstance(columns, Mapping) else columns.column_names:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, columns[name])
        else:
            table = table.append_column(name, columns[name])
    return table


def own_groups(table: pa.Table) -> pa.Array:
    """Return the group an image has where none is given, from its path, sha256 and pixels."""
    unreadable = pc.binary_join_element_wise("unreadable", table["path"], " ")
    if pc.all(pc.not_equal(table["pixels"], "")).as_py():
        return table["pixels"]
    broken = pc.binary_join_element_wise("undecodable", table["sha256"], " ")
    readable = pc.if_else(pc.not_equal(table["sha256"], ""), broken, unreadable)
    return pc.if_else(pc.not_equal(table["pixels"], ""), table["pixels"], readable)


def _pixel_groups(table: pa.Table) -> pa.Table:
    """Give every image without a group its pixels as one: equal pictures stay together."""
    group = pc.if_else(pc.equal(table["group"], ""), own_groups(table), table["group"])
    return with_columns(table, {"group": group})


def _identities(table: pa.Table, *, name: str) -> dict[str, pa.ChunkedArray]:
    ids = pc.binary_join_element_wise(name, table["path"], "/")
    if not pc.any(pc.not_equal(table["video"], "")).as_py():
        return {"id": ids, "unit": ids}
    video_unit = pc.binary_join_element_wise(name, table["method"], table["video"], "/")
    return {"id": ids, "unit": pc.if_else(pc.equal(table["video"], ""), ids, video_unit)}
