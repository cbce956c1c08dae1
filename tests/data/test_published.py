"""Published datasets in their exact shapes, generated pictures in them, through the real loading
code, with the network refused.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.core.errors import ConfigError, DataError
from study.core.records import Geometry
from study.data.groups import UNMATCHED
from study.data.layouts.folders import find_layout
from study.data.names import DatasetName, file_name, parse_name
from study.data.sources import archives
from study.data.sources.cards import card_names, load_card
from tests.data.conftest import MakeCatalog
from tests.factories import (
    FORCED,
    hub_copy,
    kaggle_copy,
    picture,
    write_artifact,
    write_cifake,
    write_cnnspot,
    write_dataset,
    write_ffpp,
    write_ffpp_forced_split,
    write_genimage,
    write_image,
    write_manifest,
    write_open_images,
    write_wilddeepfake,
)

SMALL = Geometry(size_px=8, mode="squash")
PUBLISHED = [name for name in card_names() if not name.startswith("demo_")]


@pytest.fixture(autouse=True)
def hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Path:
    """No credentials, empty caches, no network."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "HF_TOKEN", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "no credentials"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def rows(catalog: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = catalog.dataset(name).samples.to_pylist()
    return found


def methods(catalog: Any, name: str) -> dict[tuple[str, str], int]:
    return dict(Counter((row["split"], row["method"]) for row in rows(catalog, name)))


# WildDeepfake: a snapshot in the hub's cache, shards unpacked into ours.


