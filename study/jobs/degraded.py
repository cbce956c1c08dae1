"""Degraded cells: every image of a test set is decoded once, degraded in every way, and shown to
every detector.

A job is a stretch of `STRETCH` images of a test set with all the cells that lack it;
workers share the stretches out, and write for each cell a part with the logits of the stretch. A
kill loses the stretch that each worker is at. The parts of all stretches make the cell
(`assemble`), whose scores are those that a pack of the degraded images would have given:
degradation comes before geometry, and batches are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from study.core.failures import Failure, failure_of
from study.core.identity import digest
from study.core.parallel import ordered_map
from study.core.records import FAKE, REAL, Geometry, Scores
from study.data.images.decode import UndecodableError
from study.data.images.degradations import degrade, parse_degradation
from study.data.images.geometry import fit_geometry
from study.data.images.originals import Originals
from study.detectors.base import Detector
from study.jobs.cell import CellJob
from study.jobs.detector_cache import DetectorCache
from study.jobs.workspace import Workspace, open_catalog, refuse_changed_data, scoring_runtime
from study.store.store import Store
from study.training.features import compute_features, head_logits
from study.training.runtime import TorchRuntime
from study.training.score import BATCH_SIZE, finite_logits, slices

# images; whole batches, so that those of a stretch are those of the whole test set
STRETCH = 4 * BATCH_SIZE

# a degradation, and the square that a detector makes of the degraded image
Condition = tuple[str, Geometry]


@dataclass(frozen=True, kw_only=True)
class DegradedJob:
    """The images from `start` to before `stop` of a test set, to be scored in the cells `cells`.
    data_key: as in a `CellJob`.
    """

    workspace: Workspace
    test_on: str
    data_key: str
    start: int
    stop: int
    cells: tuple[CellJob, ...]

    @property
    def key(self) -> str:
        """The key of this job among others."""
        return digest("stretch", self.test_on, self.data_key, self.start, self.stop)

    @property
    def conditions(self) -> str:
        """How many ways the images are seen in, in words."""
        counts = {
            word: len({getattr(cell, name) for cell in self.cells})
            for word, name in _COUNTED.items()
        }
        return " x ".join(f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items())


_COUNTED = {"degradation": "degradation", "winner": "model"}


def degraded_jobs(cells: Sequence[CellJob]) -> list[DegradedJob]:
    """Return the jobs of degraded cells, test set by test set, stretch by stretch."""
    jobs = []
    for test_on in dict.fromkeys(cell.test_on for cell in cells):
        mine = tuple(cell for cell in cells if cell.test_on == test_on)
        workspace, data_key = mine[0].workspace, mine[0].data_key
        jobs += [
            DegradedJob(
                workspace=workspace,
                test_on=test_on,
                data_key=data_key,
                start=start,
                stop=stop,
                cells=mine,
            )
            for start, stop in _stretches(len(_originals(mine[0])))
        ]
    return jobs


def is_through(job: DegradedJob) -> bool:
    """Tell whether every cell of a job has its part."""
    return not missing_parts(job)


def missing_parts(job: DegradedJob) -> list[CellJob]:
    """Return the cells of a job that are not settled and lack their part."""
    store = Store(job.workspace.results, job.workspace.study)
    return [
        cell for cell in job.cells if not (_has_part(store, job, cell) or _is_settled(store, cell))
    ]


def _has_part(store: Store, job: DegradedJob, cell: CellJob) -> bool:
    return store.part_file(cell.scores_key, job.start, job.stop).is_file()


def _is_settled(store: Store, cell: CellJob) -> bool:
    return store.has_scores(cell.scores_key) or bool(store.not_applicable(cell.scores_key))


def run_degraded(job: DegradedJob) -> dict[str, Failure]:
    """Score a stretch of a test set in the cells that lack it, and write their parts.

    A cell that fails does not keep the others from their parts. Return the failures by scores key.
    """
    cells = missing_parts(job)
    if not cells:
        return {}
    store = Store(job.workspace.results, job.workspace.study)
    originals = _originals(cells[0])
    runtime = scoring_runtime(job.workspace)
    _KEPT.only({store.model_folder(cell.model) for cell in cells})
    stretch = _Stretch(store, runtime, originals, cells)
    for batch in slices(job.stop - job.start, BATCH_SIZE):
        stretch.score(batch + job.start)
    for key, part in stretch.parts.items():
        store.save_part(key, job.start, np.concatenate(part.logits), part.excluded)
    return stretch.failures


def _originals(cell: CellJob) -> Originals:
    catalog = open_catalog(cell.workspace.data, firewall=cell.workspace.firewall)
    refuse_changed_data(catalog.key(cell.test_on, ("test",)), cell.data_key, cell.test_on)
    return catalog.originals(cell.test_on, "test")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one cell has of a stretch. logits: of each batch, NaN for the images that are left
    out.
    """

    logits: list[NDArray[np.float32]] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Degraded images in one geometry, in memory: what scoring asks for. pixels: (B, S, S, 3)
    uint8.
    """

    sample_id: NDArray[np.str_]
    label: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    size_px: int
    key: str = ""  # nothing of it is cached

    def __len__(self) -> int:
        return len(self.sample_id)

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[index]


class _Stretch:
    """A stretch on its way, batch by batch. In memory are one batch's squares, of every degradation
    and geometry asked for.
    """

    def __init__(
        self, store: Store, runtime: TorchRuntime, originals: Originals, cells: Sequence[CellJob]
    ) -> None:
        self._store, self._runtime, self._originals = store, runtime, originals
        specs = {cell.model: store.model(cell.model).spec for cell in cells}
        # Winners of one detector come one after the other: those with the same body share the
        # features of the batch.
        models = sorted(specs, key=lambda model: specs[model].name)
        self._cells = {model: [cell for cell in cells if cell.model == model] for model in models}
        self._seen: dict[str, Condition] = {
            cell.scores_key: (cell.degradation, specs[cell.model].geometry) for cell in cells
        }
        self._features: dict[Condition, Tensor] = {}  # of the batch, by the body that was used last
        self._body = ""
        self.parts = {cell.scores_key: _Part() for cell in cells}
        self.failures: dict[str, Failure] = {}  # by cell; its part is given up

    def score(self, batch: NDArray[np.int64]) -> None:
        """Decode the images of an index (B,) and score them in every cell that has not failed."""
        wanted = list(dict.fromkeys(self._seen[key] for key in self.parts))
        if not wanted:
            return
        self._body = ""
        views = list(
            ordered_map(partial(_views, wanted), self._originals.readers(batch), at_once=1)
        )
        for model, cells in self._cells.items():
            keys = [cell.scores_key for cell in cells if cell.scores_key in self.parts]
            if not keys:
                continue
            try:
                one = _KEPT.get(self._store.model_folder(model), self._runtime)
            except Exception as error:
                self._give_up(keys, error)
                continue
            if one.body != self._body:
                self._body, self._features = one.body, {}
            for key in keys:
                try:
                    self._score_cell(key, one.detector, batch, views)
                except Exception as error:  # of this cell; the others go on
                    self._give_up([key], error)

    def _give_up(self, keys: Sequence[str], error: Exception) -> None:
        for key in keys:
            self.failures[key] = failure_of(error, self._store.tracebacks / f"{key}.txt")
            del self.parts[key]

    def _score_cell(
        self,
        key: str,
        detector: Detector,
        batch: NDArray[np.int64],
        views: Sequence[Mapping[Condition, NDArray[np.uint8] | str]],
    ) -> None:
        seen = [view[self._seen[key]] for view in views]
        kept = np.array([not isinstance(square, str) for square in seen])
        ids = self._originals.sample_id[batch]
        logit = np.full(len(batch), np.nan, dtype=np.float32)
        if kept.any():
            images = _Batch(
                sample_id=ids[kept],
                label=self._originals.label[batch][kept],
                pixels=np.stack([square for square in seen if not isinstance(square, str)]),
                size_px=detector.spec.geometry.size_px,
            )
            if self._seen[key] not in self._features:
                self._features[self._seen[key]] = compute_features(
                    detector, images, runtime=self._runtime
                )
            logit[kept] = finite_logits(
                head_logits(detector, self._features[self._seen[key]]), images
            )
        self.parts[key].logits.append(logit)
        self.parts[key].excluded.extend(
            (str(one), why) for one, why in zip(ids, seen, strict=True) if isinstance(why, str)
        )


def _views(
    wanted: Sequence[Condition], read: Callable[[], NDArray[np.uint8]]
) -> dict[Condition, NDArray[np.uint8] | str]:
    """Read an image once; return its square by degradation and geometry, or the reason why there is
    none.
    """
    pixels = read()
    views: dict[Condition, NDArray[np.uint8] | str] = {}
    for name in dict.fromkeys(name for name, _ in wanted):
        geometries = [geometry for other, geometry in wanted if other == name]
        try:
            degraded = degrade(pixels, parse_degradation(name))
        except UndecodableError as error:
            views |= {(name, geometry): str(error) for geometry in geometries}
        else:
            views |= {(name, geometry): _square(degraded, geometry) for geometry in geometries}
    return views


def _square(image: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8] | str:
    try:
        return fit_geometry(image, geometry)
    except UndecodableError as error:
        return str(error)


_KEPT = DetectorCache()


def assemble(cells: Sequence[CellJob]) -> None:
    """Make every cell that has all its parts: its scores, or the reason why its degradation is not
    applicable to the test set.
    """
    for test_on in dict.fromkeys(cell.test_on for cell in cells):
        mine = [cell for cell in cells if cell.test_on == test_on]
        originals = _originals(mine[0])
        for cell in mine:
            store = Store(cell.workspace.results, cell.workspace.study)
            places = _stretches(len(originals))
            if not _is_settled(store, cell) and all(
                store.part_file(cell.scores_key, *place).is_file() for place in places
            ):
                _settle(
                    store,
                    cell,
                    originals,
                    [store.part(cell.scores_key, *place) for place in places],
                )
            if _is_settled(store, cell):
                store.drop_parts(cell.scores_key)


def _stretches(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + STRETCH, n)) for start in range(0, n, STRETCH)]


def _settle(
    store: Store,
    cell: CellJob,
    originals: Originals,
    parts: Sequence[tuple[NDArray[np.float32], tuple[tuple[str, str], ...]]],
) -> None:
    logit = np.concatenate([logit for logit, _ in parts])
    left_out = {sample: reason for _, excluded in parts for sample, reason in excluded}
    kept = ~np.isnan(logit)
    for label, word in ((REAL, "real"), (FAKE, "fake")):
        of_class = originals.label == label
        if not (of_class & kept).any():
            first = str(originals.sample_id[of_class][0])
            reason = (
                f"none of its {of_class.sum()} {word} images can be so degraded, for example"
                f" {first}: {left_out[first]}"
            )
            store.save_not_applicable(cell.scores_key, reason)
            return
    scores = Scores(
        sample_id=originals.sample_id[kept],
        group=originals.group[kept],
        unit=originals.unit[kept],
        method=originals.method[kept],
        label=originals.label[kept],
        logit=logit[kept],
        listed=originals.listed,
        excluded=tuple(sorted([*originals.excluded, *left_out.items()])),
    )
    store.save_scores(cell.scores_key, scores)
