"""Images inside Parquet files and WebDataset shards beside the same images as files: what
`study.prepare` takes to list, index and pack them.

    python benchmarks/images_in_tables.py                   # about ten minutes, 1 GB below the
    temporary folder

Goals: the peak memory of 100,000 images is at most 1.1 times that of 10,000, and tables take no
longer than files. Each line is a command of its own, which sees its dataset for the first time.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE_PX = 48
GROUP, SHARD = 500, 5000  # rows of a row group, samples of a shard
STUDY = """
name = "tables"
detectors = ["spectrum"]
train_on = ["mine"]
[detector.spectrum]
size_px = 32
[data]
root = "{root}"
"""
KINDS = ("files", "parquet", "parquet, one row group", "tar")
GOAL = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    options = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average before the start: {load}")
    print(f"{'':<24}{'images':>9}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}")
    peaks: dict[str, list[float]] = {kind: [] for kind in KINDS}
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in options.images:
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                write(kind, Path(folder) / "data" / "mine", number)
                seconds, cpu, peak = measure(folder)
            peaks[kind].append(peak)
            spent[kind].append(cpu)
            print(f"{kind:<24}{number:>9,}{seconds:>9.1f}{cpu:>8.1f}{peak / 1e6:>9.0f}", flush=True)
    for kind in KINDS[1:]:
        memory, cpu = peaks[kind][-1] / peaks[kind][0], spent[kind][-1] / spent["files"][-1]
        met = "met" if memory <= GOAL else "MISSED"
        print(f"{kind}: memory {memory:.2f} times, goal {GOAL}: {met}; CPU {cpu:.2f} of files")


def measure(folder: str) -> tuple[float, float, float]:
    """Prepare a study on the dataset in a folder, as a command; return its seconds, CPU seconds and
    peak memory in bytes.
    """
    study = Path(folder) / "study.toml"
    study.write_text(STUDY.format(root=Path(folder) / "data"), encoding="utf-8")
    words = ["-q", str(study), "--results", str(Path(folder) / "results")]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "study.prepare", *words], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"prepare ended with {process.returncode}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # where a child's begins, on Linux
    if own >= used.ru_maxrss:
        raise SystemExit("this process has needed more memory than the command: nothing is known")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, peak


def images(number: int) -> Iterator[bytes]:
    """Small JPEGs, all different."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        coarse = Image.fromarray(rng.integers(50, 206, (6, 6, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        yield file.getvalue()


def write(kind: str, folder: Path, number: int) -> None:
    """Write images, every second one a fake."""
    folder.mkdir(parents=True)
    if kind == "files":
        for name in ("real", "fake"):
            (folder / name).mkdir()
        for at, data in enumerate(images(number)):
            (folder / ("real", "fake")[at % 2] / f"{at:06d}.jpg").write_bytes(data)
    elif kind == "tar":
        write_shards(folder, number)
    else:
        rows = number if "one row group" in kind else GROUP
        write_table(folder / "train-00000-of-00001.parquet", number, rows)


def write_table(path: Path, number: int, rows: int) -> None:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64()), ("model", pa.string())])
    made = images(number)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, number, rows):
            numbers = range(start, min(start + rows, number))
            table = {
                "image": [{"bytes": next(made), "path": f"{at}.jpg"} for at in numbers],
                "label": [at % 2 for at in numbers],
                "model": ["generator" if at % 2 else None for at in numbers],
            }
            writer.write_table(pa.table(table, schema=schema), row_group_size=rows)


def write_shards(folder: Path, number: int) -> None:
    made = images(number)
    for start in range(0, number, SHARD):
        with tarfile.open(folder / f"{start // SHARD:04d}.tar", "w") as tar:
            for at in range(start, min(start + SHARD, number)):
                for suffix, data in (("jpg", next(made)), ("cls", str(at % 2).encode())):
                    entry = tarfile.TarInfo(f"{at:06d}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
