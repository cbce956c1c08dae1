"""Convex training: features once, then logistic regression to its minimum."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.core.errors import DivergedError
from study.core.records import EpochRecord
from study.statistics.metrics import auc, nll
from study.training.balance import Strata, even_weights
from study.training.features import FrozenBody, compute_features
from study.training.logistic_solver import solve
from study.training.outcomes import Trained, linear_logits
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import finite_logits
from study.training.session import Images


def fit_logistic(
    body: FrozenBody,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    runtime: TorchRuntime,
    processes: ProcessGroup = ALONE,
    strata: Strata | None = None,
) -> Trained:
    """Fit a head on the features of `train` and score `val`; one epoch, nothing random.

    Features are standardised on `train`; the standardisation is folded into the head, which works
    on raw features. Several workers share out the features; each then solves the same small
    problem. strata: of the training images, weighing alike.
    """
    from sklearn.preprocessing import StandardScaler

    began = time.perf_counter()
    features = _features(body, train, runtime, processes)
    weights = None if strata is None else even_weights(strata)
    scaler = StandardScaler().fit(features, sample_weight=weights)
    standard, intercept = (
        one[0].numpy()
        for one in solve(
            torch.from_numpy(scaler.transform(features)),
            torch.from_numpy(train.label.astype(np.float64))[None],
            torch.tensor([recipe.C], dtype=torch.float64),
            None if weights is None else torch.from_numpy(weights),
        )
    )
    weight = standard / scaler.scale_
    bias = float(intercept - weight @ scaler.mean_)
    head = torch.from_numpy(weight.astype(np.float32))[None].to(runtime.device)
    offset = torch.tensor([bias], dtype=torch.float32, device=runtime.device)
    looked = torch.from_numpy(_features(body, val, runtime, processes).astype(np.float32))
    logit = finite_logits([linear_logits(looked.to(runtime.device), head, offset)], val)
    record = EpochRecord(
        epoch=0,
        phase="logistic",
        train_loss=nll(train.label, features @ weight + bias),
        val_auc=auc(val.label, logit),
        val_nll=nll(val.label, logit),
        learning_rate=0.0,
        seconds=time.perf_counter() - began,
    )
    return Trained(
        history=(record,),
        best_epoch=0,
        logit=logit,
        weights=head.cpu().numpy(),
        biases=offset.cpu().numpy(),
    )


def _features(
    body: FrozenBody, images: Images, runtime: TorchRuntime, processes: ProcessGroup
) -> NDArray[np.float64]:
    """Features (N, D) in float64."""
    how: dict[str, Any] = {"runtime": runtime, "processes": processes}
    if body.fits((images, False), **how):
        features = body.of_images(images, **how)
    else:
        features = compute_features(body.load(), images, **how)
    values = features.cpu().numpy().astype(np.float64)
    if not np.isfinite(values).all():
        image = images.sample_id[np.flatnonzero(~np.isfinite(values).all(axis=1))[0]]
        raise DivergedError(f"the features of {image} are not finite")
    return values
