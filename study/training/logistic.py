"""Convex training: features once, then logistic regression to its minimum, into the head."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from study.core.errors import DivergedError
from study.core.records import EpochRecord
from study.detectors.base import Detector
from study.statistics.metrics import auc, nll
from study.training.balance import Strata, even_weights
from study.training.features import FrozenBody, compute_features, head_logits
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import finite_logits
from study.training.session import FitResult, Images, Session, report_epoch

MAX_ITERATIONS = 5000
TOLERANCE = 1e-10
"""Of the mean loss's gradient. At scikit-learn's 1e-4, where the classes can be parted and C is
large, L-BFGS stops after a dozen steps, at the same head for every such C."""


def fit_logistic(
    detector: Detector,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    runtime: TorchRuntime,
    session: Session,
    processes: ProcessGroup = ALONE,
    strata: Strata | None = None,
    body: FrozenBody | None = None,
) -> FitResult:
    """Fit the head in place on the features of `train` and score `val`; one epoch, nothing random,
    no checkpoint.

    Features are standardised on `train`; the standardisation is folded into the head, which keeps
    working on raw features. Several workers share out the features; each then solves the same small
    problem. strata: of the training images, weighing alike. body: as `fit` takes it.
    """
    began = time.perf_counter()
    body = body or FrozenBody.of(detector)
    features, label = _features(body, train, runtime, processes), train.label.astype(np.int64)
    with threadpool_limits(limits=runtime.threads):
        weights = None if strata is None else even_weights(strata)
        scaler = StandardScaler().fit(features, sample_weight=weights)
        standard, intercept = solve(scaler.transform(features), label, recipe.C, weights)
    weight = standard / scaler.scale_
    bias = float(intercept - weight @ scaler.mean_)
    set_head(detector, weight, bias)
    val_features = torch.from_numpy(_features(body, val, runtime, processes).astype(np.float32)).to(
        runtime.device
    )
    logit = finite_logits(head_logits(detector, val_features, processes=processes), val)
    record = EpochRecord(
        epoch=0,
        phase="logistic",
        train_loss=nll(train.label, features @ weight + bias),
        val_auc=auc(val.label, logit),
        val_nll=nll(val.label, logit),
        learning_rate=0.0,
        seconds=time.perf_counter() - began,
    )
    report_epoch(session, record, processes)
    detector.eval()
    return FitResult(
        history=(record,),
        best_epoch=0,
        val_auc=record.val_auc,
        val_nll=record.val_nll,
        val_logit=logit,
    )


def solve(
    features: NDArray[np.float64],
    label: NDArray[np.int64],
    strength: float,
    weights: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], float]:
    """Return weights (D,) and bias of the logistic regression of labels (N,) on features (N, D)
    with inverse L2 strength C.

    weights: of the images (N,), or None for 1 each. The gradient is 0 up to rounding: 20,000 images
    of 768 features take seconds.
    """
    model = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=MAX_ITERATIONS).fit(
        features, label, weights
    )
    return model.coef_[0], float(model.intercept_[0])


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


def set_head(detector: Detector, weight: NDArray[np.float64], bias: float) -> None:
    """Put a linear function of raw features (D,) into the head, rounded to float32."""
    with torch.no_grad():
        detector.head.weight.copy_(torch.from_numpy(weight[None, :].astype(np.float32)))
        detector.head.bias.fill_(bias)
