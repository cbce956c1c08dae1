"""Decoding against Pillow and by hand; geometry against Pillow and torchvision's rules."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from study.core.errors import ConfigError
from study.core.records import Geometry
from study.data.images.decode import (
    MAX_PIXELS,
    UndecodableError,
    UnreadableError,
    decode_image,
    pixel_digest,
)
from study.data.images.geometry import check_geometry, fit_geometry
from tests.factories import encode, picture


def photograph(size: int = 64) -> Image.Image:
    return Image.fromarray(picture(0, size=size, seed=3))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    image = photograph()
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode(image, kind, **options)), np.asarray(image))


def test_jpeg_is_what_pillow_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "named.png"  # the name's suffix does not matter
    path.write_bytes(encode(photograph(), "JPEG", quality=80))
    with Image.open(path) as image:
        np.testing.assert_array_equal(decode_image(path), np.asarray(image.convert("RGB")))


def test_grey_bilevel_and_palette_become_rgb() -> None:
    grey = photograph().convert("L")
    np.testing.assert_array_equal(
        decode_image(encode(grey, "PNG")), np.stack([np.asarray(grey)] * 3, axis=2)
    )
    bilevel = grey.point(lambda v: 255 * (v > 128), mode="1")
    assert set(np.unique(decode_image(encode(bilevel, "PNG")))) == {0, 255}
    palette = photograph().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    np.testing.assert_array_equal(
        decode_image(encode(palette, "PNG")), np.asarray(palette.convert("RGB"))
    )


def test_alpha_is_composited_over_white() -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = (255, 0, 128)  # opaque black, invisible black, half black
    decoded = decode_image(encode(Image.fromarray(pixels, "RGBA"), "PNG"))
    assert decoded[0, :, 0].tolist() == [0, 255, 127]
    grey_alpha = Image.new("LA", (2, 2), (10, 0))
    assert (decode_image(encode(grey_alpha, "PNG")) == 255).all()


def test_transparent_colour_of_a_palette_is_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    assert decode_image(encode(palette, "PNG", transparency=1)).tolist() == [
        [[10, 20, 30], [255, 255, 255]]
    ]


def test_sixteen_bits_keep_the_high_byte() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        decoded = decode_image(encode(Image.fromarray(values), kind))
        assert decoded[0, :, 1].tolist() == [0, 0, 1, 128, 255]
    assert decode_image(_png_16_bit_rgb(0x80FF))[0, 0].tolist() == [0x80] * 3


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bits_are_refused(mode: str) -> None:
    with pytest.raises(UndecodableError, match="32 bits"):
        decode_image(encode(Image.new(mode, (4, 4), 7), "TIFF"))


def test_cmyk_by_its_formula() -> None:
    colours = np.array(
        [[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0], [0, 128, 0, 64]]], dtype=np.uint8
    )
    decoded = decode_image(
        encode(Image.fromarray(np.repeat(np.repeat(colours, 16, 0), 16, 1), "CMYK"), "TIFF")
    )
    c, m, y, k = (colours[0, :, channel] / 255 for channel in range(4))
    expected = np.stack([255 * (1 - ink) * (1 - k) for ink in (c, m, y)], axis=1)
    assert np.abs(decoded[8, 8::16].astype(float) - expected).max() <= 1


def test_inverted_cmyk_of_adobe_is_not_negative() -> None:
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    # Pillow writes CMYK JPEGs with Adobe's marker, inverted
    assert decode_image(encode(white, "JPEG")).min() > 250


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:16, :32] = 255  # bright corner, upper left as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(Image.fromarray(pixels), kind, exif=exif))
    # Where row 0 and column 0 of the stored picture are shown, from the EXIF standard.
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    assert decoded.shape == ((32, 64, 3) if orientation <= 4 else (64, 32, 3))
    height, width = decoded.shape[:2]
    row = height // 4 if corner[0] == "t" else 3 * height // 4
    column = width // 4 if corner[1] == "l" else 3 * width // 4
    assert decoded[row, column].min() > 240
    assert decoded[height - 1 - row, width - 1 - column].max() < 15


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_counts_as_upright() -> None:
    image = photograph()
    data = encode(image, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff", quality=90)
    np.testing.assert_array_equal(
        decode_image(data), decode_image(encode(image, "JPEG", quality=90))
    )


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode_image(data)[4, 4].tolist() == [255, 0, 0]


def test_colour_profile_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    image = photograph()
    np.testing.assert_array_equal(
        decode_image(encode(image, "PNG", icc_profile=profile)), np.asarray(image)
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files_are_errors_and_never_pictures(kind: str, share: float) -> None:
    data = encode(photograph(), kind)
    with pytest.raises(UndecodableError) as error:
        decode_image(data[: int(len(data) * share)])
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)


def test_truncated_progressive_jpeg_is_an_error_whatever_another_library_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(photograph(), "JPEG", progressive=True, quality=90)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UndecodableError, match="truncated"):
        decode_image(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is no image", "not a JPEG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "."),
        (b"%!PS-Adobe-3.0 EPSF", "not a JPEG"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError, match=reason):
        decode_image(data)


def test_missing_and_unreadable_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(UndecodableError, match="file is missing"):
        decode_image(tmp_path / "absent.png")
    with pytest.raises(UndecodableError, match="cannot be read: Is a directory"):
        decode_image(tmp_path)


def test_decompression_bomb_is_refused_from_its_header() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(UndecodableError, match=f"{side} x {side} pixels are more than"):
        decode_image(_png(side, side, bit_depth=8, colour_type=0, data=b""))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then refuses
def test_fuzzed_bytes_raise_nothing_but_the_reason() -> None:
    rng = np.random.default_rng(5)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
        original = np.frombuffer(encode(photograph(24), kind), dtype=np.uint8)
        for _ in range(40):
            data = original.copy()
            data[rng.integers(0, len(data), 6)] = rng.integers(0, 256, 6)
            try:
                decoded = decode_image(data.tobytes())
            except UndecodableError as error:
                assert "\n" not in str(error)
            else:
                assert decoded.dtype == np.uint8
                assert decoded.shape[2] == 3


def test_pixel_digest_is_of_the_picture_and_not_of_the_file() -> None:
    image = photograph()
    same = {pixel_digest(decode_image(encode(image, kind))) for kind in ("PNG", "BMP", "TIFF")}
    assert len(same) == 1
    changed = np.array(image)
    changed[0, 0, 0] ^= 1
    assert pixel_digest(changed) not in same
    assert pixel_digest(np.zeros((2, 6, 3), np.uint8)) != pixel_digest(
        np.zeros((6, 2, 3), np.uint8)
    )


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(50, 80), (224, 224), (300, 257), (31, 20)])
def test_squash_is_pillows_resize(shape: tuple[int, int], interpolation: Any) -> None:
    image = _random(shape)
    resample = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(image).resize((48, 48), resample))
    geometry = Geometry(size_px=48, mode="squash", interpolation=interpolation)
    np.testing.assert_array_equal(fit_geometry(image, geometry), expected)


@pytest.mark.parametrize("shape", [(50, 80), (224, 224), (300, 257), (31, 20), (64, 1000)])
def test_resize_crop_is_torchvisions(shape: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms.functional")
    image = _random(shape)
    resized = transforms.resize(
        Image.fromarray(image), 64, interpolation=transforms.InterpolationMode.BICUBIC
    )
    expected = np.asarray(transforms.center_crop(resized, [56, 56]))
    np.testing.assert_array_equal(
        fit_geometry(image, Geometry(size_px=56, mode="resize_crop", resize_px=64)), expected
    )


def test_crop_never_resizes() -> None:
    image = _random((40, 61))
    np.testing.assert_array_equal(
        fit_geometry(image, Geometry(size_px=33, mode="crop")), image[4:37, 14:47]
    )


def test_crop_continues_small_images_by_reflection() -> None:
    image = _random((3, 4))
    expected = np.pad(image, [(1, 2), (1, 1), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(fit_geometry(image, Geometry(size_px=6, mode="crop")), expected)
    assert fit_geometry(_random((1, 1)), Geometry(size_px=8, mode="crop")).shape == (8, 8, 3)
    larger = fit_geometry(_random((5, 90)), Geometry(size_px=32, mode="crop"))
    assert larger.shape == (32, 32, 3)
    assert larger.flags.c_contiguous


def test_an_elongated_image_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(UndecodableError, match="too elongated"):
        fit_geometry(
            np.zeros((1, 5000, 3), np.uint8),
            Geometry(size_px=224, mode="resize_crop", resize_px=256),
        )


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(size_px=0, mode="crop"),
        Geometry(size_px=64, mode="resize_crop"),
        Geometry(size_px=64, mode="resize_crop", resize_px=32),
        Geometry(size_px=64, mode="stretch"),  # type: ignore[arg-type]
        Geometry(size_px=64, mode="squash", interpolation="nearest"),  # type: ignore[arg-type]
    ],
)
def test_impossible_geometries_are_refused(geometry: Geometry) -> None:
    with pytest.raises(ConfigError):
        check_geometry(geometry)


def _random(shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(shape).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _png(width: int, height: int, *, bit_depth: int, colour_type: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def _png_16_bit_rgb(value: int) -> bytes:
    return _png(
        1, 1, bit_depth=16, colour_type=2, data=b"\0" + struct.pack(">HHH", value, value, value)
    )


def chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Kind, start and end of the content of a PNG's chunks."""
    found, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        found.append((data[place + 4 : place + 8], place + 8, place + 8 + length))
        place += length + 12
    return found


