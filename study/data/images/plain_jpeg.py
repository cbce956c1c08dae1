"""Plain JPEG files, which most are, decoded by libjpeg-turbo alone: the pixels of Pillow, in a
fifth of its time at 32 pixels and half of it at 256.

A file is plain if it has nothing but tables, comments, a JFIF header and colour profiles before its
first scan. Where libjpeg-turbo warns of anything, Pillow decides. So what is refused, and why, is
the same for all files.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_START = b"\xff\xd8\xff"
_TABLES = {0xC4, 0xDD, 0xFE}  # Huffman tables, restart interval, comment: no word about the pixels
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive, all with Huffman's code
_SCAN, _QUANTIZATION, _JFIF, _PROFILE = 0xDA, 0xDB, 0xE0, 0xE2


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a plain JPEG in pixels, by its header; None for any other file."""
    if not data.startswith(_START):
        return None
    place, size = 2, None
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, start = data[place + 1], place + 4
        place += 2 + int.from_bytes(data[place + 2 : start], "big")
        if marker == _SCAN:
            return size
        body = data[start:place]
        if marker in _FRAMES and size is None:
            size = _frame_size(body)
            if size is None:
                return None
        elif not _plain(marker, body):
            return None
    return None


def decode_plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels of a plain JPEG that nothing is wrong with, (H, W, 3) uint8 RGB, else None.
    Whoever calls this has looked at the size.
    """
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:  # also for a warning: for Pillow to judge
        return None
    return pixels


def _frame_size(body: bytes) -> tuple[int, int] | None:
    """Width and height by a frame's header, of 8 bits and one or three components."""
    if len(body) < 6 or body[0] != 8 or body[5] not in (1, 3) or len(body) != 6 + 3 * body[5]:
        return None
    height, width = (int.from_bytes(body[at : at + 2], "big") for at in (1, 3))
    return (width, height) if width and height else None


def _plain(marker: int, body: bytes) -> bool:
    if marker == _QUANTIZATION:
        # tables of 8 bits, whole: of others Pillow and libjpeg-turbo need not think alike
        return len(body) % 65 == 0 and all(body[at] < 4 for at in range(0, len(body), 65))
    if marker == _JFIF:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == _PROFILE:
        return body.startswith(b"ICC_PROFILE\0") and len(body) >= 14
    return marker in _TABLES
