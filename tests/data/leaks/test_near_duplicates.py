"""Near duplicates: one picture is found in other encodings, cropped, turned, padded; other pictures
are not, and the search looks at all that it says it does.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from study.data.leaks import near_duplicates as library
from study.data.leaks.near_duplicates import BITS, FIRST_BIT, near_duplicates, nearest
from study.data.leaks.patches import RADIUS, SCALES, SIDE, TURNS, patches
from study.data.leaks.prints import Prints, parts, prints_of, without_border
from study.data.leaks.register import Laid, first_guess, luma, refined
from tests.data.leaks.pictures import aligned_face, scene

Pixels = NDArray[np.uint8]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(
    pixels: Pixels, factor: float, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    height, width = (round(side * factor) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), how))


def crop(pixels: Pixels, share: float, down: float = 0.3, across: float = 0.9) -> Pixels:
    """A window of a share of each side. down, across: where in what is left, 0 to 1."""
    side = round(len(pixels) * share)
    top, left = (round((len(pixels) - side) * where) for where in (down, across))
    return pixels[top : top + side, left : left + side]


def padded(pixels: Pixels, level: int, down: int, across: int) -> Pixels:
    widths = ((down, down), (across, across), (0, 0))
    return np.pad(pixels, widths, constant_values=level)


def barred(pixels: Pixels, n: int) -> Pixels:
    made = pixels.copy()
    made[:n] = made[-n:] = 0
    return made


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None], 3, axis=2)


def prints(images: list[Pixels]) -> Prints:
    return prints_of([parts(image) for image in images])


def all_pairs(i: NDArray[np.intp], _: NDArray[np.intp]) -> NDArray[np.bool_]:
    return np.ones(len(i), dtype=np.bool_)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg 90": lambda p: jpeg(p, 90),
    "jpeg 40": lambda p: jpeg(p, 40),
    "half": lambda p: resized(p, 0.5),
    "a third, bilinear": lambda p: resized(p, 1 / 3, Image.Resampling.BILINEAR),
    "enlarged": lambda p: resized(p, 1.7),
    "half, then jpeg 75": lambda p: jpeg(resized(p, 0.5), 75),
    "mirrored": lambda p: p[:, ::-1],
    "mirrored, then jpeg 60": lambda p: jpeg(p[:, ::-1], 60),
    "upside down": lambda p: p[::-1],
    "a quarter turn": np.rot90,
    "three quarters, then half": lambda p: resized(np.rot90(p, 3), 0.5),
    "grey": grey,
    "crop of 90 %": lambda p: crop(p, 0.9),
    "crop of 80 %": lambda p: crop(p, 0.8),
    "crop of 80 %, back to size": lambda p: resized(crop(p, 0.8), 1.25),
    "crop of 80 %, turned, grey, then jpeg 75": lambda p: jpeg(grey(np.rot90(crop(p, 0.8))), 75),
    "padded, black": lambda p: padded(p, 0, 10, 10),
    "padded, white, then jpeg 75": lambda p: jpeg(padded(p, 255, 25, 25), 75),
    "bars above and below": lambda p: padded(p, 0, 13, 0),
    "bars over it": lambda p: barred(p, 9),
}


@pytest.mark.parametrize(
    ("change", "size"),
    [(change, 96) for change in CHANGES]
    + [(change, 32) for change in ("jpeg 90", "half", "enlarged", "mirrored", "crop of 90 %")],
)
def test_a_picture_is_found_however_it_is_saved_and_no_other_is(change: str, size: int) -> None:
    originals = prints([scene(seed, size) for seed in range(60)])
    copies = prints([CHANGES[change](scene(seed, size)) for seed in range(30, 60)])
    for one, other in ((copies, originals), (originals, copies)):  # a crop in it, and it in a crop
        i, j, _ = near_duplicates(one, other, all_pairs)
        assert (np.abs(j - i) == 30).all()
        assert len(set(i.tolist())) >= 29  # of 30


def test_other_pictures_are_no_near_duplicates() -> None:
    images = prints([scene(seed, 32) for seed in range(500)])
    assert len(nearest(images, images, lambda a, b: a != b)[0]) == 0


def test_flat_and_dark_pictures_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    flat = [
        np.clip(level + rng.normal(0, 3, (64, 64, 3)), 0, 255).astype(np.uint8)
        for level in (0, 5, 128, 250, 255)
    ]
    found = prints([*flat, scene(0, 64)])
    assert set(found.picture.tolist()) == {5}
    assert nearest(found, found, all_pairs)[0].tolist() == [5]


def test_a_grey_copy_is_found_and_one_of_other_colours_or_sharpness_is_not() -> None:
    one = scene(3, 64)
    tinted = np.clip(one * np.array([1.6, 0.8, 0.3]), 0, 255).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(6)))
    images = prints([one, grey(one), tinted, blurred])
    i, j, _ = near_duplicates(images, images, lambda a, b: a < b)
    assert (0, 1) in set(zip(i.tolist(), j.tolist(), strict=True))
    assert not {(0, 2), (0, 3)} & set(zip(i.tolist(), j.tolist(), strict=True))


def test_every_patch_of_a_code_is_looked_up() -> None:
    images = prints([jpeg(scene(seed // 4, 48), 95 - 10 * (seed % 4)) for seed in range(80)])
    codes = library._codes(images.records)
    probes = library._probes(images.records)
    # the codes, by the definition: a bit a sign, and those that differ in the least certain ones
    shape = images.records["shape"][:, FIRST_BIT : FIRST_BIT + BITS].astype(int)
    for patch in range(0, len(codes), 50):
        bits = [int(value > 0) for value in shape[patch]]
        text = "".join(map(str, reversed(bits))) + str(int(images.records["light"][patch]))
        assert codes[patch] == int(text, 2)
        differing = np.bitwise_count(probes[patch] ^ codes[patch])
        assert sorted(differing.tolist()) == [0, 1, 1, 1, 2, 2, 2, 3]
        least = np.argsort(np.abs(shape[patch]), kind="stable")[: library.FLIPPED]
        assert np.bitwise_or.reduce(probes[patch] ^ codes[patch]) == sum(2 << int(b) for b in least)
    start, n = (lists := library._Lists(images)).look_up(probes.ravel())
    expected = [np.flatnonzero(codes == probe) for probe in probes.ravel()[:400].tolist()]
    found = np.split(lists.places(start[:400], n[:400]), np.cumsum(n[:400])[:-1])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    images = prints([jpeg(scene(seed // 3, 32), 95 - 10 * (seed % 3)) for seed in range(90)])
    whole = nearest(images, images, lambda i, j: i != j)
    for name in ("BLOCK", "PICTURES", "LAID"):
        monkeypatch.setattr(library, name, 7)
    parted = nearest(images, images, lambda i, j: i != j)
    for a, b in zip(whole, parted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(whole[0]) == 90


def test_a_patch_is_the_textbooks_transform_of_its_square() -> None:
    """The cosine transform by its definition, term by term, of a picture whose blob is known."""
    y, x = np.mgrid[:SIDE, :SIDE]
    square = 60 + 150 * np.exp(-((y - 30) ** 2 + (x - 34) ** 2) / 18) + 0.7 * x + 0.3 * y
    found = patches(square[None].astype(np.uint8), 0)
    (place,) = np.flatnonzero((found.records["y"] == 30) & (found.records["x"] == 34))
    assert found.records["light"][place] == 1
    assert found.records["turn"][place] == 0  # it is brighter to the right and below already
    n = RADIUS + 1
    basis = np.cos(np.pi * (2 * np.arange(n)[None] + 1) * np.arange(n)[:, None] / (2 * n))
    basis *= np.sqrt(np.where(np.arange(n)[:, None], 2, 1) / n)
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(square.astype(np.uint8).astype(float), 1.2, truncate=2.5)
    at = np.arange(-RADIUS, RADIUS + 1, 2)
    cut = smooth[30 + at][:, 34 + at]
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * (RADIUS * 2 / 3) ** 2))
    window /= window.sum()
    table = basis @ ((cut - (cut * window).sum()) * np.sqrt(window)) @ basis.T
    lowest = sorted(
        ((u, v) for u in range(9) for v in range(9) if u or v),
        key=lambda f: (f[0] ** 2 + f[1] ** 2, f),
    )[:32]
    expected = np.array([table[u, v] * np.hypot(u, v) for u, v in lowest])
    expected *= 127 / np.linalg.norm(expected)
    assert np.abs(found.records["shape"][place] - expected).max() <= 1


@pytest.mark.parametrize("turn", range(8))
def test_turned_pictures_have_the_same_patches(turn: int) -> None:
    one = scene(5, SIDE)[:, :, 0]
    other = np.ascontiguousarray(np.rot90(one[:, ::-1] if turn & 4 else one, turn % 4))
    a, b = (patches(p[None], 0).records for p in (one, other))
    likest = a["shape"].astype(int) @ b["shape"].astype(int).T
    partner = likest.argmax(axis=1)
    assert (np.sort(partner) == np.arange(len(a))).all()
    assert (likest.max(axis=1) / 127**2 > 0.98).all()
    matrices = TURNS[b["turn"][partner]] @ TURNS[a["turn"]].transpose(0, 2, 1)
    assert (matrices == matrices[0]).all()  # and each says how it was turned
    centre = (SIDE - 1) / 2
    at, its = (np.stack([r["y"], r["x"]], axis=1) - centre for r in (a, b[partner]))
    np.testing.assert_allclose(at @ matrices[0].T, its)


def test_a_crop_is_laid_where_it_was_cut() -> None:
    one = scene(11, 200)
    small = one[30:190, 10:170]
    a, b = prints([small]), prints([one])
    likest = a.records["shape"].astype(int) @ b.records["shape"].astype(int).T
    allowed = (a.records["scale"][:, None] == 0) & (b.records["scale"][None] == len(SCALES) - 1)
    mine, its = np.unravel_index(np.where(allowed, likest, 0).argmax(), likest.shape)
    laid = first_guess(a, b, np.array([mine]), np.array([its]))
    nothing = np.zeros(1, dtype=np.intp)
    for found, error in (
        (laid, 0.03),
        (refined(luma(a, nothing), luma(b, nothing), laid), 0.004),
    ):
        np.testing.assert_allclose(found.matrix[0], np.diag([0.8, 0.8]), atol=error)
        np.testing.assert_allclose(found.shift[0], [30 / 200, 10 / 200], atol=error)
    assert isinstance(laid, Laid)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_border_of_one_colour_is_left_out(level: int) -> None:
    one = scene(8, 96)
    for pixels, most in ((padded(one, level, 12, 20), 1), (jpeg(padded(one, level, 16, 8), 80), 3)):
        inner = without_border(pixels)
        assert all(96 - 2 * most <= side <= 96 + 2 * most for side in inner.shape[:2])
    np.testing.assert_array_equal(without_border(one), one)
    twice = padded(padded(one, level, 9, 9), 255 - level, 7, 7)  # a border within a border
    assert all(92 <= side <= 96 for side in without_border(twice).shape[:2])
    flat = np.full((40, 50, 3), level, dtype=np.uint8)
    assert without_border(flat).shape == flat.shape


def test_a_mirrored_repeat_within_a_set_is_told_of_the_later_one() -> None:
    one = scene(5, 64)
    both = prints([np.ascontiguousarray(one[:, ::-1]), one, scene(6, 64)])
    i, j, correlation = nearest(both, both, lambda a, b: b < a)
    assert (i.tolist(), j.tolist()) == ([1], [0]) and correlation[0] > 0.999


def test_small_crops_and_other_turns_are_beyond_it() -> None:
    """The limit that the tables state: were this to change, so must their sentence."""
    images = [scene(seed, 96) for seed in range(20)]
    turned = [
        np.asarray(Image.fromarray(p).rotate(25, Image.Resampling.BICUBIC))[20:76, 20:76]
        for p in images
    ]
    halves = [p[24:72, 24:72] for p in images]
    assert len(nearest(prints(turned + halves), prints(images), all_pairs)[0]) <= 2


def test_many_pictures_of_one_layout_cost_no_more_than_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of one picture at most so many patches and others are looked at: copies come first."""
    monkeypatch.setattr(library, "LOOK_UPS", 300)
    monkeypatch.setattr(library, "PER_PICTURE", 4)
    faces = [aligned_face(seed, 48) for seed in range(300)]
    held = prints(faces)
    copies = prints([jpeg(face[:, ::-1], 85) for face in faces[:60]])
    i, j, _ = nearest(copies, held, all_pairs)
    assert (i == j).all() and len(i) >= 57


def test_nothing_among_nothing() -> None:
    nothing, one = prints_of([]), prints([scene(1)])
    for a, b in ((nothing, one), (one, nothing), (nothing, nothing)):
        assert [len(column) for column in nearest(a, b, all_pairs)] == [0, 0, 0]
