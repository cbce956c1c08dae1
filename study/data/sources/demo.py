"""The embedded demo: four small simulated datasets, made from photographs that dependencies ship.
No download, no network.

numpy, PIL, scipy. The reals are crops of three photographs; every fake is a crop of the
same kind that passed through one simulated generator, whose trace is known. So a matrix over these
datasets has a right answer: a detector generalises between datasets of one family (`FAMILIES`) and
not between families. They show that the machinery works; they say nothing about deepfakes.

What keeps the answer right:

* The photographs are JPEG files. They are shrunk a little first, with an antialiased filter, so
that hardly anything is left of the
  8 x 8 grid, which reals would have and generators destroy: that would be one cue for everything.
* A real and the fake made from it are the same crop, so that nothing but the trace parts the
classes.
* Every generator keeps the strength of the fine detail (`_with_fine_detail_of`): were all of them
softer than a photograph, a
  detector of one would find them all.
* A photograph is cut into regions, and a region is a group. The group's key is the same in all four
datasets, so the hash of the
  key puts a region on the same side of every split. A crop lies inside its region; a region's
  crops, over all datasets, differ in their turn or mirroring, so that no image is in two datasets.

From the shrunk photographs on, every pixel is made with whole numbers, from bits whose stream numpy
guarantees, so that the images are the same on every machine.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from study.core.errors import DataError, unknown_name
from study.core.identity import derive_seed, whole_file

VERSION = 1  # of the pixels: to be raised with every change that alters one
CROP_PX = 64
CROPS_PER_REGION = 2  # per dataset; each gives a real and a fake
PHOTOGRAPH = "photograph"  # the method of the reals

Pixels = NDArray[np.int64]  # (S, S, 3) RGB; whole levels in [0, 255] unless a scale is named
# of one output pixel of a transposed convolution: (outer, total), see `_upsampled`
Taps = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photograph inside an installed package.

    full, size: (width, height) in pixels, as shipped and as used. regions: (columns, rows) it is
    cut into.
    """

    package: str
    file: str
    full: tuple[int, int]
    size: tuple[int, int]
    regions: tuple[int, int]


