"""Packs: decoded once, keyed by content, and never a picture that was not there."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.core.errors import ConfigError, DataError, DiskFullError, StoreError
from study.core.records import Geometry
from study.data.images import packs
from study.data.images.decode import decode_image
from study.data.images.geometry import fit_geometry
from study.data.images.packs import ImageSet
from tests.data.conftest import MakeCatalog
from tests.factories import files_of, picture, truncate, write_dataset, write_image, write_manifest

SQUASH = Geometry(size_px=16, mode="squash")
CROP = Geometry(size_px=12, mode="crop")


def built(tmp_path: Path) -> list[str]:
    """The packs that are there, and nothing half done beside them."""
    names = [path.name for path in (tmp_path / "cache" / "packs").glob("*/*")]
    names.remove(".locks")
    assert not [name for name in names if name.endswith(".tmp")]
    return sorted(names)


@pytest.mark.parametrize(
    "geometry",
    [
        SQUASH,
        CROP,
        Geometry(size_px=16, mode="resize_crop", resize_px=18, interpolation="bilinear"),
    ],
)
def test_every_image_is_where_its_id_says(
    root: Path, make_catalog: MakeCatalog, geometry: Geometry
) -> None:
    write_dataset(root / "d", layout="methods", n=40, size=24, suffix=".jpg")
    catalog = make_catalog()
    seen = 0
    for split in ("train", "val", "test"):
        images = catalog.open("d", split, geometry)
        assert images.listed == len(images)
        assert images.size_px == geometry.size_px
        assert images.sample_id.tolist() == sorted(images.sample_id)
        pixels = images.gather(np.arange(len(images)))
        assert pixels.dtype == np.uint8
        assert images.n_bytes == pixels.nbytes
        for sample, picture_, label, method in zip(
            images.sample_id, pixels, images.label, images.method, strict=True
        ):
            path = root / str(sample)
            np.testing.assert_array_equal(picture_, fit_geometry(decode_image(path), geometry))
            assert label == ("fake" in str(sample))
            assert method == (path.parent.name)
        seen += len(images)
    assert seen == 80


def test_gather_takes_any_order_and_returns_a_copy(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", n=40, size=16)
    images = make_catalog().open("d", "train", SQUASH)
    index = np.array([5, 0, 5, len(images) - 1])
    batch = images.gather(index)
    assert batch.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(batch[0], batch[2])
    batch[:] = 0
    assert images.gather(index).any()
    assert images.gather(np.array([], dtype=np.intp)).shape == (0, 16, 16, 3)
    with pytest.raises(IndexError):
        images.gather(np.array([len(images)]))


def test_a_union_is_its_members_sorted_by_id(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "b", n=40, size=16)
    write_dataset(root / "a", n=40, size=16, seed=1)
    # sorts between a/ and b/ although longer than a
    write_dataset(root / "a-c", n=40, size=16, seed=2)
    catalog = make_catalog()
    union = catalog.open("b+a+a-c", "train", SQUASH)
    assert union.sample_id.tolist() == sorted(union.sample_id)
    members = [catalog.open(name, "train", SQUASH) for name in ("a", "b", "a-c")]
    assert len(union) == union.listed == sum(len(member) for member in members)
    order = np.random.default_rng(0).permutation(len(union))
    together = dict(zip(union.sample_id[order], union.gather(order), strict=True))
    for member in members:
        for sample, pixels in zip(
            member.sample_id, member.gather(np.arange(len(member))), strict=True
        ):
            np.testing.assert_array_equal(together[sample], pixels)
    assert union.key == catalog.open("a-c+a+b", "train", SQUASH).key
    assert len({image_set.key for image_set in (*members, union)}) == 4


def test_geometry_decides_the_pack_and_its_key(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    write_dataset(root / "d", n=40, size=16)
    catalog = make_catalog()
    assert not catalog.packed("d", "train", SQUASH)
    keys = {catalog.open("d", "train", geometry).key for geometry in (SQUASH, CROP)}
    assert len(keys) == len(built(tmp_path)) == 2
    assert catalog.packed("d", "train", SQUASH)
    with pytest.raises(ConfigError, match="resize_px"):
        catalog.open("d", "train", Geometry(size_px=32, mode="resize_crop", resize_px=16))


def test_a_pack_is_built_once_and_found_by_its_content(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    write_dataset(root / "d", n=40, size=16)
    key = make_catalog().open("d", "train", SQUASH).key
    before = built(tmp_path)
    history: list[str] = []
    make_catalog(progress=lambda what, *_: history.append(what)).open("d", "train", SQUASH)
    assert history == []
    (tmp_path / "elsewhere").mkdir()
    # another place, another time of last change
    shutil.copytree(root / "d", tmp_path / "elsewhere" / "d")
    moved = make_catalog(
        root=tmp_path / "elsewhere", progress=lambda what, *_: history.append(what)
    ).open("d", "train", SQUASH)
    assert moved.key == key
    assert history == ["indexing d"]  # hashed anew, decoded into no new pack
    assert built(tmp_path) == before


def test_one_changed_byte_makes_a_new_pack(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    folder = write_dataset(root / "d", layout="manifest", n=40, size=16, suffix=".bmp")
    first = make_catalog().open("d", "train", SQUASH)
    path = folder.parent / str(first.sample_id[0])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the last byte of a pixel
    path.write_bytes(data)
    second = make_catalog().open("d", "train", SQUASH)
    assert second.key != first.key
    assert len(built(tmp_path)) == 2
    assert (second.gather(np.array([0])) != first.gather(np.array([0]))).sum() == 1


def test_labels_are_part_of_the_sets_key_but_not_of_its_pixels(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    folder = write_dataset(root / "d", layout="train_valid_test", n=10, size=16)
    rows: list[dict[str, object]] = [
        {
            "path": str(path.relative_to(folder)),
            "label": path.parent.name,
            "split": path.parent.parent.name,
            "method": "m",
        }
        for path in files_of(folder)
    ]
    write_manifest(folder, rows)
    first = make_catalog().open("d", "train", SQUASH)
    write_manifest(folder, [{**row, "method": "other"} for row in rows])
    second = make_catalog().open("d", "train", SQUASH)
    assert first.key != second.key
    assert len(built(tmp_path)) == 1


def test_a_truncated_jpeg_is_listed_and_never_black(root: Path, make_catalog: MakeCatalog) -> None:
    folder = write_dataset(root / "d", layout="train_valid_test", n=20, size=32, suffix=".jpg")
    truncate(folder / "train" / "real" / "0001.jpg", 0.5)
    (folder / "train" / "fake" / "0002.jpg").write_bytes(b"")
    (folder / "train" / "fake" / "0003.jpg").write_text("not a picture", encoding="utf-8")
    images = make_catalog().open("d", "train", SQUASH)
    assert images.listed == 24
    assert len(images) == 21
    assert [sample for sample, _ in images.excluded] == [
        "d/train/fake/0002.jpg",
        "d/train/fake/0003.jpg",
        "d/train/real/0001.jpg",
    ]
    reasons = [reason for _, reason in images.excluded]
    assert reasons[0] == "empty file"
    assert reasons[1].startswith("not a JPEG")
    assert "truncated" in reasons[2].lower()
    assert not {sample for sample, _ in images.excluded} & set(images.sample_id.tolist())
    pixels = images.gather(np.arange(len(images)))
    for sample, square in zip(images.sample_id, pixels, strict=True):
        np.testing.assert_array_equal(
            square, fit_geometry(decode_image(root / str(sample)), SQUASH)
        )
        assert square.mean() > 20
        assert square[-4:].std() > 0  # no flat rest


def test_missing_files_of_a_manifest_are_counted_as_listed(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "d", layout="manifest", n=60, size=16)
    (folder / "fake" / "pool" / "0007.png").unlink()
    catalog = make_catalog()
    sets = [catalog.open("d", split, SQUASH) for split in ("train", "val", "test")]
    assert sum(images.listed for images in sets) == 120
    assert sum(len(images) for images in sets) == 119
    assert [entry for images in sets for entry in images.excluded] == [
        ("d/fake/pool/0007.png", "file is missing")
    ]


def test_an_elongated_image_is_excluded_from_one_geometry_only(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "d", layout="train_valid_test", n=10, size=16)
    Image.new("RGB", (9000, 1), "white").save(folder / "train" / "real" / "0000.png")
    catalog = make_catalog()
    assert len(catalog.open("d", "train", SQUASH)) == 12
    cropped = catalog.open("d", "train", Geometry(size_px=100, mode="resize_crop", resize_px=100))
    assert len(cropped) == 11
    assert "too elongated" in cropped.excluded[0][1]


def test_a_class_that_no_geometry_can_use_is_refused(root: Path, make_catalog: MakeCatalog) -> None:
    folder = write_dataset(root / "d", layout="train_valid_test", n=5, size=16)
    for path in files_of(folder / "train" / "real"):
        Image.new("RGB", (9000, 1), "white").save(path)
    with pytest.raises(
        DataError,
        match=r"no real image of its train split can be used; for example d/train/real/0000\.png",
    ):
        make_catalog().open("d", "train", Geometry(size_px=100, mode="resize_crop", resize_px=100))


def test_a_file_that_changes_between_index_and_pack_stops_the_build(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    folder = write_dataset(root / "d", n=40, size=16)
    catalog = make_catalog()
    first = root / str(catalog.dataset("d").rows("train")["id"][0].as_py())
    write_image(first, picture(0, size=16, seed=31337))
    with pytest.raises(DataError, match="changed since it was indexed"):
        catalog.open("d", "train", SQUASH)
    first.unlink()
    with pytest.raises(DataError, match="file is missing"):
        catalog.open("d", "train", SQUASH)
    assert built(tmp_path) == []
    assert folder.is_dir()


def test_a_failed_build_leaves_nothing(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(root / "d", n=40, size=16)

    def out_of_disk(_: Any) -> None:
        raise OSError(28, "No space left on device")

    catalog = make_catalog()
    catalog.dataset("d")
    monkeypatch.setattr("os.fsync", out_of_disk)
    with pytest.raises(StoreError, match="cannot be written: No space left"):
        catalog.open("d", "train", SQUASH)
    assert built(tmp_path) == []


def test_a_pack_larger_than_the_disk_is_refused_at_once(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(root / "d", n=40, size=16)
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(packs.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DiskFullError, match=r"images of 'd' need .* kB, .* 1.0 kB free; .*again"):
        make_catalog().open("d", "train", SQUASH)


@pytest.mark.parametrize("damage", ["shorter", "a bit", "json", "missing", "sums"])
def test_a_damaged_pack_is_built_again(
    root: Path,
    make_catalog: MakeCatalog,
    tmp_path: Path,
    damage: str,
    cache_said: list[str],
) -> None:
    write_dataset(root / "d", n=40, size=16)
    images = make_catalog().open("d", "train", SQUASH)
    expected = images.gather(np.arange(len(images)))
    (name,) = built(tmp_path)
    (folder,) = (tmp_path / "cache" / "packs").glob(f"*/{name}")
    if damage == "shorter":
        truncate(folder / "images.u8", 0.5)
    elif damage == "a bit":
        data = bytearray((folder / "images.u8").read_bytes())
        data[1000] ^= 4
        (folder / "images.u8").write_bytes(data)
    elif damage == "json":
        (folder / "pack.json").write_text("{", encoding="utf-8")
    elif damage == "missing":
        (folder / "pack.json").unlink()
    else:
        (folder / "sums.json").write_text("{}", encoding="utf-8")
    for _ in range(2):
        again = make_catalog().open("d", "train", SQUASH)
        np.testing.assert_array_equal(again.gather(np.arange(len(again))), expected)
        (said,) = cache_said
        assert f"{name}/" in said and "is damaged" in said and "\n" not in said
    assert built(tmp_path) == [name]


def test_an_image_set_travels_as_names_and_not_as_pixels(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "d", n=40, size=64)
    images = make_catalog().open("d", "train", Geometry(size_px=64, mode="squash"))
    everything = images.gather(np.arange(len(images)))
    message = pickle.dumps(images)
    assert len(message) < everything.nbytes / 10
    copy: ImageSet = pickle.loads(message)
    assert copy.key == images.key
    np.testing.assert_array_equal(copy.gather(np.arange(len(copy))), everything)


def test_two_builders_at_once_give_one_pack(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    write_dataset(root / "d", n=40, size=16)
    make_catalog().dataset("d")
    history: list[str] = []
    catalogs = [make_catalog(progress=lambda what, *_: history.append(what)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(lambda catalog: catalog.open("d", "train", SQUASH).key, catalogs))
    assert len(keys) == 1
    assert history == ["packing d train"]
    assert len(built(tmp_path)) == 1
