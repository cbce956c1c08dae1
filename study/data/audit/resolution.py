"""Resolution: what a dataset's images have, and what a detector's preprocessing makes of it
(PROTOCOL section 8).

A detector that learned on pictures blown up to its input, and is tested on pictures shrunk
to it, has changed more than
the generator: what it measures of fine detail is not the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from study.core.records import Geometry
from study.data.audit.findings import Finding
from study.data.audit.traits import Traits

MISMATCH = 1.5  # from this ratio of median short sides on, it is stated


@dataclass(frozen=True, kw_only=True)
class Native:
    """Resolution of images in pixels: median width, height; short side's quantiles .05 .5 .95."""

    width: float
    height: float
    short_side: tuple[float, float, float]

    @property
    def median(self) -> float:
        """Median short side, in pixels."""
        return self.short_side[1]


def native_resolution(traits: Traits) -> Native | None:
    """Return the resolution of the images that could be read; None without any."""
    if not len(traits):
        return None
    width, height = traits.numbers["width"], traits.numbers["height"]
    low, middle, high = np.quantile(np.minimum(width, height), (0.05, 0.5, 0.95)).tolist()
    return Native(
        width=float(np.median(width)),
        height=float(np.median(height)),
        short_side=(low, middle, high),
    )


def scale(native: Native, geometry: Geometry) -> float:
    """Return by what a picture of median short side is scaled: below 1 shrunk, above 1 enlarged; 1
    where a geometry only crops.
    """
    if geometry.mode in ("crop", "crop_black", "native"):
        return 1.0
    return (geometry.resize_px or geometry.size_px) / native.median


def share_seen(native: Native, geometry: Geometry) -> float:
    """Return the share of the short side that the detector sees, in (0, 1]."""
    return min(geometry.size_px / (native.median * scale(native, geometry)), 1.0)


def mismatch(
    train: tuple[str, Native], test: tuple[str, Native], geometries: dict[Geometry, list[str]]
) -> Finding | None:
    """State that two datasets differ in resolution, and what each geometry does to both; None where
    they do not.

    train, test: name and resolution. geometries: geometry -> the detectors that have it.
    """
    (x, of_x), (y, of_y) = train, test
    if max(of_x.median, of_y.median) < MISMATCH * min(of_x.median, of_y.median):
        return None
    effects = [
        f"{', '.join(detectors)} at {geometry.size_px} px {_effect(of_x, geometry)} and"
        f" {_effect(of_y, geometry)}"
        for geometry, detectors in geometries.items()
    ]
    sides = f"{x} has {of_x.median:g} px on its short side (median), {y} {of_y.median:g} px"
    sentence = f"Resolution mismatch: {sides}; {'; '.join(effects)}."
    return Finding(code="resolution_mismatch", severity="warning", sentence=sentence)


def _effect(native: Native, geometry: Geometry) -> str:
    if geometry.mode == "crop":
        return f"sees {share_seen(native, geometry):.0%} of the side"
    return f"scales x{scale(native, geometry):.2g}"
