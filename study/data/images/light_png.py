"""PNG files without what Pillow refuses a whole image for: long texts and large colour profiles,
and those packed in a way it does not know.

A generation workflow is a compressed text of megabytes, a scanner's profile a large one: both say
nothing about the pixels, and each belongs to one class more than to the other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def light_png(data: bytes) -> tuple[bytes, frozenset[bytes]]:
    """Return a PNG without the chunks that are too much for Pillow, and the kinds of these; any
    other file, and a PNG without such chunks, as it is.
    """
    if not data.startswith(SIGNATURE):
        return data, frozenset()
    kept: list[bytes | memoryview] = [SIGNATURE]
    dropped, texts, view = set[bytes](), 0, memoryview(data)
    for kind, start, end in chunks(data):
        if end > len(data):  # cut: that is what is wrong with it
            return data, frozenset()
        size = _size(kind, view[start + 8 : end - 4])
        texts += size if kind in _TEXTS else 0
        too_many = kind in _TEXTS and texts > PngImagePlugin.MAX_TEXT_MEMORY
        if size > PngImagePlugin.MAX_TEXT_CHUNK or too_many:
            dropped.add(kind)
        else:
            kept.append(view[start:end])
    return (b"".join(kept), frozenset(dropped)) if dropped else (data, frozenset())


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of every chunk of a PNG, its length and checksum included. The end
    may lie beyond the file's.
    """
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + 12 + length
        place += 12 + length


def _size(kind: bytes, body: memoryview) -> int:
    """How many bytes Pillow would keep of a text or profile, counted up to one too many."""
    if kind == b"tEXt":
        return min(len(body), PngImagePlugin.MAX_TEXT_CHUNK)  # not limited one by one
    if kind not in _COMPRESSED:
        return 0
    rest = bytes(body).partition(b"\0")[2]  # behind its name
    if kind != b"iTXt" and rest[:1] != b"\0":  # packed in no known way
        return PngImagePlugin.MAX_TEXT_CHUNK + 1
    if kind == b"iTXt":
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        if not packed:
            return min(len(text), PngImagePlugin.MAX_TEXT_CHUNK)
    else:
        text = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(text, PngImagePlugin.MAX_TEXT_CHUNK + 1))
    except zlib.error:  # for Pillow to judge
        return 0
