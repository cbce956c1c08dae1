"""Splits by the names that people give them: every image is in the split that its folder says, or
the folder is refused by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from study.core.errors import DataError
from study.data.catalog import Catalog, DataConfig
from study.data.describe import describe_folder
from study.data.layouts.folders import find_layout, read_layout
from study.data.layouts.manifest import read_manifest
from study.data.layouts.split_names import split_of, splits_among
from tests.factories import picture, write_image, write_manifest

# (a folder's name, the split whose images it must hold), side by side
TOGETHER = [
    {"Training": "train", "Validation": "val", "Testing": "test"},
    {"train": "train", "Validation": "val", "Testing": "test"},
    {"TRAIN": "train", "dev": "val", "eval": "test"},
    {"train": "train", "eval": "val", "test": "test"},
    {"training_set": "train", "test-set": "test"},
    {"train": "train", "holdout": "test"},
    {"train": "train", "valid": "val", "Hold-Out": "test"},
    {"Train Images": "train", "Val Images": "val", "Test Images": "test"},
    {"train2017": "train", "val2017": "val", "test_2017": "test"},
    {"trainset": "train", "devset": "val", "testset": "test"},
    {"train_data": "train", "evaluation": "test"},
]
NUMBER = {"train": 5, "val": 3, "test": 4}  # images of a class in each split


def write_splits(root: Path, names: dict[str, str], *, class_first: bool = False) -> Path:
    """Write both classes into every folder, as many images as its split has."""
    for at, (name, split) in enumerate(names.items()):
        for label, word in enumerate(("Real", "Fake")):
            folder = root / word / name if class_first else root / name / word
            for number in range(NUMBER.get(split, 2)):
                seed = 100 * at + number
                write_image(folder / f"{number}.png", picture(label, size=16, seed=seed))
    return root


@pytest.mark.parametrize("class_first", [False, True])
@pytest.mark.parametrize("names", TOGETHER, ids="/".join)
def test_every_image_is_in_the_split_of_its_folder(
    tmp_path: Path, names: dict[str, str], class_first: bool
) -> None:
    layout = find_layout(write_splits(tmp_path / "d", names, class_first=class_first))
    assert layout is not None
    table = read_layout(layout, name="d").table
    place = 1 if class_first else 0
    got = {(path.split("/")[place], split) for path, split in columns(table, "path", "split")}
    assert got == set(names.items())
    for label in (0, 1):
        counted = [split for of, split in columns(table, "label", "split") if of == label]
        assert sorted(counted) == sorted(s for s in names.values() for _ in range(NUMBER[s]))


def columns(table: object, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))  # type: ignore[index]


@pytest.mark.parametrize("pattern", ["{split}_{label}", "{label}-{split}", "{split} {label}"])
@pytest.mark.parametrize("names", TOGETHER, ids="/".join)
def test_names_that_say_split_and_class(
    tmp_path: Path, names: dict[str, str], pattern: str
) -> None:
    for at, (name, split) in enumerate(names.items()):
        for label, word in enumerate(("Real", "Fake")):
            folder = tmp_path / pattern.format(split=name, label=word)
            for number in range(NUMBER[split]):
                image = picture(label, size=16, seed=100 * at + number)
                write_image(folder / f"{number}.png", image)
    layout = find_layout(tmp_path)
    assert layout is not None
    listing = read_layout(layout, name="d")
    assert not listing.skipped
    for path, split, label in columns(listing.table, "path", "split", "label"):
        folder = str(path).partition("/")[0]
        name = next(name for name in sorted(names, key=len, reverse=True) if name in folder)
        assert (names[name], ("Real", "Fake")[label]) == (
            split,
            folder.replace(name, "").strip("-_ "),
        )


def test_a_joint_name_of_no_known_split_is_refused(tmp_path: Path) -> None:
    for name in ("train_real", "train_fake", "val_real", "test_real", "eval_real", "photos"):
        write_image(tmp_path / name / "x.png", picture(0, size=8))
    with pytest.raises(DataError, match=r"beside them 'eval_real' .*1 images"):
        find_layout(tmp_path)
    (tmp_path / "eval_real" / "x.png").unlink()
    layout = find_layout(tmp_path)
    assert layout is not None and {part.split for part in layout.parts} == {"train", "val", "test"}
    assert dict(layout.skipped)["photos"] == "neither a split nor a class folder"


@pytest.mark.parametrize("names", TOGETHER, ids="/".join)
def test_a_manifest_knows_the_same_words(tmp_path: Path, names: dict[str, str]) -> None:
    rows = []
    for at, name in enumerate(names):
        for label in (0, 1):
            path = f"{at}-{label}.png"
            write_image(tmp_path / path, picture(label, size=8, seed=at))
            rows.append({"path": path, "label": label, "split": name})
    write_manifest(tmp_path, rows)
    given = [names[row["split"]] for row in rows]
    assert read_manifest(tmp_path).table["split"].to_pylist() == given


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "test": "test", "third": ""},
        {"train": "train", "trainval": ""},
        # held out, and both splits that it could be are there; or two are held out
        {"train": "train", "val": "val", "test": "test", "eval": ""},
        {"train": "train", "eval": "", "holdout": ""},
        {"train": "train", "test": "test", "old copy": ""},
    ],
    ids="/".join,
)
def test_a_folder_beside_splits_is_refused_with_its_images(
    tmp_path: Path, names: dict[str, str]
) -> None:
    folder = write_splits(tmp_path / "data" / "d", names)
    lost = next(name for name, split in sorted(names.items()) if not split)
    message = rf"'train'.* and beside them '{lost}' .*4 images.*rename it to train, val or test"
    catalog = Catalog(DataConfig(root=folder.parent, cache=tmp_path / "cache"), firewall=False)
    with pytest.raises(DataError, match=message):
        catalog.describe("d")
    with pytest.raises(DataError, match=message):
        describe_folder(folder, class_folders={}, cache=tmp_path / "cache")


def test_a_folder_beside_classes_is_refused_likewise(tmp_path: Path) -> None:
    """A union of layouts: one dataset in class folders, and another one beside them."""
    for folder in ("real", "fake", "more/real", "more/fake"):
        for number in range(3):
            write_image(
                tmp_path / folder / f"{number}.png", picture(folder[-4:] == "fake", seed=number)
            )
    with pytest.raises(DataError, match=r"'fake', 'real', and beside them 'more' .*6 images"):
        find_layout(tmp_path)


def test_what_holds_no_images_is_no_loss(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "d", {"train": "train", "test": "test"})
    (folder / "third" / "real").mkdir(parents=True)
    (folder / "validation").mkdir()
    layout = find_layout(folder)
    assert layout is not None
    assert dict(layout.skipped) == {
        "third": "neither a split nor a class folder",
        "validation": "a split folder without class folders in it",
    }


@pytest.mark.parametrize(
    "name", ["trainer", "contest", "testament", "developer", "train1", "", "x"]
)
def test_other_words_are_no_splits(name: str) -> None:
    assert split_of(name) == ""
    assert splits_among([name, "train"]) == {"train": "train"}
