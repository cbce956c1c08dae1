"""Degradations against scipy and Pillow called directly; original images against packs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from scipy.ndimage import gaussian_filter

from study.core.errors import ConfigError, DataError, FirewallError
from study.core.records import Geometry
from study.data.images import steps
from study.data.images.degradations import (
    SUITES,
    degrade,
    members_of,
    parse_degradation,
)
from study.data.images.deliveries import DELIVERIES
from study.data.images.steps import NotApplicableError
from tests.data.conftest import MakeCatalog
from tests.factories import files_of, picture, truncate, write_dataset


def scene(width: int = 61, height: int = 47, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth structure with noise, in odd sizes."""
    return np.ascontiguousarray(picture(1, size=max(width, height), seed=seed)[:height, :width])


def after(name: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return degrade(pixels, parse_degradation(name))


def reencoded(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What Pillow makes of it with nothing said but the quality."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def smoothed(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.float64]:
    """Scipy's filter in double precision, far longer than ours, all channels at once and none
    across them.
    """
    return gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0), truncate=8)


def test_the_suites_are_those_of_the_protocol() -> None:
    jpeg = [f"jpeg{q}" for q in (95, 90, 75, 65, 50, 30)]
    assert members_of(["default"]) == (*jpeg, "blur1", "blur3", "down0.5", "blur2+jpeg50")
    assert members_of(["genimage"]) == ("long112", "long64", "jpeg65", "jpeg30", "blur3", "blur5")
    wang = [f"jpeg{q}" for q in (100, 90, 80, 70, 60, 50, 40, 30)]
    assert members_of(["wang"]) == (*wang, "blur1", "blur2", "blur3", "blur4")
    assert members_of(["sidbench"]) == (
        "jpeg95",
        "jpeg90",
        "jpeg50",
        "jpeg30",
        "blur2",
        "blur4",
        "blur2+jpeg50",
    )
    assert members_of(["delivery"]) == ("resize", "pad", "crop", "crop5", "crop10")
    assert set(SUITES) == {"default", "delivery", "genimage", "wang", "sidbench"}


def test_a_member_has_one_name_and_is_taken_once() -> None:
    assert members_of(["blur1.0", "sidbench", "jpeg095", "blur1", "long64+blur0.5"]) == (
        *(
            "blur1",
            "jpeg95",
            "jpeg90",
            "jpeg50",
            "jpeg30",
            "blur2",
            "blur4",
            "blur2+jpeg50",
            "long64+blur0.5",
        ),
    )


