"""`data.faces`: which square is cut out of an image, that both classes get the same step under keys
of its own, what becomes of images without a face, and that a folder of other things is refused.
"""

from __future__ import annotations

import math
import shutil
import threading
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from study.analysis.audit import StudyAudit, audit_datasets
from study.core.errors import ConfigError, DataError
from study.core.records import Geometry
from study.data import face_regions
from study.data.catalog import Catalog
from study.data.images import faces
from study.data.images.faces import STEPS, Face, Region, check_faces, cut_out, region_of
from study.data.images.unify import unify
from study.data.leaks.prints import read_prints
from study.planning.study_file import parse_study
from study.render.audit import as_text
from tests.data.conftest import MakeCatalog
from tests.data.images import drawn_faces
from tests.data.images.drawn_faces import DrawnFaces, draw
from tests.factories import picture, write_image, write_video

WHOLE = Geometry(size_px=26, mode="squash")
SHARED = Path(__file__).parents[4] / "shared" / "data"
BOX = (20, 10, 20, 16)  # of 64 x 48: 1.3 times 20 is 26, around (30, 18)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> type[DrawnFaces]:
    return drawn_faces.use(monkeypatch)


def write_faces(
    folder: Path, *, n: int = 30, without: tuple[int, int] = (0, 0), suffix: str = ".png"
) -> None:
    """N images of each class, 64 x 48, in no split; `without` a face (real, fake)."""
    for label, word in enumerate(("real", "fake")):
        for number in range(n):
            pixels = picture(label, size=64, seed=number)[:48]
            pixels = pixels if number < without[label] else draw(pixels, BOX)
            write_image(folder / word / f"{number:03d}{suffix}", pixels)


@pytest.mark.parametrize(
    ("name", "face", "size", "expected"),
    [
        ("crop1.3", Face(40, 30, 20, 10, 8), (200, 100), Region(37, 22, 26, 0)),
        ("crop2.0", Face(40, 30, 20, 10, 8), (200, 100), Region(30, 15, 40, 0)),
        ("crop1.0", Face(40, 30, 10, 20, 8), (200, 100), Region(35, 30, 20, 0)),
        ("crop1.3", Face(-4, -2, 20, 10, 0), (200, 100), Region(0, 0, 26, 0)),  # moved inside
        ("crop1.3", Face(190, 95, 20, 10, 0), (200, 100), Region(174, 74, 26, 0)),
        ("crop2.0", Face(40, 5, 80, 90, 0), (200, 100), Region(30, 0, 100, 0)),  # as large as fits
        ("align1.3", Face(40, 30, 20, 10, 0.04), (200, 100), Region(37, 22, 26, 0)),
    ],
)
def test_the_square_around_a_face(
    name: str, face: Face, size: tuple[int, int], expected: Region
) -> None:
    assert region_of(face, STEPS[name], *size) == expected


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    place=st.tuples(*[st.floats(-50, 350)] * 2, *[st.floats(0.5, 400)] * 2),
    angle=st.floats(-180, 180),
    name=st.sampled_from([*STEPS]),
)
def test_every_square_lies_inside_its_image(
    width: int, height: int, place: tuple[float, float, float, float], angle: float, name: str
) -> None:
    left, top, side, turned = region_of(Face(*place, angle), STEPS[name], width, height)
    assert side >= 1
    if side > 1 or not turned:
        radians = math.radians(turned)
        for x, y in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            corner = (
                left + side / 2 + side / 2 * (x * math.cos(radians) - y * math.sin(radians)),
                top + side / 2 + side / 2 * (x * math.sin(radians) + y * math.cos(radians)),
            )
            for value, size in zip(corner, (width, height), strict=True):
                assert -1e-6 <= value <= size + 1e-6


def test_a_turned_square_is_what_scipy_makes_of_it_and_its_eyes_are_level() -> None:
    smooth = np.asarray(
        Image.fromarray(picture(0, size=12)).resize((160, 120), Image.Resampling.BICUBIC)
    )
    region = Region(40, 30, 60, 25.0)
    cos, sin = math.cos(math.radians(25)), math.sin(math.radians(25))
    turn = np.array([[cos, sin], [-sin, cos]])  # of (row, column)
    centre = np.array([30 + 30 - 0.5, 40 + 30 - 0.5])
    expected = np.stack(
        [
            ndimage.affine_transform(
                smooth[:, :, channel].astype(float),
                turn,
                offset=centre - turn @ [29.5, 29.5],
                output_shape=(60, 60),
                order=3,
            )
            for channel in range(3)
        ],
        axis=2,
    )
    found = cut_out(smooth, region)
    assert found.shape == (60, 60, 3)
    assert np.abs(found[2:-2, 2:-2] - expected[2:-2, 2:-2]).max() < 3
    slanted = draw(np.full((160, 160, 3), 90, np.uint8), (40, 40, 60, 60), drop=20)
    step = STEPS["align1.3"]
    face = DrawnFaces().find(slanted)
    assert face is not None and face.angle == pytest.approx(math.degrees(math.atan2(20, 55)))
    level = cut_out(slanted, region_of(face, step, 160, 160)).astype(int)
    rows = [
        np.unravel_index(np.argmax(level[:, :, channel] - level[:, :, 0]), level.shape[:2])[0]
        for channel in (1, 2)
    ]
    assert abs(rows[0] - rows[1]) <= 1


