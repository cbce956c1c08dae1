"""Plain JPEG files against Pillow: the same pixels, and nothing that Pillow refuses."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from study.data.images.decode import MAX_PIXELS, UndecodableError, decode_image
from study.data.images.plain_jpeg import decode_plain_jpeg, plain_jpeg_size
from tests.factories import encode, picture

SHARED = Path(__file__).parents[4] / "shared" / "data"


def by_pillow(data: bytes) -> NDArray[np.uint8] | None:
    """The pixels, None where Pillow refuses."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except Exception:  # its plugins raise OSError, SyntaxError, struct.error and more
        return None


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (33, 17), (64, 50)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_encoding_has_the_pixels_of_pillow(size: tuple[int, int], mode: str) -> None:
    choices = itertools.product((1, 50, 90, 100), (0, 1, 2), (False, True), (0, 3))
    for quality, sampling, progressive, restart in choices:
        options: dict[str, Any] = {"quality": quality, "progressive": progressive}
        options |= {"restart_marker_blocks": restart} if restart else {}
        options |= {"subsampling": sampling} if mode == "RGB" else {}
        for image in (noise(*size, seed=quality), Image.fromarray(picture(0, size=64, seed=3))):
            data = encode(image.resize(size).convert(mode), "JPEG", **options)
            assert plain_jpeg_size(data) == size
            decoded = decode_plain_jpeg(data)
            assert decoded is not None
            np.testing.assert_array_equal(decoded, by_pillow(data))


def test_comments_and_colour_profiles_leave_a_file_plain() -> None:
    data = encode(noise(9, 9, 0), "JPEG", comment=b"by hand", icc_profile=b"p" * 70_000)
    assert plain_jpeg_size(data) == (9, 9)
    np.testing.assert_array_equal(decode_image(data), by_pillow(data))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("CMYK", {}),
        ("RGB", {"exif": b"Exif\0\0II*\0\10\0\0\0\1\0\22\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}),
        ("RGB", {"xmp": b"<x:xmpmeta/>"}),
        ("RGB", {"qtables": [[300] * 64, [300] * 64]}),  # of 16 bits
    ],
)
def test_what_is_not_plain_is_left_to_pillow(mode: str, options: dict[str, Any]) -> None:
    assert plain_jpeg_size(encode(noise(8, 8, 0).convert(mode), "JPEG", **options)) is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_files_are_not_plain(kind: str) -> None:
    assert plain_jpeg_size(encode(noise(8, 8, 0), kind)) is None
    assert plain_jpeg_size(b"") is None


def test_a_header_of_too_many_pixels_is_refused_before_memory_is_taken() -> None:
    data = bytearray(encode(noise(8, 8, 0), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = b"\xff\xff\xff\xff"
    assert plain_jpeg_size(bytes(data)) == (65_535, 65_535)
    with pytest.raises(UndecodableError, match=f"65535 x 65535 pixels are more than {MAX_PIXELS}"):
        decode_image(bytes(data))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then refuses
def test_damaged_files_are_what_pillow_makes_of_them() -> None:
    rng = np.random.default_rng(0)
    accepted = 0
    for number in range(3000):
        if number % 50 == 0:
            size = rng.integers(1, 40, 2)
            options = {"quality": int(rng.integers(5, 100)), "progressive": bool(rng.integers(2))}
            whole = encode(noise(*size, seed=number), "JPEG", **options)
        data = damaged(whole, rng)
        size = plain_jpeg_size(data)
        if size is None or size[0] * size[1] > 1 << 20:
            continue
        decoded = decode_plain_jpeg(data)
        if decoded is not None:
            accepted += 1
            assert decoded.shape == (size[1], size[0], 3)
            np.testing.assert_array_equal(decoded, by_pillow(data))
    assert accepted > 200


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip a bit, set, remove or insert bytes, or cut the end; mostly in the header."""
    changed = bytearray(data)
    end = data.index(b"\xff\xda") + 14 if rng.random() < 0.7 else len(data)
    for _ in range(rng.integers(1, 4)):
        at, some = int(rng.integers(end)), int(rng.integers(1, 5))
        at = min(at, len(changed) - 1)
        match rng.integers(5):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                changed[at] = int(rng.integers(256))
            case 2:
                del changed[at : at + some]
            case 3:
                changed[at:at] = rng.bytes(some)
            case _:
                del changed[len(changed) - 4 * some :]
    return bytes(changed)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real datasets are not in ../shared/data")
def test_real_photographs_have_the_pixels_of_pillow() -> None:
    files = sorted(SHARED.rglob("*.jpg"))[::40]
    plain = [data for data in (file.read_bytes() for file in files) if plain_jpeg_size(data)]
    assert len(plain) > len(files) / 2
    for data in plain:
        np.testing.assert_array_equal(decode_plain_jpeg(data), by_pillow(data))
