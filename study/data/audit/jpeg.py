"""What a JPEG's header says of how it was encoded: quality, whose tables, chroma subsampling.

libjpeg's encoder (`jpeg_set_quality`, jcparam.c, Independent JPEG Group, release 6b)
scales the example tables of the standard (ITU-T T.81, annex K.1) by s = 5000 // q for a quality q <
50 and s = 200 - 2 q above; an entry becomes (entry * s + 50) // 100, kept within [1, 255]. The
hundred pairs of tables that this can give all differ, so a quality that was used is found again
exactly. Tables of another encoder have no such quality; they are given that of the nearest pair,
and said not to be standard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Annex K.1, row by row.
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}


@cache
def standard_tables() -> NDArray[np.int64]:
    """Return the tables of qualities 1 to 100, (100, 2, 64): luminance, chrominance, row by row."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None, None]
    tables: NDArray[np.int64] = np.clip(
        (np.array([LUMINANCE, CHROMINANCE], dtype=np.int64) * scale + 50) // 100, 1, 255
    )
    return tables


def estimate_quality(tables: Mapping[int, Sequence[int]]) -> tuple[int, bool]:
    """Return the quality, 1 to 100, of a JPEG's quantisation tables, and whether they are exactly
    those of libjpeg.

    tables: number -> 64 entries in the order of rows, 0 the luminance's; a second one is compared
    where it is there. The nearest pair is that of the least sum of absolute differences, the lower
    quality between equals.
    """
    own = np.array([list(tables[key]) for key in sorted(tables)[:2]], dtype=np.int64)
    distance = np.abs(standard_tables()[:, : len(own)] - own).sum(axis=(1, 2))
    best = int(distance.argmin())
    return best + 1, bool(distance[best] == 0)


def subsampling(components: Sequence[tuple[int, int, int, int]]) -> str:
    """Return how chroma is subsampled, `4:2:0`; `grey` for a single component; `2x2,2x2,1x1` for
    what has no such name.

    components: of each its id, horizontal and vertical factor, table: what the frame header says.
    """
    if len(components) == 1:
        return "grey"
    factors = [(horizontal, vertical) for _, horizontal, vertical, _ in components]
    (h, v), rest = factors[0], set(factors[1:])
    if len(rest) == 1 and not (h % next(iter(rest))[0] or v % next(iter(rest))[1]):
        across, down = next(iter(rest))
        if (h // across, v // down) in SUBSAMPLING:
            return SUBSAMPLING[h // across, v // down]
    return ",".join(f"{across}x{down}" for across, down in factors)
