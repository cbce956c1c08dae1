"""A few global statistics of a picture: how bright and colourful it is, and how its border differs
from its centre.

What the border-and-brightness classifier sees, and all that it sees: no edge, no texture,
no content.

The picture is first reduced by a whole factor, by averaging boxes, until its longer side is at most
twice `SIDE`; so that statistics do not hang on resolution more than they must. The border is a
frame of a twentieth of each side, the centre the middle half of both. Brightness is Rec. 601 luma;
the two colour differences are red - green and blue - green; saturation is the largest less the
smallest channel. All lie on the scale of the pixels, 0 to 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64  # pixels
LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
PLANES = ("brightness", "red_green", "blue_green", "saturation")
BRIGHTNESS = ("brightness", "brightness_sd")
COLOUR = ("red_green", "red_green_sd", "blue_green", "blue_green_sd", "saturation", "saturation_sd")
SIDES = ("top", "bottom", "left", "right")
BORDER = (
    *(f"border_{name}" for name in PLANES),
    *(f"border_{name}_sd" for name in PLANES),
    *(f"centre_{name}" for name in PLANES),
    *(f"border_less_centre_{name}" for name in PLANES),
    *(f"{side}_less_centre_brightness" for side in SIDES),
)
STATISTICS = (*BRIGHTNESS, *COLOUR, *BORDER)


def statistics(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    """Return the values of `STATISTICS` for a picture, (H, W, 3) uint8."""
    planes = _planes(_reduced(pixels))
    means, sds = _moments(planes.reshape(len(PLANES), -1))
    overall = [value for pair in zip(means, sds, strict=True) for value in pair]
    sides, centre = _frame(planes)
    border_means, border_sds = _moments(
        np.concatenate([side.reshape(len(PLANES), -1) for side in sides], axis=1)
    )
    centre_means, _ = _moments(centre.reshape(len(PLANES), -1))
    of_sides = [float(side[0].mean()) - centre_means[0] for side in sides]
    differences = [a - b for a, b in zip(border_means, centre_means, strict=True)]
    return (*overall, *border_means, *border_sds, *centre_means, *differences, *of_sides)


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(pixels.shape[:2]) // SIDE
    return np.asarray(Image.fromarray(pixels).reduce(factor)) if factor > 1 else pixels


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) pixels -> (4, H, W) brightness, red - green, blue - green, saturation."""
    red, green, blue = np.moveaxis(pixels.astype(np.float32), 2, 0)
    saturation = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.stack(
        [LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue, red - green, blue - green, saturation]
    )


def _moments(values: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """(4, N) values -> the planes' means and standard deviations."""
    return (
        values.mean(axis=1, dtype=np.float64).tolist(),
        values.std(axis=1, dtype=np.float64).tolist(),
    )


def _frame(planes: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the border's sides (top and bottom with corners) and the centre, (4, h, w) each."""
    height, width = planes.shape[1:]
    down, across = max(height // 20, 1), max(width // 20, 1)
    # a picture of two rows is all border
    rows = slice(down, height - down) if height > 2 * down else slice(None)
    sides = [
        planes[:, :down],
        planes[:, -down:],
        planes[:, rows, :across],
        planes[:, rows, -across:],
    ]
    return (
        sides,
        planes[
            :, height // 4 : max(height - height // 4, 1), width // 4 : max(width - width // 4, 1)
        ],
    )
