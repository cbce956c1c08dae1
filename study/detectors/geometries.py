"""A detector's geometry as a study chooses it: `[detector.NAME] geometry`, `square_px`, `crops`.

    geometry    `crop`: never resized, continued by reflection where an image is smaller
                `resize`: both sides resized, the aspect ratio not kept
                `pad`: the longer side resized, the rest black
                `native`: never resized, the rest black; larger images are left out
    square_px   the square that is made so, from which a network takes crops of `size_px`: at random
                in training, in the middle in testing; a frozen body the same ones in both
    crops       in testing: 1 (the middle), 5 (and the corners) or 10 (and their mirror images),
                whose logits have their mean; a head on a frozen body is fitted on the mean features

Without them a detector keeps the geometry of its line. What is given stands in the spec, and so in
every key. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from study.core.errors import ConfigError, unknown_name
from study.core.records import DetectorSpec, Geometry, Mode, Params
from study.detectors.entry import Entry

GEOMETRY, SQUARE, CROPS = "geometry", "square_px", "crops"
# options of every detector, with values of the type that each has
CHOSEN: Mapping[str, int | str] = {GEOMETRY: "", SQUARE: 0, CROPS: 1}
MODES: Mapping[str, Mode] = {
    "crop": "crop",
    "resize": "squash",
    "pad": "pad",
    "native": "native",
}
VIEWS = (1, 5, 10)
LARGEST_PX = 4096


class Cut(NamedTuple):
    """Crops that a network takes of its square. size_px: of a crop. crops: in testing."""

    size_px: int
    crops: int


def check_chosen(name: str, line: Entry, options: Params, size_px: int) -> dict[str, int | str]:
    """Return what is chosen of a detector's geometry, for its spec; {} where nothing is. size_px:
    what its network sees.

    Raises ConfigError for a value that there is not, for a square below a crop, for several crops
    of a square that is no larger, and for crops of a network that is neither trained whole nor
    frozen below a linear head.
    """
    found = {key: value for key, value in options.items() if value != CHOSEN.get(key, value)}
    where = f"detector {name}: "
    if GEOMETRY in found and found[GEOMETRY] not in MODES:
        raise ConfigError(where + unknown_name(GEOMETRY, str(found[GEOMETRY]), MODES))
    square, crops = found.get(SQUARE, size_px), found.get(CROPS, 1)
    if type(crops) is not int or crops not in VIEWS:
        raise ConfigError(f"{where}crops = {crops!r}: give 1, 5 or 10")
    if type(square) is not int or not size_px <= square <= LARGEST_PX:
        raise ConfigError(
            f"{where}square_px = {square!r}: give a whole number from {size_px}, the side of what"
            f" the network sees, to {LARGEST_PX}"
        )
    if crops > 1 and square == size_px:
        raise ConfigError(
            f"{where}crops = {crops} of a square of {size_px} px, which is what the network sees:"
            f" give a square_px above {size_px}"
        )
    frozen = line.learner == "logistic" and line.source is not None
    if square > size_px and line.schedules != ("full",) and not frozen:
        raise ConfigError(
            f"{where}square_px = {square}: crops are for a network that is trained whole, from its"
            " first epoch, or a frozen one below a linear head; study its other geometries by"
            " cross_eval --degradations delivery"
        )
    chosen: dict[str, int | str] = {}
    if GEOMETRY in found:
        chosen[GEOMETRY] = str(found[GEOMETRY])
    if square > size_px:
        chosen[SQUARE] = square
    if crops > 1:
        chosen[CROPS] = crops
    return chosen


def geometry_of(own: Geometry, chosen: Params) -> Geometry:
    """Return the geometry that is chosen. own: of the detector's line, at the size of what the
    network sees. chosen: options of a spec.
    """
    size = int(chosen.get(SQUARE, own.size_px))
    if GEOMETRY in chosen:
        mode = MODES[str(chosen[GEOMETRY])]
        return Geometry(size_px=size, mode=mode, interpolation=own.interpolation)
    return at_size(own, size)


def at_size(geometry: Geometry, size_px: int) -> Geometry:
    """Return a geometry at another size: what is cropped away stays the same share."""
    resize = geometry.resize_px and round(geometry.resize_px * size_px / geometry.size_px)
    return replace(geometry, size_px=size_px, resize_px=resize)


def cut_of(spec: DetectorSpec, line: Entry) -> Cut | None:
    """Return the crops that a spec's network takes of its square; None where it sees it whole."""
    if SQUARE not in spec.options:
        return None
    size = int(spec.options.get("size_px", line.geometry.size_px))
    return Cut(size, int(spec.options.get(CROPS, 1)))


def crops_of(spec: DetectorSpec) -> int:
    """Return how many crops of an image a spec's network looks at in testing."""
    return int(spec.options.get(CROPS, 1))
