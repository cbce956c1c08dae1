"""Convex training: features once, then logistic regressions to their minimum, and the nearest
neighbours that need no minimum.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.errors import DivergedError
from study.core.records import EpochRecord
from study.detectors.base import Detector
from study.detectors.frozen_heads import Reading
from study.statistics.metrics import auc, nll
from study.training.balance import Strata, even_weights
from study.training.features import FrozenBody, compute_features, head_logits
from study.training.logistic_solver import solve
from study.training.outcomes import Trained, linear_logits
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import finite_logits
from study.training.session import FitResult, Images
from study.training.standard import Standard


def fit_logistic(
    body: FrozenBody,
    train: Images,
    val: Images,
    recipes: Sequence[Recipe],
    *,
    width: int,
    crops: int = 1,
    runtime: TorchRuntime,
    processes: ProcessGroup = ALONE,
    strata: Strata | None = None,
) -> list[Trained]:
    """Fit a head by each recipe on the features of `train` and score `val`; one epoch each, nothing
    random.

    width, crops: D of a layer, and how many crops' features lie one after the other. What the heads
    of a layer read is standardised on `train` once; the standardisation is folded into each head.
    Each is solved alone, so that it has the same bits whatever stands beside it. Several workers
    share out the features; each then solves the same small problems. strata: of the training
    images, weighing alike.
    """
    began = time.perf_counter()
    looked = [_features(body, images, runtime, processes) for images in (train, val)]
    layers: dict[Reading, list[Recipe]] = {}
    for recipe in recipes:
        reading = Reading.of({"head": recipe.head, "layer": recipe.layer}, width, crops)
        layers.setdefault(reading, []).append(recipe)
    found: dict[Recipe, Trained] = {}
    for reading, same in layers.items():
        try:
            layer = _Layer(reading, looked, train, val, runtime, strata)
        except DivergedError as error:
            found |= dict.fromkeys(same, _failed(error, width))
            continue
        for recipe in same:
            found[recipe] = layer.solved(recipe, began)
            began = time.perf_counter()
    return [found[recipe] for recipe in recipes]


def _failed(error: DivergedError, width: int) -> Trained:
    none = np.empty(0, dtype=np.float32)
    heads = np.empty((0, width), dtype=np.float32)
    return Trained(
        history=(), best_epoch=-1, logit=none, weights=heads, biases=none, error=str(error)
    )


class _Layer:
    """What the heads of a layer read of train and val, standardised.

    Raises DivergedError where it is not finite.
    """

    def __init__(
        self,
        reading: Reading,
        looked: Sequence[Tensor],
        train: Images,
        val: Images,
        runtime: TorchRuntime,
        strata: Strata | None,
    ) -> None:
        self.train, self.val, self.runtime = train, val, runtime
        self.features, val_features = (
            _finite(reading(features), images)
            for features, images in zip(looked, (train, val), strict=True)
        )
        self.looked = torch.from_numpy(val_features.astype(np.float32)).to(runtime.device)
        self.weights = None if strata is None else even_weights(strata)
        self.scaler = Standard.of(self.features, self.weights)
        self.standard = torch.from_numpy(self.scaler(self.features))

    def solved(self, recipe: Recipe, began: float) -> Trained:
        """Fit a head. began: the clock's time from which it counts its seconds."""
        train, val = self.train, self.val
        standard, intercept = (
            one[0].numpy()
            for one in solve(
                self.standard,
                torch.from_numpy(train.label.astype(np.float64))[None],
                torch.tensor([recipe.C], dtype=torch.float64),
                None if self.weights is None else torch.from_numpy(self.weights),
            )
        )
        weight = standard / self.scaler.scale
        bias = float(intercept - weight @ self.scaler.mean)
        head = torch.from_numpy(weight.astype(np.float32))[None].to(self.runtime.device)
        offset = torch.tensor([bias], dtype=torch.float32, device=self.runtime.device)
        logit = finite_logits([linear_logits(self.looked, head, offset)], val)
        loss = nll(train.label, self.features @ weight + bias)
        return Trained(
            history=(_record("logistic", loss, val, logit, began),),
            best_epoch=0,
            logit=logit,
            weights=head.cpu().numpy(),
            biases=offset.cpu().numpy(),
        )


def fit_neighbours(
    body: FrozenBody,
    detector: Detector,
    train: Images,
    val: Images,
    *,
    crops: int = 1,
    runtime: TorchRuntime,
    processes: ProcessGroup = ALONE,
) -> FitResult:
    """Let a detector's head remember what it reads of `train`, and score `val`; one epoch, nothing
    random. Crops of a training image are one neighbour, their mean.
    """
    began = time.perf_counter()
    looked = [_features(body, images, runtime, processes) for images in (train, val)]
    reading = replace(detector.head.reading, crops=crops)
    read = torch.from_numpy(_finite(reading(looked[0]), train).astype(np.float32))
    detector.head.remember(read, torch.from_numpy(train.label))
    detector.head.to(runtime.device)
    (logit,) = head_logits(detector, looked[1].to(runtime.device))
    logit = finite_logits([logit], val)
    record = _record("neighbours", float("nan"), val, logit, began)
    return FitResult(
        history=(record,),
        best_epoch=0,
        val_auc=record.val_auc,
        val_nll=record.val_nll,
        val_logit=logit,
    )


def _record(
    phase: str, loss: float, val: Images, logit: NDArray[np.float32], began: float
) -> EpochRecord:
    return EpochRecord(
        epoch=0,
        phase=phase,
        train_loss=loss,
        val_auc=auc(val.label, logit),
        val_nll=nll(val.label, logit),
        learning_rate=0.0,
        seconds=time.perf_counter() - began,
    )


def _features(
    body: FrozenBody, images: Images, runtime: TorchRuntime, processes: ProcessGroup
) -> Tensor:
    """Features (N, W) float32 in memory, or mapped."""
    how: dict[str, Any] = {"runtime": runtime, "processes": processes}
    if body.fits((images, False), **how):
        features = body.of_images(images, **how)
    else:
        features = compute_features(body.load(), images, **how)
    return features.cpu()


def _finite(read: Tensor, images: Images) -> NDArray[np.float64]:
    """What is read (N, D) in float64. Raises DivergedError where it is not finite."""
    values = read.numpy().astype(np.float64)
    if not np.isfinite(values).all():
        image = images.sample_id[np.flatnonzero(~np.isfinite(values).all(axis=1))[0]]
        raise DivergedError(f"the features of {image} are not finite")
    return values
