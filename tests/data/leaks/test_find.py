"""Leaks: planted ones are found with their kind and source, clean data have none, and groups stay
on one side.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.analysis.audit import audit_datasets
from study.core.errors import DataError, FirewallError
from study.data.audit.dataset import audit_dataset
from study.data.leaks import find as library
from study.data.leaks.find import (
    find_leaks,
    is_same_domain,
    leaks_across,
    leaks_within,
    shared_images,
)
from study.data.leaks.near_duplicates import nearest
from study.data.leaks.prints import parts, prints_of
from tests.data.conftest import MakeCatalog
from tests.data.leaks.pictures import aligned_face, scene
from tests.factories import files_of, write_dataset, write_ffpp, write_image, write_manifest

SHARED = Path(__file__).parents[4] / "shared" / "data"


def write_scenes(folder: Path, *, start: int = 0, n: int = 12) -> Path:
    """Write n reals and n fakes a split, all different pictures, in train/val/test folders, as
    PNG.
    """
    for place, split in enumerate(("train", "val", "test")):
        for label, word in enumerate(("real", "fake")):
            for number in range(n):
                write_image(
                    folder / split / word / f"{number:03d}.png",
                    scene(start + (place * 2 + label) * n + number, 48),
                )
    return folder


def plant(folder: Path) -> None:
    """Two training images of `folder` in its test set, a real as JPEG, a fake at half the size; and
    an exact copy of a val real.
    """
    with Image.open(folder / "train" / "real" / "003.png") as image:
        image.save(folder / "test" / "real" / "planted.jpg", quality=60)
    with Image.open(folder / "train" / "fake" / "004.png") as image:
        image.resize((24, 24), Image.Resampling.BICUBIC).save(
            folder / "test" / "fake" / "planted.png"
        )
    with Image.open(folder / "val" / "real" / "005.png") as image:
        image.save(folder / "test" / "real" / "copied.bmp")


def test_planted_leaks_are_found_with_their_source(root: Path, make_catalog: MakeCatalog) -> None:
    plant(write_scenes(root / "d"))
    found = find_leaks(make_catalog(), "d", "d")
    assert [(leak.image, leak.source, leak.kind, leak.label) for leak in found.found] == [
        ("d/test/fake/planted.png", "d/train/fake/004.png", "near", 1),
        ("d/test/real/copied.bmp", "d/val/real/005.png", "exact", 0),
        ("d/test/real/planted.jpg", "d/train/real/003.png", "near", 0),
    ]
    assert (found.real, found.fake) == (14, 13)
    assert found.share(0) == pytest.approx(2 / 14)
    assert found.share(0, kind="exact") == pytest.approx(1 / 14)
    assert found.sentences() == [
        "d: 7.1 % of test reals (1 of 14) has an exact copy in train+val",
        "d: 7.1 % of test reals (1 of 14) has a near duplicate in train+val",
        "d: 7.7 % of test fakes (1 of 13) has a near duplicate in train+val",
    ]


def test_a_union_leaks_what_its_members_leak(root: Path, make_catalog: MakeCatalog) -> None:
    plant(write_scenes(root / "a"))
    write_scenes(root / "b", start=1000)
    with Image.open(root / "b" / "train" / "fake" / "000.png") as image:
        image.save(root / "a" / "test" / "fake" / "from_b.jpg", quality=90)
    catalog = make_catalog()
    alone, union, other = (find_leaks(catalog, name, "a") for name in ("a", "a+b", "b"))
    assert set(union.ids()) == {*alone.ids(), *other.ids()}
    assert other.ids() == ("a/test/fake/from_b.jpg",)
    assert other.sentences() == [
        "a: 7.1 % of test fakes (1 of 14) has a near duplicate in train+val of b"
    ]
    assert find_leaks(catalog, "a", "b").found == ()


def test_clean_datasets_have_no_leaks(root: Path, make_catalog: MakeCatalog) -> None:
    write_scenes(root / "d", n=40)
    catalog = make_catalog()
    for found in (
        *leaks_across(catalog, "d"),
        *(leaks_within(catalog, "d", split) for split in ("train", "val", "test")),
    ):
        assert (found.found, found.sentences()) == ((), [])


def test_splits_are_compared_with_each_other_and_with_themselves(
    root: Path, make_catalog: MakeCatalog
) -> None:
    plant(write_scenes(root / "d"))
    with Image.open(root / "d" / "test" / "real" / "000.png") as image:
        image.save(root / "d" / "test" / "real" / "000_again.jpg", quality=85)
        image.save(root / "d" / "test" / "real" / "000_twice.bmp")
    catalog = make_catalog()
    found = {
        (leaks.image_splits, leaks.source_splits): leaks.ids()
        for leaks in leaks_across(catalog, "d")
    }
    assert found == {
        (("val",), ("train",)): (),
        (("test",), ("train",)): ("d/test/fake/planted.png", "d/test/real/planted.jpg"),
        (("test",), ("val",)): ("d/test/real/copied.bmp",),
    }
    within = leaks_within(catalog, "d", "test")
    assert [(leak.image, leak.source, leak.kind) for leak in within.found] == [
        ("d/test/real/000_again.jpg", "d/test/real/000.png", "near"),
        ("d/test/real/000_twice.bmp", "d/test/real/000.png", "exact"),
    ]


def test_groups_on_both_sides_leak(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", n=24, size=16)
    rows: list[dict[str, Any]] = []
    for word in ("real", "fake"):
        for number in range(24):
            split = ("train", "val", "test")[number % 3]
            rows.append(
                {
                    "path": f"{word}/{number:04d}.png",
                    "label": word,
                    "group": f"g{number // 4}",
                    "split": split,
                }
            )
    write_manifest(root / "d", rows)
    found = find_leaks(make_catalog(), "d", "d")
    assert len(found.ids(kind="group", label=0)) == 8
    assert len(found.ids(kind="group", label=1)) == 8
    leak = next(leak for leak in found.found if leak.kind == "group")
    assert math.isnan(leak.correlation)
    assert "d: 100.0 % of test reals (8 of 8) share their group with train+val" in found.sentences()


def test_equal_keys_of_two_folders_mean_nothing_by_themselves(
    root: Path, make_catalog: MakeCatalog
) -> None:
    for place, name in enumerate(("a", "b")):
        write_scenes(root / name, start=500 * place)
        paths = [path.relative_to(root / name) for path in files_of(root / name)]
        write_manifest(
            root / name,
            [
                {
                    "path": str(p),
                    "label": p.parts[1],
                    "group": f"video {p.stem}",
                    "split": p.parts[0],
                }
                for p in paths
            ],
        )
    assert find_leaks(make_catalog(), "a", "b").found == ()
    (root / "b/train/real/000.png").write_bytes((root / "a/train/real/000.png").read_bytes())
    assert find_leaks(make_catalog(), "a", "b").found == ()  # it is not in the test set
    # one image under one key in both
    (root / "b/test/real/000.png").write_bytes((root / "a/train/real/000.png").read_bytes())
    found = find_leaks(make_catalog(), "a", "b")
    assert len(found.ids(kind="group")) == found.real + found.fake == 24


def test_ffpp_reals_are_shared_by_its_manipulations_and_stay_on_one_side(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_ffpp(root / "ffpp", pairs=40, frames=1, size=16)
    catalog = make_catalog()
    assert find_leaks(catalog, "ffpp:FaceSwap", "ffpp:NeuralTextures").ids(kind="group") == ()
    shared = shared_images(catalog, "ffpp:FaceSwap", "ffpp:NeuralTextures")
    assert 0.6 < shared.share(0, kind="exact") <= 1
    assert is_same_domain(shared)
    assert is_same_domain(shared_images(catalog, "ffpp:FaceSwap", "ffpp"))


def write_seed_split(root: Path, *, pairs: int = 8, frames: int = 2) -> None:
    """FaceForensics++ frames as one of the repositories this study began with splits them: not at
    all.

    It trains on all of Real_youtube and FaceSwap, and tests on all of Real_youtube and
    NeuralTextures.
    """
    for name, fakes, splits in (
        ("trained", "FaceSwap", ("train", "val")),
        ("tested", "NeuralTextures", ("test",)),
    ):
        write_ffpp(root / name, pairs=pairs, frames=frames, size=16, flat=True)
        rows = []
        for path in files_of(root / name):
            video = int(path.name[:3])
            if path.parent.name in ("Real_youtube", fakes):
                label, split = int(path.parent.name == fakes), splits[video // 2 % len(splits)]
                place = path.relative_to(root / name)
                rows.append(
                    {
                        "path": str(place),
                        "label": label,
                        "group": f"pair {video // 2}",
                        "split": split,
                    }
                )
        write_manifest(root / name, rows)


def test_the_split_of_the_seed_is_found_to_test_on_its_training_reals(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_seed_split(root)
    catalog = make_catalog()
    found = find_leaks(catalog, "trained", "tested")
    assert (found.real, found.fake) == (32, 32)
    assert (found.share(0, kind="exact"), found.share(1, kind="exact")) == (1, 0)
    assert found.share(1, kind="group") == 1  # and every fake is of a video that was trained on
    assert (
        "tested: 100.0 % of test reals (32 of 32) have an exact copy in train+val of trained"
        in found.sentences()
    )
    assert is_same_domain(shared_images(catalog, "trained", "tested"))


def test_a_few_common_images_make_no_common_domain(root: Path, make_catalog: MakeCatalog) -> None:
    write_scenes(root / "a", n=12)
    write_scenes(root / "b", start=5000, n=70)
    (root / "b" / "test" / "real" / "common.png").write_bytes(
        (root / "a" / "train" / "real" / "000.png").read_bytes()
    )
    catalog = make_catalog()
    assert find_leaks(catalog, "a", "b").ids() == ("b/test/real/common.png",)
    assert not is_same_domain(shared_images(catalog, "a", "b"))  # 1 of 211 reals
    assert is_same_domain(shared_images(catalog, "b", "b"))


def test_leaks_are_remembered_until_the_images_change(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(write_scenes(root / "d"))
    first = find_leaks(make_catalog(), "d", "d")
    monkeypatch.setattr(library, "_compare", lambda *_, **__: pytest.fail("compared again"))
    assert find_leaks(make_catalog(), "d", "d") == first
    monkeypatch.undo()
    (root / "d" / "test" / "real" / "planted.jpg").unlink()
    assert find_leaks(make_catalog(), "d", "d").ids() == tuple(
        i for i in first.ids() if "planted.jpg" not in i
    )


def test_an_interrupted_comparison_keeps_its_prints(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.data.leaks.prints.BATCH", 32)
    write_scenes(root / "d", n=50)
    real = library.read_prints.__globals__["parts"]
    seen: list[int] = []

    def interrupted(pixels: Any) -> Any:
        seen.append(1)
        if len(seen) > 80:
            raise KeyboardInterrupt
        return real(pixels)

    monkeypatch.setattr("study.data.leaks.prints.parts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        leaks_within(make_catalog(), "d", "train")
    monkeypatch.setattr(
        "study.data.leaks.prints.parts",
        lambda pixels: (seen.append(1), real(pixels))[1],
    )
    seen.clear()
    leaks_within(make_catalog(), "d", "train")
    assert 0 < len(seen) <= sum(make_catalog().dataset("d").counts()["train"]) - 32
    made = make_catalog().config.cache.glob("prints/*/*/*")
    assert [path.suffix for path in made] == [".rows"]


def test_a_file_that_changed_is_refused(root: Path, make_catalog: MakeCatalog) -> None:
    write_scenes(root / "d")
    catalog = make_catalog()
    catalog.dataset("d")
    write_image(root / "d" / "test" / "real" / "000.png", scene(777, 48))
    with pytest.raises(DataError, match="changed since it was indexed"):
        leaks_within(catalog, "d", "test")


def test_behind_the_firewall_no_test_image_is_compared(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_scenes(root / "d")
    with pytest.raises(FirewallError):
        find_leaks(make_catalog(firewall=True), "d", "d")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real datasets are not in ../shared/data")
def test_real_datasets_have_few_leaks(make_catalog: MakeCatalog) -> None:
    """Looked at by eye: the pairs in faces_140k are each one face of StyleGAN twice, those in
    dfdc_faces224 are other takes of one person in one scene, in groups of their own.
    """
    catalog = make_catalog(root=SHARED)
    takes = [leak for leaks in leaks_across(catalog, "dfdc_faces224") for leak in leaks.found]
    assert {(leak.image[-14:-4], leak.source[-14:-4]) for leak in takes} == {
        ("jodmpxamjm", "lpoyrzlnnd"),
        ("sxfkdrznan", "qhzszqjbky"),
        ("xygcyawuxx", "iouzqpjvrm"),
        ("stftfbmdgu", "shehvyhzsd"),
        ("tebhyvrvrf", "ymbkmmrqzg"),
        ("clyqxccszs", "fdmsyypemb"),
    }
    assert [leaks.found for leaks in leaks_across(catalog, "shoes_midjourney")] == [(), (), ()]
    twice = [leak for leaks in leaks_across(catalog, "faces_140k") for leak in leaks.found]
    assert [(leak.image[-14:-4], leak.source[-14:-4]) for leak in twice] == [
        ("0C3SNOUVEY", "0CSC8SIMA9"),
        ("0GTFMAQMQQ", "0R4POY5DTW"),
    ]
    within = leaks_within(catalog, "dfdc_faces224", "train")
    assert len(within.ids()) == 8
    groups = {
        row["id"]: row["group"] for row in catalog.dataset("dfdc_faces224").samples.to_pylist()
    }
    assert all(groups[leak.image] != groups[leak.source] for leak in within.found)
    for train_on, test_on in (
        ("faces_140k", "dfdc_faces224"),
        ("dfdc_faces224", "shoes_midjourney"),
    ):
        assert not is_same_domain(shared_images(catalog, train_on, test_on))
    assert np.isnan(find_leaks(catalog, "faces_140k", "faces_140k").share(0)) == np.False_


def test_aligned_faces_are_not_each_others_copies() -> None:
    """Of 1,200 faces of one layout none is a near duplicate, mirrored or not; and each is found
    again when it is one.
    """
    faces = [aligned_face(seed, 32) for seed in range(1200)]
    prints = prints_of([parts(face) for face in faces])
    i, j, alike = nearest(prints, prints, lambda a, b: a != b)
    assert len(i) == 0, list(zip(i, j, alike, strict=True))
    turned = prints_of([parts(face[:, ::-1]) for face in faces[:100]])
    assert nearest(turned, prints, lambda a, b: np.ones(len(a), dtype=np.bool_))[1].tolist() == [
        *range(100)
    ]


@pytest.mark.parametrize("there", [("test",), ("train", "val")])
def test_splits_without_a_usable_image_have_no_leaks(
    root: Path, make_catalog: MakeCatalog, there: tuple[str, ...]
) -> None:
    """A manifest of all splits with the files of one: nothing to leak from, or nothing that
    leaks.
    """
    write_scenes(root / "d", n=6)
    paths = [path.relative_to(root / "d") for path in files_of(root / "d")]
    write_manifest(
        root / "d",
        [
            {"path": str(p), "label": p.parts[1], "group": str(p), "split": p.parts[0]}
            for p in paths
        ],
    )
    for split in {"train", "val", "test"} - {*there}:
        shutil.rmtree(root / "d" / split)
    catalog = make_catalog()
    assert [leaks.found for leaks in leaks_across(catalog, "d")] == [(), (), ()]
    (audit,) = audit_datasets(catalog, ["d"])
    n = 6 * len(there)
    assert (audit.n_real, audit.n_fake, audit.listed, len(audit.unread)) == (n, n, 36, 36 - 2 * n)
    assert {finding.code for finding in audit.findings} == {"unreadable"}


@pytest.mark.parametrize(
    "changed",
    ["find.py", "near_duplicates.py", "prints.py", "patches.py", "register.py", "numpy", "scipy"],
)
def test_leaks_are_looked_for_anew_by_other_code(
    root: Path,
    make_catalog: MakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
    other_code: Callable[[str], None],
    changed: str,
) -> None:
    plant(write_scenes(root / "d", n=6))
    first = find_leaks(make_catalog(), "d", "d")
    monkeypatch.setattr(library, "_compare", lambda *_, **__: [])
    assert find_leaks(make_catalog(), "d", "d") == first and first.found
    other_code(changed)
    assert find_leaks(make_catalog(), "d", "d").found == ()


def test_a_pair_within_one_split_is_told_and_marks_nothing(
    root: Path, make_catalog: MakeCatalog
) -> None:
    """400 clean pictures in official splits: nothing; with one of the training images there twice:
    a word, and no mark.
    """
    for number in range(400):
        split = ("train", "train", "val", "test")[number // 2 % 4]
        write_image(
            root / "d" / split / ("real", "fake")[number % 2] / f"{number:03d}.png",
            aligned_face(number, 32),
        )
    assert audit_dataset(make_catalog(), "d").findings == ()
    with Image.open(root / "d" / "train" / "real" / "000.png") as image:
        image.save(root / "d" / "train" / "real" / "again.png", compress_level=1)
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
            root / "d" / "train" / "real" / "turned.png"
        )
    audit = audit_dataset(make_catalog(), "d")
    assert {(f.code, f.severity) for f in audit.findings} == {
        ("duplicates", "info")
    } and audit.warnings == ()
    assert any("near duplicate in the same split" in f.sentence for f in audit.findings)


def test_findings_name_files_and_a_fake_with_its_source(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_scenes(root / "d")
    with Image.open(folder / "train" / "real" / "003.png") as image:
        image.save(folder / "test" / "fake" / "made.jpg", quality=80)
    audit = audit_dataset(make_catalog(), "d")
    told = {f.code: f for f in audit.findings if f.code.startswith("leak_")}
    pair = "'d/test/fake/made.jpg' (as 'd/train/real/003.png')"
    assert told["leak_near"].severity == "warning" and pair in told["leak_near"].sentence
    assert "are of the other class: a fake and its source" in told["leak_source"].sentence
    assert pair in told["leak_source"].sentence
    assert "--propose-groups" in told["leak_source"].sentence
    assert audit.warnings == ()  # of the cells that it touches, and no column


def test_what_the_splits_share_of_a_set_that_is_only_tested_does_not_matter(
    root: Path, make_catalog: MakeCatalog
) -> None:
    plant(write_scenes(root / "d"))
    codes = [
        [f.code for f in audit_dataset(make_catalog(), "d", only_tested=only).findings]
        for only in (False, True)
    ]
    assert "leak_near" in codes[0] and not [c for c in codes[1] if c.startswith("leak_")]


def test_of_a_set_that_is_only_tested_what_is_tested_is_compared(
    root: Path, make_catalog: MakeCatalog
) -> None:
    """A val image of b is a training image of a: nothing that is tested."""
    write_scenes(root / "a")
    write_scenes(root / "b", start=1000)
    shutil.copy(root / "a" / "train" / "real" / "000.png", root / "b" / "val" / "real" / "same.png")
    catalog = make_catalog()
    assert shared_images(catalog, "a", "b").ids() == ("b/val/real/same.png",)
    assert shared_images(catalog, "a", "b", only_tested=True).ids() == ()
