"""Image steps: one function of the pixels and one number each, written once. Degradations, training
augmentation and `unify` all use them.

The name of a step with its number behind it is that of a degradation: `jpeg50`, `blur1.5`,
`down0.5`, `long112`. Adding an entry to `STEPS` adds a degradation; the `DEGRADATION_VERSION` of
degradations.py, `UNIFY_VERSION` of unify.py and the keys of trials stand for the pixels that these
functions give.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.data.images.decode import UndecodableError

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
LONGEST_JPEG_SIDE = 65500  # of libjpeg, in pixels
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class NotApplicableError(UndecodableError):
    """A step cannot be applied to an image. The message is the reason, one line."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How figures draw a metric against a step's number.

    label: of the axis. clean: where clean images stand on it. falls: whether smaller numbers are
    stronger; the axis then runs from large to small.
    """

    label: str
    clean: float
    falls: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that is done to an image, by one number.

    run: pixels and number -> pixels; raises NotApplicableError with the reason for an image that it
    cannot be applied to. parameter: what the number is, in capitals. is_valid: whether a number can
    be used; rule: that in words. whole: whether the number is whole. stage: when it is applied; a
    degradation has at most one step of a stage. axis: None where no curve is drawn against the
    number.
    """

    run: Callable[[Pixels, float], Pixels]
    parameter: str
    is_valid: Callable[[float], bool]
    rule: str
    stage: str
    whole: bool = False
    axis: Axis | None = None


def resize(pixels: Pixels, size: tuple[int, int], interpolation: str = "bicubic") -> Pixels:
    """Return an image resized to (width, height) by Pillow, antialiased; at that size as it is."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, RESAMPLING[interpolation]))


def down(pixels: Pixels, factor: float) -> Pixels:
    """Return an image with both sides times a factor, bicubic, rounded, at least 1."""
    height, width = pixels.shape[:2]
    return resize(pixels, (max(1, round(width * factor)), max(1, round(height * factor))))


def long_edge(pixels: Pixels, edge: float) -> Pixels:
    """Return an image whose long edge has `edge` pixels. Raises NotApplicableError where that would
    enlarge it.
    """
    height, width = pixels.shape[:2]
    if edge > max(height, width):
        raise NotApplicableError(
            f"{width} x {height} pixels would be enlarged to {edge:g} on the long edge"
        )
    return down(pixels, edge / max(height, width))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Return an image blurred by a Gaussian of `sigma` pixels, channel by channel, cut at 4 sigma,
    edges continued by reflection.

    It is scipy's, within .02 grey levels of a true Gaussian. Pillow's `GaussianBlur`, made of box
    blurs, is up to 4 levels off, and no faster.
    """
    from scipy.ndimage import gaussian_filter

    blurred = np.empty_like(pixels)
    # one by one: of a large image three at a time, as floats, would take too much memory
    for channel in range(3):
        smooth = gaussian_filter(
            pixels[:, :, channel].astype(np.float32), sigma, mode="reflect", truncate=4.0
        )
        blurred[:, :, channel] = np.rint(smooth).clip(0, 255)
    return blurred


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Return what is left of an image written as a JPEG of `quality`, 1 to 100, by Pillow, chroma
    subsampled 4:2:0. Raises NotApplicableError for a side beyond 65,500 pixels.
    """
    if max(pixels.shape) > LONGEST_JPEG_SIDE:
        raise NotApplicableError(
            f"{pixels.shape[1]} x {pixels.shape[0]} pixels are more than a JPEG can hold"
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(quality), subsampling="4:2:0")
    with Image.open(file, formats=("JPEG",)) as image:
        return np.array(image)


# By name, letters only, in the order in which a degradation applies them.
STEPS: Mapping[str, Step] = {
    "down": Step(
        run=down,
        parameter="FACTOR",
        is_valid=lambda factor: 0.01 <= factor < 1,
        rule="the factor is from 0.01 on and below 1",
        stage="resizing",
    ),
    "long": Step(
        run=long_edge,
        parameter="PIXELS",
        is_valid=lambda edge: 1 <= edge <= 65536,
        rule="the long edge is a whole number of pixels from 1 to 65536",
        stage="resizing",
        whole=True,
    ),
    "blur": Step(
        run=blur,
        parameter="SIGMA",
        is_valid=lambda sigma: 0.1 <= sigma <= 100,
        rule="sigma is from 0.1 to 100 pixels",
        stage="blur",
        axis=Axis(label="sigma of a Gaussian blur (pixels)", clean=0.0),
    ),
    "jpeg": Step(
        run=jpeg,
        parameter="QUALITY",
        is_valid=lambda quality: 1 <= quality <= 100,
        rule="the quality is a whole number from 1 to 100",
        stage="JPEG",
        whole=True,
        # beside quality 100, which loses something too
        axis=Axis(label="JPEG quality", clean=106.0, falls=True),
    ),
}
