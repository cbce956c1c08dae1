"""Which images a study is made of: `images.parquet`, a row for each image that it can use, with
dataset, path, label, group, split and the digest of its pixels. `cross_eval` writes it, and
`predict` asks it whether an image that it is given is one of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.core.identity import whole_file
from study.data.datasets import Dataset, columns_digest
from study.store.files import DamagedFileError, read_table, said, write_table

NAME = "images.parquet"
COLUMNS = ("dataset", "path", "label", "group", "split", "pixels")
_SUM = b"study_sha256"


def write_images(folder: Path, datasets: Iterable[Dataset]) -> Path:
    """Write the list into a study's folder; return its path. datasets: with all their splits."""
    parts = []
    for one in datasets:
        rows = one.usable
        columns = {
            n: pc.cast(rows[n], pa.string()) for n in COLUMNS if n not in ("dataset", "label")
        }
        columns |= {"dataset": pa.repeat(one.name, rows.num_rows), "label": rows["label"]}
        parts.append(pa.table(columns).select(COLUMNS))
    table = pa.concat_tables(parts)
    path, content = folder / NAME, columns_digest(table, COLUMNS)
    with contextlib.suppress(OSError, pa.ArrowException):  # one that holds the same stays
        if (pq.read_schema(path).metadata or {}).get(_SUM) == content.encode():
            return path
    with whole_file(path) as file:
        write_table(file, table, {_SUM: content})
    return path


def read_images(path: Path) -> pa.Table:
    """Return the list. Raises StoreError where it cannot be read or is not what was written."""
    table = read_table(path)
    instead = "remove it and run cross_eval again"
    try:
        table = table.select(COLUMNS)
        if said(table, _SUM) != columns_digest(table, COLUMNS):
            raise ValueError("it holds what was not written")
    except (KeyError, ValueError) as error:
        raise DamagedFileError(path, error, instead) from None
    return table


def places_of(folder: Path, pixels: Collection[str]) -> dict[str, list[tuple[str, str]]] | None:
    """Return (dataset, split) of every image of the study with these pixels, by digest; None where
    the study has no list. Raises StoreError for a damaged one.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    table = read_images(path)
    mine = table.filter(pc.is_in(table["pixels"], pa.array(list(pixels), pa.string())))
    found: dict[str, list[tuple[str, str]]] = {}
    for row in mine.select(("pixels", "dataset", "split")).to_pylist():
        place = row["dataset"], row["split"]
        if place not in found.setdefault(row["pixels"], []):
            found[row["pixels"]].append(place)
    return found
