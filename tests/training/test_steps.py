"""Batches, the loss, flips and clipping: what one step is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from study.training import steps as module
from study.training.fit import fit
from study.training.losses import bce
from study.training.steps import batches
from tests.training.fakes import FakeSession, images, tiny
from tests.training.small_fits import RUNTIME, recipe


@given(st.integers(1, 70), st.integers(2, 16))
def test_batches_hold_every_image_once_and_none_is_alone(n: int, batch_size: int) -> None:
    order = torch.randperm(n)
    parts = batches(n, batch_size, order)
    assert torch.equal(torch.cat(parts), order)
    assert all(len(part) == batch_size for part in parts[:-2])
    assert all(2 <= len(part) <= batch_size + 1 for part in parts) or n == 1


def test_a_single_image_left_over_does_not_break_batchnorm() -> None:
    for size_px in (8, 1):  # at 1 px BatchNorm sees one value a channel where a batch has one image
        train, val = images(11, size_px=size_px), images(10, size_px=size_px)
        settings = recipe(schedule="full", batch_size=5)
        result = fit(
            tiny(size_px=size_px),
            train,
            val,
            settings,
            epochs=2,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        assert train.read == 2 * 11 and len(result.val_logit) == 10


def test_flips_are_of_the_probability_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = module.to_input

    def spy(
        detector: Any, pixels: Any, device: str, flip: torch.Tensor | None = None
    ) -> torch.Tensor:
        if flip is not None:
            seen.append(flip)
        return original(detector, pixels, device, flip)

    monkeypatch.setattr(module, "to_input", spy)
    shares = {}
    for flip in (0.0, 0.3, 1.0):
        seen.clear()
        settings = recipe(schedule="full", flip=flip, batch_size=64)
        fit(
            tiny(),
            images(300),
            images(10),
            settings,
            epochs=2,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        shares[flip] = torch.cat(seen).float().mean().item()
    assert shares[0.0] == 0.0 and shares[1.0] == 1.0 and shares[0.3] == pytest.approx(0.3, abs=0.08)


def test_loss_is_the_cross_entropy_of_smoothed_targets() -> None:
    logits, label = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    p, y = 1 / (1 + np.exp(-logits.numpy().astype(float))), np.array([0.95, 0.05, 0.05])
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert bce(logits, label, 0.1).item() == pytest.approx(expected, abs=1e-6)
    assert bce(logits, label, 0.0).item() == pytest.approx(log_loss(label, p), abs=1e-6)


def test_clipping_bounds_the_step() -> None:
    """Plain SGD on one batch: the step is no longer than learning rate x clip_norm x (1 +
    momentum), Nesterov's first step.
    """
    moved = {}
    for clip_norm in (0.0, 0.001):
        detector = tiny()
        before = {name: p.detach().clone() for name, p in detector.named_parameters()}
        settings = recipe(
            optimizer="sgd",
            schedule="full",
            lr=0.1,
            clip_norm=clip_norm,
            batch_size=64,
            weight_decay=0.0,
            warmup_share=0.0,
        )
        fit(
            detector,
            images(21),
            images(15, seed=1),
            settings,
            epochs=1,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        moved[clip_norm] = (
            sum(
                (p.detach() - before[name]).square().sum().item()
                for name, p in detector.named_parameters()
            )
            ** 0.5
        )
    assert moved[0.001] == pytest.approx(0.1 * 0.001 * 1.9, rel=1e-3)
    assert moved[0.0] > 10 * moved[0.001]
