"""Images inside Parquet files and WebDataset shards: the shapes that are published, and what is
wrong with a file.
"""

from __future__ import annotations

import datetime
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from study import init, prepare
from study.core.errors import DataError
from study.core.records import Geometry
from study.data.audit.traits import traits_of
from study.data.images import inside
from study.data.images.decode import read_bytes
from study.data.leaks.prints import read_prints
from tests.data.conftest import MakeCatalog
from tests.factories import embedded, write_image, write_parquet, write_shard

GEOMETRY = Geometry(size_px=16, mode="squash")
LABELS = [number % 2 for number in range(80)]
IMAGES = [embedded(label, seed=number) for number, label in enumerate(LABELS)]


def plain(folder: Path, **more: Any) -> Path:
    """The 80 images in a table, in five row groups."""
    return write_parquet(
        folder / "data" / "train-00000-of-00001.parquet", {"image": IMAGES, "label": LABELS, **more}
    )


def shard_samples(sidecar: Callable[[int], tuple[str, bytes]]) -> list[dict[str, bytes]]:
    return [
        {"png": image["bytes"], **dict([sidecar(label)])}
        for image, label in zip(IMAGES, LABELS, strict=True)
    ]


def community_forensics(folder: Path) -> None:
    columns = {
        "image_data": [image["bytes"] for image in IMAGES],
        "label": LABELS,
        "model_name": ["flux" if k else "" for k in LABELS],
        "architecture": ["LatDiff" if k else "" for k in LABELS],
        "real_source": [None if k else "ffhq" for k in LABELS],
        "split": ["test" if number < 20 else "train" for number in range(80)],
    }
    write_parquet(folder / "data" / "a.parquet", columns, image="image_data")


def openfake(folder: Path) -> None:
    for split, numbers in (("train", range(60)), ("test", range(60, 80))):
        columns = {
            "image": [IMAGES[n] for n in numbers],
            "prompt": [f"a real photograph, {n}" for n in numbers],
            "label": [("real", "fake")[LABELS[n]] for n in numbers],
            "model": ["flux" if LABELS[n] else "real" for n in numbers],
            "type": ["base" if LABELS[n] else "real" for n in numbers],
            "release_date": [f"2024-0{1 + n % 5}-01" if LABELS[n] else None for n in numbers],
        }
        write_parquet(folder / "core" / f"{split}-00000-of-00001.parquet", columns)


def opensdi(folder: Path) -> None:
    columns = {
        "key": [f"k{n}" for n in range(80)],
        "image": IMAGES,
        "mask": IMAGES[::-1],
        "label": LABELS,
    }
    write_parquet(folder / "sd15-00000.parquet", columns)


def class_names(folder: Path) -> None:
    """0 is what the first name says."""
    columns = {"image": IMAGES, "label": [1 - label for label in LABELS]}
    names = {"label": ["AI-generated", "human"]}
    write_parquet(folder / "train-00000.parquet", columns, classes=names)


def shards_cls(folder: Path) -> None:
    samples = shard_samples(lambda label: ("cls", str(label).encode()))
    write_shard(folder / "train" / "000.tar", samples[:40])
    write_shard(folder / "train" / "001.tar", samples[40:60], first=40)
    write_shard(folder / "test" / "000.tar", samples[60:])


def shards_json(folder: Path) -> None:
    def sidecar(label: int) -> tuple[str, bytes]:
        return "json", json.dumps({"label": label, "model": "flux", "width": 16}).encode()

    samples = [{"mask.png": b"no image", **s} for s in shard_samples(sidecar)]
    write_shard(folder / "a.tar", samples)


