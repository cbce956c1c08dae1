"""A detector's geometry as a study chooses it, and networks that take crops, against torchvision
and calculations by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, FiveCrop, TenCrop

from study.core.errors import ConfigError
from study.core.records import Geometry
from study.data.images.decode import UndecodableError
from study.data.images.geometry import check_geometry, fit_geometry
from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.crops import random_crops
from study.exporting.onnx_model import onnx_model
from study.planning.cost import _Speed
from study.search.spaces import load_space
from study.training.contract import CHECKS, Subject, made_images
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.score import evaluating, score, to_input
from tests.factories import picture
from tests.training.fakes import FakeSession
from tests.training.small_fits import RUNTIME

CUT = {"geometry": "resize", "square_px": 24, "size_px": 16}
THEIRS: dict[int, Callable[[Tensor], tuple[Tensor, ...]]] = {
    1: lambda x: (CenterCrop(16)(x),),
    5: FiveCrop(16),
    10: TenCrop(16),
}


def npr(**options: Any) -> Detector:
    spec = registry.resolve("npr", options=options, weights_root=None)
    return registry.build(spec, weights_root=None, seed=0).eval()


@pytest.mark.parametrize("crops", [1, 5, 10])
def test_several_crops_are_the_mean_of_separate_ones(crops: int) -> None:
    whole, alone = npr(**CUT, crops=crops), npr(size_px=16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # a new head gives all images nearly the same
        whole.head.weight.copy_(torch.randn(whole.head.weight.shape, generator=generator))
    alone.load_state_dict(whole.state_dict())
    images = made_images(6, 24, seed=0)
    found = score(whole, images, runtime=RUNTIME)
    squares = torch.from_numpy(images.pixels).permute(0, 3, 1, 2)
    logits = []
    for crop in THEIRS[crops](squares):
        pixels = crop.permute(0, 2, 3, 1).contiguous().numpy()
        with evaluating(alone):
            logits.append(alone(to_input(alone, pixels, "cpu")).numpy())
    assert len(logits) == crops and np.ptp(found) > 1e-3
    np.testing.assert_allclose(found, np.mean(logits, axis=0), rtol=1e-5, atol=1e-6)


def test_random_crops_are_windows_at_the_places_that_are_drawn() -> None:
    images = np.stack([picture(1, size=24, seed=n)[:24, :24] for n in range(4)])
    places = torch.tensor([[0.0, 0.0], [0.999, 0.0], [0.5, 0.999], [0.34, 0.12]])
    found = random_crops(images, places, 16)
    # of 9 places down and right: floor(9 p)
    for at, (top, left) in enumerate(((0, 0), (8, 0), (4, 8), (3, 1))):
        np.testing.assert_array_equal(found[at], images[at, top : top + 16, left : left + 16])


def test_training_sees_crops_at_random_and_val_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every input of a step is a window of its image; one image has several over epochs."""
    seen: list[tuple[int, ...]] = []
    original = random_crops

    def watched(images: Any, places: Tensor, size_px: int) -> Any:
        corners = torch.floor(places * (images.shape[1] - size_px + 1)).long()
        seen.extend(tuple(one) for one in corners.tolist())
        return original(images, places, size_px)

    monkeypatch.setattr("study.training.steps.random_crops", watched)
    train, val = made_images(16, 24, seed=0), made_images(8, 24, seed=1)
    how: dict[str, Any] = {"epochs": 4, "seed": 0, "runtime": RUNTIME, "session": FakeSession()}
    fit(npr(**CUT), train, val, Recipe(lr=1e-3, batch_size=8), **how)
    assert len(seen) == 4 * 16 and len(set(seen)) > 20
    assert {side for one in seen for side in one} == set(range(9))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_contract_holds_for_a_network_of_crops(check: Callable[[Subject], None]) -> None:
    def build(seed: int) -> Detector:
        spec = registry.resolve("npr", options={**CUT, "crops": 10}, weights_root=None)
        return registry.build(spec, weights_root=None, seed=seed).eval()

    check(Subject(name="npr", build=build, default=load_space("npr").default()))


def test_what_is_chosen_stands_in_the_spec_and_what_is_usual_does_not() -> None:
    usual = registry.resolve("npr", options={}, weights_root=None)
    same = {"geometry": "", "square_px": 64, "crops": 1}
    assert registry.resolve("npr", options=same, weights_root=None) == usual
    assert usual.options == {"size_px": 64} and usual.geometry == Geometry(size_px=64, mode="crop")
    published = {"geometry": "resize", "square_px": 256, "size_px": 224}
    spec = registry.resolve("npr", options=published, weights_root=None)
    assert spec.geometry == Geometry(size_px=256, mode="squash")
    assert spec.options == published
    several = registry.resolve("npr", options={**published, "crops": 5}, weights_root=None)
    assert several.geometry == spec.geometry and several != spec
    padded = registry.resolve("spectrum", options={"geometry": "pad"}, weights_root=None)
    assert padded.geometry == Geometry(size_px=128, mode="pad")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("npr", {"geometry": "rezise"}, "unknown geometry 'rezise'"),
        ("npr", {"crops": 3, "square_px": 96}, "crops = 3: give 1, 5 or 10"),
        ("npr", {"crops": 5}, "give a square_px above 64"),
        ("npr", {"square_px": 32}, "square_px = 32: give a whole number from 64"),
        ("spectrum", {"square_px": 256}, "crops are for a network that is trained whole"),
    ],
)
def test_what_cannot_be_is_refused(name: str, options: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.check_options(name, options)


def test_native_is_never_resized_and_larger_images_have_no_square() -> None:
    geometry = Geometry(size_px=40, mode="native")
    check_geometry(geometry)
    image = picture(1, size=40, seed=0)[:31, :40]
    expected = np.zeros((40, 40, 3), dtype=np.uint8)
    expected[4:35] = image  # of 9 rows that are missing 4 above
    np.testing.assert_array_equal(fit_geometry(image, geometry), expected)
    with pytest.raises(UndecodableError, match="40 x 31 pixels are more than the native square"):
        fit_geometry(image, replace(geometry, size_px=39))


def test_plan_counts_the_crops_of_val() -> None:
    """100 images a step of 3 s each, 30 of val: nine more looks at each, a third of a step each."""
    one, ten = (_Speed(seconds=3.0, is_frozen=False, crops=crops) for crops in (1, 10))
    more = ten.of_fit(100, 30, 2, 1.0) - one.of_fit(100, 30, 2, 1.0)
    assert more == pytest.approx(2 * 30 * 9 * 1.0)


@pytest.mark.slow
def test_the_exported_graph_takes_the_same_crops() -> None:
    detector = npr(**CUT, crops=10)
    with torch.no_grad():
        detector.head.weight.copy_(torch.randn(detector.head.weight.shape))
    images = np.stack([picture(1, size=60, seed=n)[:50, :60] for n in range(3)])
    squares = np.stack([fit_geometry(image, detector.spec.geometry) for image in images])
    with evaluating(detector):
        expected = detector(to_input(detector, squares, "cpu")).numpy()
    model = onnx_model(detector, {}).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
