"""Two pictures laid over each other: how alike they are where both show something.

From a pair of patches comes a first guess of how one picture lies on the other: turned, mirrored,
scaled, shifted. It is refined on the thumbnails by Gauss and Newton's method (Lucas and Kanade,
1981): two scales and two shifts, five steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.data.leaks.patches import SCALES, TURNS
from study.data.leaks.prints import THUMBNAIL_PX, Prints

STEPS = 5
# points along a side at which pictures are compared, laid over each other, first looked at
GRID, FIT_GRID, COARSE_GRID = 24, 12, 10
GREY_BELOW = 4.0  # mean difference of channels, of a picture without colour
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


class Laid(NamedTuple):
    """How P pictures lie on others. matrix (P, 2, 2), shift (P, 2): where a place (y, x) of the
    one, each in 0 to 1, lies on the other.
    """

    matrix: Floats
    shift: Floats

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Laid:
        """Return those at `index`."""
        return Laid(self.matrix[index], self.shift[index])


class Alike(NamedTuple):
    """How alike P pairs are. correlation: of the colours where both show something, of the grey
    values where one has no colour; detail: of what is finer than a tenth of a side; overlap: which
    share of the picture that shows less is in the other.
    """

    correlation: Floats
    detail: Floats
    overlap: Floats


def first_guess(a: Prints, b: Prints, of_a: Ints, of_b: Ints) -> Laid:
    """Return how pictures lie on each other by one patch of each, places in the prints' patches."""
    one, other = a.records[of_a], b.records[of_b]
    turn = TURNS[other["turn"]] @ TURNS[one["turn"]].transpose(0, 2, 1)
    scales = np.array(SCALES, dtype=np.float32)
    at, its = (
        (np.stack([r["y"], r["x"]], axis=1) + np.float32(0.5)) / scales[r["scale"]][:, None]
        for r in (one, other)
    )
    matrix = turn * (scales[one["scale"]] / scales[other["scale"]])[:, None, None]
    sides, its_sides = (
        p.sides[p.picture[of]].astype(np.float32) for p, of in ((a, of_a), (b, of_b))
    )
    shift = (its - np.einsum("pij,pj->pi", matrix, at)) / its_sides
    return Laid(matrix * sides[:, None, :] / its_sides[:, :, None], shift)


def luma(prints: Prints, index: Ints) -> Floats:
    """Return the grey values of thumbnails, (P, 32, 32)."""
    return prints.thumbnail[index].astype(np.float32) @ LUMA


def rough(one: Floats, other: Floats, laid: Laid) -> Floats:
    """Return the correlation of grey thumbnails, (P,), as they are first laid over each other."""
    points = _grid(COARSE_GRID)
    mine, its, both = _sampled(one[..., None], other[..., None], laid, points)
    return _correlation(mine, its, both)


def refined(one: Floats, other: Floats, laid: Laid) -> Laid:
    """Return how grey thumbnails lie on each other best, near a first guess."""
    points = _grid(FIT_GRID)
    matrix, shift = laid.matrix.copy(), laid.shift.copy()
    mine = _bilinear(one[..., None], np.broadcast_to(points, (len(one), *points.shape)))[..., 0]
    slopes = np.stack([*np.gradient(other, axis=(1, 2))], axis=-1) * THUMBNAIL_PX
    centred = points - np.float32(0.5)
    for _ in range(STEPS):
        on = _placed(Laid(matrix, shift), points)
        inside = _inside(on)
        its = _bilinear(np.concatenate([other[..., None], slopes], axis=3), on)
        mine_n, its_n, gain = _normalised(mine, its[..., 0], inside)
        slope = its[..., 1:] * gain[:, None, None]
        # by a shift along each side, and by a stretch of each of the first's sides
        along = (slope @ matrix) * centred
        jacobian = np.concatenate([slope, along], axis=2) * inside[..., None]
        jacobian -= jacobian.sum(1, keepdims=True) / inside.sum(1)[:, None, None].clip(1)
        jacobian *= inside[..., None]
        normal = jacobian.transpose(0, 2, 1) @ jacobian
        normal += np.eye(4, dtype=np.float32) * (
            1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-6
        )
        error = ((mine_n - its_n) * inside)[..., None]
        step = np.linalg.solve(normal, jacobian.transpose(0, 2, 1) @ error)[..., 0]
        step = np.clip(step, -0.05, 0.05)
        stretch = matrix * step[:, None, 2:]
        matrix += stretch
        shift += step[:, :2] - stretch.sum(2) * np.float32(0.5)
    return Laid(matrix, shift)