@pytest.mark.parametrize("damage", ["zero tail", "one bit", "checksum"])
def test_a_png_whose_checksum_is_wrong_is_refused(damage: str) -> None:
    """Noise stored without compression: zlib itself notices nothing before its end."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encode(Image.fromarray(noise), "PNG", compress_level=0))
    np.testing.assert_array_equal(decode_image(bytes(data)), noise)
    start, end = next((start, end) for kind, start, end in chunks(data) if kind == b"IDAT")
    if damage == "zero tail":
        data[end - 64 :] = bytes(len(data) - end + 64)
    else:
        data[end if damage == "checksum" else (start + end) // 2] ^= 1
    with pytest.raises(UndecodableError, match=r"checksum|broken|truncated"):
        decode_image(bytes(data))


def test_a_text_after_the_pixels_may_be_damaged() -> None:
    """Nothing of a picture depends on it."""
    data = encode(photograph(), "PNG")
    end = chunks(data)[-1][1] - 8
    text = struct.pack(">I", 3) + b"tEXt" + b"a\0b" + b"\0\0\0\0"
    np.testing.assert_array_equal(
        decode_image(data[:end] + text + data[end:]), np.asarray(photograph())
    )


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory error when reading image file")]
)
def test_too_little_memory_says_nothing_about_the_image(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(UnreadableError, match="memory"):
        decode_image(encode(photograph(), "BMP"))
