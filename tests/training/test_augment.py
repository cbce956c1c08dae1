"""Augmentations, mixup, class weights and the plateau: what they do by hand, and that they are the
same whatever the batches.
"""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from study.training import augment
from study.training.augment import Batch, Draws, blur, colour, crop, jpeg, mix
from study.training.fit import fit
from study.training.losses import bce, class_weights
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import plateau_factor
from study.training.session import FitResult
from tests.training.fakes import FakeSession, InterruptedError, images, plain, tiny

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
EVERYTHING = {
    "crop": 0.5,
    "colour": 0.5,
    "blur": 0.5,
    "jpeg": 0.5,
    "mixup": 0.4,
    "loss": "balanced_bce",
    "lr_schedule": "plateau",
}


def noise(size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (3, size, size)).astype(np.uint8)
    )


def test_a_blur_is_a_sum_over_a_gaussian_by_hand() -> None:
    pixels, sigma = noise(), 1.5
    ys, xs = np.mgrid[-6:7, -6:7]
    kernel = np.exp(-(ys**2 + xs**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for y, x in ((10, 10), (16, 20)):
        window = pixels[:, y - 6 : y + 7, x - 6 : x + 7].numpy().astype(float)
        expected = (window * kernel).sum(axis=(1, 2))
        # rounded to a level
        assert blur(pixels, sigma)[:, y, x].numpy() == pytest.approx(expected, abs=0.51)
    assert blur(pixels, 0.05) is pixels


@pytest.mark.parametrize("quality", [30, 75, 100])
def test_a_jpeg_is_the_one_that_pillow_writes(quality: int) -> None:
    pixels = blur(noise(), 1.0)
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    assert np.array_equal(
        jpeg(pixels, quality).permute(1, 2, 0).numpy(), np.asarray(Image.open(file))
    )


def test_a_crop_is_the_window_that_the_numbers_choose() -> None:
    # a pixel's value is its column
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 1, 64).expand(3, 64, 64)
    almost_all, square, first, last = 1 - 1e-9, 0.5, 0.0, 1 - 1e-9
    assert torch.equal(crop(ramp, almost_all, square, first, first), ramp)
    half = crop(ramp, 0.0, square, first, last)  # half of the area: 45 columns, the last ones
    assert half.shape == ramp.shape
    middle = half[0, 32].float()
    assert middle[0] == pytest.approx(64 - 45, abs=1)
    assert middle[-1] == 63
    assert (middle.diff() >= 0).all()
    # aspect ratio 4/3: 45 * sqrt(4/3) = 52 columns
    wide = crop(ramp, 0.0, 1 - 1e-9, first, first)[0, 32].float()
    assert wide[-1] == pytest.approx(51, abs=1)


def test_the_middle_of_every_colour_range_changes_nothing_and_its_ends_do() -> None:
    pixels = noise()
    same = colour(pixels, 0.5, 0.5, 0.5, 0.5)
    assert (same.int() - pixels.int()).abs().max() <= 1
    darker = colour(pixels, 0.0, 0.5, 0.5, 0.5)
    assert darker.float().mean() == pytest.approx(0.8 * float(pixels.float().mean()), abs=1)
    greyer = colour(pixels, 0.5, 0.5, 0.0, 0.5).float()
    assert greyer.var(dim=0).mean() == pytest.approx(
        0.64 * float(pixels.float().var(dim=0).mean()), rel=0.05
    )


def test_draws_follow_the_image_and_not_the_batch() -> None:
    recipe = Recipe(crop=0.5, colour=0.5, blur=0.5, jpeg=0.5)
    draws = Draws.draw(recipe, 12, torch.Generator().manual_seed(1))
    assert draws is not None
    pixels = torch.stack([noise(16, seed).permute(1, 2, 0) for seed in range(12)])
    whole = draws.apply(pixels, torch.arange(12))
    order = torch.tensor([7, 0, 11])
    assert torch.equal(draws.apply(pixels[order], order), whole[order])
    assert len({float(part.float().mean()) for part in whole}) == 12
    changed = (whole != pixels).flatten(1).any(dim=1)
    assert changed.any() and not changed.all()  # (1/2)^4 of images are left alone


@pytest.mark.parametrize(
    ("name", "function"),
    [("crop", "crop"), ("colour", "colour"), ("blur", "blur"), ("jpeg", "jpeg")],
)
def test_each_probability_is_that_of_its_own_augmentation(
    name: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for other in ("crop", "colour", "blur", "jpeg"):
        monkeypatch.setattr(
            augment, other, lambda pixels, *_, other=other: calls.append(other) or pixels
        )
    draws = Draws.draw(Recipe(**{name: 0.3}), 2000, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert draws is not None
    draws.apply(torch.zeros(2000, 2, 2, 3, dtype=torch.uint8), torch.arange(2000))
    assert set(calls) == {function}
    assert len(calls) == pytest.approx(600, abs=4 * math.sqrt(2000 * 0.3 * 0.7))


def test_without_augmentation_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert Draws.draw(Recipe(mixup=0.5), 5, generator) is None
    assert torch.equal(generator.get_state(), before)
    assert not Recipe(flip=1.0).changes_pixels
    assert all(
        Recipe(**{k: 0.1}).changes_pixels for k in ("crop", "colour", "blur", "jpeg", "mixup")
    )  # type: ignore[arg-type]


# Mixup


def test_partners_are_another_order_of_the_batch_and_shares_are_beta() -> None:
    batch = Batch(
        torch.tensor([5, 2, 9, 4]),
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([True, False, True, False]),
    )
    row = {5: 0, 2: 1, 9: 2, 4: 3}
    shares = []
    for seed in range(3000):
        mixed = mix(Recipe(mixup=0.4), batch, seed)
        assert mixed.partner is not None
        assert sorted(mixed.partner.index.tolist()) == [2, 4, 5, 9]
        assert mixed.partner.row.tolist() == [row[image] for image in mixed.partner.index.tolist()]
        assert torch.equal(mixed.partner.flip, batch.flip)
        assert torch.equal(mixed.index, batch.index)
        shares.append(mixed.keep)
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert np.var(shares) == pytest.approx(1 / (4 * 1.8), abs=0.01)
    assert mix(Recipe(), batch, 0) is batch


def one_step(
    monkeypatch: pytest.MonkeyPatch, keep: float, partner: list[int]
) -> tuple[FitResult, Any]:
    """One epoch of one batch with a mix of our choosing; also the untrained detector."""
    train = images(6)

    def mix(_: Recipe, batch: Batch, __: int) -> Batch:
        other = torch.tensor(partner)[batch.index]
        return dataclasses.replace(batch, partner=Batch(other, other, batch.flip), keep=keep)

    monkeypatch.setattr("study.training.steps.mix", mix)
    recipe = Recipe(batch_size=6, lr=1e-3, flip=0.0, mixup=0.4, patience=0)
    result = fit(
        plain(),
        train,
        images(15, seed=1),
        recipe,
        epochs=1,
        seed=0,
        runtime=RUNTIME,
        session=FakeSession(),
    )
    return result, train


def test_the_loss_of_a_mix_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    partner = [3, 4, 5, 0, 1, 2]
    result, train = one_step(monkeypatch, 0.7, partner)
    detector = plain()
    x = detector.prepare(torch.from_numpy(train.pixels))
    with torch.no_grad():
        logits = detector.classify(detector.features(0.7 * x + 0.3 * x[partner])).double().numpy()
    label = train.label.astype(float)
    target = 0.7 * label + 0.3 * label[partner]  # cross-entropy is linear in its target
    expected = np.mean(np.logaddexp(0, logits) - target * logits)
    assert result.history[0].train_loss == pytest.approx(expected, abs=1e-6)


# Class weights


@pytest.mark.parametrize("counts", [(3, 7), (5, 5), (99, 1)])
def test_class_weights_are_scikit_learns(counts: tuple[int, int]) -> None:
    label = np.repeat([0.0, 1.0], counts)
    expected = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=label)[
        label.astype(int)
    ]
    weights = class_weights(torch.from_numpy(label.astype(np.float32)))
    assert weights.numpy() == pytest.approx(expected, rel=1e-6)
    assert float(weights.mean()) == pytest.approx(1.0)


def test_a_weighted_loss_by_hand() -> None:
    logits, label, weight = (
        torch.tensor([0.0, 2.0]),
        torch.tensor([1.0, 0.0]),
        torch.tensor([3.0, 0.5]),
    )
    expected = (3 * math.log(2) + 0.5 * math.log(1 + math.exp(2))) / 2
    assert float(bce(logits, label, 0.0, weight)) == pytest.approx(expected)


# Plateau


@given(
    st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.5, 0.5, 0.6])), max_size=12),
    st.sampled_from([0.1, 0.5]),
    st.integers(0, 3),
)
def test_the_plateau_is_torchs(values: list[float], factor: float, patience: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=factor, patience=patience, threshold=0.0
    )
    for value in values:
        scheduler.step(value)
    ours = plateau_factor(values, factor=factor, patience=patience)
    # torch's eps
    assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12, abs=1.1e-8)


