"""Draws: a winner's configuration, trained anew on halves of the training groups and on permuted
labels (study/data/draws.py), and the logits of those models on clean test sets.

They are no winners: they say how much the training sample decides, and what training on nothing
gives. A linear head on kept features is trained for all draws of a kind in one job. A network is a
job a draw; the store keeps the tensors that its training changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from study.core.failures import Failure
from study.core.identity import derive_seed
from study.core.records import DetectorSpec, Draw, DrawScores
from study.data.draws import drawn, drawn_labels, drawn_rows
from study.data.images.packs import ImageSet
from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.entry import LAYERS
from study.detectors.frozen_heads import Reading
from study.detectors.geometries import crops_of
from study.jobs.cell import test_images
from study.jobs.trial import FitJob, build_for, fit_trial, resolved, source_images
from study.jobs.workspace import (
    Workspace,
    frozen_body,
    frozen_by,
    frozen_precision,
    now,
    provenance,
    runtime_of,
    scoring_runtime,
)
from study.training.drawn_heads import Heads, Sample, gradient_heads, logistic_heads
from study.training.features import compute_features, head_logits
from study.training.head_stack import Head
from study.training.score import finite_logits, score


@dataclass(frozen=True, kw_only=True)
class DrawsJob(FitJob):
    """A winner's configuration to train on draws of its training set.

    trial.key: of all their models. trial.seed: of their training. draw_seed: of the draws, the
    study's. heads: they are linear heads on a frozen body; else there is one draw.
    """

    draws: tuple[Draw, ...]
    draw_seed: int
    heads: bool

    @property
    def result_key(self) -> str:
        """The key of their models."""
        return self.trial.key

    def is_done(self) -> bool:
        """Tell whether the store has their models."""
        return self.workspace.store.has_draws(self.trial.key)


@dataclass(frozen=True, kw_only=True)
class DrawCellJob:
    """The models of a job's draws to score on a clean test set. data_key: as a CellJob's."""

    workspace: Workspace
    of: DrawsJob
    test_on: str
    scores_key: str
    data_key: str

    @property
    def result_key(self) -> str:
        """The key of their logits."""
        return self.scores_key

    def is_done(self) -> bool:
        """Tell whether the store has their logits."""
        return self.workspace.store.has_draw_scores(self.scores_key)


def by_kind(
    work: Mapping[type[Any], Callable[[Any], Mapping[str, Failure] | None]], job: Any
) -> Mapping[str, Failure] | None:
    """Do one of several kinds of jobs that share a list and the workers; return the failures of its
    parts. work: what does each kind.
    """
    return work[type(job)](job)


def run_draws(job: DrawsJob) -> None:
    """Train the models of some draws and write them to the store. Raises what a fit raises, and
    DataError where the groups are too few for halves.
    """
    store = job.workspace.store
    if not job.is_done():
        tensors, errors = _heads(job) if job.heads else (_changed(job), ())
        record = {
            "trial": asdict(job.trial),
            "spec": registry.with_head(job.spec, job.trial.params),
            "draws": [asdict(draw) for draw in job.draws],
            "errors": list(errors),
            "provenance": {**provenance(), "made": now()},
        }
        store.save_draws(job.trial.key, tensors, record)
    store.drop_checkpoint(job.trial.key)


def _drawn(job: DrawsJob, draw: Draw) -> tuple[ImageSet, ImageSet]:
    return drawn(*source_images(job), draw, job.draw_seed)


def _changed(job: DrawsJob) -> dict[str, Tensor]:
    """Train a network; return the tensors that are no more as they were built."""
    (draw,) = job.draws
    detector, *_ = fit_trial(job, lambda _: None, images=_drawn(job, draw))
    built = _built(job).state_dict()
    return {
        name: tensor
        for name, tensor in detector.state_dict().items()
        if not torch.equal(tensor.cpu(), built[name])
    }


def _built(job: DrawsJob) -> Detector:
    spec = registry.with_head(job.spec, job.trial.params)
    detector = registry.build(spec, weights_root=job.workspace.weights_root, seed=job.trial.seed)
    precision = job.workspace.precision
    detector.frozen_precision = frozen_precision(spec, job.trial.params, precision)
    return detector


def _heads(job: DrawsJob) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Train the linear heads of all draws; return them, and why each failed."""
    runtime = runtime_of(job.workspace)
    runtime.apply()
    train, val = source_images(job)
    recipe = resolved(job, job.trial.params)
    spec = registry.with_head(job.spec, job.trial.params)
    detector = build_for(spec, recipe, job.workspace.weights_root, job.trial.seed)
    runtime.place(detector)
    body = frozen_body(job.workspace, spec, lambda: detector)
    assert body is not None, "a head alone is trained on a body that is no random one"
    flips = recipe.views if job.spec.learner == "gradient" else (False,)
    wanted = [(val, False), *((train, flip) for flip in flips)]
    if not body.fits(*wanted, runtime=runtime):
        return _one_by_one(job)
    looked = [body.of_images(images, flip=flip, runtime=runtime) for images, flip in wanted]
    samples = [_sample(job, train, val, draw) for draw in job.draws]
    if job.spec.learner == "logistic":
        strata = train.strata(job.workspace.data.balance)
        read = _reading(spec, looked[1])(looked[1])
        return _tensors(logistic_heads(read, samples, recipe.C, strata))
    first = Head(
        recipe=recipe,
        seed=job.trial.seed,
        weight=detector.head.weight.detach().cpu()[0],
        bias=float(detector.head.bias.detach()),
        label=train.label,
    )
    how: dict[str, Any] = {"epochs": job.trial.epochs, "runtime": runtime}
    return _tensors(gradient_heads(looked[1:], looked[0], samples, first, **how))


