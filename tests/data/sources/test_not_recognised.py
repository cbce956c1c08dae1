"""A folder that is no dataset is refused with what it holds, and with what to do in that case."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study import prepare
from study.core.errors import DataError
from study.data.catalog import Catalog, DataConfig
from study.data.class_words import guessed_classes
from tests.factories import picture, write_dataset, write_image


def opened(root: Path, cache: Path) -> Catalog:
    return Catalog(DataConfig(root=root, cache=cache), firewall=False)


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        opened(folder.parent, folder.parent.parent / "cache").describe(folder.name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("far/far/too/deep/train.parquet", "write the bytes of every row's image to a file"),
        ("deep/er/part.arrow", "write the bytes of every row's image to a file"),
        ("images.zip", "unpack the archives there"),
        ("shards/00000.tar", "unpack the archives there"),
    ],
)
def test_images_inside_of_files_are_named_with_a_remedy(
    tmp_path: Path, path: str, remedy: str
) -> None:
    folder = tmp_path / "data" / "mine"
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_bytes(b"x")
    message = refusal(folder)
    assert f"1 *{Path(path).suffix}" in message and remedy in message


def test_several_datasets_in_one_folder_are_named_and_usable_as_said(tmp_path: Path) -> None:
    """Each in another layout: classes, splits, a manifest."""
    folder = tmp_path / "data" / "mine"
    layouts = {"a": "real_fake", "b": "train_test", "c": "manifest"}
    for seed, (name, layout) in enumerate(layouts.items()):
        write_dataset(folder / name, layout=layout, n=40, size=16, seed=seed)
    (folder / "notes").mkdir()
    message = refusal(folder)
    assert "each of these folders is a dataset by itself (a, b, c)" in message
    words = shlex.split(message.partition("use ")[2])
    catalog = opened(Path(words[words.index("--data-root") + 1]), tmp_path / "cache")
    union = message.partition("as the union '")[2].partition("'")[0]
    assert catalog.members(union) == ("a", "b", "c")
    assert [catalog.describe(name).images() for name in layouts] == [80] * 3


def test_folders_of_other_names_are_suggested_by_their_own(tmp_path: Path) -> None:
    for split in ("train", "Testing"):
        for name in ("Pristine images", "sd-1.5"):
            write_image(tmp_path / "data" / "mine" / split / name / "x.png", picture(0, size=8))
    message = refusal(tmp_path / "data" / "mine")
    assert '{ "Pristine images" = 0, "sd-1.5" = 1 }' in message
    options = "--class-folder 'Pristine images=real' --class-folder sd-1.5=fake"
    assert f"into {options} " in message


@pytest.mark.parametrize(
    ("names", "labels", "silent"),
    [
        (["AI", "nature"], [1, 0], []),
        (["genuine", "main"], [0, 1], []),  # main is not AI, but what is left
        (["stylegan", "ffhq"], [], ["stylegan", "ffhq"]),  # for a person to say
        (["gan_faces", "faces"], [1, 0], []),
        (["photos", "camera", "synthetic"], [0, 0, 1], []),
        (["original", "real_and_fake"], [0, 1], []),
        (["Real_youtube", "FaceSwap", "NeuralTextures"], [0, 1, 1], []),
        (["synthetic", "coco", "laion"], [1, 0, 0], []),
        (["real", "fake", "flux"], [0, 1], ["flux"]),
        (["0", "1"], [], ["0", "1"]),
    ],
)
def test_guesses_by_the_words_of_names(
    names: list[str], labels: list[int], silent: list[str]
) -> None:
    guesses, open_ones = guessed_classes(names)
    assert (list(guesses.values()), open_ones) == (labels, silent)


@pytest.mark.parametrize("names", [("stylegan", "ffhq"), ("0", "1"), ("A", "B")])
def test_what_names_do_not_say_is_not_suggested(tmp_path: Path, names: tuple[str, str]) -> None:
    """Pasted, a wrong suggestion would turn all labels."""
    for name in names:
        write_image(tmp_path / "data" / "mine" / name / "x.png", picture(0, size=8))
    message = refusal(tmp_path / "data" / "mine")
    assert "into --class-folder NAME=real or NAME=fake" in message
    assert f"{', '.join(sorted(names))}: real or fake? The names do not say" in message
    assert not any(f"{name}=" in message for name in names)


def test_an_archive_that_holds_itself_is_named_and_usable_as_said(tmp_path: Path) -> None:
    """As of Kaggle's real-and-fake-face-detection, with class folders that have to be named."""
    folder = tmp_path / "data" / "mine"
    for place in ("faces", "faces_detection/faces"):
        write_dataset(folder / place, n=40, size=16)
        (folder / place / "real").rename(folder / place / "training_real")
        (folder / place / "fake").rename(folder / place / "training_fake")
    assert "training_real" not in refusal(folder)
    named = {"training_real": 0, "training_fake": 1}
    config = DataConfig(root=folder.parent, cache=tmp_path / "cache", class_folders=named)
    with pytest.raises(DataError) as error:
        Catalog(config, firewall=False).describe("mine")
    assert "faces and faces_detection hold the same files" in str(error.value)
    words = shlex.split(str(error.value).partition("use ")[2])
    config = DataConfig(root=Path(words[1]), cache=tmp_path / "cache", class_folders=named)
    assert words[0] == "--data-root" and words[2:5] == ["and", "name", "faces"]
    assert Catalog(config, firewall=False).describe("faces").images() == 80
    look = shlex.split(str(error.value).partition("to look at the first: ")[2])
    places = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert look[:3] == ["python", "-m", "study.prepare"]
    assert prepare.main([*look[3:], *places]) == 0