def test_wilddeepfake_from_the_hubs_cache(
    hubs: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    hub_copy(hubs, "xingjunm/WildDeepfake", write_wilddeepfake(tmp_path / "made", shards=12))
    catalog = make_catalog(root=None)
    assert not catalog.available("wilddeepfake")  # its shards are not unpacked yet
    samples = rows(catalog, "wilddeepfake")
    assert len(samples) == 2 * (12 + 6) * 2 * 2
    assert {(row["label"], row["method"]) for row in samples} == {
        (0, "internet"),
        (1, "internet_deepfake"),
    }
    assert all((row["split"] == "test") == ("_test/" in row["path"]) for row in samples)
    assert all(row["group"] == row["video"] == row["path"].rpartition("/")[0] for row in samples)
    assert (
        len({(row["group"], row["split"]) for row in samples})
        == len({row["group"] for row in samples})
        == 72
    )
    assert samples[0]["path"] == "fake_test/0/0/fake/0/0.png"
    assert make_catalog(root=None).available("wilddeepfake")


def test_what_was_unpacked_is_not_unpacked_again(
    hubs: Path, tmp_path: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_copy(
        hubs, "xingjunm/WildDeepfake", write_wilddeepfake(tmp_path / "made", shards=12, frames=1)
    )
    before = make_catalog(root=None).dataset("wilddeepfake")
    opened: list[str] = []
    unpack = archives.unpack
    monkeypatch.setattr(
        archives,
        "unpack",
        lambda archive, into: (opened.append(archive.name), unpack(archive, into)),
    )
    assert make_catalog(root=None).dataset("wilddeepfake").digest == before.digest
    assert opened == []
    shutil.rmtree(before.root / "real_test" / "1")
    assert make_catalog(root=None).dataset("wilddeepfake").digest == before.digest
    assert opened == ["1.tar.gz"]


def test_a_shard_that_was_changed_is_unpacked_again(
    hubs: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    hub_copy(
        hubs, "xingjunm/WildDeepfake", write_wilddeepfake(tmp_path / "made", shards=12, frames=1)
    )
    make_catalog(root=None).dataset("wilddeepfake")
    shard = next(hubs.rglob("real_test/1.tar.gz")).resolve()
    shard.write_bytes(b"x" * shard.stat().st_size)
    with pytest.raises(DataError, match=r"archive '.*real_test/1.tar.gz' is broken"):
        make_catalog(root=None).dataset("wilddeepfake")


def test_shards_or_sequences_put_below_the_data_root(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    write_wilddeepfake(root / "wilddeepfake", shards=12, frames=1)
    catalog = make_catalog()
    assert "wilddeepfake" in catalog.names()
    shards = catalog.dataset("wilddeepfake")
    by_hand = tmp_path / "elsewhere"
    by_hand.mkdir()
    shutil.copytree(shards.root, by_hand / "wilddeepfake")
    assert make_catalog(root=by_hand).dataset("wilddeepfake").digest == shards.digest


def test_images_beside_archives_are_not_left_out_without_a_word(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_wilddeepfake(root / "wilddeepfake", shards=12, frames=1)
    whole = make_catalog().dataset("wilddeepfake")
    shard = folder / "deepfake_in_the_wild" / "real_train" / "0.tar.gz"
    # as a person does: 0/real/... beside the other archives, and this one deleted
    archives.unpack(shard, shard.parent)
    shard.unlink()
    with pytest.raises(
        DataError,
        match=r"archives \('.*tar.gz', 35 in all\) and images beside them \('real_train/0/real/",
    ):
        make_catalog().dataset("wilddeepfake")
    for path in sorted(folder.glob("*/*/*.tar.gz")):
        archives.unpack(path, path.parent)
        path.unlink()
    samples = make_catalog().dataset("wilddeepfake").samples
    assert sorted(samples["pixels"].to_pylist()) == sorted(whole.samples["pixels"].to_pylist())


def test_a_manifest_beside_archives_decides(root: Path, make_catalog: MakeCatalog) -> None:
    folder = write_wilddeepfake(root / "wilddeepfake", shards=1, frames=1)
    (folder / "deepfake_in_the_wild" / "manifest.csv").write_text(
        "path,label\nnope.png,7\n", encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"manifest.csv, line 2: label '7' must be 0 or real"):
        make_catalog().dataset("wilddeepfake")
    (folder / "deepfake_in_the_wild" / "manifest.csv").rename(folder / "manifest.csv")
    with pytest.raises(DataError, match=r"manifest.csv, line 2: label '7' must be 0 or real"):
        make_catalog().dataset("wilddeepfake")


def test_an_unfinished_snapshot_is_no_copy(
    hubs: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    hub_copy(hubs, "xingjunm/WildDeepfake", write_wilddeepfake(tmp_path / "made", frames=1))
    blob = next(iter(sorted(next(hubs.glob("*/blobs")).iterdir())))
    blob.rename(f"{blob}.incomplete")
    assert not make_catalog(root=None).available("wilddeepfake")
    with pytest.raises(DataError, match=r"in part \(\d+ files, .* run this again with network"):
        make_catalog(root=None).dataset("wilddeepfake")


# FaceForensics++


@pytest.mark.parametrize("flat", [False, True], ids=["scripts", "class folders"])
def test_ffpp_is_one_dataset_a_manipulation_over_shared_originals(
    root: Path, make_catalog: MakeCatalog, flat: bool
) -> None:
    write_ffpp(root / "ffpp", flat=flat)
    catalog = make_catalog()
    assert catalog.parts("ffpp") == ["ffpp:FaceSwap", "ffpp:NeuralTextures"]
    swapped, textured = rows(catalog, "ffpp:FaceSwap"), rows(catalog, "ffpp:NeuralTextures")
    assert {row["method"] for row in swapped} == {"youtube", "FaceSwap"}
    assert {row["method"] for row in textured} == {"youtube", "NeuralTextures"}
    assert len(swapped) == len(textured) == 2 * 80 * 2
    assert {row["group"] for row in swapped} == {
        f"{video:03d}_{video + 1:03d}" for video in range(0, 80, 2)
    }
    assert {row["unit"] for row in swapped} >= {
        "ffpp:FaceSwap/youtube/000",
        "ffpp:FaceSwap/FaceSwap/000_001",
    }
    assert len({row["unit"] for row in swapped}) == 160
    assert len(rows(catalog, "ffpp")) == 3 * 80 * 2


@pytest.mark.parametrize("listed", [False, True], ids=["by hash", "official split"])
@pytest.mark.parametrize("flat", [False, True], ids=["scripts", "class folders"])
def test_training_on_one_manipulation_and_testing_on_another_shares_no_source_video(
    root: Path, make_catalog: MakeCatalog, flat: bool, listed: bool
) -> None:
    write_ffpp(root / "ffpp", flat=flat, frames=1)
    if listed:
        write_lists(root / "ffpp" / "splits")
    catalog = make_catalog()

    def videos(name: str, split: str) -> set[str]:
        """Every source video that a frame of a split shows, read off the file's name and not off
        its group.
        """
        names = [row["video"] for row in rows(catalog, name) if row["split"] == split]
        return {video for name in names for video in name.split("_")}

    learnt = videos("ffpp:FaceSwap", "train") | videos("ffpp:FaceSwap", "val")
    tested = videos("ffpp:NeuralTextures", "test")
    assert learnt
    assert tested
    assert not learnt & tested


def test_what_is_learnt_from_shows_no_picture_that_is_tested_on_unless_the_split_is_forced(
    root: Path, make_catalog: MakeCatalog
) -> None:
    """By the pixels: our split of the folders that clip-deepfake-detection uses, and its own."""
    write_ffpp(root / "ffpp", flat=True, frames=2)
    reals = write_ffpp_forced_split(root, pairs=40, frames=2)
    catalog = make_catalog()

    def pixels(name: str, *splits: str) -> set[str]:
        return {row["pixels"] for row in rows(catalog, name) if row["split"] in splits}

    assert not pixels("ffpp:FaceSwap", "train", "val") & pixels("ffpp:NeuralTextures", "test")
    assert len(pixels(FORCED[0], "train", "val") & pixels(FORCED[1], "test")) == reals == 160


@pytest.mark.parametrize("listed", [False, True], ids=["folders", "manifest"])
def test_a_manipulation_that_lacks_a_video_has_the_groups_of_the_others(
    root: Path, make_catalog: MakeCatalog, listed: bool
) -> None:
    folder = write_ffpp(root / "ffpp", flat=True, frames=1)
    for path in [*(folder / "NeuralTextures").glob("00?_*"), *(folder / "FaceSwap").glob("01?_*")]:
        path.unlink()
    if listed:
        words = {
            "Real_youtube": "youtube",
            "FaceSwap": "FaceSwap",
            "NeuralTextures": "NeuralTextures",
        }
        table: list[dict[str, object]] = [
            {
                "path": path.relative_to(folder).as_posix(),
                "label": int(word != "youtube"),
                "method": word,
            }
            for name, word in words.items()
            for path in sorted((folder / name).iterdir())
        ]
        write_manifest(folder, table)
    catalog = make_catalog()
    sides = [
        {
            row["path"]: (row["group"], row["split"])
            for row in rows(catalog, name)
            if not row["label"]
        }
        for name in (
            "ffpp:FaceSwap",
            "ffpp:NeuralTextures",
            "ffpp",
            "ffpp?method=FaceSwap",
            "ffpp?method=NeuralTextures",
        )
    ]
    assert all(side == sides[0] for side in sides)
    assert len(sides[0]) == 80


def write_lists(folder: Path) -> None:
    """Official lists of the pairs (0, 1), (2, 3), ...: 720/140/140 of a thousand videos, here 56,
    12 and 12 of eighty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [[f"{video:03d}", f"{video + 1:03d}"] for video in range(0, 80, 2)]
    for split, part in (("train", pairs[:28]), ("val", pairs[28:34]), ("test", pairs[34:])):
        (folder / f"{split}.json").write_text(json.dumps(part), encoding="utf-8")


@pytest.mark.parametrize(
    ("where", "within"),
    [
        ("", ""),
        ("splits", ""),
        ("dataset/splits", ""),
        ("", "FaceForensics++"),
        ("", "download/FaceForensics++"),
    ],
)
def test_the_official_split_of_ffpp_is_kept(
    root: Path, make_catalog: MakeCatalog, where: str, within: str
) -> None:
    write_ffpp(root / "ffpp" / within, frames=1)
    write_lists(root / "ffpp" / where)
    summary = make_catalog().describe("ffpp:NeuralTextures")
    assert summary.official
    assert summary.straddling == 0
    assert {split: summary.images(split) for split in ("train", "val", "test")} == {
        "train": 112,
        "val": 24,
        "test": 24,
    }
    assert summary.groups == {"train": 28, "val": 6, "test": 6}


@pytest.mark.parametrize("within", ["", "download"])
@pytest.mark.parametrize(
    "where",
    [
        "manipulated_sequences",
        "manipulated_sequences/splits",
        "original_sequences/youtube",
        "manipulated_sequences/FaceSwap/c40",
    ],
)
def test_lists_between_the_folder_and_the_images_are_found(
    root: Path, make_catalog: MakeCatalog, where: str, within: str
) -> None:
    """Also those beside another manipulation's images: all have one official split."""
    folder = write_ffpp(root / "ffpp" / within, frames=1)
    write_lists(folder / where)
    summary = make_catalog().describe("ffpp:NeuralTextures")
    assert summary.official
    assert {split: summary.images(split) for split in ("train", "val", "test")} == {
        "train": 112,
        "val": 24,
        "test": 24,
    }
    (folder / "train.json").write_text("[]", encoding="utf-8")
    for split in ("val", "test"):
        (folder / f"{split}.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"the lists of the official split in .* differ"):
        make_catalog().dataset("ffpp:NeuralTextures")


def test_lists_that_differ_are_refused(root: Path, make_catalog: MakeCatalog) -> None:
    write_ffpp(root / "ffpp" / "FaceForensics++", frames=1)
    write_lists(root / "ffpp")
    write_lists(root / "ffpp" / "FaceForensics++" / "splits")
    assert make_catalog().dataset("ffpp:FaceSwap").official
    (root / "ffpp" / "test.json").write_text('[["000", "001"]]', encoding="utf-8")
    (root / "ffpp" / "train.json").write_text("[]", encoding="utf-8")
    with pytest.raises(
        DataError,
        match=(
            r"the lists of the official split in '.*/ffpp/FaceForensics\+\+' and '.*/ffpp' differ"
        ),
    ):
        make_catalog().dataset("ffpp:FaceSwap")


@pytest.mark.parametrize("given", ["group", "video"])
@pytest.mark.parametrize("of", ["some", "all"])
def test_the_official_split_holds_for_images_whose_group_a_manifest_gives(
    root: Path, make_catalog: MakeCatalog, given: str, of: str
) -> None:
    folder = write_ffpp(root / "ffpp", frames=1, flat=True)
    write_lists(folder)
    write_image(folder / "FaceSwap" / "mine.png", picture(1, size=8))
    table: list[dict[str, object]] = [
        {"path": f"{name}/{path.name}", "label": int(name == "FaceSwap"), "method": name, given: ""}
        for name in ("Real_youtube", "FaceSwap")
        for path in sorted((folder / name).iterdir())
    ]
    for row in table:
        if of == "all" or "FaceSwap" in str(row["path"]):
            row[given] = f"mine {Path(str(row['path'])).stem}"
    write_manifest(folder, table)
    summary = make_catalog().describe("ffpp")
    assert summary.official
    assert {split: summary.images(split) for split in ("train", "val", "test")} == {
        "train": 112,
        "val": 24,
        "test": 24,
    }
    assert summary.excluded == (
        ("ffpp/FaceSwap/mine.png", "its video is in no list of the official split"),
    )
    for row in rows(make_catalog(), "ffpp"):
        video = int(Path(row["path"]).name[:3]) if row["path"] != "FaceSwap/mine.png" else 0
        assert row["split"] == ("train" if video < 56 else "val" if video < 68 else "test")
        assert row["group"].startswith("mine ") == (of == "all" or "FaceSwap" in row["path"])


def test_a_folder_half_of_which_is_split_is_refused(root: Path, make_catalog: MakeCatalog) -> None:
    write_open_images(root / "open_images", n=8, splits=("train", "val", "test"))
    write_image(root / "open_images" / "sdxl" / "x.png", picture(1, size=8))
    with pytest.raises(
        DataError,
        match=r"dataset 'open_images': 'sdxl/x.png' has no split, and 72 other images have one",
    ):
        make_catalog().dataset("open_images")


def test_a_video_in_no_official_list_is_left_out(root: Path, make_catalog: MakeCatalog) -> None:
    write_ffpp(root / "ffpp", frames=1, flat=True)
    write_lists(root / "ffpp")
    write_image(root / "ffpp" / "FaceSwap" / "900_901_0.png", picture(1, size=8))
    write_image(root / "ffpp" / "FaceSwap" / "strange.png", picture(1, size=8))
    # 000 is in train, 079 in test
    write_image(root / "ffpp" / "FaceSwap" / "000_079_0.png", picture(1, size=8))
    excluded = dict(make_catalog().describe("ffpp:FaceSwap").excluded)
    assert excluded == {
        "ffpp:FaceSwap/FaceSwap/000_079_0.png": (
            "its two videos are not in one list of the official split"
        ),
        "ffpp:FaceSwap/FaceSwap/900_901_0.png": "its video is in no list of the official split",
        "ffpp:FaceSwap/FaceSwap/strange.png": UNMATCHED,
    }


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "[]"}, "val.json' is missing"),
        ({"train": "{", "val": "[]", "test": "[]"}, "train.json' cannot be read as JSON"),
        ({"train": "[1]", "val": "[]", "test": "[]"}, "must be a list of pairs"),
        (
            {"train": '[["000", "001"]]', "val": '[["001", "002"]]', "test": "[]"},
            "video 001 in train and in val",
        ),
    ],
)
def test_broken_lists_are_named(
    root: Path, make_catalog: MakeCatalog, lists: dict[str, str], message: str
) -> None:
    write_ffpp(root / "ffpp", frames=1, pairs=2)
    for split, text in lists.items():
        (root / "ffpp" / f"{split}.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        make_catalog().dataset("ffpp:FaceSwap")


def test_of_several_compressions_one_has_to_be_named(root: Path, make_catalog: MakeCatalog) -> None:
    write_ffpp(root / "ffpp", frames=1, compressions=("c23", "c40"))
    catalog = make_catalog()
    assert catalog.parts("ffpp") == ["ffpp:FaceSwap", "ffpp:NeuralTextures"]
    with pytest.raises(
        DataError, match=r"has compression c23, c40; name one: ffpp:FaceSwap\?compression=c23"
    ):
        catalog.dataset("ffpp:FaceSwap")
    assert all("/c40/" in row["path"] for row in rows(catalog, "ffpp:FaceSwap?compression=c40"))
    with pytest.raises(DataError, match="has compression c23, c40"):
        catalog.dataset("ffpp:FaceSwap?compression=raw")
    with pytest.raises(
        ConfigError, match="unknown condition 'compresion': did you mean 'compression'"
    ):
        catalog.dataset("ffpp:FaceSwap?compresion=c40")


def test_files_without_a_video_say_so_and_both_remedies_work(
    root: Path, make_catalog: MakeCatalog
) -> None:
    """Seed 001's own layout: Real_youtube/image_000.jpg."""
    rows = []
    for label, method in enumerate(("Real_youtube", "FaceSwap")):
        for number in range(60):
            path = f"{method}/image_{number:03d}.jpg"
            write_image(root / "ffpp" / path, picture(label, size=16, seed=number))
            rows.append(
                {"path": path, "label": label, "method": method, "group": f"v{number // 2}"}
            )
    with pytest.raises(
        DataError,
        match=(
            r"none of its 120 images can be used, 'FaceSwap/image_000.jpg' because: the card's"
            r" group_pattern does not match its path; write its group into a manifest.csv, or"
        ),
    ):
        make_catalog().dataset("ffpp:FaceSwap")
    write_manifest(root / "ffpp", rows)
    found = make_catalog().describe("ffpp:FaceSwap")
    assert (found.images(), sum(found.groups.values()), found.excluded) == (120, 30, ())
    (root / "ffpp" / "manifest.csv").unlink()
    (root / "ffpp").rename(root / "mine")
    catalog = make_catalog(class_folders={"Real_youtube": 0, "FaceSwap": 1})
    assert catalog.describe("mine").images() == 120 and not catalog.describe("mine").grouped


def test_two_layouts_of_one_card_in_one_folder_are_refused(
    root: Path, make_catalog: MakeCatalog
) -> None:
    """As published, and class folders side by side: every image twice."""
    write_ffpp(root / "ffpp")
    published = root / "ffpp" / "manipulated_sequences" / "FaceSwap"
    (frames,) = (path for path in published.glob("*/*") if path.is_dir())
    for path in sorted(frames.rglob("*.png")):
        copy = root / "ffpp" / "FaceSwap" / path.relative_to(frames)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    names = rf"'FaceSwap' and '{frames.relative_to(root / 'ffpp')}'"
    with pytest.raises(DataError, match=rf"fake images of one dataset in two layouts, {names}; m"):
        make_catalog().dataset("ffpp:FaceSwap")
    shutil.rmtree(root / "ffpp" / "FaceSwap")
    assert make_catalog().dataset("ffpp:FaceSwap").usable.num_rows


# GenImage, CNNDetection, ArtiFact


def test_genimage_is_one_dataset_a_generator_and_tests_on_its_val(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_genimage(root / "genimage", size=8)
    catalog = make_catalog()
    assert catalog.parts("genimage") == ["genimage:biggan", "genimage:sd1.4"]
    counts = methods(catalog, "genimage:sd1.4")
    assert counts["test", "imagenet"] == counts["test", "sd1.4"] == 10
    assert counts["train", "sd1.4"] + counts["val", "sd1.4"] == 40
    assert {method for _, method in counts} == {"imagenet", "sd1.4"}
    assert set(catalog.open("genimage:biggan", "test", SMALL).method) == {"imagenet", "biggan"}
    assert {method for _, method in methods(catalog, "genimage")} == {"imagenet", "sd1.4", "biggan"}


def test_genimage_with_its_val_by_another_name_tests_on_it(
    root: Path, make_catalog: MakeCatalog
) -> None:
    for path in sorted(write_genimage(root / "genimage", n=8).glob("*/*/val")):
        path.rename(path.with_name("Validation"))
    splits = {row["split"] for row in rows(make_catalog(), "genimage:biggan")}
    assert splits == {"train", "val", "test"}


def test_cnnspot_trains_on_progan_and_tests_on_each_generator(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_cnnspot(root / "cnnspot")
    catalog = make_catalog()
    assert catalog.parts("cnnspot") == ["cnnspot:biggan", "cnnspot:progan"]
    assert methods(catalog, "cnnspot:progan") == {
        (split, method): 16
        for split in ("train", "val", "test")
        for method in ("photograph", "progan")
    }
    assert methods(catalog, "cnnspot:biggan") == {("test", "photograph"): 8, ("test", "biggan"): 8}
    assert methods(catalog, "cnnspot")["test", "photograph"] == 24
    with pytest.raises(DataError, match="has no train split"):
        catalog.open("cnnspot:biggan", "train", SMALL)


def test_artifact_from_kagglehubs_cache(tmp_path: Path, make_catalog: MakeCatalog) -> None:
    write_artifact(kaggle_copy(tmp_path / "kagglehub", load_card("artifact").handle))
    catalog = make_catalog(root=None)
    everything = rows(catalog, "artifact")
    assert Counter((row["label"], row["method"]) for row in everything) == {
        (0, "coco"): 40,
        (0, "ffhq"): 40,
        (1, "big_gan"): 40,
        (1, "pro_gan"): 40,
        (1, "cycle_gan"): 20,
        (0, "real"): 20,
    }
    one = rows(catalog, "artifact:big_gan")
    assert {row["method"] for row in one} == {"coco", "ffhq", "big_gan"}
    sides = {row["path"]: row["split"] for row in everything}
    assert all(sides[row["path"]] == row["split"] for row in one)


def test_the_reals_in_a_generators_folder_are_real(root: Path, make_catalog: MakeCatalog) -> None:
    folder = write_artifact(root / "artifact")
    write_image(folder / "cycle_gan" / "horse2zebra" / "unlisted.jpg", picture(1, size=8))
    write_image(folder / "new_gan" / "x.jpg", picture(1, size=8))
    catalog = make_catalog()
    mixed = {
        Path(row["path"]).stem: row
        for row in rows(catalog, "artifact:cycle_gan")
        if row["path"].startswith("cycle_gan/")
    }
    unlisted = mixed.pop("unlisted")
    assert {stem: row["label"] for stem, row in mixed.items()} == {
        f"img{index:06d}": int(index < 20) for index in range(40)
    }
    assert (
        unlisted["problem"] == "cycle_gan/metadata.csv, which says what is real, does not list it"
    )
    skipped = dict(catalog.describe("artifact").skipped)
    assert skipped["new_gan"] == "holds no class folder that the card knows"
    # those of the two collections; the generators' are read
    assert "2 in class folders" in skipped["*.csv"]
    assert (
        catalog.describe("artifact:cycle_gan").layout
        == "coco (real), cycle_gan (fake), ffhq (real); real among fakes by metadata.csv"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            r"'.*cycle_gan/metadata.csv' is missing: it says which of the images there are real",
        ),
        (
            "filename,image_path\n",
            r"metadata.csv, line 1: no column 'target' in 'filename,image_path'",
        ),
        (
            "image_path,target\na.jpg,x\n",
            r"metadata.csv, line 2: target 'x' must be a number, 0 for a real image",
        ),
        (
            "image_path,target\na.jpg,1\n./a.jpg,0\n",
            r"metadata.csv, line 3: 'a.jpg' is real and fake",
        ),
    ],
)
def test_a_list_of_reals_that_cannot_be_used_is_refused(
    root: Path, make_catalog: MakeCatalog, text: str | None, message: str
) -> None:
    listed = write_artifact(root / "artifact", n=2) / "cycle_gan" / "metadata.csv"
    listed.unlink()
    if text is not None:
        listed.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        make_catalog().dataset("artifact")


def test_folders_that_no_entry_of_a_card_reaches_are_named(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_ffpp(root / "ffpp", frames=1)
    beside = [
        "original_sequences/actors",
        "manipulated_sequences/DeepFakeDetection",
        "original_sequences/youtube/c40/masks",
    ]
    for folder in beside:
        write_image(root / "ffpp" / folder / "c40" / "images" / "000" / "0.png", picture(0, size=8))
    (root / "ffpp" / "original_sequences" / "empty").mkdir()
    write_image(root / "ffpp" / "original_sequences" / "x.png", picture(0, size=8))
    (root / "ffpp" / "notes").mkdir()
    catalog = make_catalog()
    why = "holds images, and is or lies in no class folder"
    # the fakes of another member are reached, and left out by its name
    for name in ("ffpp", "ffpp:FaceSwap"):
        assert dict(catalog.describe(name).skipped) == {
            "notes": "holds no class folder that the card knows",
            "1 image in 'original_sequences'": "in no class folder",
            **dict.fromkeys(beside, why),
        }
    write_genimage(root / "genimage", n=40, size=8)
    misspelt = root / "genimage" / "BigGAN" / "imagenet_ai_0419_biggan" / "val"
    (misspelt / "nature").rename(misspelt / "natural")
    assert make_catalog().describe("genimage").skipped == (
        ("BigGAN/imagenet_ai_0419_biggan/val/natural", why),
    )


@pytest.mark.parametrize("wrapper", ["artifact-dataset", "archive/artifact-dataset"])
def test_a_lone_folder_around_collections_and_generators_is_looked_through(
    root: Path, make_catalog: MakeCatalog, wrapper: str
) -> None:
    write_artifact(root / "artifact", n=40)
    plain = make_catalog().dataset("artifact")
    inner = root / "artifact" / wrapper
    (root / "artifact").rename(root / "moved")
    inner.parent.mkdir(parents=True)
    (root / "moved").rename(inner)
    catalog = make_catalog()
    assert catalog.parts("artifact") == [
        "artifact:big_gan",
        "artifact:cycle_gan",
        "artifact:pro_gan",
    ]
    assert catalog.dataset("artifact").digest == plain.digest


def test_a_generator_alone_is_no_folder_around_others(tmp_path: Path) -> None:
    write_artifact(tmp_path / "artifact", n=1)
    for name in ("coco", "ffhq", "pro_gan", "cycle_gan"):
        shutil.rmtree(tmp_path / "artifact" / name)
    write_image(tmp_path / "artifact" / "big_gan" / "imagenet" / "x.jpg", picture(1, size=8))
    layout = find_layout(tmp_path / "artifact", card=load_card("artifact"))
    assert layout is not None
    assert [(part.folder, part.label, part.member) for part in layout.parts] == [
        ("big_gan", 1, "big_gan")
    ]


@pytest.mark.parametrize(
    ("place", "member"),
    [
        ("GenImage/sd", "sd"),
        ("download/GenImage/sd/imagenet_sd", "imagenet_sd"),
        ("GenImage/BigGAN/imagenet_ai_0419_biggan", "biggan"),
        ("BigGAN/imagenet_ai_0419_biggan", "biggan"),
        ("sd", "sd"),
    ],
)
def test_a_lone_folder_around_generators_is_none(tmp_path: Path, place: str, member: str) -> None:
    for split in ("train", "val"):
        for word in ("ai", "nature"):
            write_image(tmp_path / "genimage" / place / split / word / "x.png", picture(0, size=8))
    layout = find_layout(tmp_path / "genimage", card=load_card("genimage"))
    assert layout is not None
    assert layout.members == [member]


def test_a_manifest_in_a_lone_folder_decides(tmp_path: Path) -> None:
    write_dataset(tmp_path / "artifact" / "artifact-dataset", layout="manifest", n=2, size=8)
    layout = find_layout(tmp_path / "artifact", card=load_card("artifact"))
    assert layout is not None
    assert not layout.parts


# Open Images beside generators


def test_open_images_is_one_dataset_a_generator_and_a_fake_stays_with_its_photograph(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_open_images(root / "open_images")
    catalog = make_catalog()
    assert catalog.parts("open_images") == ["open_images:flux", "open_images:sd-inpainting"]
    inpainted = rows(catalog, "open_images:sd-inpainting")
    assert Counter(row["method"] for row in inpainted) == {"open_images": 40, "sd-inpainting": 40}
    photographs = {Path(row["path"]).stem: row for row in inpainted if not row["label"]}
    for row in inpainted:
        source = photographs[Path(row["path"]).name[:16]]
        assert (row["group"], row["split"]) == (source["group"], source["split"])
    sides = {row["path"]: row["split"] for row in rows(catalog, "open_images")}
    assert len(sides) == 120
    for member in ("flux", "sd-inpainting"):
        assert all(
            sides[row["path"]] == row["split"] for row in rows(catalog, f"open_images:{member}")
        )
    assert {row["group"] for row in rows(catalog, "open_images:flux") if row["label"]} == {
        f"{index:05d}" for index in range(40)
    }


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation_set", "Testing")]
)
def test_open_images_below_split_folders(
    root: Path, make_catalog: MakeCatalog, names: tuple[str, ...]
) -> None:
    write_open_images(root / "open_images", n=8, splits=(*names, "eval"))
    catalog = make_catalog()
    # what is held out beside all three splits is no generator, though it lies where one may
    assert catalog.parts("open_images") == ["open_images:flux", "open_images:sd-inpainting"]
    skipped = dict(catalog.describe("open_images:flux").skipped)
    assert skipped["eval"] == "holds no class folder that the card knows"
    assert methods(catalog, "open_images:flux") == {
        (split, method): 8
        for split in ("train", "val", "test")
        for method in ("open_images", "flux")
    }


def test_such_a_folder_by_another_name_is_described_by_class_folders(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_open_images(root / "mine")
    with pytest.raises(
        DataError,
        match=r"is not recognised \(it holds: flux/ \(40 images\), open_images/ \(40 images\)",
    ):
        make_catalog().dataset("mine")
    named = {"open_images": 0, "flux": 1, "sd-inpainting": 1}
    assert {method for _, method in methods(make_catalog(class_folders=named), "mine")} == set(
        named
    )


def test_a_real_folder_beside_generators_says_which_folders_are_not_used(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_open_images(root / "mine", n=4)
    (root / "mine" / "open_images").rename(root / "mine" / "real")
    with pytest.raises(
        DataError,
        match=(
            r"has no fake images .*not used: flux \(neither a split nor a class folder\),"
            r" sd-inpainting"
        ),
    ):
        make_catalog().dataset("mine")


# Names, members, subsets


def test_names_in_their_parts() -> None:
    assert parse_name("cifake") == DatasetName(base="cifake")
    assert parse_name("genimage:sd1.4") == DatasetName(base="genimage", member="sd1.4")
    assert parse_name("ffpp:FaceSwap?compression=c40&method=a,b") == DatasetName(
        base="ffpp", member="FaceSwap", where={"compression": ("c40",), "method": ("a", "b")}
    )
    for wrong in ("", ":x", "a:", "a?", "a?b", "a?b=", "a:b:c", "a?b=1&b=2", "a?=1"):
        with pytest.raises(ConfigError):
            parse_name(wrong)


def test_names_never_become_paths_as_they_are(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    write_ffpp(root / "ffpp", frames=1)
    catalog = make_catalog()
    for split in ("train", "val", "test"):
        catalog.open("ffpp:FaceSwap?compression=c40", split, SMALL)  # type: ignore[arg-type]
    made = [path.name for path in (tmp_path / "cache").rglob("*")]
    assert made
    assert not [name for name in made if set(name) & set(':?*"<>|\\')]
    assert file_name("../a:b?c=d") == "..%2Fa%3Ab%3Fc%3Dd"


def test_members_of_one_folder_are_indexed_once(root: Path, make_catalog: MakeCatalog) -> None:
    write_ffpp(root / "ffpp", frames=1)
    history: list[tuple[str, int, int]] = []
    catalog = make_catalog(progress=lambda *report: history.append(report))
    catalog.dataset("ffpp:FaceSwap")
    catalog.dataset("ffpp:NeuralTextures")
    assert [(what, total) for what, done, total in history if done == total] == [
        ("indexing ffpp", 160),
        ("indexing ffpp", 80),
    ]


def test_an_unknown_member_names_those_there_are(root: Path, make_catalog: MakeCatalog) -> None:
    write_ffpp(root / "ffpp", frames=1, pairs=2)
    with pytest.raises(
        DataError, match="unknown dataset 'ffpp:FaceSwop': did you mean 'ffpp:FaceSwap'"
    ):
        make_catalog().dataset("ffpp:FaceSwop")


def test_a_subset_by_method_of_any_dataset(root: Path, make_catalog: MakeCatalog) -> None:
    write_cifake(root / "cifake", n=60)
    rows_of: list[dict[str, object]] = []
    for number in range(90):
        path = f"images/{number}.png"
        write_image(root / "mine" / path, picture(number % 3 > 0, size=8, seed=number))
        rows_of.append(
            {"path": path, "label": int(number % 3 > 0), "method": ("camera", "a", "b")[number % 3]}
        )
    write_manifest(root / "mine", rows_of)
    catalog = make_catalog()
    assert catalog.key("cifake?method=sd1.4", ["train"]) == catalog.key("cifake", ["train"])
    assert Counter(row["method"] for row in rows(catalog, "mine?method=a")) == {
        "camera": 30,
        "a": 30,
    }
    assert Counter(row["method"] for row in rows(catalog, "mine:b")) == {"camera": 30, "b": 30}
    assert len(rows(catalog, "mine?method=a,b")) == 90
    whole = {row["path"]: row["split"] for row in rows(catalog, "mine")}
    assert all(whole[row["path"]] == row["split"] for row in rows(catalog, "mine:a"))
    with pytest.raises(DataError, match="unknown method 'c'"):
        catalog.dataset("mine?method=c")


# Without network and with nothing cached


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_error_of_every_card_says_what_to_do_by_hand(
    root: Path, make_catalog: MakeCatalog, name: str
) -> None:
    card = load_card(name)
    assert not make_catalog().available(name)
    with pytest.raises(DataError) as error:
        make_catalog().dataset(name)
    message = str(error.value)
    assert card.homepage in message
    assert f"unpack it into '{root / name}'" in message
    assert card.access in message
    assert all(folder in message for folder in card.holds)
    assert "\n" not in message
    assert len(message) < 800


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_card_states_what_its_user_must_know(name: str) -> None:
    card = load_card(name)
    assert card.licence
    assert card.citation
    assert card.homepage.startswith("https://")
    assert card.size_gb > 0
    assert card.hazards
    assert card.access
    assert card.holds


def test_an_unrecognised_folder_of_a_card_says_what_it_must_hold(
    root: Path, make_catalog: MakeCatalog
) -> None:
    (root / "genimage" / "a").mkdir(parents=True)
    (root / "genimage" / "b").mkdir()
    with pytest.raises(
        DataError,
        match=(
            r"holds: a/ \(0 images\), b/ \(0 images\)\); it must hold GENERATOR/train/ai/,"
            r" GENERATOR/train/nature/, "
        ),
    ):
        make_catalog().dataset("genimage:sd1.4")


def test_the_network_is_refused_here() -> None:
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("example.org", 80))
