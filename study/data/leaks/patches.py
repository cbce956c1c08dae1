"""Patches of a picture that are found again in a crop of it: squares around its clearest blobs.

A picture's grey values at three scales (`SCALES`; a crop of 80 % of each side shows the scene 1.25
times as large). At each the extremes of a difference of two Gaussian filters, the strongest first,
and around each a square of 27 pixels. The square is flipped and turned so that its brightness rises
to the right and below, more so to the right: a picture that is mirrored or turned by quarters gives
the same squares, and how each was turned is kept. What is left of a square is its lowest
frequencies (DCT), of which the gain is taken out and each frequency has its weight.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SCALES = (1.0, 1.12, 1.25)  # of the picture, whose area is then SIDE x SIDE pixels
STRONGEST = (14, 18, 22)  # patches kept at each
SIDE = 64
RADIUS = 13  # pixels; a square is sampled at every second
LEAST_RESPONSE, LEAST_SPREAD = 0.5, 3.0  # grey levels: plainer places say nothing
FREQUENCIES = 32

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

_OFFSETS = np.arange(-RADIUS, RADIUS + 1, 2)
_Y, _X = _OFFSETS[:, None].astype(np.float32), _OFFSETS[None].astype(np.float32)
_WINDOW = np.exp(-(_Y**2 + _X**2) / (2 * (RADIUS * 2 / 3) ** 2))
_WINDOW /= _WINDOW.sum()
_LOWEST = sorted(
    ((u, v) for u in range(9) for v in range(9) if u + v), key=lambda f: (f[0] ** 2 + f[1] ** 2, f)
)[:FREQUENCIES]
_U, _V = np.array(_LOWEST).T
_WEIGHT = np.hypot(_U, _V).astype(np.float32)
RECORD = np.dtype(
    [
        ("scale", np.uint8),
        ("y", np.uint8),
        ("x", np.uint8),
        ("turn", np.uint8),
        ("light", np.uint8),
        ("shape", np.int8, (FREQUENCIES,)),
    ]
)


def _turns() -> NDArray[np.float32]:
    """(8, 2, 2) what takes (y, x) of a turned square to that of the picture, by `turn`."""
    flips = [np.diag([1 - 2 * (turn & 1), 1 - (turn & 2)]) for turn in range(8)]
    return np.array([f[:, ::-1] if turn & 4 else f for turn, f in enumerate(flips)], np.float32)


TURNS = _turns()
_BESIDE = slice(RADIUS - 2, 2 - RADIUS)  # where a square fits around, and two pixels more


class Patches(NamedTuple):
    """The P patches of some pictures. picture: (P,) which, rising within a scale; records: (P,) of
    `RECORD`: scale (an index of SCALES), y and x (pixels of that scale), turn (an index of TURNS),
    light (1 where a blob is lighter than what is around it), shape (its frequencies, of norm 127).
    """

    picture: Ints
    records: NDArray[np.void]


def patches(pictures: NDArray[np.uint8], scale: int) -> Patches:
    """Return the patches of grey pictures, (N, H, W), at one scale."""
    grey = pictures.astype(np.float32)
    smooth = _blurred(grey, 1.2)
    response = _blurred(grey, 2.0) - _blurred(grey, 3.2)
    picture, y, x = _strongest(response, STRONGEST[scale])
    squares = smooth[
        picture[:, None, None], y[:, None, None] + _OFFSETS[:, None], x[:, None, None] + _OFFSETS
    ]
    squares -= (squares * _WINDOW).sum((1, 2), keepdims=True)
    spread = np.sqrt((squares**2 * _WINDOW).sum((1, 2)))
    clear = spread > LEAST_SPREAD
    picture, y, x, squares = (column[clear] for column in (picture, y, x, squares))
    turned, turn = _upright(squares)
    records = np.zeros(len(picture), dtype=RECORD)
    records["scale"], records["y"], records["x"], records["turn"] = scale, y, x, turn
    records["light"] = response[picture, y, x] > 0
    records["shape"] = _shape(turned)
    return Patches(picture, records)


def _blurred(grey: Floats, sigma: float) -> Floats:
    from scipy.ndimage import gaussian_filter1d

    for axis in (1, 2):
        grey = gaussian_filter1d(grey, sigma, axis=axis, mode="nearest", truncate=2.5)
    return grey


def _strongest(response: Floats, most: int) -> tuple[Ints, Ints, Ints]:
    """Return (picture, y, x) of the extremes that a square fits around, by picture and then the
    strongest first.
    """
    strength = np.abs(response)
    inner = strength[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    around = _largest_of_five(_largest_of_five(strength[:, _BESIDE, _BESIDE], 1), 2)
    picture, y, x = np.nonzero((inner >= around) & (inner >= LEAST_RESPONSE))
    value = inner[picture, y, x]
    order = np.lexsort((x, y, -value, picture))
    rank = np.arange(len(order)) - np.searchsorted(picture, picture)  # pictures rise in any order
    kept = order[rank < most]
    return picture[kept], y[kept] + RADIUS, x[kept] + RADIUS


def _largest_of_five(values: Floats, axis: int) -> Floats:
    """The largest of every five neighbours along an axis, which becomes four shorter."""
    along = np.moveaxis(values, axis, 0)
    n = len(along) - 4
    return np.moveaxis(reduce(np.maximum, [along[at : at + n] for at in range(5)]), 0, axis)


def _upright(squares: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Flip and turn squares, (P, S, S), so that brightness rises to the right and below; return
    how too.
    """
    weighted = squares * _WINDOW
    down, across = (weighted * _Y).sum((1, 2)), (weighted * _X).sum((1, 2))
    up, left, turned = down < 0, across < 0, np.abs(down) > np.abs(across)
    squares = np.where(up[:, None, None], squares[:, ::-1], squares)
    squares = np.where(left[:, None, None], squares[:, :, ::-1], squares)
    squares = np.where(turned[:, None, None], squares.transpose(0, 2, 1), squares)
    return squares, (up + 2 * left + 4 * turned).astype(np.uint8)


def _shape(squares: Floats) -> NDArray[np.int8]:
    from scipy.fft import dctn

    found = dctn(squares * np.sqrt(_WINDOW), axes=(1, 2), norm="ortho")[:, _U, _V] * _WEIGHT
    norm = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(np.rint(found * (127 / np.maximum(norm, 1e-9))), dtype=np.int8)