def hub(root: Path, link_to: Callable[[Path, Path], str]) -> Path:
    """A snapshot as huggingface_hub lays it out; link_to: what a file of it links to, of (blob,
    file).
    """
    repository = root / "hub" / "datasets--x--y"
    plain = write_dataset(root / "plain", n=30, size=16)
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "abc123"
    for number, image in enumerate(sorted(plain.rglob("*.png"))):
        blob = Path(shutil.copy(image, repository / "blobs" / f"{number:040x}"))
        file = snapshot / "data" / image.relative_to(plain)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(link_to(blob, file))
    return snapshot


@pytest.mark.parametrize("absolute", [False, True])
def test_a_snapshot_of_the_hub_is_read_through_its_links(tmp_path: Path, absolute: bool) -> None:
    def link_to(blob: Path, file: Path) -> str:
        return str(blob) if absolute else f"../../../../blobs/{blob.name}"

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(hub(tmp_path, link_to))
    found = opened(tmp_path / "data", tmp_path / "cache").describe("mine")
    plain = opened(tmp_path, tmp_path / "cache").describe("plain")
    assert found.digest == plain.digest and found.images() == 60 and not found.excluded


def test_a_snapshots_links_lead_to_its_own_blobs_only(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.png"
    write_image(outside, picture(0, size=16))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(hub(tmp_path, lambda *_: str(outside)))
    assert "symbolic link that leaves the dataset's folder; put what it leads to there" in refusal(
        tmp_path / "data" / "mine"
    )


def test_a_copy_that_keeps_links_is_mended_as_the_reason_says(tmp_path: Path) -> None:
    """A folder copied out of the hub's cache, whose links lead nowhere near it."""
    kept = hub(tmp_path, lambda blob, _: str(blob))
    (tmp_path / "data").mkdir()
    shutil.copytree(kept / "data", tmp_path / "data" / "mine", symlinks=True)
    assert "(cp -RL copies it)" in refusal(tmp_path / "data" / "mine")
    shutil.rmtree(tmp_path / "data" / "mine")
    shutil.copytree(kept / "data", tmp_path / "data" / "mine")  # as cp -RL does
    assert opened(tmp_path / "data", tmp_path / "cache").describe("mine").images() == 60
