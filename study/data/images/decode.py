"""Decoding: the bytes of an image file become RGB pixels, or a reason why not.

One documented way for every kind of file:

* JPEG, PNG, WebP, BMP, TIFF and GIF, recognised by content and not by the file's name; of several
frames or pages the first.
* Plain JPEG files by libjpeg-turbo alone, with the same pixels (plain_jpeg.py), all else by Pillow.
* Strict: a file that ends early, or a PNG whose checksums are wrong, is an error, never a picture
with a grey or black rest.
  (Nothing tells a JPEG that was cut and then closed again with an end marker from a grey picture.)
* EXIF orientation is applied; an orientation that cannot be read counts as upright.
* Alpha, also of a palette or of one transparent colour, is composited over white. (The fourth byte
of a 32-bit BMP is no alpha
  unless its header says so.) Palettes, grey and bilevel become RGB, equal in all three channels
  where they have no colour.
* Of 9 to 16 bits a channel the highest 8 are kept, of fewer than 8 the share of the largest value,
by the depth that the file says. 32-bit integers and floats have no defined range and are refused.
* CMYK (also the inverted kind that Adobe writes) becomes RGB by R = (1 - C)(1 - K) and so on.
Colour profiles are ignored.
* Texts and colour profiles of any size are passed over (an orientation in such a text, too).
* More than `MAX_PIXELS` pixels is refused from the header, before memory is taken.

`DECODE_VERSION` is part of every key that holds pixels: raise it when those of ordinary files
change. Where those of a rare kind do, its files get another identity instead (`image_sha256`), and
all other results stay. What is refused is part of the keys by itself, and kept in the index
(file_index.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from study.core.errors import DataError
from study.data.images.inside import read_whole
from study.data.images.light_png import chunks, light_png
from study.data.images.packed_tiff import PackedTiff, packed_tiff
from study.data.images.plain_jpeg import decode_plain_jpeg, plain_jpeg_size

DECODE_VERSION = 2
READERS = ("numpy", "Pillow", "simplejpeg", "av")  # the libraries that decide pixels, with videos'
MAX_PIXELS = 2**26  # 67 million, 8192 x 8192
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm")  # videos.py

_REMEDIES = {
    "remove the file, or leave it out by a manifest.csv": "EIO EREMOTEIO",
    "raise the limit of open files (ulimit -n)": "EMFILE",
    "end other programs: the machine has too many files open": "ENFILE",
    "end other programs: the machine has no memory left": "ENOMEM",
    "see to the disk or the mount that it lies on": (
        "ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH ENETDOWN ENETRESET"
        " ENETUNREACH ENOTCONN ESHUTDOWN ESTALE ETIMEDOUT"
    ),
}
# what a machine, a disk or a network lacks for a while, and what helps where it stays so
PASSING = {
    getattr(errno, name): remedy
    for remedy, names in _REMEDIES.items()
    for name in names.split()
    if hasattr(errno, name)
}
NO_MEMORY = "does not fit into memory"
# what stands where an image should be, by how it begins, and what to do
_INSTEAD = {
    b"version https://git-lfs": "a Git LFS pointer; run `git lfs pull` where it was cloned",
    b"<!doctype html": "a web page, as of a failed download; get the file again",
    b"<html": "a web page, as of a failed download; get the file again",
    b"%pdf": "a PDF; save its pictures as PNG",
    b"pk\3\4": "a zip archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"par1": "a Parquet table; write the images in it to files",
}

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# where Pillow finds one; it turns a TIFF by itself
_ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}


class UndecodableError(DataError):
    """An image cannot be decoded. The message is the reason, one line, the same on every machine
    and without a path.
    """


class UnreadableError(DataError):
    """An image could not be read this time, and perhaps can the next: it says nothing about the
    image, and is not remembered.
    """


def decode_image(source: Path | bytes) -> NDArray[np.uint8]:
    """Return the pixels of an image file, or of its bytes, as (H, W, 3) uint8 RGB in [0, 255].

    Raises UndecodableError with the reason, UnreadableError where memory does not suffice.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    if not data:
        raise UndecodableError("empty file")
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # some libraries set it, for the whole process
    try:
        plain = _of_plain_jpeg(data)
        if plain is not None:
            return plain
        packed = packed_tiff(data)
        return _of_packed(packed) if packed else _of_pillow(data)
    except UndecodableError:
        raise
    except UnidentifiedImageError:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        what = instead_of_an_image(data)
        raise UndecodableError(f"not a {kinds} image{what and f', but {what}'}") from None
    except MemoryError:
        raise UnreadableError(NO_MEMORY) from None
    # the plugins raise OSError, SyntaxError, struct.error, KeyError and more on broken files
    except Exception as error:
        if str(error).startswith("out of memory"):  # of Pillow's decoders
            raise UnreadableError(NO_MEMORY) from None
        raise UndecodableError(_one_line(error)) from None


def _of_plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    size = plain_jpeg_size(data)
    if size is None:
        return None
    _refuse_bomb(*size)
    return decode_plain_jpeg(data)


def _of_packed(packed: PackedTiff) -> NDArray[np.uint8]:
    _refuse_bomb(*packed.size)
    image = Image.fromarray(packed.pixels())
    turn = _UPRIGHT.get(packed.orientation)
    return _rgb(image if turn is None else image.transpose(turn))


