"""Made-up pictures of which no two are one: with the spectrum of photographs, and drawn faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def scene(seed: int, size: int = 96) -> Pixels:
    """A picture with the spectrum of photographs (amplitude falls as 1 / frequency), (size, size,
    3) uint8.
    """
    rng = np.random.default_rng(seed)
    u, v = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))
    radius = np.maximum(np.hypot(u, v), 1 / size)
    fields = np.fft.ifft2(
        np.fft.fft2(rng.normal(size=(4, size, size)))
        / radius ** np.array([1.4, 2, 2, 2])[:, None, None]
    ).real
    fields /= fields.std(axis=(1, 2), keepdims=True)
    # mostly light and dark, a little colour
    colours = 127 + 45 * fields[0][:, :, None] + 12 * fields[1:].transpose(1, 2, 0)
    return np.clip(colours, 0, 255).astype(np.uint8)


def aligned_face(seed: int, size: int = 64) -> NDArray[np.uint8]:
    """A picture of the layout that all aligned faces have: an oval, two eyes, a mouth; light,
    colours and place vary.
    """
    rng = np.random.default_rng([seed, 77])
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x, y = x + rng.normal(0, 0.03), y + rng.normal(0, 0.03)
    skin, hair, ground = (
        rng.uniform((120, 80, 60), (240, 190, 160)),
        rng.uniform(10, 140, 3),
        rng.uniform(20, 235, 3),
    )
    width, height = rng.uniform(0.55, 0.7), rng.uniform(0.75, 0.9)
    pixels = 30 * scene(seed, size).astype(np.float64) / 127 - 30 + ground
    oval = lambda cx, cy, rx, ry: (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1)[:, :, None]  # noqa: E731
    pixels = np.where(oval(0, -0.15, width * rng.uniform(1.05, 1.3), height), hair, pixels)
    shade = 1 + rng.normal(0, 0.2) * x[:, :, None] + rng.normal(0, 0.15) * y[:, :, None]
    pixels = np.where(oval(0, 0.08, width, height * 0.85), skin * shade, pixels)
    for cx in (-0.26, 0.26):
        pixels = np.where(
            oval(cx, -0.12, rng.uniform(0.07, 0.12), rng.uniform(0.04, 0.07)),
            rng.uniform(10, 90, 3),
            pixels,
        )
    pixels = np.where(
        oval(0, 0.45, rng.uniform(0.14, 0.28), rng.uniform(0.03, 0.09)),
        skin * (0.9, 0.5, 0.5),
        pixels,
    )
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
