"""What `npr`, `spectrum` and `resnet18_scratch` compute, against slow independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.npr import neighbouring_pixel_relationships
from study.detectors.safe import diagonal_detail
from study.detectors.spectrum import FLOOR
from study.detectors.srm import Srm


def build(name: str, size_px: int) -> Detector:
    return registry.build(
        registry.resolve(name, options={"size_px": size_px}, weights_root=None),
        weights_root=None,
        seed=0,
    )


def slow_profile(image: NDArray[np.uint8]) -> list[float]:
    """Mean of log power over rings of whole radius, frequency by frequency, by the definition of
    the Fourier transform.
    """
    size = len(image)
    luma = (image / 255.0) @ np.array([0.299, 0.587, 0.114])
    wave = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)
    spectrum = wave @ luma @ wave.T / size
    rings: dict[int, list[float]] = {}
    for u in range(size):
        for v in range(size):
            signed = [
                k - size if k > (size - 1) // 2 and not (size % 2 == 0 and k == size // 2) else k
                for k in (u, v)
            ]
            ring = int(math.hypot(*signed))
            rings.setdefault(ring, []).append(math.log(abs(spectrum[u, v]) ** 2 + FLOOR))
    return [float(np.mean(rings[ring])) for ring in sorted(rings)]


@pytest.mark.parametrize("size_px", [16, 17, 24])
def test_spectrum_is_the_azimuthal_average(size_px: int) -> None:
    detector = build("spectrum", size_px)
    images = np.random.default_rng(size_px).integers(
        0, 256, (3, size_px, size_px, 3), dtype=np.uint8
    )
    images[2] = 128  # constant: no power but at zero frequency
    features = detector.features(detector.prepare(torch.from_numpy(images))).numpy()
    expected = np.array([slow_profile(image) for image in images])
    assert features.shape == expected.shape == (3, detector.n_features)
    # float32 rounding of a vanishing power is visible in its logarithm: the constant image's rings
    # are held more loosely.
    np.testing.assert_allclose(features[:2], expected[:2], rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(features[2], expected[2], atol=0.05)


def test_spectrum_sees_no_direction_and_no_place() -> None:
    detector = build("spectrum", 32)
    images = torch.randint(
        0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    features = detector.features(detector.prepare(images))
    for moved in (
        images.flip(2),
        images.flip(1),
        images.transpose(1, 2),
        images.roll((5, 9), (1, 2)),
    ):
        torch.testing.assert_close(
            detector.features(detector.prepare(moved)), features, rtol=1e-3, atol=1e-3
        )


def test_npr_is_each_cell_minus_its_first_pixel() -> None:
    x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for row in range(6):
        for column in range(8):
            expected[:, :, row, column] = (
                x[:, :, row, column] - x[:, :, row // 2 * 2, column // 2 * 2]
            )
    assert torch.equal(neighbouring_pixel_relationships(x), expected)


def test_npr_equals_the_published_interpolations() -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    down = torch.nn.functional.interpolate(
        x, scale_factor=0.5, mode="nearest", recompute_scale_factor=True
    )
    up = torch.nn.functional.interpolate(
        down, scale_factor=2.0, mode="nearest", recompute_scale_factor=True
    )
    assert torch.equal(neighbouring_pixel_relationships(x), x - up)


def test_npr_sees_neither_brightness_nor_what_nearest_up_sampling_repeats() -> None:
    detector = build("npr", 16).eval()
    images = torch.randint(
        20, 200, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        logits = detector(detector.prepare(images))
        torch.testing.assert_close(
            detector(detector.prepare(images + 30)), logits, rtol=0, atol=1e-4
        )
        repeated = images[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2)
        blank = torch.zeros_like(images)
        torch.testing.assert_close(
            detector(detector.prepare(repeated)),
            detector(detector.prepare(blank)),
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize(("size_px", "side"), [(32, 32), (62, 62), (64, 16), (96, 24)])
def test_resnet_keeps_small_images_large(size_px: int, side: int) -> None:
    detector = build("resnet18_scratch", size_px)
    sides: list[int] = []
    detector.backbone.layer1.register_forward_hook(
        lambda module, inputs, output: sides.append(inputs[0].shape[-1])
    )  # type: ignore[union-attr]
    detector(torch.zeros(2, 3, size_px, size_px))
    assert sides == [side]
    # ResNet-18's 11,176,512 weights below the classifier; the CIFAR stem has a 3 x 3 kernel for a 7
    # x 7 one.
    assert sum(p.numel() for p in detector.backbone.parameters()) == 11_176_512 - (
        64 * 3 * (49 - 9) if size_px < 64 else 0
    )


@pytest.mark.parametrize("name", ["npr", "resnet18_scratch", "spectrum"])
@pytest.mark.parametrize("size_px", [16, 32, 64])
def test_shapes(name: str, size_px: int) -> None:
    detector = build(name, size_px).eval()
    images = torch.randint(0, 256, (2, size_px, size_px, 3), dtype=torch.uint8)
    x = detector.prepare(images)
    assert x.shape == (2, 3, size_px, size_px) and x.dtype == torch.float32
    with torch.no_grad():
        features, logits = detector.features(x), detector(x)
    assert features.shape == (2, detector.n_features) and features.dtype == torch.float32
    assert (
        logits.shape == (2,)
        and logits.dtype == torch.float32
        and bool(torch.isfinite(logits).all())
    )
    assert torch.equal(detector.classify(features), logits)


def test_safe_sees_the_diagonal_band_of_haars_transform() -> None:
    """By the matrix of the transform, cell by cell; a plane of any slope has none of it."""
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    high = np.array([1, -1]) / math.sqrt(2)
    transform = np.kron(np.eye(4), high)  # (4, 8)
    expected = np.einsum("ur,bcrs,vs->bcuv", transform, x.numpy(), transform)
    np.testing.assert_allclose(diagonal_detail(x).numpy(), expected, atol=1e-12)
    rows, columns = np.indices((8, 8))
    plane = torch.from_numpy(3.0 * rows - 2.0 * columns + 5)[None, None]
    assert not diagonal_detail(plane).any()


def test_srm_filters_take_no_notice_of_a_plane_and_see_one_bright_pixel() -> None:
    """They are differences: a plane leaves nothing, and one pixel leaves each filter's middle."""
    detector = build("srm", 16)
    assert isinstance(detector, Srm)
    rows, columns = np.indices((16, 16))
    plane = torch.from_numpy(3.0 * rows - 2.0 * columns + 50).float().expand(1, 3, 16, 16)
    inside = detector.traces(plane)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.zeros_like(inside), rtol=0, atol=1e-5)
    bright = torch.zeros(1, 3, 16, 16)
    bright[0, 1, 8, 8] = 1.5
    residuals = detector.traces(bright)[0, :, 8, 8]
    expected = [0, 0, 0, -0.5, -0.5, -0.5, 0, 0, 0]  # 1.5 * -1 of three grey levels
    torch.testing.assert_close(residuals, torch.tensor(expected), rtol=0, atol=1e-6)
    bright[0, 1, 8, 8] = 200
    assert detector.traces(bright).abs().max() == 1, "cut at three grey levels"


def test_ferretnet_has_the_published_size() -> None:
    """1.1 million parameters, as its paper says of the larger version."""
    count = sum(p.numel() for p in build("ferretnet", 32).parameters())
    assert 1.05e6 < count < 1.15e6
