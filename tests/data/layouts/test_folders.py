"""Folder layouts, read as a user would leave them; nothing outside the folder is ever listed."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.core.errors import ConfigError, DataError
from study.core.records import DatasetCard
from study.data.layouts.folders import find_layout, read_layout, segment_pattern
from study.data.layouts.listing import LEAVES, Listing
from study.data.sources.cards import load_card
from tests.factories import (
    LAYOUTS,
    NAMED,
    picture,
    write_cifake,
    write_dataset,
    write_faces_140k,
    write_image,
)


def listing_of(folder: Path, **options: Any) -> Listing:
    layout = find_layout(folder, **options)
    assert layout is not None
    return read_layout(layout, name=folder.name)


def counts(listing: Listing, *columns: str) -> Counter[Any]:
    return Counter(zip(*(listing.table[name].to_pylist() for name in columns), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_lists_every_image_once(tmp_path: Path, layout: str) -> None:
    listing = listing_of(
        write_dataset(tmp_path / "d", layout=layout, n=8, size=8), class_folders=NAMED
    )
    assert counts(listing, "label") == {(0,): 8, (1,): 8}
    assert len(set(listing.table["path"].to_pylist())) == 16
    assert set(listing.table["problem"].to_pylist()) == {""}
    assert all((tmp_path / "d" / path).is_file() for path in listing.table["path"].to_pylist())


def test_methods_of_plain_nested_and_named_folders(tmp_path: Path) -> None:
    plain = write_dataset(tmp_path / "plain", layout="REAL_FAKE", n=4, size=8)
    assert counts(listing_of(plain), "label", "method") == {(0, "REAL"): 4, (1, "FAKE"): 4}
    nested = write_dataset(tmp_path / "nested", layout="methods", n=4, size=8)
    write_image(nested / "fake" / "loose.png", picture(1, size=8))
    write_image(nested / "fake" / "gan_a" / "person" / "deep.png", picture(1, size=8))
    assert counts(listing_of(nested), "label", "method") == {
        (0, "real"): 4,
        (1, "gan_a"): 3,
        (1, "gan_b"): 2,
        (1, "fake"): 1,
    }
    named = write_dataset(tmp_path / "named", layout="named", n=4, size=8)
    # a video, no method
    write_image(named / "FaceSwap" / "000_003" / "0001.png", picture(1, size=8))
    listing = listing_of(named, class_folders=NAMED)
    assert counts(listing, "label", "method") == {
        (0, "Real_youtube"): 4,
        (1, "FaceSwap"): 3,
        (1, "NeuralTextures"): 2,
    }


@pytest.mark.parametrize("spelled", ["val", "valid", "validation", "Validation"])
def test_official_splits_by_their_names(tmp_path: Path, spelled: str) -> None:
    folder = write_dataset(tmp_path / "d", layout="train_valid_test", n=10, size=8)
    (folder / "valid").rename(folder / spelled)
    listing = listing_of(folder)
    assert counts(listing, "split", "label") == {
        ("train", 0): 6,
        ("train", 1): 6,
        ("val", 0): 2,
        ("val", 1): 2,
        ("test", 0): 2,
        ("test", 1): 2,
    }
    assert spelled in listing.layout


def test_published_shapes_by_card_and_without(tmp_path: Path) -> None:
    cifake = listing_of(write_cifake(tmp_path / "cifake", n=8), card=load_card("cifake"))
    assert counts(cifake, "split", "method") == {
        ("train", "cifar10"): 6,
        ("train", "sd1.4"): 6,
        ("test", "cifar10"): 2,
        ("test", "sd1.4"): 2,
    }
    faces = write_faces_140k(tmp_path / "faces", n=10, size=8)
    with_card = listing_of(faces, card=load_card("faces_140k"))
    assert counts(with_card, "method") == {("ffhq",): 10, ("stylegan",): 10}
    without = listing_of(faces)  # two folders that hold nothing but one folder are looked through
    assert without.table["path"].to_pylist() == with_card.table["path"].to_pylist()


def test_class_folders_of_the_study_win_over_the_cards(tmp_path: Path) -> None:
    """Not over real and fake: with these turned a study has misunderstood 0 and 1."""
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    (folder / "real").rename(folder / "a")
    (folder / "fake").rename(folder / "b")
    card = DatasetCard(name="d", title="D", source="folder", class_folders={"a": 0, "b": 1})
    for given, fakes in (({}, {"b"}), ({"a": 1, "b": 0}, {"a"})):
        layout = find_layout(folder, card=card, class_folders=given)
        assert layout is not None
        assert {part.folder for part in layout.parts if part.label == 1} == fakes
    with pytest.raises(ConfigError, match="class folder 'real' is given as fake"):
        listing_of(folder, class_folders={"real": 1, "fake": 0})


def test_folders_beside_the_classes_are_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", layout="train_test", n=8, size=8)
    write_image(folder / "train" / "unsure" / "x.png", picture(0, size=8))
    (folder / "notes").mkdir()
    assert dict(listing_of(folder).skipped) == {
        "train/unsure": "neither a split nor a class folder",
        "notes": "neither a split nor a class folder",
    }


def test_files_that_are_passed_over_are_counted_by_suffix(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    for number in range(3):
        for name in (
            f"fake/x{number}.jpgg",
            f"fake/deep/noext{number}",
            f"real/{number}.AVIF",
            f"real/{number}.odd{number}",
            ".txt",
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"x")
        write_image(folder / f"loose{number}.png", picture(0, size=8))
    (folder / "real" / "0.ppm").write_bytes(b"x")
    history = [f"{what}: {why.partition(',')[0]}" for what, why in listing_of(folder).skipped]
    assert history == [
        "3 images at the top: in no class folder",
        "files without a suffix: 3 in class folders",
        "*.avif: 3 in class folders",
        "*.jpgg: 3 in class folders",
        "*.odd0: 1 in class folders",
        "*.odd1: 1 in class folders",
        "*.odd2: 1 in class folders",
        "*.ppm: 1 in class folders",
    ]
    for number in range(8):
        (folder / "real" / f"x.{number}").write_bytes(b"x")
    assert listing_of(folder).skipped[-1] == (
        "files of other suffixes",
        "7 in class folders, by their names neither images nor videos",
    )


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    for name in ("Thumbs.db", ".hidden.png", "._0000.png", "readme.txt"):
        (folder / "real" / name).write_bytes(b"x")
    (folder / "real" / ".cache").mkdir()
    write_image(folder / "real" / ".cache" / "x.png", picture(0, size=8))
    write_image(folder / "real" / "UPPER.JPEG", picture(0, size=8))
    assert counts(listing_of(folder), "label") == {(0,): 3, (1,): 2}


@pytest.mark.parametrize("named", [False, True])
def test_split_folders_in_class_folders_are_the_official_split(tmp_path: Path, named: bool) -> None:
    real, fake = ("authentic", "generated") if named else ("REAL", "fake")
    for split, n in (("train", 3), ("Valid", 2), ("test", 1)):
        for label, word in enumerate((real, fake)):
            for number in range(n):
                write_image(
                    tmp_path / "d" / word / split / f"{number}.png",
                    picture(label, size=8, seed=number),
                )
    write_image(tmp_path / "d" / fake / "test" / "gan_a" / "x.png", picture(1, size=8))
    listing = listing_of(
        tmp_path / "d", class_folders={"authentic": 0, "generated": 1} if named else None
    )
    assert counts(listing, "split", "label", "method") == {
        ("train", 0, real): 3,
        ("val", 0, real): 2,
        ("test", 0, real): 1,
        ("train", 1, fake): 3,
        ("val", 1, fake): 2,
        **({("test", 1, fake): 2} if named else {("test", 1, fake): 1, ("test", 1, "gan_a"): 1}),
    }
    assert listing.layout == f"{real} (real), {fake} (fake) / Valid, test, train"
    assert not listing.skipped


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ("fake/gan_a/x.png", r"'fake/gan_a' is none"),
        ("fake/x.png", r"'fake' holds images that are in none"),
        ("0_real/x.png", r"'0_real' holds images that are in none"),
        ("0_real/gan_a/x.png", r"'0_real/gan_a' is none"),
    ],
)
def test_split_folders_beside_others_in_class_folders_are_ambiguous(
    tmp_path: Path, beside: str, words: str
) -> None:
    for place in ("real/train", "real/test", "fake/train", "fake/test"):
        write_image(tmp_path / "d" / place / "x.png", picture(0, size=8))
    write_image(tmp_path / "d" / beside, picture(0, size=8))
    with pytest.raises(
        DataError,
        match=rf"class folders hold split folders \(fake/test\), and {words}.*manifest.csv",
    ):
        find_layout(tmp_path / "d")


def test_split_and_class_folders_side_by_side_are_ambiguous(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    write_dataset(folder, layout="train_test", n=4, size=8)
    with pytest.raises(DataError, match="side by side"):
        find_layout(folder)


def test_an_empty_class_and_a_missing_one_are_refused_with_counts(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=3, size=8)
    for path in (folder / "fake").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"dataset 'd' has no fake images \(3 real, 0 fake"):
        listing_of(folder)
    (folder / "fake").rmdir()
    with pytest.raises(DataError, match="has no fake images"):
        listing_of(folder)


@pytest.mark.parametrize(
    "make", [lambda f: f.mkdir(), lambda f: write_image(f / "a" / "x.png", picture(0, size=8))]
)
def test_a_folder_without_a_layout_is_not_recognised(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "d")
    assert find_layout(tmp_path / "d") is None


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write_dataset(tmp_path / "outside", n=3, size=8)
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    (folder / "real" / "secret.png").symlink_to(outside / "real" / "0000.png")
    (folder / "fake" / "elsewhere").symlink_to(outside / "fake", target_is_directory=True)
    (folder / "fake" / "nowhere.png").symlink_to(folder / "fake" / "absent.png")
    (folder / "fake" / "loop.png").symlink_to(folder / "fake" / "loop.png")
    listing = listing_of(folder)
    problems = {path: problem for path, problem in counts(listing, "path", "problem") if problem}
    assert problems.pop("fake/loop.png").startswith("cannot be read")
    assert problems == {
        "real/secret.png": LEAVES,
        "fake/nowhere.png": "file is missing",
    }
    assert dict(listing.skipped) == {"fake/elsewhere": LEAVES}


def test_a_class_that_is_a_link_out_of_the_folder_is_named_in_the_error(tmp_path: Path) -> None:
    outside = write_dataset(tmp_path / "outside", n=3, size=8)
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    (folder / "fake").rename(tmp_path / "gone")
    (folder / "fake").symlink_to(outside / "fake", target_is_directory=True)
    with pytest.raises(DataError, match=r"not used: fake \(symbolic link that leaves"):
        listing_of(folder)


def test_links_inside_the_folder_are_followed_and_loops_end(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    (folder / "pool").mkdir()
    write_image(folder / "pool" / "p.png", picture(0, size=8))
    (folder / "real" / "more").symlink_to(folder / "pool", target_is_directory=True)
    (folder / "pool" / "up").symlink_to(folder / "real", target_is_directory=True)
    listing = listing_of(folder)
    assert "real/more/p.png" in listing.table["path"].to_pylist()
    assert any("folder that it lies in" in reason for _, reason in listing.skipped)


def test_the_datasets_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write_dataset(tmp_path / "real place", n=2, size=8)
    (tmp_path / "d").symlink_to(tmp_path / "real place", target_is_directory=True)
    assert listing_of(tmp_path / "d").table.num_rows == 4


@pytest.mark.parametrize(
    ("segment", "name", "words"),
    [
        ("train", "train", {}),
        ("train", "Train", None),
        ("images|frames", "frames", {}),
        ("images|frames", "frame", None),
        ("a.b", "axb", None),
        ("*", "anything at all", {}),
        ("set*", "set 1", {}),
        ("{member}", "Stable Diffusion V1.4", {"member": "Stable Diffusion V1.4"}),
        ("{class:real|fake}_{split}", "fake_test", {"class": "fake", "split": "test"}),
        ("{class:real|fake}_{split}", "true_test", None),
    ],
)
def test_segments_of_a_cards_folders(segment: str, name: str, words: dict[str, str] | None) -> None:
    match = re.fullmatch(segment_pattern(segment), name)
    assert (match.groupdict() if match else None) == words


def test_names_that_are_not_utf8_are_listed_with_the_reason(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    try:
        (folder / "real" / os.fsdecode(b"\xff\xfe.png")).write_bytes(
            (folder / "real" / "0000.png").read_bytes()
        )
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    problems = {
        path: problem for path, problem in counts(listing_of(folder), "path", "problem") if problem
    }
    assert problems == {"real/\\xff\\xfe.png": "file name is not valid UTF-8"}
