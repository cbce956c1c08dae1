"""A contact sheet: some images of every class and method on one page, to see at a glance what a
folder holds.

Images keep their shape; small ones are enlarged pixel by pixel, so that nothing is
smoothed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from study.core.identity import whole_file
from study.core.records import FAKE

# pixels: side of an image's place, between places, around all, width of a row's label
TILE, GAP, MARGIN, LABEL = 128, 8, 16, 190
HEAD = 44
SHEET_ROWS, SHEET_COLUMNS = 40, 8  # at most so many, of classes and methods and of images each
INK, QUIET, PAPER, PLACE = (20, 20, 20), (110, 110, 110), (255, 255, 255), (238, 238, 238)
ACCENTS = ((0, 95, 160), (175, 60, 20))  # real, fake


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the sheet: a class and method, its number of images, and some with captions."""

    label: int
    method: str
    total: int
    images: Sequence[NDArray[np.uint8]]  # (H, W, 3) each
    captions: Sequence[str]


def write_sheet(rows: Sequence[Row], path: Path, *, title: str) -> None:
    """Write the sheet as PNG, whole or not at all; the same bytes every time. Raises OSError."""
    columns = max(len(row.images) for row in rows)
    width = 2 * MARGIN + LABEL + columns * (TILE + GAP) - GAP
    height = 2 * MARGIN + HEAD + len(rows) * (_row_height() + GAP) - GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (MARGIN, MARGIN),
        _cut(draw, title, width - 2 * MARGIN, 18),
        INK,
        font=ImageFont.load_default(18),
    )
    for number, row in enumerate(rows):
        _draw_row(sheet, draw, row, top=MARGIN + HEAD + number * (_row_height() + GAP))
    with whole_file(path) as temporary:
        sheet.save(temporary, "PNG")


def _row_height() -> int:
    return TILE + 18


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, *, top: int) -> None:
    accent = ACCENTS[int(row.label == FAKE)]
    draw.rectangle((MARGIN, top, MARGIN + 5, top + TILE - 1), accent)
    lines = (
        (("REAL", "FAKE")[row.label], 15, accent),
        (row.method, 17, INK),
        (f"{row.total:,} images", 13, QUIET),
    )
    for number, (text, size, colour) in enumerate(lines):
        place = (MARGIN + 16, top + 30 + 24 * number)
        draw.text(
            place, _cut(draw, text, LABEL - 28, size), colour, font=ImageFont.load_default(size)
        )
    for number, (image, caption) in enumerate(zip(row.images, row.captions, strict=True)):
        left = MARGIN + LABEL + number * (TILE + GAP)
        draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), PLACE)
        small = _fitted(image)
        sheet.paste(small, (left + (TILE - small.width) // 2, top + (TILE - small.height) // 2))
        draw.text(
            (left, top + TILE + 3),
            _cut(draw, caption, TILE, 11),
            QUIET,
            font=ImageFont.load_default(11),
        )


def _fitted(pixels: NDArray[np.uint8]) -> Image.Image:
    """An image as large as its place allows: reduced smoothly, or enlarged by a whole number."""
    image = Image.fromarray(pixels)
    longest = max(image.size)
    if longest <= TILE:
        times = TILE // longest
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    size = (
        max(round(image.width * TILE / longest), 1),
        max(round(image.height * TILE / longest), 1),
    )
    return image.resize(size, Image.Resampling.LANCZOS)


def _cut(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """The text on one line, or its beginning and end around an ellipsis where it is too long: file
    names differ at their ends.
    """
    font = ImageFont.load_default(size)
    text = " ".join(text.splitlines())
    shown = text
    kept = len(text)
    while draw.textlength(shown, font=font) > width and kept > 2:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
    return shown
