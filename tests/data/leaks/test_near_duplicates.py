"""Near duplicates: the search misses nothing that comparing every pair would find, and finds one
picture in other encodings.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from study.data.leaks.near_duplicates import LEAST_CORRELATION, MOST_BITS, candidates, nearest
from study.data.leaks.perceptual_hashes import FLAT_BELOW, PerceptualHashes, coarse, hashes_of

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


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(
    pixels: Pixels, factor: float, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    side = round(pixels.shape[0] * factor)
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))


def hashes(images: list[Pixels]) -> PerceptualHashes:
    return hashes_of(np.stack([coarse(image) for image in images]))


def all_pairs(i: NDArray[np.intp], _: NDArray[np.intp]) -> NDArray[np.bool_]:
    return np.ones(len(i), dtype=np.bool_)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg 90": lambda p: jpeg(p, 90),
    "jpeg 40": lambda p: jpeg(p, 40),
    "half": lambda p: resized(p, 0.5),
    "a third, bilinear": lambda p: resized(p, 1 / 3, Image.Resampling.BILINEAR),
    "enlarged": lambda p: resized(p, 1.7),
    "mirrored": lambda p: p[:, ::-1],
    "mirrored, then jpeg 60": lambda p: jpeg(np.ascontiguousarray(p[:, ::-1]), 60),
    "mirrored, then half": lambda p: resized(np.ascontiguousarray(p[:, ::-1]), 0.5),
    "half, then jpeg 75": lambda p: jpeg(resized(p, 0.5), 75),
}


@pytest.mark.parametrize(
    ("change", "size"),
    [(change, 96) for change in CHANGES]
    + [(change, 32) for change in ("jpeg 90", "half", "enlarged")],
)
def test_a_picture_is_found_in_another_encoding_and_no_other_is(change: str, size: int) -> None:
    originals = hashes([scene(seed, size) for seed in range(60)])
    copies = hashes([CHANGES[change](scene(seed, size)) for seed in range(30, 60)])
    i, j, bits, alike = nearest(copies, originals, all_pairs)
    assert (j == i + 30).all()
    assert len(i) >= 29  # of 30
    assert bits.max() <= MOST_BITS
    assert alike.min() >= LEAST_CORRELATION


def test_other_pictures_are_no_near_duplicates() -> None:
    images = hashes([scene(seed, 32) for seed in range(500)])
    i, _, _, _ = nearest(images, images, lambda a, b: a != b)
    assert len(i) == 0


def test_flat_and_dark_pictures_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    flat = [
        np.clip(level + rng.normal(0, 3, (64, 64, 3)), 0, 255).astype(np.uint8)
        for level in (0, 5, 128, 250, 255)
    ]
    found = hashes([*flat, scene(0, 64)])
    assert found.flat.tolist() == [True] * 5 + [False]
    assert found.thumbnail[:5].reshape(5, -1).std(axis=1).max() < FLAT_BELOW
    assert nearest(found, found, all_pairs)[0].tolist() == [5]


def test_what_the_hash_confuses_the_thumbnail_tells_apart() -> None:
    """Low frequencies that agree in sign and order give one hash; colour and contrast differ."""
    one = scene(3, 64)
    grey = np.repeat(np.asarray(Image.fromarray(one).convert("L"))[:, :, None], 3, axis=2)
    blurred = np.asarray(Image.fromarray(scene(4, 64)).filter(ImageFilter.GaussianBlur(1)))
    images = hashes([one, grey, blurred])
    assert int(np.bitwise_count(images.hash[0] ^ images.hash[1])) <= MOST_BITS
    assert nearest(images, images, lambda i, j: i != j)[0].tolist() == []


@pytest.mark.parametrize("clustered", [False, True])
def test_search_finds_every_pair_that_comparing_all_finds(clustered: bool) -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(0, 2**63, 8 if clustered else 1500, dtype=np.uint64) * np.uint64(2)
    hashes = rng.choice(base, 1500)
    for _ in range(5):  # up to five flipped bits, in any band
        hashes ^= np.uint64(1) << rng.integers(0, 64, 1500, dtype=np.uint64)
    left, right = hashes[:700], hashes[700:]
    expected = np.argwhere(np.bitwise_count(left[:, None] ^ right[None]) <= MOST_BITS)
    found = list(candidates(left, right))
    pairs = np.concatenate([np.stack([i, j], axis=1) for i, j, _ in found])
    bits = np.concatenate([b for _, _, b in found])
    # in the same order: by the first place, then the second
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_array_equal(bits, [int(left[i] ^ right[j]).bit_count() for i, j in pairs])
    assert len(expected) > (5_000 if clustered else 30)


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    images = hashes([jpeg(scene(seed // 3, 32), 95 - 10 * (seed % 3)) for seed in range(90)])
    whole = nearest(images, images, lambda i, j: i != j)
    monkeypatch.setattr("study.data.leaks.near_duplicates.BLOCK", 3)
    parts = nearest(images, images, lambda i, j: i != j)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(whole[0]) == 90


def test_hash_is_the_textbook_one() -> None:
    """One hash by the definition of the DCT, term by term."""
    image = scene(7, 32)
    grey = image.astype(np.float64) @ [0.299, 0.587, 0.114]
    x = np.arange(32)
    basis = np.cos(np.pi * (2 * x[None] + 1) * np.arange(8)[:, None] / 64) * np.sqrt(2 / 32)
    basis[0] /= np.sqrt(2)
    low = (basis @ grey @ basis.T).ravel()
    expected = int("".join("1" if value > np.median(low[1:]) else "0" for value in low), 2)
    assert int(hashes([image]).hash[0]) == expected


# boxes of one and a half pixels are not symmetric
@pytest.mark.parametrize(("size", "most"), [(32, 0), (96, 0), (48, 3)])
def test_the_mirrors_hash_is_that_of_the_mirrored_picture(size: int, most: int) -> None:
    images = [scene(seed, size) for seed in range(40)]
    turned = hashes([np.ascontiguousarray(image[:, ::-1]) for image in images])
    own = hashes(images)
    assert int(np.bitwise_count(own.mirror ^ turned.hash).max()) <= most
    if not most:
        np.testing.assert_array_equal(own.mirrored().thumbnail, turned.thumbnail)
    assert (own.mirror != own.hash).all()


def test_a_mirrored_repeat_within_a_set_is_told_of_the_later_one() -> None:
    one = scene(5, 64)
    both = hashes([np.ascontiguousarray(one[:, ::-1]), one, scene(6, 64)])
    i, j, bits, _ = nearest(both, both, lambda a, b: b < a)
    assert (i.tolist(), j.tolist(), bits.tolist()) == ([1], [0], [0])


def test_cropped_and_rotated_copies_are_beyond_it() -> None:
    """The limit that the tables state: were this to change, so must their sentence."""
    images = [scene(seed, 96) for seed in range(20)]
    changed = [np.rot90(image) for image in images] + [image[12:-12, 12:-12] for image in images]
    assert (
        len(
            nearest(hashes([np.ascontiguousarray(c) for c in changed]), hashes(images), all_pairs)[
                0
            ]
        )
        <= 2
    )


def test_nothing_among_nothing() -> None:
    nothing, one = hashes_of(np.zeros((0, 32, 32, 3), dtype=np.uint8)), hashes([scene(1)])
    for a, b in ((nothing, one), (one, nothing), (nothing, nothing)):
        assert [len(column) for column in nearest(a, b, all_pairs)] == [0, 0, 0, 0]