SHAPES: dict[str, tuple[Callable[[Path], Any], str, bool]] = {
    "plain": (plain, "fake", False),
    "CommunityForensics": (community_forensics, "flux", True),
    "OpenFake": (openfake, "flux", True),
    "OpenSDI": (opensdi, "fake", False),
    "names of classes": (class_names, "fake", False),
    "shards, cls": (shards_cls, "fake", True),
    "shards, json": (shards_json, "flux", False),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_that_are_published(shape: str, root: Path, make_catalog: MakeCatalog) -> None:
    write, method, official = SHAPES[shape]
    write(root / "mine")
    catalog = make_catalog()
    dataset = catalog.dataset("mine")
    assert (
        dataset.official is official
        and not dataset.samples.filter(np.asarray(dataset.samples["problem"]) != "").num_rows
    )
    rows = dataset.samples.to_pylist()
    assert Counter(row["label"] for row in rows) == {0: 40, 1: 40}
    assert {row["method"] for row in rows if row["label"]} == {method}
    # every picture has the label that it was made with
    pixels = {inside.read_whole(f"{dataset.root}/{r['path']}"): r["label"] for r in rows}
    assert pixels == {i["bytes"]: k for i, k in zip(IMAGES, LABELS, strict=True)}
    if official:
        assert sum(row["split"] == "test" for row in rows) == 20
    if shape == "OpenFake":
        assert dataset.released == {"flux": "2024-01-01"}
        assert not dataset.skipped
        assert catalog.describe("mine:flux").images() == 80


def test_images_are_the_same_as_from_files(root: Path, make_catalog: MakeCatalog) -> None:
    """Packs, traits, hashes, originals and unified images, whatever holds the bytes."""
    plain(root / "table")
    write_shard(root / "shard" / "a.tar", shard_samples(lambda label: ("cls", b"%d" % label)))
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = root / "files" / ("real", "fake")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image["bytes"])
    found = []
    for name in ("table", "shard", "files"):
        catalog, unified = make_catalog(), make_catalog(unify=True)
        dataset = catalog.dataset(name)
        packed = catalog.open(name, "train", GEOMETRY)
        order = np.argsort(packed.group)
        originals = catalog.originals(name, "train")
        reads = [one() for one in originals.readers(order[::-1])]
        traits = traits_of(dataset, cache=catalog.config.cache)
        prints = read_prints(dataset, cache=catalog.config.cache)
        found.append(
            (
                packed.group[order].tolist(),
                packed.label[order].tolist(),
                packed.gather(order).tobytes(),
                np.stack(reads).tobytes(),
                np.sort(traits.numbers["bytes_per_pixel"]).tolist(),
                sorted(one.tobytes() for one in prints.thumbnail),
                unified.dataset(name).unified_px,
            )
        )
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) > 40


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    file = plain(tmp_path)
    order = np.random.default_rng(0).permutation(80).tolist()
    for row in [*order, 79, 0, 0, 16, 15]:
        assert read_bytes(Path(inside.row_path(str(file), "image", row))) == IMAGES[row]["bytes"]


