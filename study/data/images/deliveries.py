"""Deliveries: a detector is handed an image in another geometry than its own, at its own size.

    resize     both sides resized, the aspect ratio not kept
    pad        the longer side resized, the rest black
    crop       the centre, never resized
    crop5      the four corners and the centre, never resized: the mean of their logits
    crop10     those and their mirror images

Places are those of torchvision's `FiveCrop` and `TenCrop`; an image that is smaller than a crop is
continued by reflection. A delivery is named as a degradation is, alone or as the last part of one
(`jpeg50+crop5`), and tells whether a detector's verdict hangs on its preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from study.core.records import Geometry


@dataclass(frozen=True, kw_only=True)
class Window(Geometry):
    """A `crop` elsewhere than in the middle. down, right: its place, from 0 to 1 of what is free.
    mirrored: the image, from left to right, before it is cut.
    """

    down: float = 0.5
    right: float = 0.5
    mirrored: bool = False


PLACES = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))


def _as(mode: Literal["squash", "pad", "crop"]) -> Callable[[Geometry], tuple[Geometry, ...]]:
    def views(own: Geometry) -> tuple[Geometry, ...]:
        made = Geometry(size_px=own.size_px, mode=mode, interpolation=own.interpolation)
        return (made,)

    return views


def _windows(*, mirrored: tuple[bool, ...]) -> Callable[[Geometry], tuple[Geometry, ...]]:
    def views(own: Geometry) -> tuple[Geometry, ...]:
        return tuple(
            Window(size_px=own.size_px, mode="crop", down=down, right=right, mirrored=turned)
            for turned in mirrored
            for down, right in PLACES
        )

    return views


DELIVERIES: Mapping[str, Callable[[Geometry], tuple[Geometry, ...]]] = {
    "resize": _as("squash"),
    "pad": _as("pad"),
    "crop": _as("crop"),
    "crop5": _windows(mirrored=(False,)),
    "crop10": _windows(mirrored=(False, True)),
}


def delivered(name: str, own: Geometry) -> tuple[Geometry, ...]:
    """Return the geometries in which a detector sees an image. name: of a delivery, "" for none.
    own: the detector's.
    """
    return DELIVERIES[name](own) if name else (own,)
