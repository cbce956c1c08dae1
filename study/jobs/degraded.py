"""Degraded cells: every image of a test set is decoded once, degraded in every way, and shown to
every detector.

A job is a stretch of `STRETCH` images of a test set with all the cells that lack it; workers share
the stretches out, and write for each cell a part with the logits of the stretch. A kill loses the
stretch that each worker is at. The parts of all stretches make the cell (`assemble`), whose scores
are those that a pack of the degraded images would have given: degradation comes before geometry,
and batches are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from study.core.failures import Failure, failure_of
from study.core.identity import digest
from study.core.parallel import ordered_map
from study.core.records import FAKE, REAL, Geometry
from study.data.images.decode import UndecodableError
from study.data.images.degradations import degrade, parse_degradation
from study.data.images.deliveries import delivered
from study.data.images.geometry import fit_geometry
from study.data.images.originals import Originals
from study.detectors.base import Detector
from study.jobs.cell import CellJob, frozen_key, image_scores
from study.jobs.degraded_features import Condition, Seen, StretchFeatures
from study.jobs.detector_cache import DetectorCache
from study.jobs.workspace import frozen_body, refuse_changed_data, scoring_runtime
from study.statistics.methods import part
from study.training.features import compute_features, head_logits
from study.training.score import BATCH_SIZE, finite_logits, slices

# images; whole batches, so that those of a stretch are those of the whole test set
STRETCH = 4 * BATCH_SIZE

Square = NDArray[np.uint8] | str  # (S, S, 3), or the reason why there is none


@dataclass(frozen=True, kw_only=True)
class DegradedJob:
    """The images from `start` to before `stop` of a test set, to be scored in the cells `cells`,
    which are all of it.
    """

    cells: tuple[CellJob, ...]
    start: int
    stop: int

    @property
    def test_on(self) -> str:
        """The test set."""
        return self.cells[0].test_on

    @property
    def result_key(self) -> str:
        """The key of the stretch, whatever the cells."""
        return digest("stretch", self.test_on, self.cells[0].data_key, self.start, self.stop)

    @property
    def conditions(self) -> str:
        """How many ways the images are seen in, in words."""
        degradations = {cell.degradation for cell in self.cells}
        counts = {"degradation": len(degradations), "winner": len({c.model for c in self.cells})}
        return " x ".join(f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items())

    def missing(self) -> list[CellJob]:
        """Return the cells that are not settled and lack their part."""
        part_file, place = self.cells[0].workspace.store.part_file, (self.start, self.stop)
        lacking = [cell for cell in self.cells if not part_file(cell.scores_key, *place).is_file()]
        return [cell for cell in lacking if not _is_settled(cell)]

    def is_done(self) -> bool:
        """Tell whether every cell has its part."""
        return not self.missing()


def _is_settled(cell: CellJob) -> bool:
    store = cell.workspace.store
    return store.has_scores(cell.scores_key) or bool(store.not_applicable(cell.scores_key))


def degraded_jobs(cells: Sequence[CellJob]) -> list[DegradedJob]:
    """Return the jobs of degraded cells, test set by test set, stretch by stretch."""
    return [
        DegradedJob(cells=mine, start=start, stop=stop)
        for mine in _by_test_set(cells)
        for start, stop in _stretches(len(_originals(mine[0])))
    ]


def _by_test_set(cells: Sequence[CellJob]) -> list[tuple[CellJob, ...]]:
    names = dict.fromkeys(cell.test_on for cell in cells)
    return [tuple(cell for cell in cells if cell.test_on == name) for name in names]


def _stretches(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + STRETCH, n)) for start in range(0, n, STRETCH)]


def _originals(cell: CellJob) -> Originals:
    catalog = cell.workspace.catalog
    refuse_changed_data(catalog.key(cell.test_on, ("test",)), cell.data_key, cell.test_on)
    return catalog.originals(cell.test_on, "test")


def run_degraded(job: DegradedJob) -> dict[str, Failure]:
    """Score a stretch of a test set in the cells that lack it, and write their parts.

    A cell that fails does not keep the others from their parts. Return the failures by scores key.
    """
    cells = job.missing()
    if not cells:
        return {}
    stretch, store = _Stretch(job, cells), cells[0].workspace.store
    for batch in slices(job.stop - job.start, BATCH_SIZE):
        stretch.score(batch)
    for key, made in stretch.parts.items():
        store.save_part(key, job.start, np.concatenate(made.logits), made.excluded)
    stretch.features.keep()
    return stretch.failures


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one cell has of a stretch. seen: how its detector sees the images, in one way or in
    several, whose logits have their mean. logits: (B,) float32 of each batch, NaN for the images
    that are left out; those stand in `excluded` with the reason.
    """

    seen: tuple[Condition, ...]
    logits: list[NDArray[np.float32]] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Pixels:
    """Degraded images in one geometry, in memory: (B, S, S, 3) uint8."""

    pixels: NDArray[np.uint8]
    key: str = ""  # nothing of it is cached

    def __len__(self) -> int:
        return len(self.pixels)

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.pixels[index]


