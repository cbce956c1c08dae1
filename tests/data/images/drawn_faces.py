"""Faces for tests: a red rectangle is a face, with a green and a blue pixel as its eyes. A detector
that finds these stands in for the real one, which no drawing deceives.
"""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from study.data.images import faces
from study.data.images.faces import Face

Pixels = NDArray[np.uint8]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class DrawnFaces:
    """Finds red rectangles. looked: how many images it was shown."""

    looked = 0

    def __init__(self) -> None:
        self.identity = "drawn faces"

    def find(self, pixels: Pixels) -> Face | None:
        type(self).looked += 1
        rows, columns = np.nonzero(is_colour(pixels, RED))
        if not len(rows):
            return None
        eyes = [np.argwhere(is_colour(pixels, colour)) for colour in (GREEN, BLUE)]
        # of a copy that was made smaller they are gone
        down, right = eyes[1][0] - eyes[0][0] if all(map(len, eyes)) else (0, 1)
        return Face(
            left=float(columns.min()),
            top=float(rows.min()),
            width=float(np.ptp(columns) + 1),
            height=float(np.ptp(rows) + 1),
            angle=math.degrees(math.atan2(down, right)),
        )


def is_colour(pixels: Pixels, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (pixels == colour).all(axis=2)
    return found


def draw(pixels: Pixels, box: tuple[int, int, int, int], *, drop: int = 0) -> Pixels:
    """Draw a face (left, top, width, height); its right eye is lower by `drop` pixels."""
    left, top, width, height = box
    drawn = pixels.copy()
    drawn[top : top + height, left : left + width] = RED
    middle = top + height // 2
    drawn[middle, left + 2] = GREEN
    drawn[middle + drop, left + width - 3] = BLUE
    return drawn


def use(patch: pytest.MonkeyPatch) -> type[DrawnFaces]:
    """Let drawn faces be found, where the extra is not installed too."""
    patch.setattr(faces, "YuNet", DrawnFaces)
    patch.setattr(faces, "NEEDED", ())
    patch.setattr(faces, "_OF_THREAD", threading.local())
    patch.setattr(DrawnFaces, "looked", 0)
    return DrawnFaces
