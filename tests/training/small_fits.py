"""Fits of the small detector that take a moment, and what two of them are compared by."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from study.core.records import EpochRecord
from study.detectors.base import Detector
from study.training import fit as module
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.session import FitResult
from tests.training.fakes import FakeSession, images

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
BASE: dict[str, Any] = {"batch_size": 5, "lr": 0.02, "patience": 0, "weight_decay": 0.3}


def recipe(**settings: Any) -> Recipe:
    return Recipe.from_params({**BASE, **settings})


def run(
    detector: Detector,
    session: FakeSession | None = None,
    *,
    epochs: int = 4,
    seed: int = 0,
    **settings: Any,
) -> FitResult:
    train, val = images(21), images(15, seed=1)
    session = session or FakeSession()
    return fit(
        detector,
        train,
        val,
        recipe(**settings),
        epochs=epochs,
        seed=seed,
        runtime=RUNTIME,
        session=session,
    )


def snapshot(detector: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in detector.state_dict().items()}


def without_seconds(history: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [dataclasses.replace(record, seconds=0.0) for record in history]


def same(one: tuple[Detector, FitResult], two: tuple[Detector, FitResult]) -> bool:
    """Bit for bit: weights, statistics, logits and history."""
    (a, x), (b, y) = one, two
    weights = all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())
    return (
        weights
        and np.array_equal(x.val_logit, y.val_logit)
        and without_seconds(x.history) == without_seconds(y.history)
    )


def script(
    monkeypatch: pytest.MonkeyPatch, aucs: list[float], nlls: list[float] | None = None
) -> None:
    """Let val AUC and NLL be these, epoch by epoch."""
    answers, losses = iter(aucs), iter(nlls or [0.5] * len(aucs))
    monkeypatch.setattr(module, "auc", lambda label, logit: next(answers))
    monkeypatch.setattr(module, "nll", lambda label, logit: next(losses))
