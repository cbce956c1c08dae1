"""What an image's history of processing leaves in its pixels: a second JPEG, blur, resampling,
sharpening.

Three kinds of numbers. Of the picture's centre at its own resolution the radial spectrum, and
statistics of the residuals (what four neighbours do not predict, in grey and in two differences of
colour): their size, tails and lags, and how they lie on the grid of a JPEG. Of the whole picture
a small thumbnail. A logistic regression of them cannot tell processing from a generator's trace: it
is a reference beside a column, and no reason to distrust one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128  # pixels of the centre that is looked at, at most
RINGS = 24
GRID = 8  # of a JPEG's blocks
LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2), (0, 3), (3, 0))
STEPS = (0.5, 1.5, 3.5, 7.5)  # levels, at which the distribution of a residual is read
THUMBNAIL = 6
PLANES = np.array([[0.299, 0.587, 0.114], [1, -1, 0], [0, -1, 1]], dtype=np.float32)
FEATURES = RINGS + len(LAGS) + 3 * (2 + len(STEPS)) + 2 * (GRID // 2 + 1) + THUMBNAIL**2
Floats = NDArray[np.float32]


def processing_features(
    pixels: NDArray[np.uint8], reduced: NDArray[np.uint8]
) -> NDArray[np.float16]:
    """Return the numbers, (FEATURES,), of a picture, (H, W, 3) uint8, and of the same reduced."""
    planes = np.tensordot(PLANES, _centre(pixels), (1, 2))
    residual = _residual(planes)
    small = Image.fromarray(reduced).convert("L").resize((THUMBNAIL,) * 2, Image.Resampling.BOX)
    parts = (
        _rings(planes[0]),
        _lags(residual[0]),
        _distribution(residual),
        _blocks(planes[0]),
        _blocks(planes[0].T),
        np.asarray(small, dtype=np.float32).ravel() / 64,
    )
    return np.concatenate(parts).astype(np.float16)


def _centre(pixels: NDArray[np.uint8]) -> Floats:
    """The picture's centre, at its own resolution. Its corner lies on the grid of a JPEG."""
    top, left = (max(side - SIDE, 0) // 2 // GRID * GRID for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE].astype(np.float32)


def _residual(planes: Floats) -> Floats:
    """What the four neighbours do not predict, of planes (3, H, W)."""
    depth, height, width = planes.shape
    padded = np.empty((depth, height + 2, width + 2), dtype=np.float32)
    padded[:, 1:-1, 1:-1] = planes
    padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 1], padded[:, :, -2]
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    around += padded[:, 1:-1, :-2]
    around += padded[:, 1:-1, 2:]
    return np.asarray(planes - around * np.float32(0.25), dtype=np.float32)


@cache
def _ring_of(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.float64], Floats]:
    """The ring of every frequency, how many values a ring has in all, and the window."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    radius = np.hypot(down, across) / np.hypot(0.5, 0.5)
    ring = np.minimum((radius * RINGS).astype(np.intp), RINGS - 1).ravel()
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    count = np.maximum(np.bincount(ring, minlength=RINGS), 1) * float(height * width)
    return ring, count, window.astype(np.float32)


def _rings(grey: Floats) -> Floats:
    """The logarithm of the power at each radius."""
    from scipy.fft import rfft2

    ring, count, window = _ring_of(*grey.shape)
    waves = rfft2((grey - grey.mean()) * window).ravel()
    power = waves.real**2 + waves.imag**2
    logs = np.log(np.bincount(ring, power, minlength=RINGS) / count + 1e-3)
    return np.asarray(logs, dtype=np.float32)


def _lags(residual: Floats) -> Floats:
    """The residual's correlation with itself, shifted; 0 where it is smaller than the shift."""
    height, width = residual.shape
    energy = max(float(np.vdot(residual, residual)) / residual.size, 1e-3)
    found = []
    for down, across in LAGS:
        one = residual[down:, across:]
        other = residual[: max(height - down, 0), : max(width - across, 0)]
        product = float(np.einsum("ij,ij->", one, other)) / max(one.size, 1)
        found.append(product / energy)
    return np.array(found, dtype=np.float32)


def _distribution(residual: Floats) -> Floats:
    """How large residuals (3, H, W) are, how heavy their tails, and which shares are small."""
    size = np.abs(residual).reshape(len(residual), -1)
    mean, square = size.mean(1), size * size
    power = square.mean(1)
    tails = (square * square).mean(1) / np.maximum(power * power, 1e-6)
    below = [np.count_nonzero(size < step, axis=1) / size.shape[1] for step in STEPS]
    return np.concatenate([np.log(mean + 1e-2), np.log(tails + 1e-2), *below]).astype(np.float32)


def _blocks(grey: Floats) -> Floats:
    """How rough a picture is along its rows at each place in the grid of a JPEG: the places'
    shares, those that mirror each other together, and the roughness.
    """
    if grey.shape[1] < 3:
        return np.zeros(GRID // 2 + 1, dtype=np.float32)
    rough = np.abs(grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]).mean(0)
    places = (np.arange(len(rough)) + 1) % GRID
    count = np.maximum(np.bincount(places, minlength=GRID), 1)
    means = np.bincount(places, rough, minlength=GRID) / count
    total = max(float(means.mean()), 1e-2)
    folded = (means + means[::-1])[: GRID // 2] / (2 * total)
    return np.append(folded, np.log(total)).astype(np.float32)