def test_nothing_is_hashed_twice_and_a_changed_table_is_noticed(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plain(root / "mine")
    catalog = make_catalog()
    before = catalog.dataset("mine").digest
    with monkeypatch.context() as patch:
        patch.setattr(inside, "read_whole", pytest.fail)
        patch.setattr("study.data.images.decode.read_whole", pytest.fail)
        assert make_catalog().dataset("mine").digest == before
    write_parquet(file, {"image": IMAGES[::-1], "label": LABELS})
    with pytest.raises(DataError, match=r"image=\d{9}' changed since it was indexed"):
        catalog.open("mine", "train", GEOMETRY)
    assert make_catalog().dataset("mine").digest != before


def refusal(catalog: Any) -> str:
    with pytest.raises(DataError) as error:
        catalog.dataset("mine")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        ({"label": [*LABELS[:70], 7, *LABELS[71:]]}, ["row group 4, row 70: label '7' must be 0"]),
        ({"label": [*LABELS[:70], None, *LABELS[71:]]}, ["row 70: label '' is empty"]),
        ({"label": ["sdxl" if k else "coco" for k in LABELS]}, ["--class-folder coco=fake"]),
        ({"label": None, "kind": LABELS}, ["no column that is a label", "kind", "rename_column"]),
        ({"image": None, "caption": ["x"] * 80}, ["which column holds the images", "caption"]),
        (
            {"image": None, "a": [i["bytes"] for i in IMAGES], "b": [i["bytes"] for i in IMAGES]},
            ["a, b may all be"],
        ),
        ({"split": ["train" if n % 3 else "part7" for n in range(80)]}, ["'part7' is no split"]),
        ({"label": [1 - k for k in LABELS], "kind": ["fake" if k else "real" for k in LABELS]},
         ["the wrong way round", "--fake-label 0"]),
        ({"image": [{**i, "path": ("real", "fake")[1 - k] + f"_{n}.png"}
                    for n, (i, k) in enumerate(zip(IMAGES, LABELS, strict=True))]},
         ["the wrong way round"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_with_its_place(
    columns: dict[str, Any], texts: list[str], root: Path, make_catalog: MakeCatalog
) -> None:
    whole = {"image": IMAGES, "label": LABELS, **columns}
    path = root / "mine" / "data" / "train-00000.parquet"
    write_parquet(path, {name: of for name, of in whole.items() if of is not None})
    message = refusal(make_catalog())
    assert all(text in message for text in texts), message


def test_values_of_labels_are_named_like_class_folders(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_parquet(
        root / "mine" / "a.parquet",
        {"image": IMAGES, "label": ["SDXL" if k else "coco" for k in LABELS]},
    )
    catalog = make_catalog(class_folders={"sdxl": 1, "coco": 0})
    assert catalog.describe("mine").images(None, 1) == 40


def test_damaged_files_stop_with_the_place(root: Path, make_catalog: MakeCatalog) -> None:
    """A row group that cannot be read is no reason to go on without its images."""
    path = plain(root / "mine")
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)
    message = refusal(make_catalog())
    assert "row group 2, column 'image'" in message and "get the file again" in message
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as Parquet" in refusal(make_catalog())
    shutil.rmtree(root / "mine")
    shard = write_shard(
        root / "mine" / "a.tar", shard_samples(lambda label: ("cls", b"%d" % label))
    )
    shard.write_bytes(shard.read_bytes()[:30_000])
    assert "cannot be read as a tar file" in refusal(make_catalog())


def test_images_that_cannot_be_decoded_are_left_out_one_by_one(
    root: Path, make_catalog: MakeCatalog
) -> None:
    images = [*IMAGES[:4], {"bytes": b"x" * 50, "path": "4.png"}, {"bytes": None, "path": "5.png"}]
    write_parquet(root / "mine" / "a.parquet", {"image": [*images, *IMAGES[6:]], "label": LABELS})
    left_out = dict(make_catalog().describe("mine").excluded)
    assert [one.rpartition("=")[2] for one in left_out] == ["000000004", "000000005"]
    assert "not a JPEG" in left_out["mine/a.parquet#image=000000004"]


def test_a_shard_without_labels_is_an_archive(root: Path, make_catalog: MakeCatalog) -> None:
    write_shard(root / "mine" / "a.tar", [{"png": image["bytes"]} for image in IMAGES[:4]])
    assert "unpack the archives there" in refusal(make_catalog())


def test_class_folders_win_and_tables_beside_them_are_named(
    root: Path, make_catalog: MakeCatalog
) -> None:
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = root / "mine" / ("real", "fake")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image["bytes"])
    plain(root / "mine")
    skipped = dict(make_catalog().describe("mine").skipped)
    assert "class folders decide" in skipped["1 Parquet file"]


def test_dates_and_numbers_of_any_type(root: Path, make_catalog: MakeCatalog) -> None:
    plain(
        root / "mine",
        is_fake=[bool(k) for k in LABELS],
        released=[datetime.date(2023, 5, 1 + k) for k in LABELS],
    )
    assert make_catalog().dataset("mine").released == {"fake": "2023-05-02"}
    write_parquet(
        root / "other" / "a.parquet", {"image": IMAGES, "is_fake": [float(k) for k in LABELS]}
    )
    assert make_catalog().describe("other").images(None, 1) == 40


def test_describe_writes_a_manifest_of_rows_that_means_the_same(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain(root / "mine", model=["sdxl" if k else "" for k in LABELS])
    before = make_catalog().dataset("mine")
    places = ["--results", str(tmp_path / "results"), "--out", str(tmp_path)]
    assert prepare.main(["--describe", str(root / "mine"), *places]) == 0
    text = capsys.readouterr().out
    assert "understood by: Parquet, 1 file; method = model" in text
    assert f"copy it to {root / 'mine' / 'manifest.csv'}" in text
    shutil.copy(tmp_path / "mine-manifest.csv", root / "mine" / "manifest.csv")
    after = make_catalog().dataset("mine")
    assert after.layout == "manifest.csv" and after.digest == before.digest


def test_turned_labels_are_mended_as_it_is_said(
    root: Path, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    kinds = ["fake" if k else "real" for k in LABELS]
    plain(root / "mine", label=[1 - k for k in LABELS], kind=kinds)
    message = refusal(make_catalog())
    command = message.partition("python -m study.prepare ")[2].partition(" writes")[0]
    places = ["--results", str(tmp_path / "results"), "--out", str(tmp_path)]
    assert prepare.main([*shlex.split(command), *places]) == 0
    shutil.copy(tmp_path / "mine-manifest.csv", root / "mine" / "manifest.csv")
    assert make_catalog().describe("mine").images(None, 1) == 40


def test_a_study_over_a_table(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain(root / "mine")
    write_image(root / "note.png", np.zeros((4, 4, 3), np.uint8))
    assert init.main([str(root / "mine")]) == 0
    assert prepare.main(["my_study.toml"]) == 0