def test_both_classes_become_their_faces_under_keys_of_their_own_and_each_is_found_once(
    root: Path, make_catalog: MakeCatalog, detector: type[DrawnFaces]
) -> None:
    write_faces(root / "d", without=(2, 1))
    plain, cropped = make_catalog(), make_catalog(faces="crop1.3")
    samples = cropped.dataset("d").samples
    assert detector.looked == 60
    assert {row["face"] for row in samples.to_pylist()} == {"17 5 26 0.0", ""}
    left_out = [row["path"] for row in samples.to_pylist() if row["problem"] == faces.NO_FACE]
    assert left_out == ["fake/000.png", "real/000.png", "real/001.png"]
    assert cropped.describe("d").faces == "a face in 28 of 30 real, 29 of 30 fake"
    images = cropped.open("d", "train", WHOLE)
    assert set(images.label) == {0, 1}
    for at, sample in enumerate(images.sample_id):
        whole = np.asarray(Image.open(root / str(sample)))
        np.testing.assert_array_equal(images.gather(np.array([at]))[0], whole[5:31, 17:43])
    originals = cropped.originals("d", "train")
    np.testing.assert_array_equal(originals.read(0), images.gather(np.array([0]))[0])
    others = [make_catalog(faces=name) for name in ("crop1.3", "crop1.6", "align1.3")]
    keys = [one.key("d", ("train",)) for one in (plain, cropped, *others)]
    assert keys[1] == keys[2] and len(set(keys)) == 4
    packs = [one.pack_key("d", "train", WHOLE) for one in (plain, cropped, others[1])]
    assert len(set(packs)) == 3
    assert detector.looked == 60, "what is kept is not looked for again"


def test_faces_come_before_unify_whose_side_is_that_of_faces(
    root: Path, make_catalog: MakeCatalog, detector: type[DrawnFaces]
) -> None:
    write_faces(root / "d")
    catalog = make_catalog(faces="crop1.3", unify=True)
    assert catalog.dataset("d").unified_px == 13
    originals = catalog.originals("d", "test")
    whole = np.asarray(Image.open(root / str(originals.sample_id[0])))
    np.testing.assert_array_equal(originals.read(0), unify(whole[5:31, 17:43].copy(), 13))


def test_copies_are_looked_for_among_whole_images_whichever_study_was_first(
    root: Path, make_catalog: MakeCatalog, detector: type[DrawnFaces], tmp_path: Path
) -> None:
    write_faces(root / "d")
    caches = [tmp_path / "of_faces", tmp_path / "of_all"]
    of_faces, of_all = (
        read_prints(make_catalog(cache=cache, faces=step).dataset("d"), cache=cache)
        for cache, step in zip(caches, ("crop1.3", ""), strict=True)
    )
    np.testing.assert_array_equal(of_faces.sides, of_all.sides)
    np.testing.assert_array_equal(of_faces.thumbnail, of_all.thumbnail)


def test_videos_become_faces_in_one_go(
    root: Path, make_catalog: MakeCatalog, detector: type[DrawnFaces]
) -> None:
    for label, word in enumerate(("real", "fake")):
        for number in range(9):
            # lossless, and the last frame has no face
            frames = [draw(picture(label, size=64, seed=9 * number + at), BOX) for at in range(3)]
            frames += [picture(label, size=64, seed=9 * number + 3)]
            split = ("train", "val", "test")[number % 3]
            path = root / "clips" / split / word / f"{number}.mkv"
            write_video(path, frames, codec="ffv1", pixel_format="bgr0")
    catalog = make_catalog(faces="crop1.3", frames_per_video=4)
    assert catalog.describe("clips").faces == "a face in 27 of 36 real, 27 of 36 fake"
    images = catalog.open("clips", "train", WHOLE)
    assert (len(images), images.listed, len(images.excluded)) == (18, 24, 6)
    at = images.sample_id.tolist().index("clips/train/real/0.mkv#frame=000001")
    whole = draw(picture(0, size=64, seed=1), BOX)
    np.testing.assert_array_equal(images.gather(np.array([at]))[0], whole[5:31, 17:43])


