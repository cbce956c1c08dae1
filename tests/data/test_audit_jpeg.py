"""Qualities and subsampling read back from JPEGs that Pillow (libjpeg) wrote with known ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from study.data.audit.jpeg import estimate_quality, subsampling
from study.data.audit.traits import read_traits
from tests.factories import encode

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def reopened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_quality_from_1_to_100_is_found_again_exactly(mode: str) -> None:
    image = NOISE.convert(mode)
    for quality in range(1, 101):
        tables = reopened(encode(image, "JPEG", quality=quality)).quantization  # type: ignore[attr-defined]
        assert estimate_quality(tables) == (quality, True)


def test_other_tables_are_given_the_nearest_quality_and_are_not_standard() -> None:
    standard = reopened(encode(NOISE, "JPEG", quality=80)).quantization  # type: ignore[attr-defined]
    nudged = {key: [*table[:63], table[63] + 3] for key, table in standard.items()}
    data = encode(NOISE, "JPEG", qtables=[nudged[0], nudged[1]])
    assert estimate_quality(reopened(data).quantization) == (80, False)  # type: ignore[attr-defined]
    flat = encode(NOISE, "JPEG", qtables=[[255] * 64, [255] * 64])
    assert estimate_quality(reopened(flat).quantization)[0] == 1  # type: ignore[attr-defined]
    # Luminance of one quality and chrominance of another: no setting of libjpeg's gives that.
    mixed = {0: standard[0], 1: reopened(encode(NOISE, "JPEG", quality=60)).quantization[1]}  # type: ignore[attr-defined]
    assert not estimate_quality(mixed)[1]


def test_the_traits_of_a_jpeg_say_so() -> None:
    found = read_traits(encode(NOISE, "JPEG", quality=37, subsampling="4:2:2"))
    assert (found["jpeg_quality"], found["tables"], found["subsampling"]) == (
        37.0,
        "standard",
        "4:2:2",
    )


@pytest.mark.parametrize("name", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_is_what_pillow_was_told(name: str) -> None:
    image = reopened(encode(NOISE, "JPEG", subsampling=name))
    assert subsampling(image.layer) == name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("factors", "name"),
    [
        ([(1, 1)], "grey"),
        ([(1, 2), (1, 1), (1, 1)], "4:4:0"),
        ([(4, 1), (1, 1), (1, 1)], "4:1:1"),
        ([(2, 2), (2, 2), (2, 2)], "4:4:4"),  # equal factors subsample nothing
        ([(2, 2), (2, 1), (1, 1)], "2x2,2x1,1x1"),
        ([(1, 1), (2, 2), (1, 1)], "1x1,2x2,1x1"),
        ([(3, 1), (1, 1), (1, 1)], "3x1,1x1,1x1"),
    ],
)
def test_unusual_factors(factors: list[tuple[int, int]], name: str) -> None:
    assert subsampling([(i, h, v, 0) for i, (h, v) in enumerate(factors)]) == name
