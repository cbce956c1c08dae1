"""What processing leaves in pixels: the numbers by hand, and what a classifier makes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from study.data.audit.classifiers import border_brightness_auc, processing_auc
from study.data.audit.findings import compare, cue_findings
from study.data.audit.pixels import CORNERS, EXTREMES, STATISTICS, reduce_picture, statistics
from study.data.audit.processing import FEATURES, LAGS, RINGS, processing_features
from study.data.audit.traits import KINDS, SIZES, Traits
from study.statistics.cross_validated import undefined

N, PX = 100, 64  # images in all
Pixels = NDArray[np.uint8]


def photograph(seed: int) -> Pixels:
    """Noise with a photograph's spectrum, of random contrast, brightness and colour."""
    rng = np.random.default_rng(seed)
    fall = np.hypot(*np.meshgrid(np.fft.fftfreq(PX), np.fft.fftfreq(PX))) + 1 / PX
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, PX, PX))) / fall**1.1).real
    waves = 0.8 * waves.mean(0) + 0.2 * waves
    level = 90 + rng.normal(0, 15, (3, 1, 1)) + waves / waves.std() * rng.uniform(50, 75)
    return np.clip(np.rint(level), 0, 255).astype(np.uint8).transpose(1, 2, 0)


PHOTOGRAPHS = [photograph(seed) for seed in range(N)]


def features(pixels: Pixels) -> NDArray[np.float16]:
    return processing_features(pixels, reduce_picture(Image.fromarray(pixels)))


def traits(process: Callable[[Pixels], Pixels]) -> Traits:
    """The traits of photographs of which every second one is processed, saved alike."""
    made = [process(p) if i % 2 else p for i, p in enumerate(PHOTOGRAPHS)]
    made = [saved(pixels, 92) for pixels in made]
    values = np.array([statistics(pixels) for pixels in made])
    return Traits(
        kinds={name: np.full(N, "a") for name in KINDS},
        numbers={name: np.ones(N) for name in SIZES} | dict(zip(STATISTICS, values.T, strict=True)),
        processing=np.stack([features(pixels) for pixels in made]),
        label=(np.arange(N) % 2).astype(np.uint8),
        group=np.arange(N).astype(str),
        method=np.full(N, "a"),
    )


def saved(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def zoomed(pixels: Pixels) -> Pixels:
    box = (3, 3, PX - 3, PX - 3)
    return np.asarray(Image.fromarray(pixels).resize((PX, PX), Image.Resampling.BICUBIC, box=box))


def filtered(kind: ImageFilter.Filter | ImageFilter.MultibandFilter) -> Callable[[Pixels], Pixels]:
    return lambda pixels: np.asarray(Image.fromarray(pixels).filter(kind))


@pytest.mark.parametrize(
    "process",
    [
        lambda pixels: saved(pixels, 60),
        zoomed,
        filtered(ImageFilter.GaussianBlur(0.6)),
        filtered(ImageFilter.UnsharpMask(radius=1, percent=40, threshold=0)),
    ],
    ids=["double JPEG", "zoom", "blur", "sharpening"],
)
def test_processing_of_one_class_is_seen_and_marks_nothing(
    process: Callable[[Pixels], Pixels],
) -> None:
    found = traits(process)
    assert processing_auc(found).low > 0.6
    none = undefined("", found.label)
    marks = cue_findings(none, border_brightness_auc(found), compare(found))
    assert not any(finding.code == "processing" for finding in marks)


def test_a_label_in_a_corner_is_the_border_rows() -> None:
    def labelled(pixels: Pixels) -> Pixels:
        made = pixels.astype(np.int16)
        made[-4:, :4] += 60
        return np.clip(made, 0, 255).astype(np.uint8)

    assert border_brightness_auc(traits(labelled)).low > 0.6


def test_three_levels_of_brightness_are_the_border_rows() -> None:
    brighter = traits(lambda pixels: np.clip(pixels.astype(int) + 3, 0, 255).astype(np.uint8))
    assert border_brightness_auc(brighter).low > 0.6


def test_labels_at_random_are_not_told() -> None:
    plain = traits(lambda pixels: pixels)
    rng = np.random.default_rng(0)
    relabeled = [replace(plain, label=rng.permutation(plain.label)) for _ in range(10)]
    assert sum(processing_auc(one).low > 0.6 for one in relabeled) == 0


def test_a_wave_lies_in_its_ring() -> None:
    """A wave of period 4 along the rows: .25 of at most .7071 a pixel, ring 8 of 24."""
    wave = 100 + 50 * np.cos(np.pi / 2 * np.arange(64))[None, :, None]
    found = features(np.broadcast_to(np.rint(wave), (64, 64, 3)).astype(np.uint8))
    assert len(found) == FEATURES
    assert int(np.argmax(found[:RINGS])) == int(0.25 / np.hypot(0.5, 0.5) * RINGS)


def test_lags_of_a_checkerboard() -> None:
    """Its residual is itself, alternating: -1 at an odd step, 1 at an even one."""
    rows, columns = np.indices((64, 64))
    board = np.repeat((100 + 20 * ((rows + columns) % 2 * 2 - 1))[:, :, None], 3, 2)
    lags = features(board.astype(np.uint8))[RINGS : RINGS + len(LAGS)]
    expected = [(-1) ** (down + across) for down, across in LAGS]
    assert lags == pytest.approx(expected, abs=0.1)  # the border is its own neighbour


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 1), (5, 300), (40, 40)])
def test_pictures_of_any_shape_have_finite_numbers(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.isfinite(features(pixels)).all()
    assert np.isfinite(statistics(pixels)).all() and len(statistics(pixels)) == len(STATISTICS)
    assert np.isfinite(features(np.zeros_like(pixels))).all()


def test_corners_and_extremes_by_hand() -> None:
    pixels = np.full((40, 40, 3), 100, dtype=np.uint8)
    pixels[-4:, :4] = (160, 100, 100)  # 16 of 144 pixels of the corner at the bottom, left
    pixels[20, 20], pixels[20, 21], pixels[20, 22] = 0, 3, 250
    found = dict(zip(STATISTICS, statistics(pixels), strict=True))
    grey = 60 * 0.299 * (1 - 16 / 144)
    for name in CORNERS:
        of = name.removeprefix("corner_bottom_left_")
        expected = {"pixel": grey, "block": grey, "red_green": 60 * (1 - 16 / 144)}.get(of, 0)
        assert found[name] == pytest.approx(expected, abs=1e-3), name
    assert [found[name] for name in EXTREMES] == pytest.approx(
        [0, 250, 0.5, 0.5, 0.5, 1, 1, 1, 0, 0, 0, 0, 0, 1]
    )
