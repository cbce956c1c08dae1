"""What the report of a large study costs beside its matrix: time, memory and size of the page.

    python -m benchmarks.report_cost

Made-up scores: 16 detectors, trained on one set, on 16 test sets of 2,000 images, 3 seeds, with two
degradations' numbers beside the clean ones. Measured from the scores and tables in memory to the
page on the disk, the plotting library's bundle included; `cell_statistics.py` and
`audit_and_statistics.py` measure what the tables take. Goals: 60 s, 1 GB, 5 MB.
"""

from __future__ import annotations

import functools
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.analysis.cell_curves import cell_curves
from study.analysis.results import ResultRow, Results
from study.core.records import Estimate, Pairing, Scores
from study.render.report.page import Report, write_page
from study.statistics.metrics import METRICS
from study.statistics.thresholds import THRESHOLDS
from tests.analysis.score_sets import CellScores, score_set

DETECTORS, TEST_SETS, SEEDS, IMAGES = 16, 16, 3, 2000
DEGRADATIONS = ("none", "jpeg50", "blur1")
SECONDS, MEGABYTES, PAGE_MEGABYTES = 60, 1000, 5


@functools.cache
def names_of(test_set: int) -> NDArray[np.str_]:
    """Held once, as a score set holds them."""
    return np.array([f"set{test_set}/folder/image-{i:05d}.png" for i in range(IMAGES)])


def scored(detector: int, test_set: int, seed: int) -> Scores:
    rng = np.random.default_rng([detector, test_set, seed])
    label = (np.arange(IMAGES) % 2).astype(np.uint8)
    logit = rng.normal(size=IMAGES) + detector / 8 * label
    ids = names_of(test_set)
    return Scores(
        sample_id=ids,
        group=ids,
        unit=ids,
        method=ids,
        label=label,
        logit=logit.astype(np.float32),
        listed=IMAGES,
    )


def rows() -> list[ResultRow]:
    """A mean of every metric and threshold in every cell, and its seeds."""
    rng = np.random.default_rng(0)
    found = []
    for d in range(DETECTORS):
        for y in range(TEST_SETS):
            for degradation in DEGRADATIONS:
                for metric in METRICS.values():
                    for threshold in THRESHOLDS if metric.at_threshold else ("",):
                        for seed in ("mean", *map(str, range(SEEDS))):
                            value = float(rng.random())
                            found.append(
                                row(d, y, degradation, metric.name, threshold, seed, value)
                            )
    return found


def row(d: int, y: int, degradation: str, *of: str | float) -> ResultRow:
    metric, threshold, seed, value = of
    assert isinstance(value, float)
    return ResultRow(
        detector=f"detector{d}",
        train_on="source",
        test_on=f"set{y}",
        role="detector",
        degradation=degradation,
        level="image",
        domain="cross",
        seed=str(seed),
        metric=str(metric),
        threshold=str(threshold),
        estimate=Estimate(value=value, low=value / 2, high=1.0, n_real=1000, n_fake=1000, seeds=3),
        coverage=1.0,
        state="done",
    )


def cells() -> list[CellScores]:
    return [
        (f"set{y}", Pairing(detector=f"detector{d}", train_on="source"), scored(d, y, seed), seed)
        for d in range(DETECTORS)
        for y in range(TEST_SETS)
        for seed in range(SEEDS)
    ]


def main() -> None:
    """Measure and print."""
    scores, planned = score_set(cells())
    results = Results(rows=tuple(rows()))
    before = peak()
    start = time.perf_counter()
    curves = cell_curves(scores, planned, most=512)
    with tempfile.TemporaryDirectory() as folder:
        report = Report(name="large", results=results, curves=curves)
        path = write_page(report, Path(folder) / "report.html", Path(folder) / "cache")
        size = path.stat().st_size / 1e6
    took = time.perf_counter() - start
    print(f"{len(curves)} cells, {len(results.rows):,} numbers in matrix.csv")
    for what, value, goal, unit in (
        ("time", took, SECONDS, "s"),
        ("memory, of the whole process", peak(), MEGABYTES, "MB"),
        ("memory, before", before, MEGABYTES, "MB"),
        ("page", size, PAGE_MEGABYTES, "MB"),
    ):
        print(f"{what:<30} {value:8.1f} {unit:<3} goal {goal}: {value / goal:.2f} of it")


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