def test_a_plateau_lowers_the_rate_of_the_epochs_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.6, 0.6, 0.6, 0.7, 0.7])
    monkeypatch.setattr("study.training.fit.auc", lambda *_: next(values))
    recipe = Recipe(batch_size=6, lr=1e-3, lr_schedule="plateau", warmup_share=0.0, patience=0)
    result = fit(
        plain(),
        images(12),
        images(15, seed=1),
        recipe,
        epochs=5,
        seed=0,
        runtime=RUNTIME,
        session=FakeSession(),
    )
    assert [r.learning_rate for r in result.history] == pytest.approx(
        [1e-3, 1e-3, 1e-3, 1e-4, 1e-4]
    )


def test_a_plateau_of_other_settings_and_a_constant_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def rates(**settings: Any) -> list[float]:
        values = iter([0.6, 0.6, 0.6, 0.7])
        monkeypatch.setattr("study.training.fit.auc", lambda *_: next(values))
        recipe = Recipe(batch_size=6, lr=1e-3, patience=0, warmup_share=0.0, **settings)
        result = fit(
            plain(),
            images(12),
            images(15, seed=1),
            recipe,
            epochs=4,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        return [record.learning_rate for record in result.history]

    assert rates(lr_schedule="plateau", plateau_factor=0.5, plateau_patience=0) == pytest.approx(
        [1e-3, 1e-3, 5e-4, 2.5e-4]
    )
    assert rates(lr_schedule="constant") == [1e-3] * 4


# The whole


@pytest.mark.parametrize("schedule", ["head", "progressive"])
def test_with_everything_on_it_repeats_itself_and_resumes_bit_for_bit(schedule: str) -> None:
    def run(session: FakeSession) -> FitResult:
        recipe = Recipe(batch_size=5, lr=0.02, patience=0, schedule=schedule, **EVERYTHING)  # type: ignore[arg-type]
        return fit(
            tiny(),
            images(21),
            images(15, seed=1),
            recipe,
            epochs=4,
            seed=0,
            runtime=RUNTIME,
            session=session,
        )

    whole, again = run(FakeSession()), run(FakeSession())
    assert np.array_equal(whole.val_logit, again.val_logit)
    for stop in (1, 2, 3):
        session = FakeSession(stop_after=stop)
        with pytest.raises(InterruptedError):
            run(session)
        resumed = run(dataclasses.replace(session, stop_after=None))
        assert np.array_equal(resumed.val_logit, whole.val_logit)
        assert [r.train_loss for r in resumed.history] == [r.train_loss for r in whole.history]
