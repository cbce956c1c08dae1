"""Geometry: pixels become the square that a detector sees."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from study.core.errors import ConfigError
from study.core.records import Geometry, Mode
from study.data.images.decode import MAX_PIXELS, UndecodableError
from study.data.images.deliveries import Window
from study.data.images.steps import RESAMPLING, resize


def check_geometry(geometry: Geometry) -> None:
    """Raise ConfigError for a geometry that cannot be carried out."""
    if geometry.size_px < 1:
        raise ConfigError(f"size_px = {geometry.size_px} must be at least 1")
    if geometry.mode not in get_args(Mode):
        *others, last = get_args(Mode)
        raise ConfigError(f"geometry mode {geometry.mode!r} must be {', '.join(others)} or {last}")
    if geometry.interpolation not in RESAMPLING:
        raise ConfigError(f"interpolation {geometry.interpolation!r} must be bicubic or bilinear")
    if geometry.mode == "resize_crop" and (
        geometry.resize_px is None or geometry.resize_px < geometry.size_px
    ):
        raise ConfigError(
            f"resize_px = {geometry.resize_px} must be at least size_px = {geometry.size_px}, so"
            " that the crop is filled"
        )


def fit_geometry(image: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 as the square (size_px, size_px, 3) uint8 that a detector
    sees.

    Resizing is Pillow's, antialiased; the long side of `resize_crop` and the place of every centre
    crop are torchvision's, so that the pixels are those of the usual CLIP and timm preprocessing.
    `crop` continues a smaller image by reflection about its outermost pixels, which keeps the
    parity of rows and columns; `crop_black` pads it with black, and so does `pad`, of which the
    shorter side is rounded down, as those of `resize_crop` are, and is one pixel at least. Raises
    UndecodableError for an image so elongated that its resized form exceeds `MAX_PIXELS`, and for
    one that is larger than a `native` square.
    """
    size = geometry.size_px
    if geometry.mode == "native" and max(image.shape[:2]) > size:
        height, width = image.shape[:2]
        raise UndecodableError(
            f"{width} x {height} pixels are more than the native square of {size}: give a larger"
            " square_px, or size_px, or another geometry"
        )
    if geometry.mode == "pad":
        long = max(image.shape[:2])
        height, width = (max(1, size * side // long) for side in image.shape[:2])
        image = resize(image, (width, height), geometry.interpolation)
    if geometry.mode == "squash":
        return resize(image, (size, size), geometry.interpolation)
    if geometry.mode == "resize_crop":
        assert geometry.resize_px is not None and geometry.resize_px >= size, (
            "check_geometry comes first"
        )
        height, width = image.shape[:2]
        short = min(height, width)
        target = (int(geometry.resize_px * width / short), int(geometry.resize_px * height / short))
        if target[0] * target[1] > MAX_PIXELS:
            raise UndecodableError(
                f"{width} x {height} pixels are too elongated to be resized to {geometry.resize_px}"
                " on the short side"
            )
        image = resize(image, target, geometry.interpolation)
    black = geometry.mode in ("crop_black", "pad", "native")
    image = _filled(image, size, "constant" if black else "reflect")
    if not isinstance(geometry, Window):
        return _cut(image, size, 0.5, 0.5)
    turned = image[:, ::-1] if geometry.mirrored else image
    return _cut(turned, size, geometry.down, geometry.right)


def _filled(
    image: NDArray[np.uint8], size: int, beyond: Literal["reflect", "constant"]
) -> NDArray[np.uint8]:
    """An image of which no side is below `size`."""
    missing = [max(size - length, 0) for length in image.shape[:2]]
    if any(missing):
        before_after = [(m // 2, m - m // 2) for m in missing]
        image = np.pad(image, [*before_after, (0, 0)], mode=beyond)
    return image


def _cut(image: NDArray[np.uint8], size: int, down: float, right: float) -> NDArray[np.uint8]:
    """The square at a place: shares of what is free."""
    top = round((image.shape[0] - size) * down)
    left = round((image.shape[1] - size) * right)
    return np.ascontiguousarray(image[top : top + size, left : left + size])