@dataclass(frozen=True)
class _Named:
    """The ids (B,) of images, for an error's sake."""

    sample_id: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.sample_id)


class _Stretch:
    """A stretch on its way, batch by batch. In memory are one batch's squares, of every degradation
    and geometry asked for.

    parts: of the cells that have not failed, by scores key. failures: of the others.
    """

    def __init__(self, job: DegradedJob, cells: Sequence[CellJob]) -> None:
        workspace, self._start = cells[0].workspace, job.start
        self._store, self._originals = workspace.store, _originals(cells[0])
        self._runtime = scoring_runtime(workspace)
        self.features = StretchFeatures(workspace, cells[0].data_key, job.start, job.stop)
        winners = {cell.model: self._store.model(cell.model) for cell in cells}
        # Winners with the same body come one after the other, and share the features of the batch.
        models = sorted(winners, key=lambda m: (frozen_key(winners[m]), winners[m].spec.name))
        self._keys = {m: [cell.scores_key for cell in cells if cell.model == m] for m in models}
        self._bodies = {
            model: frozen_body(workspace, winners[model].spec, partial(self._network, model))
            for model in models
            if frozen_key(winners[model])
        }
        self.parts = {
            cell.scores_key: _Part(
                seen=_conditions(cell.degradation, winners[cell.model].spec.geometry)
            )
            for cell in cells
        }
        self.failures: dict[str, Failure] = {}
        _KEPT.only({self._store.model_folder(model) for model in models})

    def _network(self, model: str) -> Detector:
        return _KEPT.get(self._store, model, self._runtime).detector

    def score(self, batch: NDArray[np.int64]) -> None:
        """Score the images at some places (B,) of the stretch in every cell that has not failed.
        They are decoded where a cell needs more than kept features.
        """
        views = self._views(batch)
        features: dict[Condition, Tensor] = {}  # of the batch, by the body that was used last
        before = ""
        for model, keys in self._keys.items():
            open_keys = [key for key in keys if key in self.parts]
            if not open_keys:
                continue
            try:
                one = _KEPT.get(self._store, model, self._runtime)
            except Exception as error:
                self._give_up(open_keys, error)
                continue
            if one.body != before:
                before, features = one.body, {}
            for key in open_keys:
                try:
                    self._score_cell(self.parts[key], model, one.detector, batch, views, features)
                except Exception as error:  # of this cell; the others go on
                    self._give_up([key], error)

    def _views(self, batch: NDArray[np.int64]) -> list[dict[Condition, Square]]:
        """Read the images of a batch once; return their squares in every condition of which some
        body has no kept features.
        """
        wanted = dict.fromkeys(
            seen
            for model, keys in self._keys.items()
            for key in keys
            if key in self.parts
            for seen in self.parts[key].seen
            if self._found(model, seen, batch) is None
        )
        if not wanted:
            return []
        readers = self._originals.readers(batch + self._start)
        return list(ordered_map(partial(_views, list(wanted)), readers, at_once=1))

    def _found(self, model: str, seen: Condition, batch: NDArray[np.int64]) -> Seen | None:
        body = self._bodies.get(model)
        places = slice(int(batch[0]), int(batch[-1]) + 1)
        return None if body is None else self.features.find(body, seen, places)

    def _give_up(self, keys: Sequence[str], error: Exception) -> None:
        for key in keys:
            self.failures[key] = failure_of(error, self._store.tracebacks / f"{key}.txt")
            del self.parts[key]

    def _score_cell(
        self,
        mine: _Part,
        model: str,
        detector: Detector,
        batch: NDArray[np.int64],
        views: Sequence[dict[Condition, Square]],
        features: dict[Condition, Tensor],
    ) -> None:
        """Add a batch to a cell's part; what is not in `features` yet is put there."""
        ids = self._originals.sample_id[batch + self._start]
        found = [self._looked(seen, model, detector, batch, views, features) for seen in mine.seen]
        reasons = found[0][1]  # of all ways alike: what leaves an image out comes before a crop
        logits = np.stack([logit for logit, _ in found])
        mine.logits.append(logits.mean(axis=0, dtype=np.float64).astype(np.float32))
        mine.excluded.extend(
            (str(ids[at]), str(reasons[at])) for at in np.flatnonzero(reasons != "")
        )

    def _looked(
        self,
        seen: Condition,
        model: str,
        detector: Detector,
        batch: NDArray[np.int64],
        views: Sequence[dict[Condition, Square]],
        features: dict[Condition, Tensor],
    ) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """Return the logits (B,) of a batch in one condition, NaN for the images that are left out,
        and the reason for each of those, "" for the others.
        """
        ids = self._originals.sample_id[batch + self._start]
        found = self._found(model, seen, batch)
        squares = [view[seen] for view in views] if found is None else []
        reasons = (
            np.array([square if isinstance(square, str) else "" for square in squares])
            if found is None
            else found.reasons
        )
        kept, logit = reasons == "", np.full(len(batch), np.nan, dtype=np.float32)
        if kept.any():
            if seen not in features:
                if found is None or found.features is None:
                    pixels = np.stack([one for one in squares if not isinstance(one, str)])
                    images = _Pixels(pixels)
                    features[seen] = compute_features(detector, images, runtime=self._runtime)
                else:
                    features[seen] = found.features
            logits = head_logits(detector, features[seen])
            logit[kept] = finite_logits(logits, _Named(ids[kept]))
        body = self._bodies.get(model)
        if body is not None and found is None:
            self.features.add(body, seen, int(batch[0]), Seen(reasons, features.get(seen)))
        return logit, reasons