# grace_hopper.jpg has its colour at half resolution, and is the most compressed: it is shrunk
# further. No region is smaller than 70 x 74 pixels.
PHOTOGRAPHS: Mapping[str, Photograph] = MappingProxyType(
    {
        "china": Photograph(
            package="sklearn",
            file="datasets/images/china.jpg",
            full=(640, 427),
            size=(560, 374),
            regions=(8, 5),
        ),
        "flower": Photograph(
            package="sklearn",
            file="datasets/images/flower.jpg",
            full=(640, 427),
            size=(560, 374),
            regions=(8, 5),
        ),
        "grace_hopper": Photograph(
            package="matplotlib",
            file="mpl-data/sample_data/grace_hopper.jpg",
            full=(512, 600),
            size=(384, 450),
            regions=(5, 6),
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a photograph, `[top:bottom, left:right]`. group: its key, in every dataset."""

    photograph: str
    group: str
    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of `CROP_PX` inside a region, by its top left pixel in the photograph, then turned.

    turn: 0 to 3 quarter turns anticlockwise, plus 4 where it is mirrored afterwards.
    """

    top: int
    left: int
    turn: int


class Bits:
    """Whole numbers drawn from a seed, the same with every numpy: the raw stream is guaranteed, the
    distributions are not.
    """

    def __init__(self, *parts: str | int) -> None:
        self._stream = np.random.PCG64(derive_seed("demo", VERSION, *parts))

    def integer(self, low: int, high: int) -> int:
        """Draw from low ... high, both included."""
        return low + int(self._stream.random_raw()) % (high - low + 1)

    def array(self, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.int64]:
        """Draw an array of numbers from low ... high, both included."""
        raw = self._stream.random_raw(math.prod(shape))
        return low + (raw % np.uint64(high - low + 1)).astype(np.int64).reshape(shape)


# What is drawn: regions and crops


def regions() -> list[Region]:
    """Return the regions of all photographs. Together they cover each photograph once.

    The spelling of the group key decides the split: under the project's hash this one gives 69
    regions to train, 14 to val, 27 to test, with each photograph in all three.
    """
    return [
        Region(
            photograph=name,
            group=f"{name}/r{row}c{column}",
            top=row * photo.size[1] // photo.regions[1],
            bottom=(row + 1) * photo.size[1] // photo.regions[1],
            left=column * photo.size[0] // photo.regions[0],
            right=(column + 1) * photo.size[0] // photo.regions[0],
        )
        for name, photo in PHOTOGRAPHS.items()
        for row in range(photo.regions[1])
        for column in range(photo.regions[0])
    ]


def crops(name: str, region: Region) -> list[Crop]:
    """Return where a dataset's crops of a region lie.

    The eight turns of a square are dealt out over datasets and crops, beginning elsewhere in each
    region, so that every dataset has all turns and no crop of a region has the turn of another.
    """
    bits = Bits("crops", name, region.group)
    first = Bits("turn", region.group).integer(0, 7) + NAMES.index(name) * CROPS_PER_REGION
    return [_window(region, bits, turn=(first + number) % 8) for number in range(CROPS_PER_REGION)]


def _window(region: Region, bits: Bits, *, turn: int) -> Crop:
    top = bits.integer(region.top, region.bottom - CROP_PX)
    return Crop(top=top, left=bits.integer(region.left, region.right - CROP_PX), turn=turn)


def _cut(photograph: Pixels, crop: Crop) -> Pixels:
    """Return the pixels of a crop, turned."""
    square = photograph[crop.top : crop.top + CROP_PX, crop.left : crop.left + CROP_PX]
    square = np.rot90(square, crop.turn % 4)
    return np.ascontiguousarray(square[:, ::-1] if crop.turn >= 4 else square)


# Arithmetic with whole numbers


def _levels(values: Pixels, bits: int) -> Pixels:
    """Turn values at scale 2^bits into whole levels: rounded half up, held to [0, 255]."""
    levels: Pixels = np.clip((values + (1 << bits >> 1)) >> bits, 0, 255)
    return levels


def _smoothed(values: Pixels) -> Pixels:
    """Return 256 x the values smoothed by 1 4 6 4 1 along both axes (a Gaussian, sigma 1 px)."""
    for axis in (0, 1):
        values = ndimage.correlate1d(values, np.array([1, 4, 6, 4, 1]), axis=axis, mode="nearest")
    return values


def _gain(wanted: int, present: int, *, most: int = 4) -> int:
    """Return 1024 x the factor that gives values of `present` summed squares the sum `wanted`, held
    to [1 / most, most] x 1024.
    """
    return min(max(math.isqrt((wanted << 20) // max(present, 1)), 1024 // most), 1024 * most)


def _fine_detail(values: Pixels) -> Pixels:
    """Return 256 x what smoothing takes away."""
    return 256 * values - _smoothed(values)


def _energy(values: Pixels) -> int:
    """Return the sum of squares."""
    return int((values * values).sum())


def _with_fine_detail_of(crop: Pixels, values: Pixels, bits: int) -> Pixels:
    """Return values at scale 2^bits as levels, with their fine detail as strong as the crop's.

    Fine detail is what smoothing takes away; its strength is its root mean square over pixels and
    channels.
    """
    fine = _fine_detail(values)
    gain = _gain(_energy(_fine_detail(crop)) << 2 * bits, _energy(fine))
    return _levels(1024 * (256 * values - fine) + gain * fine, bits + 18)


# The simulated generators: (crop, another window of its region, bits) -> levels

ONE = 1024  # 1 in the kernels of up-sampling
NEAREST_OUTER = 102  # a tenth: what 1 8 1 takes from the neighbouring cell


def _nearest(crop: Pixels, _donor: Pixels, _bits: Bits) -> Pixels:
    """Halve, double by nearest neighbour, smooth by 1 8 1 (as a decoder's up-sampling does)."""
    phase = (NEAREST_OUTER, ONE)
    return _upsampled(crop, ((phase, phase), (phase, phase)))


def _checkerboard(crop: Pixels, _donor: Pixels, bits: Bits) -> Pixels:
    """Halve, then a transposed convolution of stride 2 whose 4 x 4 kernel is random: a grid of
    unequal rows and columns appears.
    """

    def phase() -> Taps:
        return bits.integer(40, 200), bits.integer(ONE - 12, ONE + 12)

    return _upsampled(crop, ((phase(), phase()), (phase(), phase())))


def _blend(crop: Pixels, donor: Pixels, bits: Bits) -> Pixels:
    """Blend the donor's window into an oval with a soft edge: its colours matched, as a face swap
    does, its colour grain not.
    """
    mask = _oval(bits)
    patch = _grained(_levels(_colours_of(crop, donor, mask), 8), bits)
    return _levels(crop * (256 - mask) + patch * mask, 8)


def _denoise(crop: Pixels, _donor: Pixels, _bits: Bits) -> Pixels:
    """Take the median of every 5 x 5 pixels, then sharpen, as an over-smoothing denoiser does."""
    return _with_fine_detail_of(
        crop, ndimage.median_filter(crop, size=(5, 5, 1), mode="nearest"), 0
    )


def _upsampled(crop: Pixels, phases: tuple[tuple[Taps, Taps], tuple[Taps, Taps]]) -> Pixels:
    """Halve by averaging 2 x 2 pixels and double by a separable transposed convolution of stride 2,
    4 taps along each axis.

    phases: along rows, along columns: for the first and the second pixel of a cell (outer, total),
    the weight of the nearer neighbouring cell and the sum of both weights, in units of 1 / ONE.
    """
    half = crop[::2, ::2] + crop[1::2, ::2] + crop[::2, 1::2] + crop[1::2, 1::2]  # scale 4
    for axis, (first, second) in enumerate(phases):
        half = _doubled(half, axis, first, second)
    return _with_fine_detail_of(crop, (half + (1 << 15)) >> 16, 6)


def _doubled(values: Pixels, axis: int, first: Taps, second: Taps) -> Pixels:
    """Return values with twice the pixels along an axis, at ONE times their scale."""
    values = np.moveaxis(values, axis, 0)
    before, after = (
        np.concatenate([values[:1], values[:-1]]),
        np.concatenate([values[1:], values[-1:]]),
    )
    pairs = [
        outer * neighbour + (total - outer) * values
        for neighbour, (outer, total) in ((before, first), (after, second))
    ]
    return np.moveaxis(np.stack(pairs, axis=1).reshape(-1, *values.shape[1:]), 0, axis)


def _oval(bits: Bits) -> Pixels:
    """Return a mask (S, S, 1), 0 to 256: an upright oval near the centre, its edge about 6 px."""
    width, height, feather = bits.integer(20, 24), bits.integer(24, 29), 6  # semi-axes
    across = np.arange(CROP_PX) - bits.integer(28, 35)
    down = np.arange(CROP_PX)[:, None] - bits.integer(29, 34)
    size = (width * height) ** 2
    # of `size`: 1 in the centre, 0 on the oval
    inside = size - (across * height) ** 2 - (down * width) ** 2
    mask: Pixels = np.clip(128 + 128 * inside * width // (size * feather), 0, 256)
    return mask[:, :, None]


def _colours_of(crop: Pixels, donor: Pixels, mask: Pixels) -> Pixels:
    """Return the donor at scale 256 with the crop's mean and contrast in the mask, by channel."""
    weight = int(mask.sum())
    means = [256 * (image * mask).sum(axis=(0, 1)) // weight for image in (crop, donor)]
    spreads = [
        (mask * (256 * image - mean) ** 2).sum(axis=(0, 1))
        for image, mean in zip((crop, donor), means, strict=True)
    ]
    gain = np.array(
        [_gain(int(wanted), int(present)) for wanted, present in zip(*spreads, strict=True)]
    )
    matched: Pixels = means[0] + ((256 * donor - means[1]) * gain >> 10)
    return matched


def _grained(patch: Pixels, bits: Bits) -> Pixels:
    """Return a patch whose fine detail is as strong as before, but for the most part noise without
    luminance (ITU-R BT.601).

    The noise is nearly normal, independent from pixel to pixel, and half as strong again as the
    patch's fine detail before both are scaled back together.
    """
    grain = bits.array((4, CROP_PX, CROP_PX, 3), -1024, 1024).sum(axis=0)
    grain -= (grain @ np.array([299, 587, 114]))[:, :, None] // 1000
    gain = _gain(_energy(_fine_detail(patch)), _energy(grain), most=64)
    return _with_fine_detail_of(patch, 256 * patch + (3 * gain * grain >> 11), 8)


@dataclass(frozen=True, kw_only=True)
class Generator:
    """A simulated generator. family: the kind of trace it leaves; method: its manifests' name."""

    family: str
    method: str
    run: Callable[[Pixels, Pixels, Bits], Pixels]


GENERATORS: Mapping[str, Generator] = MappingProxyType(
    {
        "demo_nearest": Generator(family="upsampling", method="nearest", run=_nearest),
        "demo_checkerboard": Generator(
            family="upsampling", method="transposed_convolution", run=_checkerboard
        ),
        "demo_blend": Generator(family="blending", method="blended_patch", run=_blend),
        "demo_denoise": Generator(family="smoothing", method="denoiser", run=_denoise),
    }
)
NAMES: tuple[str, ...] = tuple(GENERATORS)
FAMILIES: Mapping[str, str] = MappingProxyType(
    {name: generator.family for name, generator in GENERATORS.items()}
)


# The datasets


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A real and the fake made from it: (S, S, 3) uint8 RGB. key: unique within a dataset."""

    key: str
    group: str
    real: NDArray[np.uint8]
    fake: NDArray[np.uint8]


def pairs(name: str) -> Iterator[Pair]:
    """Yield the images of a dataset, region by region. Raises DataError for an unknown name or a
    photograph that is gone.
    """
    if name not in GENERATORS:
        raise DataError(unknown_name("demo dataset", name, NAMES))
    photographs = {photograph: load_photograph(photograph) for photograph in PHOTOGRAPHS}
    for region in regions():
        for number, crop in enumerate(crops(name, region)):
            pixels, bits = photographs[region.photograph], Bits(name, region.group, number)
            donor = _window(region, bits, turn=(crop.turn + bits.integer(1, 7)) % 8)
            real = _cut(pixels, crop)
            fake = GENERATORS[name].run(real, _cut(pixels, donor), bits)
            key = f"{region.group.replace('/', '-')}-{number}"
            yield Pair(
                key=key, group=region.group, real=real.astype(np.uint8), fake=fake.astype(np.uint8)
            )


def load_photograph(name: str) -> Pixels:
    """Return a photograph as it is used, (height, width, 3). Raises DataError where its package no
    longer ships it.
    """
    photo = PHOTOGRAPHS[name]
    remedy = (
        f"install another version of {photo.package}, or use datasets of your own with"
        " --data-root DIR"
    )
    try:
        with Image.open(_package_folder(photo.package) / photo.file) as image:
            rgb = image.convert("RGB")
    except (OSError, ImportError) as error:
        raise DataError(
            f"the demo's photograph {photo.package}/{photo.file} cannot be read ({error}); {remedy}"
        ) from None
    if rgb.size != photo.full:
        raise DataError(
            f"the demo's photograph {photo.package}/{photo.file} is {rgb.size} pixels, not"
            f" {photo.full}; {remedy}"
        )
    return np.asarray(rgb.resize(photo.size, Image.Resampling.BICUBIC)).astype(np.int64)


def _package_folder(package: str) -> Path:
    """Where a package lies, which is not imported: what it reads of the environment may fail."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"the package {package} is not installed")
    return Path(found.origin).parent


def build(name: str, folder: Path) -> None:
    """Write a dataset into a folder: `real/*.png`, `fake/*.png` and a `manifest.csv` (path, label,
    method, group).

    Raises DataError for an unknown name or a photograph that is gone.
    """
    rows: list[tuple[str, str, str, str]] = []
    for pair in pairs(name):
        for label, method, image in (
            ("real", PHOTOGRAPH, pair.real),
            ("fake", GENERATORS[name].method, pair.fake),
        ):
            path = f"{label}/{pair.key}.png"
            (folder / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / path)
            rows.append((path, label, method, pair.group))
    with (
        whole_file(folder / "manifest.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "method", "group"))
        writer.writerows(sorted(rows))
