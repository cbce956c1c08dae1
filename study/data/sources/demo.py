"""The embedded demo: four small simulated datasets. No download, no network.

numpy, PIL, scipy. The reals are simulated photographs: scenes of discs that cover each other (the
dead leaves model), through a small blur, with the noise of a sensor. A fake is such a scene that
passed through one simulated generator, whose trace is known. So a matrix over these datasets has a
right answer: a detector generalises between datasets of one family (`FAMILIES`) and not between
families. They show that the machinery works. They say nothing about deepfakes.

What keeps the answer right:

* A fake is made from the real of its group, so nothing but the trace parts the classes.
* No scene is in two datasets, or twice in one.
* The two families change different parts of the spectrum: up-sampling the finest detail, a
recapture a band of coarse detail. What is learnt of one is no cue for the other.
* A fake has no value darker or brighter than its real.
* Up-sampling keeps the strength of the fine detail (`_with_fine_detail_of`). A detector of
softness finds nothing.
* Files are PNG without compression, so both classes have files of one size. `demo_confounded`
breaks that rule alone, on purpose: its reals are JPEG files.

Every pixel is made with whole numbers, from bits whose stream numpy guarantees, so the images are
the same on every machine.

Dead leaves share with photographs edges, occlusion and a power spectrum that falls steadily:
A. Lee, D. Mumford, J. Huang: Occlusion Models for Natural Images. IJCV 41, 2001.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from study.core.errors import DataError, unknown_name
from study.core.identity import derive_seed, whole_file

VERSION = 2  # of the pixels: to be raised with every change that alters one
SIZE_PX = 64
SCENES = 400  # per dataset; each is a group of a real and a fake
SCENE = "scene"  # the method of the reals

Pixels = NDArray[np.int64]  # (S, S, 3) RGB; whole levels in [0, 255] unless a scale is named
# of one output pixel of a transposed convolution: (outer, total), see `_upsampled`
Taps = tuple[int, int]


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

    def bell(self, shape: tuple[int, ...], reach: int) -> NDArray[np.int64]:
        """Draw sums of four numbers from -reach ... reach: nearly normal, with a standard deviation
        of 1.15 x reach.
        """
        sums: NDArray[np.int64] = self.array((4, *shape), -reach, reach).sum(axis=0)
        return sums


# Arithmetic with whole numbers


def _levels(values: Pixels, bits: int) -> Pixels:
    """Turn values at scale 2^bits into whole levels: rounded half up, held to [0, 255]."""
    levels: Pixels = np.clip((values + (1 << bits >> 1)) >> bits, 0, 255)
    return levels


def _filtered(values: Pixels, kernel: tuple[int, ...]) -> Pixels:
    """Return the values filtered along both axes, times the square of the kernel's sum."""
    for axis in (0, 1):
        values = ndimage.correlate1d(values, np.array(kernel), axis=axis, mode="nearest")
    return values


def _fine_detail(values: Pixels) -> Pixels:
    """Return 256 x what smoothing by a Gaussian of sigma 1 pixel takes away."""
    return 256 * values - _filtered(values, (1, 4, 6, 4, 1))