def _of_pillow(data: bytes) -> NDArray[np.uint8]:
    data, _ = light_png(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _refuse_bomb(image.width, image.height)
        image.load()
        if image.format == "PNG":
            _refuse_damaged_png(data)
            _refuse_short_png(image, data)
        return _rgb(_upright(image))


def image_sha256(data: bytes) -> str:
    """Return the SHA-256 of an image's bytes, by which all keys know its pixels. Of files whose
    pixels changed while `DECODE_VERSION` did not, it is of more than the bytes.
    """
    sha256 = hashlib.sha256(data)
    if packed_tiff(data):
        sha256.update(b"by its own depth")
    return sha256.hexdigest()


def instead_of_an_image(data: bytes) -> str:
    """Return what a file is that has an image's name, and what to do, "" where that is not known.

    >>> instead_of_an_image(b"version https://git-lfs.github.com/spec/v1")
    'a Git LFS pointer; run `git lfs pull` where it was cloned'
    """
    start = data[:64].lstrip().lower()
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"avis"):
        return "a HEIC or AVIF image; save it as PNG or JPEG"
    return next((what for begin, what in _INSTEAD.items() if start.startswith(begin)), "")


def read_header(source: Path | bytes) -> tuple[str, int, int] | None:
    """Return format, width and height by a file's header, None for no image. Decodes nothing."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as image:
            return str(image.format), image.width, image.height
    except Exception:  # why it cannot be decoded is said where it is decoded
        return _header_read_whole(source)


def _header_read_whole(source: Path | bytes) -> tuple[str, int, int] | None:
    """What `read_header` returns of a file that Pillow does not open as it is."""
    with contextlib.suppress(Exception):
        data = source if isinstance(source, bytes) else read_whole(str(source))
        if packed := packed_tiff(data):
            return ("TIFF", *packed.size)
        with Image.open(io.BytesIO(light_png(data)[0]), formats=FORMATS) as image:
            return str(image.format), image.width, image.height
    return None


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an image, of its own or inside another file. Raises UndecodableError
    where the file is missing or may not be read, DataError where that passes, or where the other
    file is damaged.
    """
    try:
        return read_whole(str(path))
    except FileNotFoundError:
        raise UndecodableError("file is missing") from None
    except OSError as error:
        refuse_passing(path, error)
        raise UndecodableError(
            f"cannot be read: {error.strerror or type(error).__name__}"
        ) from None


def refuse_passing(path: Path | str, error: OSError) -> None:
    """Raise DataError for a file that could not be read for a reason that says nothing about it and
    may pass (`PASSING`).

    It is not left out, because that would change the dataset from run to run.
    """
    if error.errno in PASSING:
        remedy = f"run the command again, and if that stays so, {PASSING[error.errno]}"
        raise DataError(f"'{path}' could not be read now ({error.strerror}); {remedy}") from None


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of decoded pixels and their shape: equal for
    equal pictures in any encoding.
    """
    sha256 = hashlib.sha256(repr(pixels.shape).encode())
    sha256.update(np.ascontiguousarray(pixels).data)
    return sha256.hexdigest()[:32]


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UndecodableError(f"{width} x {height} pixels are more than {MAX_PIXELS}")


def _refuse_damaged_png(data: bytes) -> None:
    """Refuse a PNG by the checksums of its pixels (CRC-32, PNG specification 5.5): Pillow looks
    only at those of other chunks.
    """
    view = memoryview(data)
    for kind, start, end in chunks(data):
        if kind == b"IDAT" and view[end - 4 : end] != struct.pack(
            ">I", zlib.crc32(view[start + 4 : end - 4])
        ):
            raise UndecodableError("the checksum of its pixels is wrong")
        if kind == b"IEND":
            return


def _refuse_short_png(image: Image.Image, data: bytes) -> None:
    """Refuse a PNG whose data end, in good order, before its last row: Pillow leaves the rest
    black.

    So it is looked at only where the last row is black. Of an interlaced one Pillow notices by
    itself.
    """
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if interlaced or np.asarray(image)[-1].any():
        return
    expected = height * (1 + (width * bits * _PNG_CHANNELS[colour] + 7) // 8)
    inflate = zlib.decompressobj()
    held = 0
    for kind, start, end in chunks(data):
        if kind == b"IDAT" and held < expected:
            # never more: it may be a bomb
            held += len(inflate.decompress(data[start + 8 : end - 4], expected - held))
    if held < expected:
        raise UndecodableError("fewer rows than its header says")


def _upright(image: Image.Image) -> Image.Image:
    # looking into an absent EXIF block costs as much as decoding 32 x 32 pixels
    if not _ORIENTED & image.info.keys():
        return image
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # a broken EXIF block raises nearly anything, and says nothing about the pixels
    except Exception:
        orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _WIDE_GREY:
        return np.repeat(_high_byte(image)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UndecodableError("32 bits a channel have no defined range")
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colour.size, (255, 255, 255, 255)), colour)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _high_byte(image: Image.Image) -> NDArray[np.uint8]:
    """Return 16-bit grey (H, W) as 8 bits, after what Pillow leaves to its caller: white-is-zero
    TIFF, transparent grey PNG.
    """
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    ):
        grey = 255 - grey
    transparent = image.info.get("transparency")
    return grey if transparent is None else np.where(values == transparent, np.uint8(255), grey)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text and "0x" not in text else f"broken image data ({type(error).__name__})"
