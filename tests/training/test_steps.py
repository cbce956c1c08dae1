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
from study.training.augment import Batch
from study.training.fit import fit
from study.training.losses import bce
from study.training.process_group import ALONE
from study.training.schedules import phases
from study.training.steps import Steps, batches
from tests.training.fakes import FakeSession, Plain, images, plain, tiny
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


@pytest.mark.parametrize("keep", [1.0, 0.25])
def test_what_a_detector_adds_to_the_loss_is_trained_too(keep: float) -> None:
    """The distance of the classes' mean features, of a batch and of what mixup puts in its place:
    loss and gradient are those without it plus its own.
    """

    def gap(features: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return (features * (2 * label - 1)[:, None]).mean()

    class Adding(Plain):
        def added_loss(self, features: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return 300 * gap(features, label)

    train, settings = images(6, size_px=8), recipe(schedule="full", dropout=0.0)
    index, turned = torch.arange(6), torch.arange(6).flip(0)
    still = torch.zeros(6, dtype=torch.bool)
    partner = None if keep == 1 else Batch(turned, turned, still)
    batch = Batch(index, index, still, partner=partner, keep=keep)
    found = []
    for kind in (Plain, Adding):
        detector = plain()
        detector.__class__ = kind
        how: Any = {"seed": 0, "runtime": RUNTIME, "processes": ALONE}
        steps = Steps(detector, train, settings, **how)
        steps.begin(phases(settings, n_stages=len(detector.stages()), epochs=1)[0])
        loss = float(steps.backward(batch, of=6))
        found.append((loss, [p.grad.clone() for p in detector.parameters() if p.grad is not None]))
    detector = plain()
    x = detector.prepare(torch.from_numpy(train.gather(np.arange(6))))
    mixed = x if partner is None else keep * x + (1 - keep) * x.flip(0)
    label = torch.from_numpy(train.label.astype(np.float32))
    features = detector.features(mixed)
    added = 300 * (keep * gap(features, label) + (1 - keep) * gap(features, label.flip(0)))
    assert abs(added.item()) > 1e-2, "else nothing would be tested"
    assert found[1][0] == pytest.approx(found[0][0] + added.item(), rel=1e-5)
    parameters = list(detector.parameters())
    extra = torch.autograd.grad(added, parameters, allow_unused=True)  # the head has none of it
    for with_it, without, own in zip(found[1][1], found[0][1], extra, strict=True):
        expected = without if own is None else without + own
        torch.testing.assert_close(with_it, expected, rtol=1e-4, atol=1e-4)
