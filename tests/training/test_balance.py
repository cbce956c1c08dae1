"""Draws that are even over strata: counts by hand, weights by scikit-learn, and a fit that depends
on them and on nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from study.detectors.base import Detector
from study.training import steps
from study.training.balance import epoch_order, even_weights
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import score
from study.training.session import FitResult
from tests.training.fakes import FakeSession, InterruptedError, images, plain
from tests.training.test_logistic import spectrum

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
some_strata = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(
    lambda values: np.array(values, dtype=np.int64)
)


def order(strata: np.ndarray | None, n: int, seed: int = 0) -> np.ndarray:
    return epoch_order(n, strata, torch.Generator().manual_seed(seed)).numpy()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(strata=some_strata, seed=st.integers(0, 99))
def test_an_epoch_has_as_many_draws_as_images_even_over_strata_and_within_them(
    strata: np.ndarray, seed: int
) -> None:
    drawn = order(strata, len(strata), seed)
    assert len(drawn) == len(strata)
    of_strata = [int((strata[drawn] == stratum).sum()) for stratum in np.unique(strata)]
    assert max(of_strata) - min(of_strata) <= 1
    times = np.bincount(drawn, minlength=len(strata))
    for stratum in np.unique(strata):
        assert np.ptp(times[strata == stratum]) <= 1
    assert np.array_equal(drawn, order(strata, len(strata), seed))


def test_of_a_large_stratum_every_epoch_sees_another_part() -> None:
    strata = np.repeat([0, 1], [90, 10])
    seen = [set(order(strata, 100, seed)) for seed in range(8)]
    # each of the ten stands there five times
    assert all(set(range(90, 100)) <= part for part in seen)
    assert len(set.union(*seen)) > 95
    assert seen[0] != seen[1]


def test_without_strata_every_image_is_drawn_once() -> None:
    assert sorted(order(None, 31)) == list(range(31))
    assert np.array_equal(
        order(None, 31), torch.randperm(31, generator=torch.Generator().manual_seed(0)).numpy()
    )


@settings(max_examples=50, deadline=None, derandomize=True)
@given(strata=some_strata)
def test_weights_are_scikit_learns(strata: np.ndarray) -> None:
    np.testing.assert_allclose(
        even_weights(strata), compute_sample_weight("balanced", strata), rtol=1e-12
    )


def train(
    strata: np.ndarray | None, *, session: FakeSession | None = None, **params: object
) -> tuple[FitResult, dict[str, torch.Tensor]]:
    detector, recipe = (
        plain(),
        Recipe.from_params({"batch_size": 5, "lr": 0.02, "patience": 0, **params}),
    )  # type: ignore[dict-item]
    result = fit(
        detector,
        images(21),
        images(15, seed=1),
        recipe,
        epochs=3,
        seed=0,
        runtime=RUNTIME,
        session=session or FakeSession(),
        strata=strata,
    )
    return result, detector.state_dict()


def test_a_balanced_fit_repeats_itself_and_differs_from_a_plain_one() -> None:
    strata = images(21).label.astype(np.int64)
    (one, weights), (two, again) = train(strata), train(strata)
    assert np.array_equal(one.val_logit, two.val_logit)
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert not np.array_equal(one.val_logit, train(None)[0].val_logit)
    assert not np.array_equal(one.val_logit, train(np.arange(21) % 2)[0].val_logit)


def test_drawn_classes_weigh_alike_already() -> None:
    strata = images(21).label.astype(np.int64)
    assert np.array_equal(
        train(strata)[0].val_logit, train(strata, loss="balanced_bce")[0].val_logit
    )


def test_a_checkpoint_of_other_draws_is_none() -> None:
    strata, session = images(21).label.astype(np.int64), FakeSession(stop_after=2)
    with pytest.raises(InterruptedError):
        train(strata, session=session)
    resumed, fresh = FakeSession(content=session.content), FakeSession(content=session.content)
    assert np.array_equal(train(strata, session=resumed)[0].val_logit, train(strata)[0].val_logit)
    assert resumed.saves == 1  # the third epoch's
    train(None, session=fresh)
    assert fresh.saves == 3


def test_the_closed_form_weighs_as_if_images_were_repeated(runtime: TorchRuntime) -> None:
    """12 of 36 fakes drawn out of balance: every fake twice is what a weight of 2 against 1
    gives.
    """
    train, val = images(60, size_px=16), images(31, seed=1, size_px=16)
    strata = train.label.astype(np.int64)  # 24 fakes, 36 reals
    detector, twice = spectrum(), spectrum()
    recipe = Recipe.from_params({"C": 1.0}, learner="logistic")
    fit(
        detector,
        train,
        val,
        recipe,
        epochs=1,
        seed=0,
        runtime=runtime,
        session=FakeSession(),
        strata=strata,
    )
    repeated = images(60, size_px=16)
    # 72 of each
    index = np.concatenate(
        [np.repeat(np.flatnonzero(strata == 0), 2), np.repeat(np.flatnonzero(strata == 1), 3)]
    )
    repeated.pixels, repeated.label = repeated.pixels[index], repeated.label[index]
    repeated.sample_id, repeated.key = np.array([f"set/{i:04d}" for i in range(144)]), "repeated"
    # the sum of weights is 144 there and 60 here
    scaled = Recipe.from_params({"C": 60 / 144}, learner="logistic")
    fit(twice, repeated, val, scaled, epochs=1, seed=0, runtime=runtime, session=FakeSession())
    np.testing.assert_allclose(
        score(detector, val, runtime=runtime),
        score(twice, val, runtime=runtime),
        rtol=2e-3,
        atol=2e-3,
    )


def seen_in_an_epoch(
    strata: np.ndarray | None, monkeypatch: pytest.MonkeyPatch, **params: object
) -> list[tuple[int, bool, bytes]]:
    """What the network is shown in the first epoch, in order: image, flip, pixels."""
    train, shown, read = images(40, size_px=16), list[tuple[int, bool, bytes]](), list[int]()
    gather, to_input = train.gather, steps.to_input
    monkeypatch.setattr(train, "gather", lambda index: read.extend(index.tolist()) or gather(index))

    def spy(
        detector: Detector, pixels: np.ndarray, device: str, flip: torch.Tensor
    ) -> torch.Tensor:
        shown.extend(zip(read, flip.tolist(), [p.tobytes() for p in pixels], strict=True))
        read.clear()
        return to_input(detector, pixels, device, flip)

    monkeypatch.setattr(steps, "to_input", spy)
    detector = plain()
    detector.spec = replace(detector.spec, geometry=replace(detector.spec.geometry, size_px=16))
    recipe = Recipe.from_params({"batch_size": 7, "patience": 0, **params})  # type: ignore[dict-item]
    fit(
        detector,
        train,
        images(15, seed=1, size_px=16),
        recipe,
        epochs=1,
        seed=3,
        runtime=RUNTIME,
        session=FakeSession(),
        strata=strata,
    )
    return shown


def test_repeats_of_an_image_in_an_epoch_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image is a stratum of its own, and half of the epoch."""
    strata = (np.arange(40) == 0).astype(np.int64)
    shown = seen_in_an_epoch(strata, monkeypatch, crop=1.0)
    repeats = [(flip, pixels) for image, flip, pixels in shown if image == 0]
    assert len(repeats) == 20
    assert {flip for flip, _ in repeats} == {False, True}
    assert len({pixels for _, pixels in repeats}) > 15  # a window of 16 pixels may come twice
    monkeypatch.undo()
    # every batch, then its partners
    mixed = seen_in_an_epoch(strata, monkeypatch, crop=1.0, mixup=0.4)
    assert len(mixed) == 80
    assert Counter(pixels for _, _, pixels in mixed).keys() == {pixels for _, _, pixels in shown}, (
        "partners are those of the batch"
    )


def test_without_repeats_what_is_drawn_goes_by_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = TorchRuntime.seed_epoch(3, 0)
    order = torch.randperm(40, generator=generator).tolist()
    flip = (torch.rand(40, generator=generator) < 0.5).tolist()
    shown = seen_in_an_epoch(None, monkeypatch, flip=0.5)
    assert [(image, mirrored) for image, mirrored, _ in shown] == [
        (image, flip[image]) for image in order
    ]
