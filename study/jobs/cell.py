"""A cell: a trained detector, scored on one test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.core.errors import StoreError
from study.core.records import NO_DEGRADATION, Scores
from study.data.images.originals import Originals
from study.data.images.packs import ImageSet
from study.detectors import registry
from study.detectors.base import Detector
from study.jobs.workspace import Workspace, refuse_changed_data, scoring_runtime
from study.store.store import read_trained
from study.training.score import score


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


def run_cell(job: CellJob) -> None:
    """Score a trained detector on a test split and write one logit per image to the store."""
    if not job.is_done():
        store = job.workspace.store
        detector = load_detector(store.model_folder(job.model))
        store.save_scores(job.scores_key, score_cell(job, detector))


def score_cell(job: CellJob, detector: Detector) -> Scores:
    """Return what a detector, the job's own or one of its epochs, scores on the job's test
    split.
    """
    workspace = job.workspace
    catalog = workspace.catalog
    refuse_changed_data(catalog.key(job.test_on, ("test",)), job.data_key, job.test_on)
    images = catalog.open(job.test_on, "test", detector.spec.geometry)
    runtime = scoring_runtime(workspace)
    runtime.place(detector)
    return image_scores(images, score(detector, images, runtime=runtime))


def load_detector(folder: Path) -> Detector:
    """Return the trained detector of a model folder, in eval mode.

    Raises StoreError where it is missing or damaged, and for an ensemble, which is no detector of
    its own.
    """
    from safetensors.torch import load_file

    trained = read_trained(folder)
    if trained.spec.learner == "members":
        members = trained.provenance["members"]
        raise StoreError(
            f"'{folder}' is an ensemble and has no network: load its members ({members}) and"
            " combine their logits"
        )
    return registry.restore(trained.spec, load_file(folder / "detector.safetensors")).eval()


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
