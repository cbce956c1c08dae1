"""A cell: a trained detector, scored on one test set.

Winners whose body was never trained see the same features of an image. Those of one test set are
scored in one job: the images are read once, and the network looks at each once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from study.core.errors import StoreError
from study.core.failures import Failure, failure_of, tried
from study.core.identity import digest
from study.core.records import NO_DEGRADATION, DetectorSpec, Scores, TrainedDetector
from study.data.images.originals import Originals
from study.data.images.packs import ImageSet
from study.detectors import registry
from study.detectors.base import Detector, Head
from study.jobs.workspace import (
    FROZEN_PRECISION,
    Workspace,
    frozen_body,
    frozen_by,
    refuse_changed_data,
    scoring_runtime,
)
from study.store.store import WEIGHTS, Store, read_trained
from study.store.weights_file import read_weights
from study.training.features import head_logits
from study.training.score import finite_logits, score

HEAD = "head."  # what the names of a head's tensors begin with


class TestJob(Protocol):
    """What says which test split is scored. data_key: of its content."""

    @property
    def workspace(self) -> Workspace: ...  # noqa: D102
    @property
    def test_on(self) -> str: ...  # noqa: D102
    @property
    def data_key(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """A trained detector to score on one test set. `data_key`: the content of the test split that
    `scores_key` stands for.
    """

    workspace: Workspace
    model: str
    test_on: str
    scores_key: str
    data_key: str
    degradation: str = NO_DEGRADATION

    @property
    def result_key(self) -> str:
        """The key of its scores."""
        return self.scores_key

    def is_done(self) -> bool:
        """Tell whether the store has the scores."""
        return self.workspace.store.has_scores(self.scores_key)


@dataclass(frozen=True, kw_only=True)
class CellsJob:
    """Cells of one test set that a worker scores in one go: those of one winner, or of all winners
    that have the same frozen body.
    """

    cells: tuple[CellJob, ...]

    @property
    def result_key(self) -> str:
        """The key of the cells, whichever of them are left."""
        return digest("cells", [cell.scores_key for cell in self.cells])

    def is_done(self) -> bool:
        """Tell whether the store has the scores of all of them."""
        return all(cell.is_done() for cell in self.cells)


def cells_jobs(cells: Sequence[tuple[CellJob, TrainedDetector]]) -> list[CellsJob]:
    """Return the jobs that score cells, each with its winner. Those that share images and a frozen
    body are one job, and neighbours share their images.
    """
    together: dict[tuple[str, str, str], list[CellJob]] = {}
    for cell, winner in cells:
        body = frozen_key(winner) or winner.key
        place = cell.test_on, repr(winner.spec.geometry), body
        together.setdefault(place, []).append(cell)
    return [CellsJob(cells=tuple(together[place])) for place in sorted(together)]


def frozen_key(winner: TrainedDetector) -> str:
    """Return the identity of a winner's body where training left it as it was built, else ""."""
    return frozen_by(winner.spec, winner.trial.params)


def run_cells(job: CellsJob) -> dict[str, Failure]:
    """Score trained detectors on a test split and write their scores to the store. Return the
    failures by scores key: one does not keep the others from their scores.
    """
    failures = {}
    for cell in job.cells:
        try:
            tried(partial(run_cell, cell))
        except Exception as error:
            file = cell.workspace.store.tracebacks / f"{cell.scores_key}.txt"
            failures[cell.scores_key] = failure_of(error, file)
    return failures


def run_cell(cell: CellJob) -> None:
    """Score a trained detector on a test split and write one logit per image to the store."""
    if not cell.is_done():
        store = cell.workspace.store
        store.save_scores(cell.scores_key, _scores(cell, store.model(cell.model)))


def _scores(cell: CellJob, winner: TrainedDetector) -> Scores:
    """Score a cell: by the kept features of its images where the body is frozen."""
    workspace = cell.workspace
    runtime = scoring_runtime(workspace)

    def load() -> Detector:
        detector = stored_detector(workspace.store, cell.model)
        runtime.place(detector)
        return detector

    body = frozen_body(workspace, winner.spec, load) if frozen_key(winner) else None
    images = test_images(cell, winner.spec)
    if body is None or not body.fits((images, False), runtime=runtime):
        return image_scores(images, score(load(), images, runtime=runtime))
    features = body.of_images(images, runtime=runtime)
    # a head that is more than what `make_head` gives needs its detector
    own = registry.entry(winner.spec.name).own_head
    head = load() if own else stored_head(workspace.store, winner, features.shape[1])
    logits = head_logits(head.to(runtime.device), features)
    return image_scores(images, finite_logits(logits, images))


def score_cell(job: CellJob, detector: Detector) -> Scores:
    """Return what a detector that is no winner, one of a winner's epochs, scores on the job's test
    split.
    """
    images = test_images(job, detector.spec)
    runtime = scoring_runtime(job.workspace)
    runtime.place(detector)
    return image_scores(images, score(detector, images, runtime=runtime))


def test_images(job: TestJob, spec: DetectorSpec) -> ImageSet:
    """Return the images of a job's test split. Raises DataError where they are not those that its
    key stands for.
    """
    catalog = job.workspace.catalog
    refuse_changed_data(catalog.key(job.test_on, ("test",)), job.data_key, job.test_on)
    return catalog.open(job.test_on, "test", spec.geometry)


def stored_head(store: Store, winner: TrainedDetector, n_features: int) -> Head:
    """Return the head of a trained detector alone, in eval mode. Raises StoreError where its
    weights are missing or damaged.
    """
    named = store.weights(winner.key, prefix=HEAD)
    state = {name.removeprefix(HEAD): tensor for name, tensor in named.items()}
    return Head(winner.spec, n_features, state).eval()


def stored_detector(store: Store, key: str) -> Detector:
    """Return a trained detector of a store, in eval mode. Raises StoreError as `load_detector`
    does; what is damaged is set aside.
    """
    return _detector(store.model(key), store.model_folder(key), lambda: store.weights(key))


def load_detector(folder: Path) -> Detector:
    """Return the trained detector of a model folder, in eval mode.

    Raises StoreError where it is missing or damaged, and for an ensemble, which is no detector of
    its own.
    """
    trained = read_trained(folder)
    return _detector(trained, folder, lambda: read_weights(folder / WEIGHTS, trained.key))


def _detector(
    trained: TrainedDetector, folder: Path, read: Callable[[], dict[str, Tensor]]
) -> Detector:
    if trained.spec.learner == "members":
        members = trained.provenance["members"]
        raise StoreError(
            f"'{folder}' is an ensemble and has no network: load its members ({members}) and"
            " combine their logits"
        )
    detector = registry.restore(trained.spec, read()).eval()
    detector.frozen_precision = trained.provenance.get(FROZEN_PRECISION, "float32")
    return detector


def image_scores(images: ImageSet | Originals, logit: NDArray[np.float32]) -> Scores:
    """Return the scores of a set of images: logit (N,) float32, in the order of the set."""
    return Scores(
        sample_id=images.sample_id,
        group=images.group,
        unit=images.unit,
        method=images.method,
        label=images.label,
        logit=logit,
        listed=images.listed,
        excluded=images.excluded,
    )
