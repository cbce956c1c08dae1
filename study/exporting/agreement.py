"""Whether an exported model says what the detector of the study says, on the study's test images.

Images go the whole way: from their files, by way of `unify` where the study unifies, through the
model. What comes out stands against the scores that the store has of the same images. The
difference of the two AUCs is paired, with the interval of the images alone (PROTOCOL section 5):
both are one trained detector.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from study.analysis.cells_csv import CellFile, read_cells
from study.analysis.score_set import Aligned
from study.analysis.weighted_sums import difference
from study.core.errors import DataError, StoreError
from study.core.identity import derive_seed
from study.core.records import NO_DEGRADATION, Scores
from study.exporting.onnx_scorer import OnnxScorer
from study.jobs.score_images import Scorer
from study.jobs.workspace import FROZEN_PRECISION
from study.planning.cells import test_content
from study.planning.open_study import OpenStudy
from study.statistics.error_model import NOTHING, Finding

TOLERANCE = 1e-4  # of a logit, and of its size where that is above 1
# of a family whose features the study itself rounds by more: `spectrum` takes the logarithm of what
# a Fourier transform in float32 leaves, where the graph has float64
ROUNDED = {"spectrum": 1e-3}
TIMED = 20  # images by which the detector of the study is timed
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A model on a test set. largest: difference of two logits, on `tolerance`'s scale. before,
    after: the AUC in [0, 1], NaN where a class is missing. change: after less before.
    """

    model: str
    test_on: str
    images: int
    largest: float
    before: float
    after: float
    change: Finding
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether every logit is within the tolerance."""
        return self.largest <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All that was checked. milliseconds: model -> the median time of an image on this machine,
    from its pixels to its logit; `study` is the detector itself. runs: model -> how many images it
    was timed on, one at a time. threads: of the processor.
    """

    agreements: tuple[Agreement, ...]
    milliseconds: Mapping[str, float]
    runs: Mapping[str, int]
    threads: int


def check_models(
    opened: OpenStudy,
    key: str,
    models: Mapping[str, Path],
    *,
    most: int | None,
    progress: Progress,
) -> Checked:
    """Run models on every clean test set that a trained detector is scored on. key: of the
    detector. models: name -> file. most: images of a test set, evenly spread over its list; None
    for all.

    Raises StoreError where nothing is scored, DataError where a test set is no longer the one that
    was scored.
    """
    cells = [
        cell
        for cell in read_cells(opened.store.folder / "cells.csv")
        if (cell.model, cell.degradation, cell.state) == (key, NO_DEGRADATION, "done")
    ]
    if not cells:
        raise StoreError("no test set is scored by this winner; run cross_eval first")
    threads = opened.workspace.threads
    run = {name: OnnxScorer(path, threads=threads) for name, path in models.items()}
    # originals are unified already, and are faces
    own, exact = (
        Scorer(opened.store.model_folder(key), unified_px=0, exact=one) for one in (False, True)
    )
    own.faces = exact.faces = ""
    found: list[Agreement] = []
    times: dict[str, list[float]] = {name: [] for name in ("study", *models)}
    for cell in cells:
        found += _on_test_set(opened, cell, run, (own, exact), times, most, progress)
    return Checked(
        agreements=tuple(found),
        milliseconds={name: 1000 * median(one) for name, one in times.items()},
        runs={name: len(one) for name, one in times.items()},
        threads=threads,
    )


def _on_test_set(
    opened: OpenStudy,
    cell: CellFile,
    run: Mapping[str, OnnxScorer],
    scorers: tuple[Scorer, Scorer],
    times: Mapping[str, list[float]],
    most: int | None,
    progress: Progress,
) -> list[Agreement]:
    own, exact = scorers
    scores = opened.store.scores(cell.scores)
    images = opened.workspace.catalog.originals(cell.test_on, "test")
    same = np.array_equal(images.sample_id, scores.sample_id)
    if not same or test_content(opened, cell.test_on) != cell.test_data:
        raise DataError(
            f"the test images of '{cell.test_on}' are not those that the study scored; put them"
            " back, or run cross_eval again"
        )
    index = np.arange(len(images))
    if most is not None and most < len(index):
        index = np.unique(np.linspace(0, len(index) - 1, most).round().astype(np.int64))
    logits = np.empty((len(run), len(index)))
    # a graph has float32: it is held against the detector in float32, where the scores are not
    is_exact = FROZEN_PRECISION not in own.record.provenance
    expected = scores.logit[index].astype(np.float64)
    for at, read in enumerate(images.readers(index)):
        pixels = read()
        for row, (name, model) in enumerate(run.items()):
            logits[row, at] = _timed(times[name], model.logit, pixels)
        if len(times["study"]) < TIMED:
            _timed(times["study"], lambda one: own.logits([own.squares(one)])[0], pixels)
        if not is_exact:
            expected[at] = exact.logits([exact.squares(pixels)])[0]
        progress(f"images of {cell.test_on} checked", at + 1, len(index))
    tolerance = tolerance_of(own.record.spec.family)
    apart = np.abs(logits - expected) / np.maximum(1, np.abs(expected))
    return _agreements(
        cell.test_on, scores, index, dict(zip(run, apart, strict=True)), logits, tolerance
    )


def _timed(
    times: list[float], score: Callable[[NDArray[np.uint8]], float], pixels: NDArray[np.uint8]
) -> float:
    start = time.perf_counter()
    found = score(pixels)
    times.append(time.perf_counter() - start)
    return found


def tolerance_of(family: str) -> float:
    """Return how far a logit may be off, and above 1 what share of it."""
    return ROUNDED.get(family, TOLERANCE)


def _agreements(
    test_on: str,
    scores: Scores,
    index: NDArray[np.int64],
    apart: Mapping[str, NDArray[np.float64]],
    logits: NDArray[np.float64],
    tolerance: float,
) -> list[Agreement]:
    before = scores.logit[index].astype(np.float64)
    held = Aligned(
        sample_id=scores.sample_id[index],
        group=scores.group[index],
        label=scores.label[index],
        logits=np.vstack([before[None], logits]),
    )
    aucs = held.aucs
    return [
        Agreement(
            model=name,
            test_on=test_on,
            images=len(index),
            largest=float(apart[name].max()),
            before=aucs[0],
            after=aucs[row + 1],
            change=difference(
                held,
                ((row + 1,), (0,)),
                test_on=test_on,
                rng_seed=derive_seed("export", test_on),
            ).judged(NOTHING),
            tolerance=tolerance,
        )
        for row, name in enumerate(apart)
    ]