def alike(one: NDArray[np.uint8], other: NDArray[np.uint8], laid: Laid) -> Alike:
    """Compare thumbnails, (P, 32, 32, 3), laid over each other."""
    points = _grid(GRID)
    a, b = _smooth(one.astype(np.float32)), _smooth(other.astype(np.float32))
    grey = _is_grey(a) | _is_grey(b)
    a[grey], b[grey] = ((x[grey] @ LUMA)[..., None] for x in (a, b))
    mine, its, inside = _sampled(a, b, laid, points)
    fine_a, fine_b = (_fine(x @ LUMA)[..., None] for x in (a, b))
    detail = _correlation(*_sampled(fine_a, fine_b, laid, points))
    return Alike(_correlation(mine, its, inside), detail, _overlap(laid, inside))


def _is_grey(pictures: Floats) -> NDArray[np.bool_]:
    spread = pictures.max(3) - pictures.min(3)
    return np.asarray(spread.mean((1, 2)) < GREY_BELOW)


def _smooth(pictures: Floats) -> Floats:
    """(P, S, S, C) without what a resampling and JPEG's noise change: a binomial filter."""
    from scipy.ndimage import correlate1d

    for axis in (1, 2):
        pictures = correlate1d(pictures, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    return pictures


def _fine(grey: Floats) -> Floats:
    from scipy.ndimage import uniform_filter1d

    smooth = uniform_filter1d(uniform_filter1d(grey, 5, axis=1), 5, axis=2)
    return np.asarray(grey - smooth)


def _overlap(laid: Laid, inside: NDArray[np.bool_]) -> Floats:
    """The share of the first that is in the second, or of the second in the first."""
    area = np.abs(np.linalg.det(laid.matrix))  # of the first, in the second
    share = inside.mean(1)
    return np.asarray(np.maximum(share, share * area), dtype=np.float32)


def _grid(n: int) -> Floats:
    line = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / n
    places = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    return np.asarray(places.reshape(-1, 2), dtype=np.float32)


def _placed(laid: Laid, points: Floats) -> Floats:
    """(P, N, 2) where points (N, 2) lie on the other."""
    return np.asarray(points @ laid.matrix.transpose(0, 2, 1) + laid.shift[:, None])


def _sampled(
    one: Floats, other: Floats, laid: Laid, points: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Both pictures' values at points of the first, (P, N, C), and which points both have."""
    on = _placed(laid, points)
    mine = _bilinear(one, np.broadcast_to(points, (len(one), *points.shape)))
    return mine, _bilinear(other, on), _inside(on)


def _inside(places: Floats) -> NDArray[np.bool_]:
    return np.asarray(((places >= 0) & (places <= 1)).all(2))


def _bilinear(pictures: Floats, at: Floats) -> Floats:
    """The values of pictures (P, S, S, C) at places (P, N, 2) in 0 to 1, (P, N, C)."""
    side = pictures.shape[1]
    place = np.clip(at * side - np.float32(0.5), 0, side - 1.001)
    corner = place.astype(np.intp)
    down, across = np.moveaxis(place - corner, 2, 0)[..., None].astype(np.float32)
    flat = pictures.reshape(-1, pictures.shape[3])
    first = np.arange(len(pictures))[:, None] * side**2 + corner[..., 0] * side + corner[..., 1]
    above = flat[first] * (1 - across) + flat[first + 1] * across
    below = flat[first + side] * (1 - across) + flat[first + side + 1] * across
    return np.asarray(above * (1 - down) + below * down)


def _normalised(
    mine: Floats, its: Floats, inside: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Values less their mean by their deviation where `inside`; the second's 1 / deviation."""
    n = inside.sum(1).clip(1)[:, None]
    made = []
    for raw in (mine, its):
        values = raw - (raw * inside).sum(1)[:, None] / n
        spread = np.sqrt((values**2 * inside).sum(1)[:, None] / n).clip(1e-3)
        made.append((values / spread, 1 / spread[:, 0]))
    return made[0][0], made[1][0], made[1][1]


def _correlation(mine: Floats, its: Floats, inside: NDArray[np.bool_]) -> Floats:
    """(P,) over all channels together, as they are brighter and darker than the whole; rounded."""
    n = (inside.sum(1) * mine.shape[2]).clip(1)[:, None, None]
    a, b = (
        (x - (x * inside[..., None]).sum((1, 2), keepdims=True) / n) * inside[..., None]
        for x in (mine, its)
    )
    product = (a * b).sum((1, 2))
    size = np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2)))
    return np.asarray(np.round(product / size.clip(1e-6), 4))
