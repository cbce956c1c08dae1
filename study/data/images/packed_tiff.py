"""TIFF files whose samples have a number of bits that Pillow does not read rightly: 3, 5 to 7, 9 to
15, packed without gaps, and 16 where white is zero in big-endian order.

Pillow reads 12 bits as if they were 16, nearly black, and refuses the others. Samples of n >= 8
bits become 8 by their highest, fewer by their share of the largest value.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

MAGIC = (b"II*\0", b"MM\0*", b"II+\0")
_BY_PILLOW = (1, 2, 4, 8, 16, 32, 64)
_PACKED = (5, 8, 32773, 32946)  # LZW, deflate, PackBits: of bytes, whatever they hold
_AT_ONCE = 1 << 18  # samples unpacked at a time


@dataclass(frozen=True, kw_only=True)
class PackedTiff:
    """The first picture of such a file: its header (`tags`), and the bytes of the whole."""

    data: bytes
    prefix: bytes
    tags: TiffImagePlugin.ImageFileDirectory_v2
    bits: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.tags[256]), int(self.tags[257])

    @property
    def orientation(self) -> int:
        """As of EXIF; 1 is upright."""
        return int(self.tags.get(274, 1))

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture as (H, W) grey or (H, W, 3) RGB, uint8, not turned yet. Raises
        ValueError with the reason for what is not read.
        """
        self._refuse_others()
        width, height = self.size
        samples = int(self.tags.get(277, 1))
        values = width * samples
        row_bytes = math.ceil(values * self.bits / 8)
        rows = self._rows(row_bytes, height)
        found = np.empty((height, values), np.uint8)
        step = max(_AT_ONCE // values, 1)
        for top in range(0, height, step):
            found[top : top + step] = self._to_8_bits(rows[top : top + step], values)
        if self.tags.get(262) == 0:  # white is zero
            found = 255 - found
        return found if samples == 1 else found.reshape(height, width, samples)

    def _refuse_others(self) -> None:
        samples, photometric = int(self.tags.get(277, 1)), self.tags.get(262)
        if (samples, photometric) not in ((1, 0), (1, 1), (3, 2)) or self.tags.get(284, 1) != 1:
            raise ValueError(self._unread("that are neither grey nor RGB, side by side"))
        if set(self.tags.get(339, (1,))) - {1, 4}:
            raise ValueError(self._unread("with a sign or a fraction"))
        packed = self.tags.get(259, 1) != 1
        if 322 in self.tags or (packed and self.tags.get(259) not in _PACKED):
            raise ValueError(self._unread("in tiles, or compressed as a picture of other samples"))
        if self.tags.get(317, 1) != 1 or (packed and self.tags.get(266, 1) != 1):
            raise ValueError(self._unread("behind a predictor, or in reversed order"))

    def _unread(self, what: str) -> str:
        return f"a TIFF of {self.bits} bits a sample {what}; save it with 8 or 16 bits a sample"

    def _rows(self, row_bytes: int, height: int) -> NDArray[np.uint8]:
        """The unpacked bytes of every row, (height, row_bytes)."""
        if self.tags.get(259, 1) == 1:
            places = zip(self.tags[273], self.tags[279], strict=True)
            held = b"".join(self.data[at : at + length] for at, length in places)
        else:
            with Image.open(io.BytesIO(self._as_bytes(row_bytes, height)), formats=("TIFF",)) as i:
                held = i.tobytes()
        if len(held) < row_bytes * height:
            raise ValueError("fewer rows than its header says")
        rows = np.frombuffer(held, np.uint8, row_bytes * height).reshape(height, row_bytes)
        if self.tags.get(266, 1) == 2:
            return np.packbits(np.unpackbits(rows, bitorder="little", axis=1), axis=1)
        return rows

    def _as_bytes(self, row_bytes: int, height: int) -> bytes:
        """The same file, as if every byte of a row were a pixel: so Pillow can decompress it."""
        per_strip = self.tags.get(278, height)
        entries: list[tuple[int, int, tuple[int, ...]]] = [
            *((256, 4, (row_bytes,)), (257, 4, (height,)), (258, 3, (8,))),
            *((259, 3, (int(self.tags[259]),)), (262, 3, (1,)), (273, 4, tuple(self.tags[273]))),
            *((277, 3, (1,)), (278, 4, (min(per_strip, height),)), (279, 4, tuple(self.tags[279]))),
        ]
        order = "<" if self.prefix == b"II" else ">"
        head = self.prefix + struct.pack(f"{order}HL", 42, len(self.data)) + self.data[8:]
        table, behind = struct.pack(f"{order}H", len(entries)), b""
        start = len(self.data) + 2 + 12 * len(entries) + 4
        for tag, kind, values in entries:
            body = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'L'}", *values)
            table += struct.pack(f"{order}HHL", tag, kind, len(values))
            if len(body) > 4:
                table += struct.pack(f"{order}L", start + len(behind))
                behind += body
            else:
                table += body.ljust(4, b"\0")
        return head + table + bytes(4) + behind

    def _to_8_bits(self, rows: NDArray[np.uint8], values: int) -> NDArray[np.uint8]:
        """(rows, values) samples of the unpacked bytes of rows, as 8 bits."""
        if self.bits == 16:
            wide = np.ascontiguousarray(rows).view("<u2" if self.prefix == b"II" else ">u2")
            return (wide >> 8).astype(np.uint8)
        single = np.unpackbits(rows, axis=1)[:, : values * self.bits]
        weights = (1 << np.arange(self.bits - 1, -1, -1)).astype(np.uint16)
        samples: NDArray[np.uint16] = single.reshape(len(rows), values, self.bits) @ weights
        if self.bits >= 8:
            eight = samples >> (self.bits - 8)
        else:
            eight = np.rint(samples * (255 / (2**self.bits - 1)))
        found: NDArray[np.uint8] = eight.astype(np.uint8)
        return found


def packed_tiff(data: bytes) -> PackedTiff | None:
    """Return a file as one that is read here; None for one that is Pillow's."""
    if data[:4] not in MAGIC:
        return None
    try:
        tags = _tags(data)
        every = set(tags.get(258, (1,)))
        bits = every.pop()
        inverted = bits == 16 and data[:2] == b"MM" and tags.get(262) == 0
        if every or bits > 16 or (bits in _BY_PILLOW and not inverted):
            return None
        return PackedTiff(data=data, prefix=data[:2], tags=tags, bits=bits)
    except Exception:  # broken: Pillow says how
        return None


def _tags(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    file = io.BytesIO(data)
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])
    file.seek(tags.next)
    tags.load(file)
    return tags
