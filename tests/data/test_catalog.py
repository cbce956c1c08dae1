"""The catalog: names, groups, splits, identity, and the firewall."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from study.core.errors import ConfigError, DataError, FirewallError, StoreError
from study.core.records import Geometry
from study.data.catalog import DataConfig, data_root
from study.data.datasets import CONTENT, columns_digest, strings
from study.data.groups import UNMATCHED
from study.data.images.decode import UndecodableError, UnreadableError, decode_image, read_bytes
from study.data.images.videos import Run
from study.data.names import file_name, split_union
from tests.data.conftest import MakeCatalog
from tests.factories import (
    NAMED,
    files_of,
    kaggle_copy,
    picture,
    truncate,
    write_cifake,
    write_dataset,
    write_faces_140k,
    write_image,
    write_manifest,
)

SMALL = Geometry(size_px=8, mode="squash")


def test_union_names() -> None:
    assert split_union("a") == ("a",)
    assert split_union("a+b+c") == ("a", "b", "c")
    for name in ("", "a+", "+a", "a++b"):
        with pytest.raises(ConfigError, match="an empty name"):
            split_union(name)
    with pytest.raises(ConfigError, match="names 'a' twice"):
        split_union("a+b+a")


def test_names_are_folders_with_a_layout_and_cards(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "mine", n=1, size=8)
    write_dataset(root / "named", layout="named", n=2, size=8)
    write_dataset(root / "a+b", n=1, size=8)
    (root / "notes").mkdir()
    (root / "file.txt").touch()
    names = make_catalog().names()
    assert {"mine", "cifake", "faces_140k"} <= set(names)
    assert not {"named", "a+b", "notes", "file.txt"} & set(names)
    assert "named" in make_catalog(class_folders=NAMED).names()
    assert names == sorted(names)


def test_a_dataset_may_be_a_link_to_where_it_lies(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "big disk" / "d", n=40, size=8)
    (root / "linked").symlink_to(tmp_path / "big disk" / "d", target_is_directory=True)
    assert "linked" in make_catalog().names()
    assert make_catalog().describe("linked").images() == 80


def test_demo_images_are_made_once_and_anew_for_a_new_version(
    make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.data.sources import locate as sources
    from study.data.sources.cards import parse_card

    made: list[str] = []

    def build(name: str, folder: Path, _: object) -> None:
        made.append(name)
        write_dataset(folder, layout="manifest", n=40, size=8)

    demo = types.SimpleNamespace(NAMES=("demo_x",), VERSION=1, build=build)
    monkeypatch.setitem(sys.modules, "study.data.sources.demo", demo)
    monkeypatch.setattr("study.data.sources.demo", demo, raising=False)
    monkeypatch.setattr(sources, "card_names", lambda: ["demo_x"])
    monkeypatch.setattr(
        sources, "load_card", lambda _: parse_card('title = "T"\nsource = "demo"', name="demo_x")
    )
    catalog = make_catalog(root=None)
    assert catalog.names() == ["demo_x"]
    assert not catalog.available("demo_x")
    assert catalog.dataset("demo_x").root.parent == tmp_path / "cache" / "demo"
    assert catalog.available("demo_x")
    key = make_catalog(root=None).key("demo_x", ["train"])
    assert made == ["demo_x"]
    demo.VERSION = 2
    assert make_catalog(root=None).key("demo_x", ["train"]) == key
    assert made == ["demo_x", "demo_x"]


def test_unknown_names_list_folders_and_cards(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "shoes", n=1, size=8)
    catalog = make_catalog()
    for name in ("shoe", "../data", "."):
        with pytest.raises(DataError) as error:
            catalog.dataset(name)
        assert f"unknown dataset '{name}'" in str(error.value)
        assert "shoes" in str(error.value)
        assert "cifake" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="did you mean 'shoes'"):
        catalog.members("cifake+shoe")
    assert catalog.members("cifake+shoes") == ("cifake", "shoes")
    with pytest.raises(DataError, match="no data root is given"):
        make_catalog(root=None).dataset("shoes")


def test_a_missing_data_root_and_an_unrecognised_folder_say_so(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        make_catalog(root=tmp_path / "absent").dataset("x")
    write_image(root / "odd" / "pictures" / "x.png", picture(0, size=8))
    write_image(root / "odd" / "more" / "x.png", picture(0, size=8))
    with pytest.raises(
        DataError,
        match=(
            r"layout of .*odd' is not recognised \(it holds: more/ \(1 image\), pictures/ \(1"
            r" image\)\)"
        ),
    ):
        make_catalog().dataset("odd")


def test_config_is_picklable(tmp_path: Path) -> None:
    config = DataConfig(root=tmp_path, cache=tmp_path, class_folders={"x": 1})
    assert pickle.loads(pickle.dumps(config)) == config


def test_samples_of_a_plain_folder(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", layout="methods", n=40, size=8)
    dataset = make_catalog().dataset("d")
    samples = dataset.samples
    ids = samples["id"].to_pylist()
    assert ids == sorted(ids)
    assert ids[0] == "d/fake/gan_a/0000.png"
    assert samples["unit"].to_pylist() == ids
    assert len(set(samples["group"].to_pylist())) == 80  # every picture its own group
    record = samples.to_pylist()[0]
    assert (record["path"], record["label"], record["method"]) == (
        "fake/gan_a/0000.png",
        1,
        "gan_a",
    )
    assert (dataset.root / record["path"]).samefile(root / "d" / "fake" / "gan_a" / "0000.png")
    assert not dataset.official


def test_equal_pictures_share_a_group_whatever_their_files(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "d", n=40, size=8)
    write_image(folder / "real" / "again.bmp", picture(0, size=8, seed=0))
    groups = dict(
        zip(
            *(make_catalog().dataset("d").samples[name].to_pylist() for name in ("path", "group")),
            strict=True,
        )
    )
    assert groups["real/again.bmp"] == groups["real/0000.png"]


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_small_generated_datasets_have_both_classes_in_every_split(
    root: Path, make_catalog: MakeCatalog, size: int
) -> None:
    for seed in range(3):
        write_dataset(root / f"s{seed}", n=24, size=size, seed=seed)
        assert all(all(counts) for counts in make_catalog().dataset(f"s{seed}").counts().values())


def test_manifest_groups_videos_and_units(root: Path, make_catalog: MakeCatalog) -> None:
    rows: list[dict[str, object]] = []
    for number in range(40):
        for label, method in ((0, "original"), (1, "FaceSwap"), (1, "NeuralTextures")):
            for frame in range(2):
                path = f"{method}/{number:03d}_{frame}.png"
                write_image(root / "ff" / path, picture(label, size=8, seed=number * 10 + frame))
                rows.append(
                    {"path": path, "label": label, "method": method, "video": f"{number:03d}"}
                )
    write_manifest(root / "ff", rows)
    dataset = make_catalog().dataset("ff")
    samples = dataset.samples.to_pylist()
    assert {s["group"] for s in samples} == {f"{number:03d}" for number in range(40)}
    # the manipulations of one video are units of their own
    assert len({s["unit"] for s in samples}) == 3 * 40
    assert samples[0]["unit"] == "ff/FaceSwap/000"
    assert len({(s["group"], s["split"]) for s in samples}) == 40


def test_a_real_pool_shared_by_two_datasets_falls_on_the_same_side(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "one", n=60, size=8)
    write_dataset(root / "two", n=60, size=8, seed=1)
    shutil.rmtree(root / "two" / "real")
    shutil.copytree(root / "one" / "real", root / "two" / "originals of others" / "real")
    (root / "two" / "originals of others" / "real").rename(root / "two" / "real")
    (root / "two" / "originals of others").rmdir()
    for limit in (None, 30):
        catalog = make_catalog(max_per_class=limit)
        sides = []
        for name in ("one", "two"):
            samples = catalog.dataset(name).samples.to_pylist()
            sides.append({s["path"]: s["split"] for s in samples if s["label"] == 0})
        assert sides[0] == sides[1]
        assert len(sides[0]) == (limit or 60)


def test_max_per_class_nests_and_keeps_splits(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", layout="manifest", n=120, size=8)
    splits_of = {}
    for limit in (60, 90, None):
        samples = make_catalog(max_per_class=limit).dataset("d").samples.to_pylist()
        splits_of[limit] = {s["id"]: s["split"] for s in samples}
        labels = [s["label"] for s in samples]
        assert labels.count(0) == labels.count(1) == (limit or 120)
    assert splits_of[60].items() <= splits_of[90].items() <= splits_of[None].items()


def test_cifake_keeps_its_test_and_carves_val_from_train(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_cifake(root / "cifake", n=80)
    summary = make_catalog().describe("cifake")
    assert summary.title.startswith("CIFAKE")
    assert summary.official
    assert summary.images("test") == 40
    assert summary.images("test", 0) == summary.images("test", 1) == 20
    assert summary.images("train") + summary.images("val") == 120
    assert 0 < summary.images("val") < 40
    assert {c.method for c in summary.counts} == {"cifar10", "sd1.4"}
    samples = make_catalog().dataset("cifake").samples.to_pylist()
    assert all((s["split"] == "test") == s["path"].startswith("test/") for s in samples)


@pytest.mark.parametrize("name", ["faces_140k", "140k-real-and-fake-faces"])
def test_a_kaggle_download_below_the_data_root_is_read_by_its_card(
    root: Path, make_catalog: MakeCatalog, name: str
) -> None:
    write_faces_140k(root / name, n=10, size=8)
    summary = make_catalog().describe(name)
    assert {(c.split, c.method): c.images for c in summary.counts} == {
        (split, method): n
        for split, n in (("train", 6), ("val", 2), ("test", 2))
        for method in ("ffhq", "stylegan")
    }
    assert summary.groups == {"train": 12, "val": 4, "test": 4}
    assert summary.straddling == 0


def test_a_folder_below_the_data_root_wins_over_the_card(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    copy = kaggle_copy(tmp_path / "hub", "birdy654/cifake-real-and-ai-generated-synthetic-images")
    write_cifake(copy, n=60, seed=1)
    from_kaggle = make_catalog().dataset("cifake")
    assert from_kaggle.root == copy
    write_dataset(root / "cifake", n=40, size=8)
    own = make_catalog().dataset("cifake")
    assert own.root == root / "cifake"
    assert own.digest != from_kaggle.digest
    assert own.card is not None


def test_official_splits_with_shared_pictures_are_kept_and_counted(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "d", layout="train_valid_test", n=10, size=8)
    shutil.copy(folder / "train" / "real" / "0000.png", folder / "test" / "real" / "again.png")
    summary = make_catalog().describe("d")
    assert summary.straddling == 1
    assert summary.images("test", 0) == 3


def test_a_card_pattern_gives_groups(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.data.sources import locate as sources
    from study.data.sources.cards import parse_card

    card = parse_card(
        'title = "T"\nsource = "folder"\ngroup_pattern = "/(?P<group>p[0-9]+)_"', name="people"
    )
    monkeypatch.setattr(sources, "card_names", lambda: ["people"])
    monkeypatch.setattr(sources, "load_card", lambda _: card)
    for number in range(60):
        for label in (0, 1):
            path = root / "people" / ("real", "fake")[label] / f"p{number // 2}_{number}.png"
            write_image(path, picture(label, size=8, seed=number))
    write_image(root / "people" / "real" / "stray.png", picture(0, size=8, seed=999))
    dataset = make_catalog().dataset("people")
    samples = dataset.samples.to_pylist()
    assert {s["group"] for s in samples if not s["problem"]} == {
        f"p{number}" for number in range(30)
    }
    assert [(s["path"], s["problem"]) for s in samples if s["problem"]] == [
        ("real/stray.png", UNMATCHED)
    ]
    with pytest.raises(
        DataError, match=r"By hand: get it from its authors; unpack it into '.*elsewhere/people'"
    ):
        (root.parent / "elsewhere").mkdir()
        make_catalog(root=root.parent / "elsewhere").dataset("people")


def test_a_split_without_both_classes_is_refused_with_counts(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "tiny", n=2, size=8)
    with pytest.raises(
        DataError,
        match=r"dataset 'tiny': its \w+ split has no \w+ images \(train \d real \+ \d fake, val",
    ):
        make_catalog().dataset("tiny")


def test_a_test_only_dataset_can_be_tested_on_and_nothing_else(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "d", layout="train_valid_test", n=10, size=8)
    shutil.rmtree(folder / "train")
    shutil.rmtree(folder / "valid")
    catalog = make_catalog()
    assert len(catalog.open("d", "test", SMALL)) == 4
    with pytest.raises(DataError, match=r"dataset 'd' has no train split \(train 0 real \+ 0 fake"):
        catalog.open("d", "train", SMALL)


def test_a_class_of_broken_images_is_an_empty_class(root: Path, make_catalog: MakeCatalog) -> None:
    folder = write_dataset(root / "d", n=40, size=8)
    for path in files_of(folder / "fake"):
        truncate(path, 0.3)
    with pytest.raises(DataError, match="has no fake images"):
        make_catalog().dataset("d")


def test_describe_lists_what_is_left_out(root: Path, make_catalog: MakeCatalog) -> None:
    folder = write_dataset(root / "d", n=40, size=8, suffix=".jpg")
    truncate(folder / "real" / "0003.jpg")
    (folder / "fake" / "0004.jpg").write_bytes(b"")
    (folder / "extras").mkdir()
    summary = make_catalog().describe("d")
    assert [sample for sample, _ in summary.excluded] == ["d/fake/0004.jpg", "d/real/0003.jpg"]
    assert summary.excluded[0][1] == "empty file"
    assert "truncated" in summary.excluded[1][1].lower()
    assert summary.images() == 78
    assert summary.skipped == (("extras", "neither a split nor a class folder"),)
    assert summary.n_bytes == sum(path.stat().st_size for path in files_of(folder))


def test_neither_broken_images_nor_copies_are_groups_that_somebody_gave(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "plain", n=40, size=8)
    shutil.copy(folder / "real" / "0003.png", folder / "real" / "copy.png")
    (folder / "fake" / "0004.png").write_bytes(b"")
    (folder / "real" / "0005.png").write_bytes(b"no image")
    assert not make_catalog().describe("plain").grouped
    write_dataset(root / "listed", n=40, size=8, layout="manifest")
    assert make_catalog().describe("listed").grouped


def test_a_second_start_hashes_nothing_and_a_changed_file_is_seen(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "d", n=40, size=8)
    history: list[tuple[str, int, int]] = []
    first = make_catalog(progress=lambda *report: history.append(report)).dataset("d")
    assert history == [("indexing d", 80, 80)]
    again = make_catalog(progress=lambda *report: history.append(report)).dataset("d")
    assert len(history) == 1
    assert again.digest == first.digest
    write_image(folder / "real" / "0000.png", picture(0, size=9, seed=4444))
    changed = make_catalog(progress=lambda *report: history.append(report)).dataset("d")
    assert history[1:] == [("indexing d", 1, 1)]
    assert changed.digest != first.digest


def test_a_file_replaced_behind_its_own_time_is_seen(root: Path, make_catalog: MakeCatalog) -> None:
    """Another picture of the same size, with the old time of last change set again: an index by
    these alone is wrong for ever.
    """
    folder = write_dataset(root / "d", n=24, size=8, suffix=".bmp")
    first = make_catalog().dataset("d")
    path = folder / "real" / "0000.bmp"
    before = path.stat()
    write_image(path, picture(0, size=8, seed=4444))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    catalog = make_catalog()
    assert catalog.dataset("d").digest != first.digest
    assert len(catalog.open("d", "train", SMALL).excluded) == 0


def test_what_passes_is_not_remembered(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without memory for an image leaves it out under another key, and looks again the
    next time.
    """
    write_dataset(root / "d", n=24, size=8)
    victim = []

    def decode(data: bytes) -> NDArray[np.uint8]:
        if data == victim[0]:
            raise UnreadableError("does not fit into memory")
        return decode_image(data)

    victim.append((root / "d" / "real" / "0000.png").read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr("study.data.file_index.decode_image", decode)
        poor = make_catalog()
        assert poor.describe("d").excluded == (("d/real/0000.png", "does not fit into memory"),)
        key = poor.key("d", ("train", "val", "test"))
    rich = make_catalog()
    assert rich.describe("d").excluded == ()
    assert rich.key("d", ("train", "val", "test")) != key
    sample = next(
        row for row in rich.dataset("d").samples.to_pylist() if row["path"] == "real/0000.png"
    )
    monkeypatch.setattr("study.data.images.videos.decode_image", decode)
    with pytest.raises(
        DataError,
        match=(
            r"real/0000.png' could be read when it was indexed, and not now: does not fit into"
            r" memory"
        ),
    ):
        rich.open("d", sample["split"], SMALL)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
@pytest.mark.parametrize("looked_at", ["stat", "read"])
def test_a_disk_that_does_not_answer_stops_the_command(
    looked_at: str,
    number: int,
    root: Path,
    make_catalog: MakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dataset would be another one without the image, and the next run would begin anew."""
    write_dataset(
        root / "d", n=24, size=8, layout="manifest" if looked_at == "stat" else "real_fake"
    )
    whole = make_catalog().dataset("d").digest
    victim = str(next(files_of(root / "d")))
    Path(victim).touch()  # so it is read once more
    real_read, real_stat = Path.read_bytes, os.lstat

    def read(path: Path) -> bytes:
        if str(path) == victim and looked_at == "read":
            raise OSError(number, os.strerror(number), victim)
        return real_read(path)

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path) == victim and looked_at == "stat":
            raise OSError(number, os.strerror(number), victim)
        return real_stat(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", read)
        patched.setattr("study.data.layouts.listing.os.lstat", stat)
        with pytest.raises(
            DataError,
            match=(
                rf"'{victim}' could not be read now \({os.strerror(number)}\); run the command"
                r" again"
            ),
        ):
            make_catalog().dataset("d")
    assert make_catalog().dataset("d").digest == whole


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("EIO", "remove the file, or leave it out by a manifest.csv"),
        ("EREMOTEIO", "remove the file, or leave it out by a manifest.csv"),
        ("EMFILE", r"raise the limit of open files \(ulimit -n\)"),
        ("ENFILE", "end other programs: the machine has too many files open"),
        ("ENOMEM", "end other programs: the machine has no memory left"),
        *(
            (name, "see to the disk or the mount that it lies on")
            for name in ("ESTALE", "ENOTCONN", "ETIMEDOUT")
        ),
        *(
            (name, "see to the disk or the mount that it lies on")
            for name in ("ECONNABORTED", "ECONNREFUSED", "ENETRESET")
        ),
    ],
)
def test_what_is_to_be_done_depends_on_what_does_not_answer(
    name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine or a mount is at fault nobody is told to remove a file."""

    def fails(path: Path) -> bytes:
        raise OSError(getattr(errno, name), "why")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(
        DataError,
        match=(
            r"could not be read now \(why\); run the command again, and if that stays so,"
            rf" {remedy}$"
        ),
    ):
        read_bytes(tmp_path / "x.png")


def test_what_a_user_may_not_read_is_left_out(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That does not pass by itself."""
    write_dataset(root / "d", n=24, size=8)
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "0001.png" and path.parent.name == "fake":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert make_catalog().describe("d").excluded == (
        ("d/fake/0001.png", "cannot be read: Permission denied"),
    )


@pytest.mark.parametrize("name", ["照" * 28 + "片" * 50, "Я" * 120, "x" * 250])
def test_a_long_name_fits_the_cache(name: str, root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / name, n=24, size=8)
    write_dataset(root / f"{name[:-1]}!", n=24, size=8)
    catalog = make_catalog()
    for found in (name, f"{name[:-1]}!"):
        assert found in catalog.names()
        assert (
            sum(len(catalog.open(found, split, SMALL)) for split in ("train", "val", "test")) == 48
        )


def test_file_names_differ_as_names_do() -> None:
    assert file_name("cifake") == "cifake" and file_name("a:b/c") == "a%3Ab%2Fc"
    names = [
        "照" * 80,
        "照" * 79 + "片",
        "x" * 99,
        "x" * 100,
        "x" * 101,
        "x" * 102,
        file_name("x" * 102),
    ]
    assert len({file_name(name) for name in names}) == len(names)
    assert all(len(file_name(name)) <= 100 for name in names)


@pytest.mark.parametrize("kind", ["root", "url"])
def test_a_folder_whose_name_is_no_text_is_refused(
    kind: str, root: Path, make_catalog: MakeCatalog
) -> None:
    """Latin-1, as an old disk has it."""
    write_dataset(root / "fine", n=24, size=8)
    write_dataset(root / os.fsdecode(b"caf\xe9"), n=24, size=8)
    catalog = make_catalog() if kind == "root" else make_catalog(root=None, url=root.as_uri())
    assert "fine" in catalog.names() and not [
        name for name in catalog.names() if name.startswith("caf")
    ]
    for ask in (catalog.dataset, catalog.available, catalog.members):
        with pytest.raises(
            DataError, match=r"dataset 'caf\\xe9': its name is not valid UTF-8; rename its folder"
        ):
            ask(os.fsdecode(b"caf\xe9"))


def test_a_root_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"caf\\xe9.*is not valid UTF-8; rename"):
        data_root(str(folder))


def test_a_root_may_be_a_link_to_a_name_that_is_no_text(
    tmp_path: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(tmp_path / os.fsdecode(b"caf\xe9") / "d", n=24, size=8)
    (tmp_path / "link").symlink_to(os.fsdecode(b"caf\xe9"))
    assert make_catalog(root=tmp_path / "link").describe("d").images() == 48


def test_which_images_can_be_decoded_is_part_of_the_key(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries that cannot decode an image, and others that can: the same files, and not the same
    images. Groups are given.
    """
    write_dataset(root / "d", n=24, size=8, layout="manifest")
    data = next(files_of(root / "d")).read_bytes()

    def decode(given: bytes) -> NDArray[np.uint8]:
        if given == data:
            raise UndecodableError("no")
        return decode_image(given)

    able = make_catalog(cache=tmp_path / "able").dataset("d")
    # as before where all can be decoded
    assert able.digest == columns_digest(able.samples.sort_by("path"), CONTENT)
    monkeypatch.setattr("study.data.file_index.decode_image", decode)
    unable = make_catalog(cache=tmp_path / "unable").dataset("d")
    assert unable.samples.select(CONTENT).equals(able.samples.select(CONTENT))
    assert unable.digest != able.digest


def test_an_interrupted_index_keeps_what_it_has(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.data import file_index as index

    write_dataset(root / "d", n=40, size=8)
    real = index._fingerprint

    def interrupted(file: Run) -> tuple[str, str, str]:
        if file.path.endswith("real/0010.png"):
            raise KeyboardInterrupt
        return real(file)

    monkeypatch.setattr(index, "_fingerprint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_catalog().dataset("d")
    monkeypatch.setattr(index, "_fingerprint", real)
    history: list[int] = []
    make_catalog(progress=lambda _, done, total: history.append(total)).dataset("d")
    assert 0 < history[0] < 80


def test_a_killed_index_keeps_what_it_has(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    """By SIGKILL while the 30th of 48 images is hashed, in parts of 8: what was written is known,
    and then all in one file.
    """
    write_dataset(root / "mine", n=24, size=8)
    code = f"""
import os, signal
from pathlib import Path
from study.data import file_index as index
from study.data.catalog import Catalog, DataConfig

index.PART, seen, real = 8, [], index._fingerprint

def killed(path):
    seen.append(path)
    if len(seen) == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path)

index._fingerprint = killed
config = DataConfig(root=Path({str(root)!r}), cache=Path({str(tmp_path / "cache")!r}))
Catalog(config, firewall=True).dataset("mine")
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]
        ).returncode
        == -signal.SIGKILL
    )
    parts = list((tmp_path / "cache").glob("index/*/*/*"))
    assert len(parts) >= 2
    history: list[int] = []
    found = make_catalog(progress=lambda what, done, total: history.append(total)).dataset("mine")
    assert history and max(history) == 48 - 8 * len(parts)
    assert [path.suffix for path in (tmp_path / "cache").glob("index/*/*/*")] == [".rows"]
    again: list[int] = []
    assert (
        make_catalog(progress=lambda what, done, total: again.append(total)).dataset("mine").digest
        == found.digest
    )
    assert again == []


def test_a_damaged_index_is_made_again(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    write_dataset(root / "d", n=40, size=8)
    expected = make_catalog().dataset("d").digest
    (index,) = (tmp_path / "cache").glob("index/*/*/*")
    index.write_bytes(b"PAR1 and then nothing")
    assert make_catalog().dataset("d").digest == expected


def test_keys_follow_content_and_neither_name_nor_place(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    write_dataset(root / "a", n=40, size=8)
    write_dataset(root / "b", n=40, size=8, seed=1)
    shutil.copytree(root / "a", tmp_path / "moved" / "renamed")
    catalog, moved = make_catalog(), make_catalog(root=tmp_path / "moved")
    assert catalog.key("a", ["train"]) == moved.key("renamed", ["train"])
    assert catalog.dataset("a").digest == moved.dataset("renamed").digest
    keys = {
        catalog.key(name, splits)
        for name in ("a", "b", "a+b")
        for splits in (["train"], ["val"], ["train", "val"])
    }
    assert len(keys) == 9
    assert catalog.key("a+b", ("train", "val")) == catalog.key("b+a", ("val", "train"))


@pytest.mark.parametrize("column", ["label", "method", "group", "split", "video"])
def test_keys_change_with_every_column_of_the_manifest(
    root: Path, make_catalog: MakeCatalog, column: str
) -> None:
    rows: list[dict[str, object]] = [
        {
            "path": f"{n}.png",
            "label": n % 2,
            "method": "m",
            "group": f"g{n}",
            "split": ("train", "val", "test")[n // 4],
            "video": f"v{n}",
        }
        for n in range(12)
    ]
    for row in rows:
        write_image(
            root / "d" / str(row["path"]), picture(0, size=8, seed=int(str(row["path"])[:-4]))
        )
    write_manifest(root / "d", rows)
    splits = ("train", "val", "test")
    before = make_catalog().key("d", splits)
    rows[0][column] = {"label": 1, "split": "val"}.get(column, "other")
    write_manifest(root / "d", rows)
    assert make_catalog().key("d", splits) != before


def test_the_firewall_drops_test_rows_and_refuses_to_open_them(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_cifake(root / "one", n=60)
    write_dataset(root / "two", n=60, size=8)
    open_catalog, catalog = make_catalog(), make_catalog(firewall=True)
    for name in ("one", "two"):
        dataset = catalog.dataset(name)
        assert set(dataset.samples["split"].to_pylist()) == {"train", "val"}
        assert catalog.describe(name).images("test") == 0
        assert not dataset.counts()["test"][0]
        hidden = set(open_catalog.dataset(name).samples["id"].to_pylist()) - set(
            dataset.samples["id"].to_pylist()
        )
        assert hidden == set(open_catalog.dataset(name).rows("test")["id"].to_pylist())
        with pytest.raises(DataError, match="has no test split"):
            dataset.rows("test")
    for name in ("one", "two", "one+two"):
        for refused in (
            lambda name=name: catalog.open(name, "test", SMALL),
            lambda name=name: catalog.key(name, ["train", "test"]),
            lambda name=name: catalog.packed(name, "test", SMALL),
        ):
            with pytest.raises(FirewallError, match="search and selection see train and val only"):
                refused()
        assert catalog.key(name, ["train", "val"]) == open_catalog.key(name, ["train", "val"])
        assert catalog.open(name, "val", SMALL).key == open_catalog.open(name, "val", SMALL).key


def test_an_unknown_split_is_named(root: Path, make_catalog: MakeCatalog) -> None:
    with pytest.raises(ConfigError, match="unknown split 'valid': did you mean 'val'"):
        make_catalog().open("d", "valid", SMALL)  # type: ignore[arg-type]


def test_a_cache_that_cannot_be_written_is_one_line(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    write_dataset(root / "d", n=40, size=8)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written") as error:
        make_catalog(cache=tmp_path / "file" / "cache").dataset("d")
    assert "\n" not in str(error.value)


def test_a_union_does_not_count_images_twice(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", layout="methods", n=4, size=8)
    assert make_catalog().members("d:gan_a+d:gan_b") == ("d:gan_a", "d:gan_b")
    with pytest.raises(ConfigError, match=r"dataset 'd\+d:gan_a': 'd' and 'd:gan_a' share images"):
        make_catalog().members("d+d:gan_a")


def test_union_is_asked_for_member_by_member(root: Path, make_catalog: MakeCatalog) -> None:
    with pytest.raises(DataError, match="ask for its members"):
        make_catalog().dataset("a+b")


def test_groups_are_text_of_any_length(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", layout="manifest", n=40, size=8)
    dataset = make_catalog().dataset("d")
    assert strings(dataset.samples["group"]).dtype.kind == "U"
    assert np.unique(strings(dataset.samples["group"])).size == 40