@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        (
            "defualt",
            ["unknown degradation 'defualt'", "did you mean 'default'?", "sidbench", "jpegQUALITY"],
        ),
        ("jpg75", ["unknown degradation 'jpg75'", "did you mean 'jpeg75'?"]),
        ("", ["unknown degradation ''"]),
        ("jpeg101", ["jpeg101", "1 to 100"]),
        ("jpeg75.5", ["whole number"]),
        ("blur0", ["sigma", "0.1"]),
        ("down1", ["below 1"]),
        ("long0", ["from 1"]),
        ("jpeg50+blur2", ["jpeg50+blur2", "in the order resizing (down or long), blur, JPEG"]),
        ("blur1+blur2", ["at most once"]),
        ("down0.5+long64", ["at most once"]),
    ],
)
def test_a_name_that_there_is_not_is_refused(name: str, fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        members_of([name])
    assert all(fragment in str(refused.value) for fragment in fragments), str(refused.value)


@pytest.mark.parametrize("quality", [100, 75, 30])
def test_jpeg_is_pillows_with_its_usual_subsampling(
    quality: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = scene()
    assert np.array_equal(after(f"jpeg{quality}", pixels), reencoded(pixels, quality))
    sampling: list[int] = []
    opened = Image.open

    def look(file: io.BytesIO, **options: tuple[str, ...]) -> Image.Image:
        image = opened(file, **options)
        sampling.append(JpegImagePlugin.get_sampling(image))
        return image

    monkeypatch.setattr(steps.Image, "open", look)
    after(f"jpeg{quality}", pixels)
    assert sampling == [2]  # 4:2:0


@pytest.mark.parametrize("sigma", [0.5, 1, 3, 5])
def test_the_blur_is_a_gaussian_in_every_channel_by_itself(sigma: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (83, 64, 3), dtype=np.uint8)
    ours, exact = after(f"blur{sigma:g}", pixels), smoothed(pixels, sigma)
    assert ours.dtype == np.uint8 and ours.shape == pixels.shape
    assert np.abs(ours - exact).max() < 0.5 + 0.05  # rounding, and the tails beyond 4 sigma
    one = pixels.copy()
    one[:, :, 1:] = 0
    assert not after(f"blur{sigma:g}", one)[:, :, 1:].any()


def test_a_blurred_point_has_the_gaussians_variance() -> None:
    pixels = np.zeros((65, 65, 3), dtype=np.uint8)
    pixels[24:41, 24:41] = 255
    for sigma in (2.0, 4.0):
        profile = after(f"blur{sigma:g}", pixels)[:, :, 0].astype(float).sum(axis=0)
        at = np.arange(65) - 32.0
        variance = (profile * at**2).sum() / profile.sum()
        # of the square, and of the blur
        assert variance == pytest.approx((17**2 - 1) / 12 + sigma**2, rel=0.02)


def test_blur_comes_before_jpeg() -> None:
    pixels = scene()
    assert np.array_equal(after("blur2+jpeg50", pixels), reencoded(after("blur2", pixels), 50))
    assert not np.array_equal(
        after("blur2+jpeg50", pixels), after("blur2", after("jpeg50", pixels))
    )


@pytest.mark.parametrize(
    ("name", "size"), [("down0.5", (30, 24)), ("long32", (32, 25)), ("long1", (1, 1))]
)
def test_resizing_is_pillows_antialiased(name: str, size: tuple[int, int]) -> None:
    pixels = scene(61, 47)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    assert np.array_equal(after(name, pixels), expected)


def test_an_image_that_would_be_enlarged_is_not_applicable_and_says_so() -> None:
    with pytest.raises(
        NotApplicableError, match="32 x 20 pixels would be enlarged to 112 on the long edge"
    ):
        after("long112", scene(32, 20))
    assert np.array_equal(after("long61", scene(61, 47)), scene(61, 47))
    assert after("long60", scene(20, 61)).shape == (60, 20, 3)


def test_a_jpeg_has_no_room_for_a_side_of_more_than_65500() -> None:
    with pytest.raises(NotApplicableError, match="65501 x 1 pixels are more than a JPEG can hold"):
        after("jpeg50", np.zeros((1, 65501, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "name", sorted({m for members in SUITES.values() for m in members} - {*DELIVERIES})
)
def test_every_member_repeats_exactly_and_leaves_its_image_alone(name: str) -> None:
    pixels = scene(130, 120)
    pixels.setflags(write=False)
    first, second = after(name, pixels), after(name, pixels.copy())
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8 and first.flags.c_contiguous
    assert not np.array_equal(first, pixels)


@pytest.mark.parametrize("name", ["blur0.5", "blur5", "down0.5", "long64", "long64+blur2"])
def test_a_plain_area_stays_as_it_is(name: str) -> None:
    assert (
        after(name, np.full((130, 120, 3), (10, 77, 250), dtype=np.uint8)) == (10, 77, 250)
    ).all()


def test_originals_are_the_images_of_the_pack_in_its_order(
    make_catalog: MakeCatalog, root: Path
) -> None:
    write_dataset(root / "one", layout="train_test", n=24, size=24)
    write_dataset(root / "two", layout="train_test", n=24, size=24, seed=1, suffix=".jpg")
    broken = truncate(next(files_of(root / "one" / "test" / "FAKE")))
    catalog = make_catalog()
    originals = catalog.originals("two+one", "test")
    images = catalog.open("two+one", "test", Geometry(size_px=24, mode="crop"))
    for name in ("sample_id", "group", "unit", "method", "label"):
        assert np.array_equal(getattr(originals, name), getattr(images, name))
    assert (originals.listed, originals.excluded) == (images.listed, images.excluded)
    assert [sample for sample, _ in originals.excluded] == [f"one/test/FAKE/{broken.name}"]
    everything = np.stack([originals.read(at) for at in range(len(originals))])
    assert np.array_equal(everything, images.gather(np.arange(len(images))))


def test_a_file_that_changed_is_refused(make_catalog: MakeCatalog, root: Path) -> None:
    write_dataset(root / "one", layout="train_test", n=24, size=24)
    originals = make_catalog().originals("one", "test")
    path = root / "one" / str(originals.sample_id[0]).removeprefix("one/")
    Image.fromarray(picture(0, size=24, seed=99)).save(path)
    with pytest.raises(DataError, match="changed since it was indexed"):
        originals.read(0)
    path.unlink()
    with pytest.raises(DataError, match="changed since it was indexed"):
        originals.read(0)


def test_the_firewall_keeps_original_test_images_too(make_catalog: MakeCatalog, root: Path) -> None:
    write_dataset(root / "one", layout="train_test", n=24, size=24)
    catalog = make_catalog(firewall=True)
    assert len(catalog.originals("one", "val"))
    with pytest.raises(FirewallError, match="cannot be opened here"):
        catalog.originals("one", "test")