def _sample(job: DrawsJob, train: ImageSet, val: ImageSet, draw: Draw) -> Sample:
    labels = partial(drawn_labels, draw=draw, seed=job.draw_seed)
    label = labels(train, "train")
    return Sample(
        rows=drawn_rows(train, draw, job.draw_seed),
        label=label,
        val_label=labels(val, "val"),
        strata=train.relabelled(label).strata(job.workspace.data.balance),
    )


def _one_by_one(job: DrawsJob) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Train heads whose features have no room, each as any detector, with a seed of its own."""
    weights, biases = [], []
    for number, draw in enumerate(job.draws):
        seed = derive_seed(job.trial.seed, "half", number)
        own = replace(job, trial=replace(job.trial, seed=seed))
        detector, *_ = fit_trial(own, lambda _: None, images=_drawn(job, draw))
        weights.append(detector.head.weight.detach().cpu().numpy()[0].copy())
        biases.append(float(detector.head.bias.detach()))
    found = Heads(
        weights=np.stack(weights),
        biases=np.array(biases, dtype=np.float32),
        errors=("",) * len(job.draws),
    )
    return _tensors(found)


def _tensors(heads: Heads) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    tensors = {
        "weights": torch.from_numpy(heads.weights),
        "biases": torch.from_numpy(heads.biases),
    }
    return tensors, heads.errors


def run_draw_cell(job: DrawCellJob) -> None:
    """Score the models of some draws on a test split and write their logits to the store."""
    if job.is_done():
        return
    store = job.workspace.store
    tensors = store.draws(job.of.trial.key)
    runtime = scoring_runtime(job.workspace)
    images = test_images(job, job.of.spec)

    def load() -> Detector:
        detector = _built(job.of)
        if not job.of.heads:
            detector.load_state_dict(tensors, strict=False)
        runtime.place(detector)
        return detector.eval()

    frozen = frozen_by(job.of.spec, job.of.trial.params)
    body = frozen_body(job.workspace, job.of.spec, load) if frozen else None
    has_room = body is not None and body.fits((images, False), runtime=runtime)
    features = body.of_images(images, runtime=runtime) if body and has_room else None
    if job.of.heads:
        if features is None:
            features = compute_features(load(), images, runtime=runtime)
        spec = registry.with_head(job.of.spec, job.of.trial.params)
        read = _reading(spec, features)(features)
        logits = _head_logits(read, tensors["weights"], tensors["biases"])
    elif features is not None:
        logits = finite_logits(head_logits(load(), features), images)[None]
    else:
        logits = score(load(), images, runtime=runtime)[None]
    scores = DrawScores(sample_id=images.sample_id, logits=logits)
    store.save_draw_scores(job.scores_key, scores)


def _reading(spec: DetectorSpec, features: Tensor) -> Reading:
    """What a linear head reads of features (N, W)."""
    crops = crops_of(spec)
    width = features.shape[1] // (crops * int(spec.options.get(LAYERS, 1)))
    return Reading.of(spec.options, width, crops)


def _head_logits(features: Tensor, weights: Tensor, biases: Tensor) -> NDArray[np.float32]:
    """Logits (K, N) of features (N, D) by K linear heads."""
    weights, biases = weights.to(features.device), biases.to(features.device)
    logits: NDArray[np.float32] = F.linear(features, weights, biases).T.cpu().numpy()
    return np.ascontiguousarray(logits)
