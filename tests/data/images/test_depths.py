"""Files that Pillow refuses, or misreads, for what is not in their pixels: TIFF of any depth, PNG
with long texts and large profiles.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from study.data.audit.traits import read_traits
from study.data.catalog import Catalog, DataConfig
from study.data.decode import decode_image as formerly
from study.data.images.decode import (
    UndecodableError,
    decode_image,
    image_sha256,
    read_header,
)
from study.data.images.light_png import light_png
from tests.factories import encode, picture, write_dataset

WIDTH, HEIGHT = 13, 7  # no depth but 8 and 16 fills whole bytes


def packed(values: NDArray[np.int64], bits: int, order: str) -> list[bytes]:
    """Rows of samples without gaps between them, each row filled up to a byte."""
    rows = []
    for row in values.reshape(len(values), -1).tolist():
        if bits == 16:
            rows.append(struct.pack(f"{order}{len(row)}H", *row))
            continue
        text = "".join(format(value, f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return rows


def pack_bits(data: bytes) -> bytes:
    """PackBits, all of it literal."""
    parts = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


COMPRESSIONS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (1, bytes),
    "deflate": (8, zlib.compress),
    "packbits": (32773, pack_bits),
}


def tiff(
    values: NDArray[np.int64],
    bits: int,
    *,
    order: str = "<",
    white_is_zero: bool = False,
    compression: str = "none",
    per_strip: int = HEIGHT,
    **more: int,
) -> bytes:
    """A TIFF by the specification (TIFF 6.0, part 1), written by hand. values: (H, W) or (H, W, 3).
    more: tags as `t339=2`.
    """
    samples = values.shape[2] if values.ndim == 3 else 1
    number, compress = COMPRESSIONS[compression]
    rows = packed(values, bits, order)
    every = [rows[at : at + per_strip] for at in range(0, len(rows), per_strip)]
    strips = [compress(b"".join(strip)) for strip in every]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("L", [values.shape[1]]),
        257: ("L", [values.shape[0]]),
        258: ("H", [bits] * samples),
        259: ("H", [number]),
        262: ("H", [2 if samples == 3 else int(not white_is_zero)]),
        273: ("L", [8 + sum(map(len, strips[:at])) for at in range(len(strips))]),
        277: ("H", [samples]),
        278: ("L", [per_strip]),
        279: ("L", [len(strip) for strip in strips]),
        **{int(name[1:]): ("H", [value]) for name, value in more.items()},
    }
    body = b"".join(strips)
    start = 8 + len(body)
    table, behind = struct.pack(f"{order}H", len(tags)), b""
    for tag, (kind, numbers) in sorted(tags.items()):
        held = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        table += struct.pack(f"{order}HHL", tag, 3 if kind == "H" else 4, len(numbers))
        place = start + 2 + 12 * len(tags) + 4 + len(behind)
        table += held.ljust(4, b"\0") if len(held) <= 4 else struct.pack(f"{order}L", place)
        behind += held if len(held) > 4 else b""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}L", start) + body + table + bytes(4) + behind


def ramp(bits: int, *shape: int) -> NDArray[np.int64]:
    """Every part of the range, both ends included."""
    return np.linspace(0, 2**bits - 1, int(np.prod(shape))).round().astype(np.int64).reshape(shape)


def in_8_bits(values: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """By hand: the highest 8 bits, or the share of the largest value."""
    eight = values // 2 ** (bits - 8) if bits >= 8 else np.rint(values * 255 / (2**bits - 1))
    return eight.astype(np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", range(1, 17))
def test_grey_of_every_depth_fills_the_range(bits: int, white_is_zero: bool, order: str) -> None:
    values = ramp(bits, HEIGHT, WIDTH)
    pixels = decode_image(tiff(values, bits, order=order, white_is_zero=white_is_zero))
    expected = in_8_bits(values, bits)
    expected = 255 - expected if white_is_zero else expected
    assert (pixels == expected[:, :, None]).all() and pixels.shape == (HEIGHT, WIDTH, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("per_strip", [HEIGHT, 3, 1])
@pytest.mark.parametrize("bits", [5, 10, 12, 14])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)], ids=["grey", "RGB"])
def test_colours_strips_and_compressions(
    bits: int, per_strip: int, compression: str, shape: tuple[int, ...]
) -> None:
    values = ramp(bits, *shape)
    for order in ("<", ">"):
        data = tiff(values, bits, order=order, per_strip=per_strip, compression=compression)
        expected = in_8_bits(values, bits)
        assert (
            decode_image(data) == (expected if expected.ndim == 3 else expected[..., None])
        ).all()


def test_a_turned_one_is_upright_and_a_large_one_is_done_in_parts() -> None:
    values = ramp(12, HEIGHT, WIDTH)
    turned = decode_image(tiff(values, 12, t274=6))
    assert (turned[:, :, 0] == np.rot90(in_8_bits(values, 12), -1)).all()
    large = ramp(12, 2100, 2100)
    assert (decode_image(tiff(large, 12, per_strip=100))[:, :, 1] == in_8_bits(large, 12)).all()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"t339": 2}, "a TIFF of 12 bits a sample with a sign or a fraction; save it with 8"),
        ({"t317": 2}, "behind a predictor, or in reversed order; save it with 8 or 16"),
        (
            {"t322": 16},
            "in tiles, or compressed as a picture of other samples; save it with 8",
        ),
        ({"t262": 3}, "that are neither grey nor RGB, side by side; save it with 8 or 16"),
    ],
)
def test_what_is_not_read_is_refused_with_a_remedy(more: dict[str, int], reason: str) -> None:
    with pytest.raises(UndecodableError, match=reason):
        decode_image(tiff(ramp(12, HEIGHT, WIDTH), 12, **more))


def test_a_short_one_and_a_bomb_are_refused() -> None:
    data = tiff(ramp(12, HEIGHT, WIDTH), 12, per_strip=1)
    rows = struct.pack("<HHLL", 257, 4, 1, HEIGHT)
    assert data.count(rows) == 1
    with pytest.raises(UndecodableError, match="fewer rows than its header says"):
        decode_image(data.replace(rows, struct.pack("<HHLL", 257, 4, 1, HEIGHT + 2)))
    with pytest.raises(UndecodableError, match="pixels are more than"):
        decode_image(data.replace(rows, struct.pack("<HHLL", 257, 4, 1, 10**7)))


def test_only_such_files_have_another_identity() -> None:
    """So that what is stored of all other images stays."""
    plain = [encode(Image.fromarray(picture(0)), kind) for kind in ("TIFF", "PNG", "JPEG")]
    plain += [tiff(ramp(bits, HEIGHT, WIDTH), bits) for bits in (1, 2, 4, 8, 16)]
    assert all(image_sha256(data) == hashlib.sha256(data).hexdigest() for data in plain)
    deep = tiff(ramp(12, HEIGHT, WIDTH), 12)
    assert image_sha256(deep) != hashlib.sha256(deep).hexdigest()


def test_a_dataset_of_such_files_is_read_audited_and_described(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data" / "d", n=30, size=16, suffix=".tif")
    for number, path in enumerate(sorted(folder.rglob("*.tif"))):
        values = ramp(12, 16, 16)
        values[0, :] = number * 60
        path.write_bytes(tiff(values, 12, per_strip=16))
    catalog = Catalog(DataConfig(root=tmp_path / "data", cache=tmp_path / "c"), firewall=False)
    assert catalog.describe("d").images() == 60 and not catalog.describe("d").excluded
    path = next(folder.rglob("*.tif"))
    assert read_header(path) == ("TIFF", 16, 16)
    traits = read_traits(path.read_bytes())
    assert (traits["format"], traits["mode"], traits["profile"]) == ("TIFF", "12 bits", "no")
    images = catalog.originals("d", "train")
    assert images.read(0)[1:].max() == 255


MIB = 1 << 20
PHOTO = Image.fromarray(picture(0, size=24, seed=3))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


LARGE = {
    "a workflow": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b'{"id": 1}' * MIB)),
    "a prompt": chunk(b"iTXt", b"prompt\0\1\0en\0\0" + zlib.compress(b"a cat " * MIB)),
    "a profile": chunk(b"iCCP", b"scanner\0\0" + zlib.compress(bytes(2 * MIB))),
    "a plain text": chunk(b"tEXt", b"notes\0" + b"x" * 3 * MIB),
    "a plain text in Unicode": chunk(b"iTXt", b"notes\0\0\0\0\0" + b"x" * 3 * MIB),
    "many texts": chunk(b"tEXt", b"notes\0" + b"x" * (MIB - 9)) * 70,
    "a text packed by nobody": chunk(b"zTXt", b"notes\0\7" + bytes(9)),
    "a profile packed by nobody": chunk(b"iCCP", b"scanner\0\7" + bytes(9)),
    "a bomb": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(64 * MIB), 1)),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", LARGE)
def test_texts_and_profiles_of_any_size_are_no_reason(
    name: str, behind: bool, tmp_path: Path
) -> None:
    plain = encode(PHOTO, "PNG")
    at = len(plain) - 12 if behind and "profile" not in name else 33  # which stands before them
    data = plain[:at] + LARGE[name] + plain[at:]
    assert (decode_image(data) == np.asarray(PHOTO)).all()
    (tmp_path / "x.png").write_bytes(data)
    assert read_header(tmp_path / "x.png") == ("PNG", 24, 24)
    traits = read_traits(data)
    assert traits["profile"] == ("yes" if "profile" in name else "no")
    assert traits["bytes_per_pixel"] == len(data) / 24**2  # of the file as it is


def test_what_else_a_png_holds_is_kept_and_checked() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(PHOTO, "PNG", exif=exif)
    data = turned[:33] + LARGE["a workflow"] + turned[33:]
    assert (decode_image(data) == np.rot90(np.asarray(PHOTO), -1)).all()
    at = len(data) - 13  # the last byte before the end's chunk
    with pytest.raises(UndecodableError, match="checksum of its pixels is wrong"):
        decode_image(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(UndecodableError):
        decode_image(data[:-40])


def test_a_usual_png_is_untouched() -> None:
    small = chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"a cat")) + chunk(b"tEXt", b"a\0b")
    plain = encode(PHOTO, "PNG", icc_profile=b"a small profile")
    for data in (plain, plain[:33] + small + plain[33:], plain[:50], b"", encode(PHOTO, "JPEG")):
        assert light_png(data) == (data, frozenset()) and light_png(data)[0] is data


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer; run `git",
        ),
        (b"\n<!DOCTYPE HTML><html>404", "a web page, as of a failed download; get the file again"),
        (b"<HTML>", "a web page"),
        (b"%PDF-1.7", "a PDF; save"),
        (b"\0\0\0\x1cftypheic\0\0", "a HEIC or AVIF image; save it as PNG or JPEG"),
        (b"\0\0\0\x1cftypavif\0\0", "a HEIC or AVIF image; save it as PNG or JPEG"),
        (b"PK\3\4", "a zip archive; unpack it"),
        (b"PAR1", "a Parquet table"),
    ],
)
def test_what_is_no_image_is_named_with_a_remedy(start: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError, match=f"^not a JPEG, .* or GIF image, but {reason}"):
        decode_image(start + bytes(100))


def test_pillow_reads_what_we_write() -> None:
    """The writer of these tests against Pillow, where both know the kind."""
    for bits in (8, 16):
        with Image.open(io.BytesIO(tiff(ramp(bits, HEIGHT, WIDTH), bits))) as image:
            assert (np.asarray(image) == ramp(bits, HEIGHT, WIDTH)).all()


def test_scripts_of_before_still_find_the_decoder() -> None:
    """Scripts of people import it from where it was."""
    assert formerly is decode_image
