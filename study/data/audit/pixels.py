"""A few global statistics of a picture: how bright and colourful it is, how its border differs
from its centre, and its corners from what is beside them.

What the border-and-brightness classifier sees, and all that it sees: no edge, no texture,
no content.

Of the picture as it is: the darkest and the brightest value; of the values within `NEAR` levels of
black and of white the share at most 0, 1, ... levels from it, which show a shift of all
brightness by little; and of the corners the first pixel and the first `CORNER` x `CORNER` pixels,
less the mean of the first `BESIDE` x `BESIDE`. For all else the picture is first reduced by
a whole factor, by averaging boxes, until its longer side is at most twice `SIDE`; so that
statistics do not depend on resolution more than they must. The border is a frame of a twentieth of
each side, the centre the middle half of both. Brightness is Rec. 601 luma; the two colour
differences are red - green and blue - green; saturation is the largest less the smallest channel.
All lie on the scale of the pixels, 0 to 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64  # pixels
LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
LUMA_WEIGHTS = np.array(LUMA)
PLANES = ("brightness", "red_green", "blue_green", "saturation")
BRIGHTNESS = ("brightness", "brightness_sd")
COLOUR = ("red_green", "red_green_sd", "blue_green", "blue_green_sd", "saturation", "saturation_sd")
NEAR, AT = 8, range(6)  # levels from black and white
EXTREMES = ("darkest", "brightest", *(f"{end}_{k}" for end in ("black", "white") for k in AT))
RARE = 1e-5  # of all values: so few near an end say nothing of it
SHARES_PX = 256  # of a larger picture only every second, third, ... pixel is counted
SIDES = ("top", "bottom", "left", "right")
CORNERS = tuple(
    f"corner_{down}_{across}_{of}"
    for down in ("top", "bottom")
    for across in ("left", "right")
    for of in ("pixel", "block", "red_green", "blue_green")
)
CORNER, BESIDE = 4, 12  # pixels
BORDER = (
    *(f"border_{name}" for name in PLANES),
    *(f"border_{name}_sd" for name in PLANES),
    *(f"centre_{name}" for name in PLANES),
    *(f"border_less_centre_{name}" for name in PLANES),
    *(f"{side}_less_centre_brightness" for side in SIDES),
)
STATISTICS = (*BRIGHTNESS, *COLOUR, *BORDER, *EXTREMES, *CORNERS)


def statistics(
    pixels: NDArray[np.uint8],
    image: Image.Image | None = None,
    reduced: NDArray[np.uint8] | None = None,
) -> tuple[float, ...]:
    """Return the values of `STATISTICS` for a picture, (H, W, 3) uint8. image: the same of Pillow;
    reduced: the same by `reduce_picture`, where they are at hand.
    """
    image = Image.fromarray(pixels) if image is None else image
    planes = _planes(reduce_picture(image) if reduced is None else reduced)
    means, sds = _moments(planes.reshape(len(PLANES), -1))
    overall = [value for pair in zip(means, sds, strict=True) for value in pair]
    sides, centre = _frame(planes)
    border_means, border_sds = _moments(
        np.concatenate([side.reshape(len(PLANES), -1) for side in sides], axis=1)
    )
    centre_means, _ = _moments(centre.reshape(len(PLANES), -1))
    of_sides = [float(side[0].mean()) - centre_means[0] for side in sides]
    differences = [a - b for a, b in zip(border_means, centre_means, strict=True)]
    of_border = (*border_means, *border_sds, *centre_means, *differences, *of_sides)
    return (*overall, *of_border, *_extremes(pixels, image), *_corners(pixels))


def reduce_picture(image: Image.Image) -> NDArray[np.uint8]:
    """Return a picture with its longer side below twice `SIDE`, averaged in boxes, (H, W, 3)."""
    factor = max(image.size) // SIDE
    return np.asarray(image.reduce(factor) if factor > 1 else image)


def _extremes(pixels: NDArray[np.uint8], image: Image.Image) -> list[float]:
    """The values of `EXTREMES`."""
    step = max(max(pixels.shape[:2]) // SHARES_PX, 1)
    some = pixels[::step, ::step]
    counted = image if step == 1 else Image.fromarray(some)
    counts = np.reshape(counted.histogram(), (3, 256)).sum(0)
    if step == 1:
        present = np.flatnonzero(counts)
        found = [float(present[0]), float(present[-1])]
    else:
        found = [float(pixels.min()), float(pixels.max())]
    for end in (np.cumsum(counts[: NEAR + 1]), np.cumsum(counts[: -NEAR - 2 : -1])):
        found += (end[list(AT)] / max(end[-1], some.size * RARE)).tolist()
    return found


def _corners(pixels: NDArray[np.uint8]) -> list[float]:
    """The values of `CORNERS`; those of a small picture overlap."""
    height, width = pixels.shape[:2]
    found: list[float] = []
    for down in (slice(None, BESIDE), slice(max(height - BESIDE, 0), None)):
        for across in (slice(None, BESIDE), slice(max(width - BESIDE, 0), None)):
            beside = pixels[down, across].astype(np.float32)
            beside = beside[:: -1 if down.start else 1, :: -1 if across.start else 1]
            mean = beside.mean((0, 1))
            pixel = beside[0, 0] - mean
            block = beside[:CORNER, :CORNER].mean((0, 1)) - mean
            weights = (pixel @ LUMA_WEIGHTS, block @ LUMA_WEIGHTS)
            found += [*map(float, weights), float(block[0] - block[1]), float(block[2] - block[1])]
    return found


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
