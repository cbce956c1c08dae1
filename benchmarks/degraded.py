"""What one pass over a test set for all degradations and detectors saves, against a pass for every
detector and member.

    python benchmarks/degraded.py

Three suites (15 members), two detectors with two winners each, on JPEG photographs made here. Both
ways run the same code in this process and give the same scores; they differ in how often an image
is read, decoded, degraded and fitted. The smaller the detectors, the more that is; these are small
on purpose. Times are CPU seconds of this process. Takes two minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from study import sweep
from study.core.records import NO_DEGRADATION
from study.jobs.cell import CellJob
from study.jobs.degraded import DegradedJob, assemble, degraded_jobs, run_degraded
from study.planning.cells import plan_cells
from study.planning.open_study import OpenStudy, open_study
from study.planning.study_file import load_study
from study.runtime.interface import Terms
from study.runtime.local import LocalLauncher
from study.store.store import Store

SUITES = ("default", "genimage", "sidbench")
STUDY = """
name = "degraded"
detectors = ["spectrum", "npr"]
train_on = ["photos"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 2
[detector.spectrum]
size_px = 64
[detector.npr]
size_px = 64
[data]
root = "{root}"
"""


def write_photos(folder: Path, *, per_class: int, side: int) -> None:
    """Write smooth random pictures with grain, as JPEG; splits 16, 16 and `per_class` images of
    each class.
    """
    for label, word in enumerate(("real", "fake")):
        for split, count in (("train", 16), ("valid", 16), ("test", per_class)):
            place = folder / split / word
            place.mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng([label, len(split), number])
                coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
                pixels = np.asarray(
                    coarse.resize((side, side * 3 // 4)), dtype=np.int16
                ) + rng.integers(-9, 10, (side * 3 // 4, side, 1))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                    place / f"{number}.jpg", quality=92
                )


def timed(
    setup: OpenStudy, jobs_of: Callable[[Sequence[CellJob]], list[DegradedJob]]
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the CPU seconds of scoring all degraded cells (other programs' work does not count),
    and the logits.
    """
    planned = [c.job for c in plan_cells(setup) if c.cell.degradation != NO_DEGRADATION]
    cells = [job for job in planned if isinstance(job, CellJob)]
    start = time.process_time()
    terms = Terms(threads=1, failures=setup.store.tracebacks)
    failures = LocalLauncher(terms).run_jobs(jobs_of(cells), run_degraded)
    assemble(cells)
    seconds = time.process_time() - start
    assert not failures, failures
    store = Store(setup.workspace.results, setup.workspace.study)
    logits = {cell.scores_key: store.scores(cell.scores_key).logit for cell in cells}
    for cell in cells:
        store.scores_file(cell.scores_key).unlink()
    return seconds, logits


def a_pass_each(setup: OpenStudy, cells: Sequence[CellJob], *, by_seed: bool) -> list[DegradedJob]:
    """The jobs that decode and degrade anew for every detector and member; by_seed: for every
    winner too.
    """
    detectors = {cell.model: setup.store.model(cell.model).spec.name for cell in cells}
    parts: dict[tuple[str, str], list[CellJob]] = {}
    for cell in cells:
        parts.setdefault(
            (cell.model if by_seed else detectors[cell.model], cell.degradation), []
        ).append(cell)
    return [job for part in parts.values() for job in degraded_jobs(part)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=64, help="test images of each class (default 64)"
    )
    parser.add_argument(
        "--side", type=int, default=640, help="long edge of an image in pixels (default 640)"
    )
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores; load average before the start:"
        f" {', '.join(f'{load:.1f}' for load in os.getloadavg())}"
    )
    with tempfile.TemporaryDirectory(prefix="degraded-") as temporary:
        folder = Path(temporary)
        write_photos(folder / "data" / "photos", per_class=options.images, side=options.side)
        (folder / "degraded.toml").write_text(STUDY.format(root=folder / "data"), encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            sweep.main(
                [str(folder / "degraded.toml"), "--results", str(folder / "results"), "--local"]
            )
        study = load_study(str(folder / "degraded.toml"), degradations=SUITES)
        setup = open_study(study, results=folder / "results", weights_root=None, firewall=False)
        members, images = len(study.conditions()) - 1, 2 * options.images
        print(
            f"{images} images of {options.side} x {options.side * 3 // 4}, {members} degradations,"
            " 2 detectors, 2 winners each"
        )
        one, logits = timed(setup, degraded_jobs)
        print(f"one pass                             {one:7.1f} s, {images} images decoded")
        for words, by_seed in (
            ("a pass per detector and member        ", False),
            ("a pass per winner and member          ", True),
        ):
            seconds, again = timed(
                setup, lambda cells, by_seed=by_seed: a_pass_each(setup, cells, by_seed=by_seed)
            )
            assert all(np.array_equal(logits[key], again[key]) for key in logits)
            decoded = images * members * (4 if by_seed else 2)
            print(
                f"{words}{seconds:6.1f} s, {decoded} images decoded: {seconds / one:.2f} x one"
                " pass",
                flush=True,
            )


if __name__ == "__main__":
    main()
