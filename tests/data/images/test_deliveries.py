"""Deliveries against torchvision's crops and Pillow called directly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import FiveCrop, TenCrop

from study.core.errors import ConfigError
from study.core.records import Geometry
from study.data.images.degradations import SUITES, parse_degradation
from study.data.images.deliveries import DELIVERIES, delivered
from study.data.images.geometry import check_geometry, fit_geometry
from tests.factories import picture

OWN = Geometry(size_px=32, mode="resize_crop", resize_px=36, interpolation="bilinear")


@pytest.mark.parametrize(("height", "width"), [(47, 61), (33, 70), (32, 32), (80, 41)])
def test_crops_are_torchvisions(height: int, width: int) -> None:
    image = picture(1, size=80, seed=0)[:height, :width]
    for name, theirs in (("crop5", FiveCrop(32)), ("crop10", TenCrop(32))):
        expected = [np.asarray(crop) for crop in theirs(Image.fromarray(image))]
        found = [fit_geometry(image, one) for one in delivered(name, OWN)]
        assert len(found) == len(expected)
        for ours, crop in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, crop)
    (centre,) = delivered("crop", OWN)
    middle = np.asarray(FiveCrop(32)(Image.fromarray(image))[4])
    np.testing.assert_array_equal(fit_geometry(image, centre), middle)


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (9, 9), (1, 70)])
def test_padding_keeps_the_aspect_ratio_and_the_rest_is_black(height: int, width: int) -> None:
    image = picture(1, size=80, seed=0)[:height, :width]
    (padded,) = delivered("pad", OWN)
    check_geometry(padded)
    long = max(height, width)
    rows, columns = (max(1, 32 * side // long) for side in (height, width))
    small = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    black = Image.new("RGB", (32, 32))
    black.paste(small, ((32 - columns) // 2, (32 - rows) // 2))
    np.testing.assert_array_equal(fit_geometry(image, padded), np.asarray(black))


def test_resizing_is_pillows_by_the_detectors_own_filter() -> None:
    image = picture(1, size=80, seed=0)[:50]
    (resized,) = delivered("resize", OWN)
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(fit_geometry(image, resized), np.asarray(expected))
    assert delivered("", OWN) == (OWN,)


def test_a_delivery_is_the_last_part_of_a_name() -> None:
    found = parse_degradation("down0.5+jpeg50+crop10")
    assert found.steps == (("down", 0.5), ("jpeg", 50)) and found.delivery == "crop10"
    assert found.name == "down0.5+jpeg50+crop10"
    assert [parse_degradation(name).name for name in SUITES["delivery"]] == [*DELIVERIES]
    for wrong in ("crop5+jpeg50", "crop5+crop10", "crop7"):
        with pytest.raises(ConfigError, match="and last a delivery"):
            parse_degradation(wrong)