def _gain(wanted: int, present: int, *, most: int = 4) -> int:
    """Return 1024 x the factor that gives values of `present` summed squares the sum `wanted`, held
    to [1 / most, most] x 1024.
    """
    return min(max(math.isqrt((wanted << 20) // max(present, 1)), 1024 // most), 1024 * most)


def _energy(values: Pixels) -> int:
    """Return the sum of squares."""
    return int((values * values).sum())


def _with_fine_detail_of(real: Pixels, values: Pixels, bits: int) -> Pixels:
    """Return values at scale 2^bits as levels, with their fine detail as strong as the real's.

    Strength is the root mean square over pixels and channels.
    """
    fine = _fine_detail(values)
    gain = _gain(_energy(_fine_detail(real)) << 2 * bits, _energy(fine))
    return _levels(1024 * (256 * values - fine) + gain * fine, bits + 18)


# The simulated photographs

LEAVES = 220
# Levels of leaves: a scene has a darkest and a brightest of its own, so that those of a fake tell
# nothing, and no value reaches black or white.
DARKEST, BRIGHTEST = (32, 104), (151, 223)
SMALLEST, LARGEST = 32, 576  # radius of a leaf, in 1 / 16 pixel; their density falls as radius^-3
BEYOND_PX = 20  # how far outside a leaf's centre may lie


def scene(bits: Bits) -> Pixels:
    """Return a simulated photograph (S, S, 3): leaves, a blur by 1 2 1, sensor noise."""
    near, far = SMALLEST**2, LARGEST**2
    place = bits.array((LEAVES,), 0, (1 << 20) - 1)
    squares = near * (far << 20) // ((far << 20) - place * (far - near))  # of the radii
    centres = bits.array((2, LEAVES), -16 * BEYOND_PX, 16 * (SIZE_PX + BEYOND_PX))
    ends = bits.integer(*DARKEST), bits.integer(*BRIGHTEST)
    colours = bits.array((3,), *ends) + bits.bell((LEAVES, 1), 39) + bits.bell((LEAVES, 3), 16)
    image = np.empty((SIZE_PX, SIZE_PX, 3), dtype=np.int64)
    image[:] = bits.array((3,), *ends)
    at = 16 * np.arange(SIZE_PX)
    for square, (down, across), colour in zip(
        squares, centres.T, np.clip(colours, *ends), strict=True
    ):
        rows, columns = (at - down) ** 2, (at - across) ** 2
        image[rows[:, None] + columns < square] = colour
    noise = bits.bell(image.shape, bits.integer(28, 70))  # 2 to 5 levels, at scale 16
    return _levels(_filtered(image, (1, 2, 1)) + noise, 4)


# The simulated generators: (real, bits) -> levels

ONE = 1024  # 1 in the kernels of up-sampling
NEAREST_OUTER = 102  # a tenth: what 1 8 1 takes from the neighbouring cell
DECODED = 307  # in units of 1 / ONE: the share of a fake that comes through the up-sampling
WAVES = 24
STEPS = (529, 822)  # of a wave, in turns / 4096 a pixel: 8.3 to 12.8 waves across the image
STRENGTH = 1400  # in units of 1 / ONE: of one of those waves, 1.4 levels
TURN = 4096  # a whole turn
COSINE: Pixels = np.array([round(ONE * math.cos(2 * math.pi * n / TURN)) for n in range(TURN)])


def _nearest(real: Pixels, _bits: Bits) -> Pixels:
    """Halve, double by nearest neighbour, smooth by 1 8 1 (as a decoder's up-sampling does)."""
    phase = (NEAREST_OUTER, ONE)
    return _decoded(real, ((phase, phase), (phase, phase)))


def _checkerboard(real: Pixels, bits: Bits) -> Pixels:
    """Halve, then a transposed convolution of stride 2 whose 4 x 4 kernel is random: a grid of
    unequal rows and columns appears.
    """

    def phase() -> Taps:
        return bits.integer(40, 200), bits.integer(ONE - 12, ONE + 12)

    return _decoded(real, ((phase(), phase()), (phase(), phase())))


def _recapture(real: Pixels, bits: Bits) -> Pixels:
    """Lay waves of about 6 pixels over the scene, in all directions, as the grids of a screen and
    of a camera do together (moire).
    """
    at = np.arange(SIZE_PX)
    waves = np.zeros((SIZE_PX, SIZE_PX), dtype=np.int64)
    for _ in range(WAVES):
        step, angle = bits.integer(*STEPS), bits.integer(0, TURN - 1)
        down, across = (step * COSINE[(angle + quarter) % TURN] // ONE for quarter in (0, 1024))
        phase = bits.integer(0, TURN - 1)
        waves += COSINE[(down * at[:, None] + across * at + phase) % TURN]
    return _levels((real << 20) + STRENGTH * waves[:, :, None], 20)


def _decoded(real: Pixels, phases: tuple[tuple[Taps, Taps], tuple[Taps, Taps]]) -> Pixels:
    """Mix three tenths of the real halved and doubled with seven tenths of the real, as connections
    past the bottleneck of a decoder do.
    """
    return _levels((ONE - DECODED) * real + DECODED * _upsampled(real, phases), 10)


def _upsampled(real: Pixels, phases: tuple[tuple[Taps, Taps], tuple[Taps, Taps]]) -> Pixels:
    """Halve by averaging 2 x 2 pixels and double by a separable transposed convolution of stride 2,
    4 taps along each axis.

    phases: along rows, along columns: for the first and the second pixel of a cell (outer, total),
    the weight of the nearer neighbouring cell and the sum of both weights, in units of 1 / ONE.
    """
    half = real[::2, ::2] + real[1::2, ::2] + real[::2, 1::2] + real[1::2, 1::2]  # scale 4
    for axis, (first, second) in enumerate(phases):
        half = _doubled(half, axis, first, second)
    return _with_fine_detail_of(real, (half + (1 << 15)) >> 16, 6)


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


@dataclass(frozen=True, kw_only=True)
class Generator:
    """A simulated generator. family: the kind of trace it leaves; method: its manifests' name;
    reals: the format of the reals' files, PNG but for a planted confound.
    """

    family: str
    method: str
    run: Callable[[Pixels, Bits], Pixels]
    reals: str = "png"


GENERATORS: Mapping[str, Generator] = MappingProxyType(
    {
        "demo_nearest": Generator(family="upsampling", method="nearest", run=_nearest),
        "demo_checkerboard": Generator(
            family="upsampling", method="transposed_convolution", run=_checkerboard
        ),
        "demo_recapture": Generator(family="recapture", method="moire", run=_recapture),
        "demo_confounded": Generator(
            family="upsampling", method="nearest", run=_nearest, reals="jpg"
        ),
    }
)
NAMES: tuple[str, ...] = tuple(GENERATORS)
FAMILIES: Mapping[str, str] = MappingProxyType(
    {name: generator.family for name, generator in GENERATORS.items()}
)


# The datasets


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A real and the fake made from it: (S, S, 3) uint8 RGB. group: unique over all datasets."""

    group: str
    real: NDArray[np.uint8]
    fake: NDArray[np.uint8]


def pairs(name: str) -> Iterator[Pair]:
    """Yield the images of a dataset, one of `NAMES`, scene by scene."""
    for number in range(SCENES):
        bits = Bits(name, number)
        real = scene(bits)
        fake = np.clip(GENERATORS[name].run(real, bits), real.min(), real.max())
        yield Pair(
            group=f"{name.removeprefix('demo_')}-{number:03d}",
            real=real.astype(np.uint8),
            fake=fake.astype(np.uint8),
        )


def build(
    name: str, folder: Path, progress: Callable[[str, int, int], None] = lambda *_: None
) -> None:
    """Write a dataset into a folder: `real/*`, `fake/*.png` and a `manifest.csv` (path, label,
    method, group). progress: told of it. Raises DataError for an unknown name.
    """
    if name not in GENERATORS:
        raise DataError(unknown_name("demo dataset", name, NAMES))
    rows: list[tuple[str, str, str, str]] = []
    for label in ("real", "fake"):
        (folder / label).mkdir(parents=True, exist_ok=True)
    generator = GENERATORS[name]
    for number, pair in enumerate(pairs(name)):
        if number % 20 == 0:
            progress(f"drawing {name}", number, SCENES)
        for label, method, pixels, suffix in (
            ("real", SCENE, pair.real, generator.reals),
            ("fake", generator.method, pair.fake, "png"),
        ):
            path = f"{label}/{pair.group}.{suffix}"
            _save(Image.fromarray(pixels), folder / path)
            rows.append((path, label, method, pair.group))
    with (
        whole_file(folder / "manifest.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "method", "group"))
        writer.writerows(sorted(rows))
    progress(f"drawing {name}", SCENES, SCENES)


def _save(image: Image.Image, path: Path) -> None:
    """Write PNG without compression, whose size says nothing of the content; or the best JPEG."""
    if path.suffix == ".png":
        image.save(path, compress_level=0)
    else:
        image.save(path, quality=98, subsampling=0)
