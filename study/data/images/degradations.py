"""Degradations: what happens to images on their way through the world, done to decoded pixels
(PROTOCOL section 7).

A member is one degradation and has a name that says what it does; a suite is a named list
of members:

    jpeg75         JPEG at quality 75 (1 to 100) by Pillow, chroma subsampled 4:2:0, its default;
    the pixels that come back blur1, blur1.5 Gaussian blur with that sigma in pixels
    down0.5        both sides times that factor, below 1
    long112        the long edge to that many pixels; an image whose long edge is shorter would be
    enlarged: not applicable blur2+jpeg50   several, in this order: resizing, blur, JPEG; each at
    most once

It is applied to the image at its original resolution, before a detector's crop or resize, to both
classes alike, and nothing of it is random. Resizing is Pillow's bicubic, antialiased; sides are
rounded, and at least 1. The blur is scipy's, channel by channel: a true Gaussian (within .02 grey
levels; cut at 4 sigma, edges continued by reflection), where Pillow's `GaussianBlur`, made of box
blurs, is up to 4 levels off, and no faster.

`DEGRADATION_VERSION` is part of every key of degraded scores: raise it when any of this changes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from study.core.errors import ConfigError, unknown_name
from study.data.images.decode import UndecodableError

DEGRADATION_VERSION = 1
LONGEST_JPEG_SIDE = 65500  # of libjpeg, in pixels
SUITES: dict[str, tuple[str, ...]] = {
    "default": (
        *(f"jpeg{q}" for q in (95, 90, 75, 65, 50, 30)),
        "blur1",
        "blur3",
        "down0.5",
        "blur2+jpeg50",
    ),
    "genimage": ("long112", "long64", "jpeg65", "jpeg30", "blur3", "blur5"),
    "wang": (*(f"jpeg{q}" for q in range(100, 20, -10)), "blur1", "blur2", "blur3", "blur4"),
    "sidbench": ("jpeg95", "jpeg90", "jpeg50", "jpeg30", "blur2", "blur4", "blur2+jpeg50"),
}
_STEP = re.compile(r"(jpeg|blur|down|long)(\d+(?:\.\d+)?)")
_ORDER = {"down": 0, "long": 0, "blur": 1, "jpeg": 2}  # of two of one place there can be only one


class NotApplicableError(UndecodableError):
    """A degradation cannot be applied to an image. The message is the reason, one line."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """One member. 0 where a step is not part of it. down: factor. long_edge: pixels. blur: sigma in
    pixels. jpeg: quality.
    """

    down: float = 0.0
    long_edge: int = 0
    blur: float = 0.0
    jpeg: int = 0

    @property
    def name(self) -> str:
        """The one name of this degradation."""
        steps = {"down": self.down, "long": self.long_edge, "blur": self.blur, "jpeg": self.jpeg}
        return "+".join(f"{kind}{amount:g}" for kind, amount in steps.items() if amount)


def parse_degradation(name: str) -> Degradation:
    """Return the degradation of a member's name. Raises ConfigError for a name or an amount that
    there is not.
    """
    found = [_STEP.fullmatch(step) for step in name.split("+")]
    steps = [(match[1], float(match[2])) for match in found if match]
    if len(steps) < len(found):
        known = dict.fromkeys(
            [*SUITES, *(member for members in SUITES.values() for member in members)]
        )
        hint = (
            "; or any jpegQUALITY, blurSIGMA, downFACTOR, longPIXELS, joined by + in the order"
            " resizing, blur, JPEG"
        )
        raise ConfigError(unknown_name("degradation", name, known) + hint)
    places = [_ORDER[kind] for kind, _ in steps]
    if places != sorted(set(places)):
        raise ConfigError(
            f"degradation '{name}': each step at most once, in the order resizing (down or long),"
            " blur, JPEG"
        )
    for kind, amount in steps:
        _check(name, kind, amount)
    amounts = dict(steps)
    return Degradation(
        down=amounts.get("down", 0.0),
        long_edge=int(amounts.get("long", 0)),
        blur=amounts.get("blur", 0.0),
        jpeg=int(amounts.get("jpeg", 0)),
    )


def _check(name: str, kind: str, amount: float) -> None:
    whole = amount.is_integer()
    valid, range_ = {
        "jpeg": (whole and 1 <= amount <= 100, "the quality is a whole number from 1 to 100"),
        "blur": (0.1 <= amount <= 100, "sigma is from 0.1 to 100 pixels"),
        "down": (0.01 <= amount < 1, "the factor is from 0.01 on and below 1"),
        "long": (
            whole and 1 <= amount <= 65536,
            "the long edge is a whole number of pixels from 1 to 65536",
        ),
    }[kind]
    if not valid:
        raise ConfigError(f"degradation '{name}': {kind} by {amount:g}, and {range_}")


def members_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the members that suites and members name, each once, in the order given. Raises
    ConfigError for an unknown name.
    """
    found = [member for name in names for member in SUITES.get(name, (name,))]
    return tuple(dict.fromkeys(parse_degradation(member).name for member in found))


def degrade(pixels: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 degraded, (H', W', 3) uint8.

    Raises NotApplicableError with the reason: a long edge that would enlarge it, or a JPEG side
    beyond 65,500 pixels.
    """
    pixels = _resized(pixels, degradation)
    if degradation.blur:
        pixels = _blurred(pixels, degradation.blur)
    return _recompressed(pixels, degradation.jpeg) if degradation.jpeg else pixels


def _resized(pixels: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    factor = degradation.down or 1.0
    if degradation.long_edge:
        factor = degradation.long_edge / max(height, width)
        if factor > 1:
            raise NotApplicableError(
                f"{width} x {height} pixels would be enlarged to {degradation.long_edge} on the"
                " long edge"
            )
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size == (width, height):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    blurred = np.empty_like(pixels)
    # one by one: of a large image three at a time, as floats, would take too much memory
    for channel in range(3):
        smooth = gaussian_filter(
            pixels[:, :, channel].astype(np.float32), sigma, mode="reflect", truncate=4.0
        )
        blurred[:, :, channel] = np.rint(smooth).clip(0, 255)
    return blurred


def _recompressed(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    if max(pixels.shape) > LONGEST_JPEG_SIDE:
        raise NotApplicableError(
            f"{pixels.shape[1]} x {pixels.shape[0]} pixels are more than a JPEG can hold"
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file, formats=("JPEG",)) as image:
        return np.array(image.convert("RGB"))