def test_a_dataset_without_faces_stops_with_the_count_found(
    root: Path,
    make_catalog: MakeCatalog,
    detector: type[DrawnFaces],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_faces(root / "shoes", n=20, without=(20, 19))
    write_faces(root / "half", n=60, without=(30, 30))
    write_faces(root / "one", n=20, without=(11, 0))
    counts = r"'shoes' has a face in 1 of 40 images \(0 of 20 real, 1 of 20 fake\), and half"
    with pytest.raises(DataError, match=counts):
        make_catalog(faces="crop1.3").dataset("shoes")
    assert make_catalog(faces="crop1.3").dataset("half").usable.num_rows == 60
    with pytest.raises(DataError, match=r"29 of 40 images \(9 of 20 real, 20 of 20 fake\)"):
        make_catalog(faces="crop1.3").dataset("one")
    # a large one is refused by a part of it, and not where that may be chance
    monkeypatch.setattr(face_regions, "PROBED", 8)
    write_faces(root / "large", n=50, without=(50, 50))
    detector.looked = 0
    with pytest.raises(DataError, match=r"0 of 16 images looked at first, of 100 \(0 of 8 real"):
        make_catalog(faces="crop1.3").dataset("large")
    assert detector.looked == 16
    write_faces(root / "nearly", n=50, without=(24, 24))
    assert make_catalog(faces="crop1.3").dataset("nearly").usable.num_rows == 52


@pytest.mark.parametrize(("without", "warns"), [((3, 3), False), ((0, 15), True)])
def test_the_audit_counts_images_without_a_face_and_warns_where_one_class_has_more(
    without: tuple[int, int],
    warns: bool,
    root: Path,
    make_catalog: MakeCatalog,
    detector: type[DrawnFaces],
) -> None:
    write_faces(root / "d", n=40, without=without)
    (audit,) = audit_datasets(make_catalog(faces="crop1.3"), ["d"])
    (finding,) = [one for one in audit.findings if one.code == "faceless"]
    real, fake = without
    assert f"No face was found in {real} of 40 real and {fake} of 40 fake images" in (
        finding.sentence
    )
    assert (finding.severity == "warning", "more of one class" in finding.sentence) == (warns,) * 2
    assert not [one for one in audit.findings if one.code in ("unreadable", "exclusions")]
    assert audit.native is not None and audit.native.width == 26, "of the faces"
    text = as_text(StudyAudit(datasets=(audit,)))
    assert f"a face in {40 - real} of 40 real, {40 - fake} of 40 fake" in text
    assert f"{real + fake} of 80 left out" in text


def test_without_the_extra_the_error_has_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faces, "NEEDED", ("no_such_package_here",))
    with pytest.raises(ConfigError, match=r"crop1\.3.*pip install 'fake-image-study\[faces\]'"):
        check_faces("crop1.3")


def test_an_opencv_that_does_not_run_is_told_before_any_work(
    detector: type[DrawnFaces], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_faces("crop1.3")

    def broken() -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(faces, "YuNet", broken)
    monkeypatch.setattr(faces, "_OF_THREAD", threading.local())
    with pytest.raises(ConfigError, match=r"crop1\.3.*libGL\.so\.1.*pip uninstall opencv-python"):
        check_faces("crop1.3")


def test_a_step_that_does_not_exist_is_refused_with_those_that_do() -> None:
    table = {"name": "s", "detectors": ["npr"], "train_on": ["demo_nearest"]}
    study = parse_study({**table, "data": {"faces": "align1.3"}}, where="here")
    assert (study.data.faces, study.data.face_step) == ("align1.3", "align1.3")
    assert parse_study(table, where="here").data.face_step == ""
    with pytest.raises(ConfigError, match=r"unknown faces 'crop1\.4': did you mean 'crop1"):
        parse_study({**table, "data": {"faces": "crop1.4"}}, where="here")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images here")
@pytest.mark.skipif(not all(map(util.find_spec, faces.NEEDED)), reason="extra [faces] missing")
def test_real_faces_are_found_and_shoes_are_refused(tmp_path: Path) -> None:
    for name in ("faces_140k", "dfdc_faces224", "shoes_midjourney"):
        for word in ("real", "fake"):
            for file in sorted((SHARED / name / word).rglob("*.jp*g"))[:40]:
                target = tmp_path / "data" / name / word / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)

    def catalog() -> Catalog:
        from study.data.catalog import DataConfig

        config = DataConfig(root=tmp_path / "data", cache=tmp_path / "cache", faces="align1.3")
        return Catalog(config, firewall=False)

    assert catalog().dataset("faces_140k").usable.num_rows == 80
    assert catalog().dataset("dfdc_faces224").usable.num_rows >= 78
    with pytest.raises(DataError, match=r"'shoes_midjourney' has a face in \d of 80 images"):
        catalog().dataset("shoes_midjourney")
