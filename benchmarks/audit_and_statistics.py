"""What a test set of 20,000 images and 16 detectors costs once all is scored: the audit, the
matrix, the paired comparisons.

    python benchmarks/audit_and_statistics.py

Made-up 32-pixel files, JPEG and PNG in both classes, indexed before the clock starts; made-up
scores in a real store; one winner a detector with three thresholds. The second time is that of the
same command run again: traits, classifiers and estimates are kept. Cores share the work, so both
the time on the wall and that of the processor are shown.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from cell_statistics import GOAL_S, scores
from PIL import Image

from study.analysis.calibrations import Calibrations
from study.analysis.cell_rows import cell_rows
from study.analysis.comparisons import compare_detectors
from study.analysis.score_set import ScoreSet
from study.core.parallel import cpu_count, ordered_map
from study.core.records import Cell, Pairing
from study.data.audit.dataset import audit_dataset
from study.data.catalog import Catalog, DataConfig
from study.planning.cells import PlannedCell
from study.statistics.thresholds import source_thresholds
from study.store.store import Store
from study.store.tables import write_scores

NAME, PX = "made", 32
VAL = 1000  # images of source val


def write_images(folder: Path, images: int) -> None:
    """Write the files and a manifest that has all of them in the test split; every third is a
    JPEG.
    """

    def write(number: int) -> str:
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        path = f"{number:06d}.{'jpg' if number % 3 == 0 else 'png'}"
        coarse.resize((PX, PX), Image.Resampling.BICUBIC).save(
            folder / path, **({"quality": 90} if number % 3 == 0 else {})
        )
        return f"{path},{number % 2},g{number},test\n"

    folder.mkdir(parents=True)
    (folder / "manifest.csv").write_text(
        "path,label,group,split\n" + "".join(ordered_map(write, range(images))), encoding="utf-8"
    )


def plan(store: Store, images: int, detectors: int) -> list[PlannedCell]:
    """Put made-up scores into the store; return their cells."""
    cells = []
    for number in range(detectors):
        one = scores(images, 1, detector=number, seed=0)
        store.save_scores(f"s{number}", one)
        pairing = Pairing(detector=f"d{number}", train_on="x")
        cell = Cell(
            pairing=pairing,
            winner_seed=0,
            test_on=NAME,
            degradation="none",
            state="done",
            scores_key=f"s{number}",
        )
        winner = SimpleNamespace(
            key=f"w{number}",
            winner_seed=0,
            thresholds=source_thresholds(one.label, one.logit),
            temperature=1.0,
        )
        # the calibration of a winner reads its scores of source val: as many as one has
        val = scores(VAL, 1, detector=number, seed=1)
        path = store.model_folder(winner.key) / "val_scores.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scores(path, val, winner.key)
        cells.append(PlannedCell(cell=cell, winner=cast(Any, winner), job=None))
    return cells


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of the processor."""
    began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def measure(folder: Path, images: int, detectors: int) -> None:
    """Print the times of the first run and of the same again."""
    write_images(folder / "data" / NAME, images)
    data = DataConfig(root=folder / "data", cache=folder / "results" / "cache")
    wall, cpu = timed(lambda: Catalog(data, firewall=False).dataset(NAME))
    print(f"(index of {images:,} images, before: {wall:.1f} s, {cpu:.1f} s CPU)")
    store = Store(folder / "results", "made")
    cells = plan(store, images, detectors)
    keys = [planned.cell.scores_key for planned in cells]
    held = ScoreSet(((key, store.scores(key)) for key in keys), rng_seed=lambda _: 0)
    given = {"cache": data.cache, "calibrations": Calibrations(store)}
    for run in ("first", "again"):
        print(f"\n{run}:")
        total = np.zeros(2)
        for what, work in (
            ("audit", lambda: audit_dataset(Catalog(data, firewall=False), NAME)),
            (f"matrix of {detectors} cells", lambda: cell_rows(held, cells, **given)),
            (
                f"{detectors * (detectors - 1) // 2} comparisons",
                lambda: compare_detectors(held, [planned.cell for planned in cells]),
            ),
        ):
            found = timed(work)
            total += found
            print(f"  {what:24} {found[0]:8.1f} s   {found[1]:8.1f} s CPU")
        met = "met" if total[0] <= GOAL_S else "NOT met"
        goal = f"goal {GOAL_S:.0f} s: {total[0] / GOAL_S:.2f} of it, {met}"
        print(f"  {'together':24} {total[0]:8.1f} s   {total[1]:8.1f} s CPU   {goal}")


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--detectors", type=int, default=16)
    options = parser.parse_args()
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(
        f"{cpu_count()} cores; load average before the start: {load}; {options.images:,} images,"
        f" {options.detectors} detectors"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.images, options.detectors)


if __name__ == "__main__":
    main()
