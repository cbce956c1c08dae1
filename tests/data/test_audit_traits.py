"""Traits of files and pixels against what the files were written with, and their cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from study.core.errors import DataError
from study.data.audit import traits as module
from study.data.audit.pixels import CORNERS, STATISTICS, statistics
from study.data.audit.traits import COLUMNS, read_traits, traits_of
from study.data.images import videos
from tests.data.conftest import MakeCatalog
from tests.factories import encode, files_of, picture, truncate, write_dataset, write_image

PICTURE = Image.fromarray(picture(0, size=24, seed=3))


def exif() -> Image.Exif:
    block = Image.Exif()
    block[0x010F] = "a camera"
    return block


def test_traits_say_how_a_file_was_written() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpeg = encode(
        PICTURE.resize((40, 20)),
        "JPEG",
        quality=70,
        progressive=True,
        exif=exif(),
        icc_profile=profile,
    )
    found = read_traits(jpeg)
    assert set(found) == {*COLUMNS, "processing"}
    expected = {
        "format": "JPEG",
        "mode": "RGB",
        "progressive": "yes",
        "profile": "yes",
        "exif": "yes",
        "jpeg_quality": 70.0,
    }
    assert {name: found[name] for name in expected} == expected
    assert (found["width"], found["height"], found["aspect"]) == (40, 20, 2.0)
    assert found["bytes_per_pixel"] == len(jpeg) / 800


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_what_is_no_jpeg_has_no_quality(kind: str) -> None:
    found = read_traits(encode(PICTURE, kind))
    assert found["format"] == kind and np.isnan(found["jpeg_quality"])
    assert [
        found[name] for name in ("subsampling", "tables", "progressive", "exif", "profile")
    ] == ["none"] * 3 + ["no"] * 2


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "L"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]
)
def test_the_colour_mode_is_the_files_own(kind: str, mode: str) -> None:
    assert read_traits(encode(PICTURE.convert(mode), kind))["mode"] == mode


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_is_found_in_other_formats(kind: str) -> None:
    assert read_traits(encode(PICTURE, kind, exif=exif()))["exif"] == "yes"


def test_nothing_of_the_file_is_left_where_images_are_re_encoded_alike(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "mine", n=24, size=32, layout="manifest")
    for path in sorted((root / "mine" / "fake").rglob("*.png")):
        # the name stays: content decides
        path.write_bytes(encode(Image.open(path).resize((48, 40)), "JPEG", quality=50))
    raw, unified = (
        traits_of(make_catalog(unify=u).dataset("mine"), cache=tmp_path / "cache")
        for u in (False, True)
    )
    assert set(raw.kinds["format"]) == {"JPEG", "PNG"} and set(raw.numbers["width"]) == {32, 48}
    assert all(len(set(values)) == 1 for values in unified.kinds.values())
    assert set(unified.numbers["width"]) == set(unified.numbers["height"]) == {16} and set(
        unified.numbers["jpeg_quality"]
    ) == {75}
    assert np.isnan(unified.numbers["bytes_per_pixel"]).all()
    assert np.std(unified.numbers["brightness"]) > 1


def test_width_and_height_are_those_of_the_upright_picture() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    found = read_traits(encode(PICTURE.resize((40, 20)), "JPEG", exif=turned))
    assert (found["width"], found["height"]) == (20, 40)


def test_statistics_of_a_framed_picture_by_hand() -> None:
    """40 x 40 pixels, a frame of 2 (a twentieth) in red, the rest grey 100."""
    pixels = np.full((40, 40, 3), 100, dtype=np.uint8)
    frame = np.ones((40, 40), dtype=bool)
    frame[2:-2, 2:-2] = False
    pixels[frame] = (200, 0, 0)
    found = dict(zip(STATISTICS, statistics(pixels), strict=True))
    share = frame.mean()
    red = 0.299 * 200
    assert found["brightness"] == pytest.approx(share * red + (1 - share) * 100, rel=1e-5)
    assert found["saturation"] == pytest.approx(share * 200, rel=1e-5)
    assert found["saturation_sd"] == pytest.approx(200 * np.sqrt(share * (1 - share)), rel=1e-5)
    assert (found["border_red_green"], found["border_saturation"]) == pytest.approx((200, 200))
    assert found["border_brightness"] == pytest.approx(red, rel=1e-5)
    assert found["border_brightness_sd"] == pytest.approx(0, abs=1e-3)
    assert found["centre_brightness"] == pytest.approx(100, rel=1e-5)
    assert found["border_less_centre_brightness"] == pytest.approx(red - 100, rel=1e-5)
    assert found["top_less_centre_brightness"] == pytest.approx(red - 100, rel=1e-5)


def test_each_side_of_the_border_is_its_own() -> None:
    pixels = np.full((40, 40, 3), 50, dtype=np.uint8)
    pixels[-2:] = 250
    found = dict(zip(STATISTICS, statistics(pixels), strict=True))
    sides = [found[f"{side}_less_centre_brightness"] for side in ("top", "bottom", "left", "right")]
    assert sides == pytest.approx([0, 200, 0, 0], abs=1e-3)


def test_statistics_do_not_hang_on_resolution() -> None:
    small = picture(0, size=64, seed=1)
    large = np.asarray(Image.fromarray(small).resize((640, 640), Image.Resampling.BOX))
    of_corners = STATISTICS.index(CORNERS[0])  # single pixels, and so they do
    found, expected = (statistics(pixels)[:of_corners] for pixels in (large, small))
    np.testing.assert_allclose(found, expected, atol=0.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (3, 50), (50, 1)])
def test_tiny_and_narrow_pictures_have_finite_statistics(shape: tuple[int, int]) -> None:
    assert np.isfinite(statistics(np.full((*shape, 3), 9, dtype=np.uint8))).all()


def test_a_dataset_is_read_once_and_equal_files_once(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(root / "mine", n=24, size=16, layout="manifest")
    cache, read = tmp_path / "cache", []
    original = module.read_traits
    monkeypatch.setattr(module, "read_traits", lambda *given: read.append(1) or original(*given))
    first = traits_of(make_catalog().dataset("mine"), cache=cache)
    assert len(read) == 48 and len(first) == 48 and first.unread == ()
    second = traits_of(make_catalog().dataset("mine"), cache=cache)
    assert len(read) == 48
    assert all(
        np.array_equal(first.numbers[name], second.numbers[name], equal_nan=True)
        for name in first.numbers
    )
    changed = next(files_of(root / "mine"))
    write_image(changed, picture(0, size=16, seed=999))
    traits_of(make_catalog().dataset("mine"), cache=cache)
    assert len(read) == 49


def test_a_killed_run_keeps_what_it_has_read(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(root / "mine", n=24, size=16, layout="manifest")
    read: list[int] = []
    original = module.read_traits

    def dying(*given: Any) -> Any:
        if len(read) == 33:
            raise KeyboardInterrupt
        read.append(1)
        return original(*given)

    monkeypatch.setattr(module, "read_traits", dying)
    monkeypatch.setattr(
        videos, "ordered_map", lambda function, items, **_: map(function, items)
    )  # in this thread, so that the interruption comes where it is said
    with pytest.raises(KeyboardInterrupt):
        traits_of(make_catalog().dataset("mine"), cache=tmp_path / "cache")
    monkeypatch.setattr(module, "read_traits", lambda *given: read.append(1) or original(*given))
    assert len(traits_of(make_catalog().dataset("mine"), cache=tmp_path / "cache")) == 48
    assert len(read) == 48


def test_an_undecodable_image_is_listed_with_its_reason(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "mine", n=24, size=16, layout="manifest")
    victim = truncate(next(files_of(root / "mine")))
    found = traits_of(make_catalog().dataset("mine"), cache=tmp_path / "cache")
    assert len(found) == 47
    ((path, reason),) = found.unread
    assert root / "mine" / path == victim and reason


def test_a_file_that_changed_meanwhile_is_refused(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "mine", n=24, size=16, layout="manifest")
    dataset = make_catalog().dataset("mine")
    victim = next(files_of(root / "mine"))
    victim.write_bytes(victim.read_bytes() + b"\0")
    with pytest.raises(DataError, match="changed since it was indexed"):
        traits_of(dataset, cache=tmp_path / "cache")
