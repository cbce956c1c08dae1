"""Packs: the images of a split, decoded once, as one file of uint8 squares that every process maps
and shares.

An entry of `<cache>/packs/` holds `images.u8`, N x S x S x 3 bytes in the order of the ids, and
`pack.json` (the images left out and why, shape). Its key is that of the content: ids, SHA-256
of the files' bytes, geometry, decoder, where faces are, how images are unified; not the place of
the folder. An image that cannot be decoded, or has no face, is listed with its reason and has no
row: nothing stands in for it.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.cache import Cache
from study.core.errors import DataError, DiskFullError
from study.core.identity import digest
from study.core.paths import bytes_text
from study.core.records import Balance, Geometry, Split
from study.data.datasets import Dataset, columns_digest, labels, strings, usable
from study.data.file_index import Progress, quiet
from study.data.images.decode import DECODE_VERSION, READERS, UndecodableError
from study.data.images.faces import FACES_VERSION
from study.data.images.geometry import check_geometry, fit_geometry
from study.data.images.originals import map_originals, originals_of
from study.data.images.unify import UNIFY_VERSION

IMAGES, PACK = "images.u8", "pack.json"
PACKED = ("id", "sha256", "problem")  # what a pack is of
_COLUMNS = ("sample_id", "group", "unit", "method", "label")  # of an ImageSet
BLOCK = 1 << 13  # rows that are Python objects at a time


class Pack:
    """A pack on disk. Cheap to send to another process: what travels is the folder's name, and the
    file is mapped there.

    excluded: (id, reason) of the images that have no row.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """key: of the content (`pack_key`)."""
        self.folder, self.key = folder, key
        description = json.loads((folder / PACK).read_text(encoding="utf-8"))
        self.excluded = tuple(
            (str(sample), str(reason)) for sample, reason in description["excluded"]
        )
        self.shape: tuple[int, int, int, int] = tuple(description["shape"])

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """The pixels, (N, S, S, 3) uint8, mapped read-only and shared by all processes."""
        if not self.shape[0]:  # nothing can be mapped from an empty file
            return np.zeros(self.shape, dtype=np.uint8)
        return np.asarray(
            np.memmap(self.folder / IMAGES, dtype=np.uint8, mode="r", shape=self.shape)
        )

    def __len__(self) -> int:
        return self.shape[0]

    def gather(self, index: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return a copy of the images at `index` (B,), as (B, S, S, 3) uint8."""
        batch: NDArray[np.uint8] = self.images[index]
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "images"}


class ImageSet:
    """The images of one split of one dataset or of a union, from one or several packs, sorted by
    sample id.

    sample_id, group, unit, method: (N,) str; label: (N,) uint8, 1 = fake. listed: images that the
    split lists; N of them could be decoded, the others stand in `excluded` as (sample id, reason),
    sorted. size_px: side of the squares, in pixels.
    """

    def __init__(self, parts: Sequence[tuple[pa.Table, Pack]]) -> None:
        """parts: the samples of a split (columns of `Dataset.samples`) and their pack, one pair a
        dataset.
        """
        kept = [_kept(rows, pack) for rows, pack in parts]
        columns = pa.concat_tables(
            [rows.select(["id", "group", "unit", "method", "label"]) for rows in kept]
        )
        sample_id = strings(columns["id"])
        order = np.argsort(sample_id, kind="stable")
        self.sample_id = sample_id[order]
        self.group, self.unit, self.method = (
            strings(columns[name])[order] for name in ("group", "unit", "method")
        )
        self.label = labels(columns)[order]
        self.listed = sum(rows.num_rows for rows, _ in parts)
        self.excluded = tuple(sorted(entry for _, pack in parts for entry in pack.excluded))
        self.size_px = parts[0][1].shape[1]
        self._packs = [pack for _, pack in parts]
        self._pack_of = np.repeat(
            np.arange(len(parts), dtype=np.uint16), [rows.num_rows for rows in kept]
        )[order]
        self._row_of = np.concatenate([np.arange(rows.num_rows) for rows in kept])[order]
        self._pack_keys = tuple(sorted(pack.key for pack in self._packs))

    def __len__(self) -> int:
        return len(self.sample_id)

    def part(self, rows: NDArray[np.integer]) -> ImageSet:
        """Return some of the images, in the order of `rows` (n,), which is that of the set."""
        return self._changed(
            **{name: getattr(self, name)[rows] for name in (*_COLUMNS, "_pack_of", "_row_of")}
        )

    def relabelled(self, label: NDArray[np.uint8]) -> ImageSet:
        """Return the same images with other labels (N,)."""
        return self._changed(label=label)

    def _changed(self, **arrays: NDArray[Any]) -> ImageSet:
        other = copy.copy(self)
        other.__dict__.pop("key", None)
        other.__dict__.update(arrays)
        return other

    def strata(self, balance: Balance) -> NDArray[np.int64] | None:
        """Return the stratum of each image (N,) that training draws alike often: its class, or its
        dataset's; None for no balance.

        Numbered as they first appear, so that a+b and b+a have the same.
        """
        if balance == "none":
            return None
        code = self.label.astype(np.int64) + (
            2 * self._pack_of.astype(np.int64) if balance == "dataset" else 0
        )
        _, first, number = np.unique(code, return_index=True, return_inverse=True)
        strata: NDArray[np.int64] = np.argsort(np.argsort(first))[number]
        return strata

    @property
    def n_bytes(self) -> int:
        """Bytes of all pixels."""
        return len(self) * self.size_px**2 * 3

    @cached_property
    def key(self) -> str:
        """The identity of pixels, ids, labels, groups, units and methods, for caches."""
        columns = {name.removeprefix("sample_"): getattr(self, name) for name in _COLUMNS}
        table = pa.table({name: column.tolist() for name, column in columns.items()})
        return digest("images", self._pack_keys, columns_digest(table, table.column_names))

    def gather(self, index: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return a copy of the images at `index` (B,), in that order, as (B, S, S, 3) uint8. Raises
        IndexError beyond the set.
        """
        index = np.asarray(index, dtype=np.intp)
        rows = self._row_of[index]
        if len(self._packs) == 1:
            return self._packs[0].gather(rows)
        batch = np.empty((len(index), self.size_px, self.size_px, 3), dtype=np.uint8)
        pack_of = self._pack_of[index]
        for number, pack in enumerate(self._packs):
            wanted = np.flatnonzero(pack_of == number)
            batch[wanted] = pack.gather(rows[wanted])
        return batch

    def parts(self) -> list[tuple[Pack, NDArray[np.intp], NDArray[np.intp]]]:
        """Return of each pack the rows that stand here (n,), and their places (n,) in this set."""
        places = [np.flatnonzero(self._pack_of == number) for number in range(len(self._packs))]
        return [
            (pack, self._row_of[mine], mine) for pack, mine in zip(self._packs, places, strict=True)
        ]


def pack_key(dataset: Dataset, split: Split, geometry: Geometry) -> str:
    """Return the key of the images of a split in a geometry. Raises DataError where the dataset has
    no such split.
    """
    content = columns_digest(dataset.rows(split, PACKED), PACKED)
    unified = (UNIFY_VERSION, dataset.unified_px) if dataset.unified_px else ()
    faces = (FACES_VERSION, columns_digest(dataset.rows(split), ("face",))) if dataset.faces else ()
    # the 1 stays: the fits under way of earlier versions have it in their keys
    return digest("pack", 1, DECODE_VERSION, geometry, content, *unified, *faces)


def is_packed(dataset: Dataset, split: Split, geometry: Geometry, *, cache: Path) -> bool:
    """Whether the pack of a split is built. Raises what `pack_key` raises."""
    return PACKS.path(cache, digest(pack_key(dataset, split, geometry))).is_dir()


def open_pack(
    dataset: Dataset, split: Split, geometry: Geometry, *, cache: Path, progress: Progress = quiet
) -> tuple[pa.Table, Pack]:
    """Return the samples of a split and their pack, which is built where it is missing.

    Raises DataError where no image of a class can be decoded or a file changed meanwhile,
    ConfigError for an impossible geometry, StoreError where the cache cannot be written,
    DiskFullError where it has no room.
    """
    check_geometry(geometry)
    rows, key = dataset.rows(split), pack_key(dataset, split, geometry)

    def build(folder: Path) -> None:
        _refuse_full_disk(rows.num_rows * geometry.size_px**2 * 3, cache, name=dataset.name)
        report = partial(progress, f"packing {dataset.name} {split}")
        _build(folder, rows, (dataset.root, dataset.unified_px), geometry, report)

    pack = Pack(PACKS.folder(cache, key, build), key)
    for value, word in ((0, "real"), (1, "fake")):
        # a test set may be of one class
        if value in labels(rows) and value not in labels(_kept(rows, pack)):
            first = (
                f"; for example {pack.excluded[0][0]}: {pack.excluded[0][1]}"
                if pack.excluded
                else ""
            )
            raise DataError(
                f"dataset '{dataset.name}': no {word} image of its {split} split can be used{first}"
            )
    return rows, pack


def _build(
    folder: Path,
    rows: pa.Table,
    of: tuple[Path, int | None],
    geometry: Geometry,
    progress: Callable[[int, int], None],
) -> None:
    """Decode in parallel, write in the order of the ids; at no time are more than a few dozen
    images in memory. of: root and unified_px of the dataset.
    """
    excluded: list[tuple[str, str]] = []
    done = 0
    with (folder / IMAGES).open("wb") as file:
        for start in range(0, rows.num_rows, BLOCK):
            block = rows.slice(start, BLOCK)
            squares = map_originals(partial(_square, geometry), originals_of(usable(block), *of))
            columns = (block[name].to_pylist() for name in ("id", "problem"))
            for sample, problem in zip(*columns, strict=True):
                result = problem or next(squares)
                if isinstance(result, str):
                    excluded.append((sample, result))
                else:
                    file.write(result.data)
                done += 1
                if done % 256 == 0 or done == rows.num_rows:
                    progress(done, rows.num_rows)
    shape = [done - len(excluded), geometry.size_px, geometry.size_px, 3]
    description = {"shape": shape, "excluded": excluded}
    (folder / PACK).write_text(json.dumps(description), encoding="utf-8")


def _square(geometry: Geometry, pixels: NDArray[np.uint8] | str) -> NDArray[np.uint8] | str:
    """Return an image as its square, or the reason why there is none."""
    try:
        return (
            pixels
            if isinstance(pixels, str)
            else np.ascontiguousarray(fit_geometry(pixels, geometry))
        )
    except UndecodableError as error:
        return str(error)


def _kept(rows: pa.Table, pack: Pack) -> pa.Table:
    """Return the samples that have a row in the pack, in the pack's order."""
    left_out = pa.array([sample for sample, _ in pack.excluded], pa.string())
    kept = rows.filter(pc.invert(pc.is_in(rows["id"], value_set=left_out))) if left_out else rows
    assert kept.num_rows == len(pack), "the key of a pack holds the ids"
    return kept


def _refuse_full_disk(needed: int, cache: Path, *, name: str) -> None:
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise DiskFullError(
            f"the disk is full: the decoded images of '{name}' need {bytes_text(needed)}, and"
            f" '{cache}' has {bytes_text(free)} free; free some room and run the same command again"
            " (what was finished is kept), lower data.max_per_class, or name another results folder"
            " with --results"
        )


PACKS = Cache("packs", [_build], libraries=READERS)
