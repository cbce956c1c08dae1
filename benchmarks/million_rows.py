"""A manifest of a million rows: seconds and memory to list, split and key it, and how fast images
are hashed.

    python benchmarks/million_rows.py                   # about a minute; writes 100 MB below the
    temporary folder python benchmarks/million_rows.py --rows 10000000   # the same tenfold

Goals, for a million rows on two cores: listed, grouped, split and keyed in 30 s and 2 GB. There are
no image files behind the
manifest: every row costs the look for its file, and the index of hashes is given. What hashing
costs is measured apart, on JPEGs.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from study.data import datasets
from study.data.file_index import INDEX, FileIndex
from study.data.layouts.folders import Layout, read_layout
from study.data.layouts.listing import Listing

Result = TypeVar("Result")
GOAL_SECONDS, GOAL_BYTES, GOAL_ROWS = 30.0, 2e9, 1_000_000
FRAMES = 10  # a video; two videos, a real one and the fake made of it, are a group
JPEGS, JPEG_PX = 2000, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=GOAL_ROWS)
    rows = parser.parse_args().rows
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average before the start: {load}")
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "data", Path(folder) / "cache"
        write_manifest(root, rows)
        seconds = split(root, cache, rows)
        print(f"all of it: {seconds:.1f} s, peak {peak() / 1e9:.2f} GB of memory")
        scale = rows / GOAL_ROWS
        for value, goal, unit in (
            (seconds, GOAL_SECONDS * scale, "s"),
            (peak() / 1e9, GOAL_BYTES / 1e9 * scale, "GB"),
        ):
            print(
                f"  goal {goal:g} {unit}: {value / goal:.2f} of it,"
                f" {'met' if value <= goal else 'MISSED'}"
            )
        hash_images(Path(folder) / "images", cache)


def split(root: Path, cache: Path, rows: int) -> float:
    """Do what a command does with a manifest whose images were hashed before; return the
    seconds.
    """
    print(f"{'':<34}{'seconds':>9}{'rows/s':>12}{'peak GB':>9}")
    layout = Layout(root=root, rule="manifest.csv lists the images", parts=())
    listing, listed = timed(
        lambda: read_layout(layout, name="big"), "list: CSV to columns, look for files", rows
    )
    table = as_if_there(listing.table)
    index = FileIndex(cache=cache, root=root, name="big")
    write_index(index, table)
    folder = datasets.ListedFolder(
        name="big",
        card=None,
        layout=layout,
        listing=Listing(table=table, layout=listing.layout),
        index=index,
    )

    def assemble(limit: int | None) -> datasets.Dataset:
        return datasets.assemble(folder, max_per_class=limit)

    dataset, split_up = timed(lambda: assemble(None), "group, split, look up hashes", rows)
    assert dataset.samples.num_rows == rows
    _, keyed = timed(lambda: dataset.digest, "key of the content", rows)
    counts = ", ".join(f"{name} {sum(count)}" for name, count in dataset.counts().items())
    small, _ = timed(lambda: assemble(rows // 20), "the same with max_per_class", rows)
    print(f"{counts}; with max_per_class = {rows // 20}: {small.samples.num_rows} images")
    return listed + split_up + keyed


def hash_images(folder: Path, cache: Path) -> None:
    """Hash and decode JPEGs for the first time, and find them in the index the second time."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(JPEGS):
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        coarse.resize((JPEG_PX, JPEG_PX), Image.Resampling.BICUBIC).save(
            folder / f"{number}.jpg", quality=90
        )
    names = sorted(path.name for path in folder.iterdir())
    stats = [(folder / name).stat() for name in names]
    listed = pa.table(
        {
            "path": names,
            "size": [status.st_size for status in stats],
            "changed_ns": [status.st_ctime_ns for status in stats],
            "problem": [""] * JPEGS,
        }
    )
    index = FileIndex(cache=cache, root=folder, name="images")
    _, seconds = timed(
        lambda: index.fingerprint(listed), f"hash and decode {JPEG_PX} px JPEGs", JPEGS
    )
    timed(lambda: index.fingerprint(listed), "look them up again", JPEGS)
    print(f"ten million such images: {10_000_000 * seconds / JPEGS / 3600:.1f} h, once")


def write_manifest(root: Path, rows: int) -> None:
    root.mkdir()
    with (root / "manifest.csv").open("w", encoding="utf-8") as file:
        file.write("path,label,method,group,video\n")
        for row in range(rows):
            video = row // FRAMES
            label = video % 2
            name = f"{('real', 'fake')[label]}/part{video % 200:03d}/video_{video:07d}"
            method = f"gan{video % 7}" if label else "camera"
            file.write(
                f"{name}/frame_{row:08d}.jpg,{label},{method},source-{video // 2:07d},{video}\n"
            )


def as_if_there(table: pa.Table) -> pa.Table:
    """The listing of files that exist."""
    same = {
        "problem": pa.scalar(""),
        "size": pa.scalar(150_000, pa.int64()),
        "changed_ns": pa.scalar(1, pa.int64()),
    }
    for name, value in same.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.chunked_array([pa.repeat(value, table.num_rows)]))
    return table


def write_index(index: FileIndex, table: pa.Table) -> None:
    """Leave an index that knows every row, its hashes as long as real ones."""
    numbers = pc.utf8_lpad(pc.cast(pa.array(np.arange(table.num_rows)), pa.string()), 64, "0")
    columns = {"sha256": numbers, "pixels": numbers, "problem": table["problem"]}
    known = pa.table(
        {**{name: table[name] for name in ("path", "size", "changed_ns")}, **columns},
        schema=INDEX.schema,
    )
    INDEX.write(index.cache, INDEX.folder(index.cache, index.name, index.place), known)


def timed(work: Callable[[], Result], what: str, rows: int) -> tuple[Result, float]:
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    print(f"{what:<34}{seconds:>9.2f}{rows / seconds:>12,.0f}{peak() / 1e9:>9.2f}", flush=True)
    return result, seconds


def peak() -> int:
    """The most memory this process ever had, in bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


if __name__ == "__main__":
    main()
