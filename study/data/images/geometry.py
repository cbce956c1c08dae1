"""Geometry: pixels become the square that a detector sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.core.errors import ConfigError
from study.core.records import Geometry
from study.data.images.decode import MAX_PIXELS, UndecodableError
from study.data.images.steps import RESAMPLING, resize


def check_geometry(geometry: Geometry) -> None:
    """Raise ConfigError for a geometry that cannot be carried out."""
    if geometry.size_px < 1:
        raise ConfigError(f"size_px = {geometry.size_px} must be at least 1")
    if geometry.mode not in ("squash", "resize_crop", "crop", "crop_black"):
        raise ConfigError(
            f"geometry mode {geometry.mode!r} must be squash, resize_crop, crop or crop_black"
        )
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
    parity of rows and columns; `crop_black` pads it with black. Raises UndecodableError for an
    image so elongated that its resized form exceeds `MAX_PIXELS`.
    """
    size = geometry.size_px
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
    return _centre_crop(image, size, "constant" if geometry.mode == "crop_black" else "reflect")


def _centre_crop(
    image: NDArray[np.uint8], size: int, beyond: Literal["reflect", "constant"]
) -> NDArray[np.uint8]:
    missing = [max(size - length, 0) for length in image.shape[:2]]
    if any(missing):
        before_after = [(m // 2, m - m // 2) for m in missing]
        image = np.pad(image, [*before_after, (0, 0)], mode=beyond)
    top, left = (round((length - size) / 2) for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])