def _conditions(name: str, geometry: Geometry) -> tuple[Condition, ...]:
    """How a detector of a geometry sees an image under a degradation: what is done to the pixels,
    and the squares that are made of them.
    """
    whole = parse_degradation(name)
    steps = replace(whole, delivery="").name
    return tuple((steps, one) for one in delivered(whole.delivery, geometry))


def _views(
    wanted: Sequence[Condition], read: Callable[[], NDArray[np.uint8]]
) -> dict[Condition, Square]:
    """Read an image once; return its square in every condition."""
    pixels = read()
    views: dict[Condition, Square] = {}
    for name in dict.fromkeys(name for name, _ in wanted):
        geometries = [geometry for other, geometry in wanted if other == name]
        degraded = _or_reason(degrade, pixels, parse_degradation(name)) if name else pixels
        for geometry in geometries:
            views[name, geometry] = (
                degraded
                if isinstance(degraded, str)
                else _or_reason(fit_geometry, degraded, geometry)
            )
    return views


def _or_reason(step: Callable[..., NDArray[np.uint8]], *arguments: object) -> Square:
    """Return what a step makes of an image, or the reason why it cannot."""
    try:
        return step(*arguments)
    except UndecodableError as error:
        return str(error)


_KEPT = DetectorCache()


def assemble(cells: Sequence[CellJob]) -> None:
    """Make every cell that has all its parts: its scores, or the reason why its degradation is not
    applicable to the test set.
    """
    for mine in _by_test_set(cells):
        originals = _originals(mine[0])
        places = _stretches(len(originals))
        for cell in mine:
            store = cell.workspace.store
            files = (store.part_file(cell.scores_key, *place) for place in places)
            if not _is_settled(cell) and all(file.is_file() for file in files):
                _settle(cell, originals, [store.part(cell.scores_key, *p) for p in places])
            if _is_settled(cell):
                store.drop_parts(cell.scores_key)


def _settle(
    cell: CellJob,
    originals: Originals,
    parts: Sequence[tuple[NDArray[np.float32], tuple[tuple[str, str], ...]]],
) -> None:
    """Write a cell's scores, made of its parts: (logits, what is left out) of each stretch."""
    store, logit = cell.workspace.store, np.concatenate([logit for logit, _ in parts])
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
    scores = part(image_scores(originals, logit), np.flatnonzero(kept))
    excluded = tuple(sorted([*originals.excluded, *left_out.items()]))
    whole = replace(scores, listed=originals.listed, excluded=excluded)
    store.save_scores(cell.scores_key, whole)
