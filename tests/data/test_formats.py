"""Every format in every kind of pixel that it may hold, against values worked out by hand from the
formats' definitions.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.data.images.decode import UndecodableError, decode_image
from tests.factories import encode, png

WHITE, RED = [255, 255, 255], [255, 0, 0]
LOSSLESS = ("PNG", "BMP", "TIFF", "GIF", "WEBP")


def first(data: bytes) -> list[int]:
    """The upper left pixel, decoded."""
    pixel: list[int] = decode_image(data)[0, 0].tolist()
    return pixel


def lossless(kind: str) -> dict[str, Any]:
    return {"lossless": True} if kind == "WEBP" else {}


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("RGB", (255, 0, 0), RED), ("L", 77, [77] * 3), ("1", 1, WHITE), ("1", 0, [0, 0, 0])],
)
def test_colour_grey_and_bilevel(kind: str, mode: str, colour: Any, expected: list[int]) -> None:
    assert first(encode(Image.new(mode, (4, 4), colour), kind, **lossless(kind))) == expected


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_palettes(kind: str) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([1, 2, 3, 40, 50, 60])
    assert first(encode(image, kind)) == [40, 50, 60]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "RGBA"),
        ("PNG", "LA"),
        ("TIFF", "RGBA"),
        ("TIFF", "LA"),
        ("WEBP", "RGBA"),
        ("GIF", "RGBA"),
    ],
)
def test_what_is_transparent_is_white(kind: str, mode: str) -> None:
    invisible_black = (0, 0, 0, 0) if mode == "RGBA" else (0, 0)
    assert first(encode(Image.new(mode, (4, 4), invisible_black), kind, **lossless(kind))) == WHITE


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 7), ("RGB", (7, 8, 9)), ("I;16", 700), ("P", 0)]
)
def test_the_one_transparent_colour_of_a_png_is_white(mode: str, colour: Any) -> None:
    assert first(encode(Image.new(mode, (2, 2), colour), "PNG", transparency=colour)) == WHITE


def test_the_fourth_byte_of_a_plain_bmp_is_no_alpha() -> None:
    assert first(encode(Image.new("RGBA", (4, 4), (9, 8, 7, 0)), "BMP")) == [9, 8, 7]


@pytest.mark.parametrize(
    ("photometric", "expected"),
    [(0, [255 - 0x80] * 3), (1, [0x80] * 3)],
    ids=["white is zero", "black is zero"],
)
@pytest.mark.parametrize(("bits", "value"), [(8, b"\x80"), (16, b"\xff\x80")])
def test_grey_tiffs_either_way_round(
    bits: int, value: bytes, photometric: int, expected: list[int]
) -> None:
    assert first(tiff(bits, 1, photometric, value * 4)) == expected


def test_sixteen_bit_colour_of_a_tiff_keeps_the_high_byte() -> None:
    assert first(tiff(16, 3, 2, struct.pack("<3H", 0x80FF, 0x00FF, 0xFF00) * 4)) == [0x80, 0, 0xFF]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_white_and_black_ink(kind: str) -> None:
    white, black = (
        decode_image(encode(Image.new("CMYK", (16, 16), (0, 0, 0, ink)), kind)) for ink in (0, 255)
    )
    assert white.min() >= 253
    assert black.max() <= 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_several_frames_or_pages_the_first(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {**lossless(kind), **({"compression": "tiff_lzw"} if kind == "TIFF" else {})}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.abs(np.array(first(data)) - RED).max() <= 1  # an MPO is a JPEG


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bits_are_refused_with_the_reason(mode: str) -> None:
    with pytest.raises(UndecodableError, match="32 bits a channel have no defined range"):
        decode_image(encode(Image.new(mode, (2, 2)), "TIFF"))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "1", "P", "I;16"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (8, 8), (17, 9)])
def test_a_black_png_is_a_picture(mode: str, shape: tuple[int, int]) -> None:
    assert decode_image(encode(Image.new(mode, shape), "PNG")).shape == (shape[1], shape[0], 3)


@pytest.mark.parametrize("side", [1, 2, 5, 8, 13])
def test_a_black_interlaced_png_is_a_picture(side: int) -> None:
    """The seven passes as the PNG specification counts them: pixels (x, y) by the 8 x 8 pattern of
    section 8.2.
    """
    pattern = [
        [1, 6, 4, 6, 2, 6, 4, 6],
        [7] * 8,
        [5, 6] * 4,
        [7] * 8,
        [3, 6, 4, 6, 3, 6, 4, 6],
        [7] * 8,
        [5, 6] * 4,
        [7] * 8,
    ]
    rows = b""
    for number in range(1, 8):
        for y in range(side):
            pixels = sum(pattern[y % 8][x % 8] == number for x in range(side))
            rows += bytes(1 + pixels) if pixels else b""
    assert decode_image(png(side, side, rows, interlaced=True)).shape == (side, side, 3)
    with pytest.raises(UndecodableError, match="truncated"):
        decode_image(png(side, side, rows[:-1], interlaced=True))


def tiff(bits: int, channels: int, photometric: int, data: bytes, *, side: int = 2) -> bytes:
    """A little-endian TIFF of one uncompressed strip, `side` pixels square, written by hand from
    TIFF 6.0.
    """
    entries = 9
    per_channel = struct.pack(f"<{channels}H", *[bits] * channels)
    place = 8 + 2 + 12 * entries + 4
    tags = [
        (256, 1, side),
        (257, 1, side),
        (258, channels, place if channels > 2 else bits),
        (259, 1, 1),
        (262, 1, photometric),
        (273, 1, place + len(per_channel)),
        (277, 1, channels),
        (278, 1, side),
        (279, 1, len(data)),
    ]
    fields = b"".join(struct.pack("<HHII", tag, 3, count, value) for tag, count, value in tags)
    return (
        b"II*\0"
        + struct.pack("<IH", 8, entries)
        + fields
        + struct.pack("<I", 0)
        + per_channel
        + data
    )
