"""`study.prepare --describe FOLDER`: what it prints, the sheet, the manifest that means the same as
the folder.
"""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import init, plan, prepare
from study.core.errors import ConfigError, DataError
from study.data.catalog import Catalog, DataConfig
from study.data.images import contact_sheet
from tests.data.leaks.pictures import scene
from tests.factories import (
    picture,
    truncate,
    write_artifact,
    write_cifake,
    write_dataset,
    write_ffpp,
    write_image,
    write_manifest,
    write_video,
)

Describe = Callable[..., str]


@pytest.fixture
def described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Describe:
    """Describe a folder, and return what was printed."""

    def run(folder: Path, *extra: str) -> str:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        assert (
            prepare.main(
                [
                    "--describe",
                    str(folder),
                    "--results",
                    str(tmp_path / "results"),
                    "--out",
                    str(out),
                    *extra,
                ]
            )
            == 0
        )
        return capsys.readouterr().out

    return run


def fields(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_classes_counts_formats_and_what_is_left_out(tmp_path: Path, described: Describe) -> None:
    folder = write_dataset(tmp_path / "data" / "mine", layout="methods", n=40)
    write_image(folder / "real" / "wide.jpg", np.zeros((20, 50, 3), dtype=np.uint8))
    truncate(folder / "fake" / "gan_a" / "0000.png")
    (folder / "notes").mkdir()
    (folder / "fake" / "x.jpgg").write_bytes((folder / "real" / "wide.jpg").read_bytes())
    shutil.copy(folder / "real" / "wide.jpg", folder)
    printed = described(folder)
    lines = fields(printed)
    assert ["real/", "real", "real,", "or", "the", "folder", "below", "-", "41"] in lines
    # over the splits; one is broken
    assert sum(int(line[3]) for line in lines if line[1:3] == ["fake", "gan_a"]) == 19
    assert sum(int(line[3]) for line in lines if line[1:3] == ["fake", "gan_b"]) == 20
    assert "understood by: class folders" in printed
    assert "real  JPEG  1: 50 x 20 (1)" in printed
    assert "real  PNG  40: 32 x 32 (40)" in printed
    assert "left out: 1 of 81 images" in printed
    assert "fake/gan_a/0000.png: " in printed
    assert "not used: notes: neither a split nor a class folder" in printed
    assert (
        "not used: *.jpgg: 1 in class folders, by their names neither images nor videos" in printed
    )
    assert "not used: 1 image at the top: in no class folder" in printed
    assert "no group: 80 images" in printed


def test_what_cannot_be_used_is_not_opened(tmp_path: Path, described: Describe) -> None:
    folder = write_dataset(tmp_path / "data" / "mine", n=40)
    (folder / "real" / "secret.png").symlink_to(
        write_image(tmp_path / "outside.png", np.zeros((20, 50, 3), dtype=np.uint8))
    )
    os.mkfifo(folder / "fake" / "pipe.png")
    # waits until somebody reads
    writer = threading.Thread(target=lambda: (folder / "fake" / "pipe.png").open("wb").close())
    writer.start()
    try:
        printed = described(folder)
        assert writer.is_alive()
    finally:
        os.close(os.open(folder / "fake" / "pipe.png", os.O_RDONLY | os.O_NONBLOCK))
        writer.join()
    assert "  real  PNG  40: 32 x 32 (40)" in printed
    assert "50 x 20" not in printed
    assert "fake/pipe.png: not a regular file" in printed
    assert "real/secret.png: symbolic link that leaves the dataset's folder" in printed


def test_the_last_line_is_a_command_that_works(tmp_path: Path, described: Describe) -> None:
    folder = write_dataset(tmp_path / "data" / "it's mine 😀\x7f", layout="named", n=40)
    (folder / "FaceSwap").rename(folder / "🙃")
    named = [
        "--class-folder",
        "Real_youtube=real",
        "--class-folder",
        "🙃=fake",
        "--class-folder",
        "NeuralTextures=fake",
    ]
    last = described(folder, *named).splitlines()[-1]
    words = shlex.split(last.removeprefix("next: "))
    assert words[:3] == ["python", "-m", "study.init"]
    file = tmp_path / "first.toml"
    assert init.main([*words[3:], "--out", str(file)]) == 0
    assert plan.main([str(file), "--results", str(tmp_path / "results")]) == 0


def test_a_folder_of_fakes_that_says_what_is_real_is_described_so(
    tmp_path: Path, described: Describe
) -> None:
    printed = described(write_artifact(tmp_path / "data" / "artifact", n=40))
    assert [
        "cycle_gan/",
        "fake,",
        "or",
        "real",
        "by",
        "metadata.csv",
        "cycle_gan",
        "-",
        "40",
    ] in fields(printed)
    labels = {row["path"]: row["label"] for row in read(tmp_path / "out" / "artifact-manifest.csv")}
    assert [labels[f"cycle_gan/horse2zebra/img0000{number}.jpg"] for number in (19, 20)] == [
        "fake",
        "real",
    ]


def test_videos_are_described_by_their_frames(tmp_path: Path, described: Describe) -> None:
    folder = tmp_path / "data" / "clips"
    for label, word in enumerate(("real", "fake")):
        for number in range(24):
            frames = [picture(label, size=32, seed=100 * number + frame) for frame in range(3)]
            write_video(
                folder / ("train", "val", "test")[number % 3] / word / f"{number:02d}.mp4", frames
            )
    (folder / "val" / "real" / "broken.mp4").write_bytes(b"")
    before = (
        Catalog(DataConfig(root=folder.parent, cache=tmp_path / "cache"), firewall=False)
        .dataset("clips")
        .digest
    )
    printed = described(folder)
    assert "real  mpeg4 video  72: 32 x 32 (72)" in printed
    assert "left out: 1 of 145 images" in printed
    assert "72 real and 72 fake images, 144 of them frames of 48 videos" in printed
    rows = read(tmp_path / "out" / "clips-manifest.csv")
    assert sorted(row["path"][-11:] for row in rows if row["label"] == "fake") == [
        f"fake/{number:02d}.mp4" for number in range(24)
    ]
    assert (tmp_path / "out" / "clips-contact-sheet.png").is_file()
    shutil.copy(tmp_path / "out" / "clips-manifest.csv", folder / "manifest.csv")
    assert (
        Catalog(DataConfig(root=folder.parent, cache=tmp_path / "cache"), firewall=False)
        .dataset("clips")
        .digest
        == before
    )


def test_the_sheet_has_a_row_a_method_and_is_the_same_again(
    tmp_path: Path, described: Describe
) -> None:
    folder = write_dataset(tmp_path / "data" / "mine", layout="methods", n=12)
    path = tmp_path / "out" / "mine-contact-sheet.png"
    described(folder)
    first = path.read_bytes()
    described(folder)
    assert path.read_bytes() == first
    pixels = np.asarray(Image.open(path).convert("RGB"))
    column = pixels[:, contact_sheet.MARGIN + 2]  # through the bars that mark the rows
    bars = [
        tuple(colour)
        for colour, before in zip(column[1:], column, strict=False)
        if tuple(before) != tuple(colour)
    ]
    assert [bar for bar in bars if bar in contact_sheet.ACCENTS] == [
        contact_sheet.ACCENTS[label] for label in (0, 1, 1)
    ]


def test_the_sheet_shows_pixels_as_they_are(tmp_path: Path) -> None:
    image = picture(1, size=32)
    row = contact_sheet.Row(label=1, method="gan", total=1, images=[image], captions=["x.png"])
    contact_sheet.write_sheet([row], tmp_path / "sheet.png", title="t")
    left, top = (
        contact_sheet.MARGIN + contact_sheet.LABEL,
        contact_sheet.MARGIN + contact_sheet.HEAD,
    )
    shown = np.asarray(Image.open(tmp_path / "sheet.png"))[top : top + 128, left : left + 128]
    assert np.array_equal(shown, image.repeat(4, axis=0).repeat(4, axis=1))


def test_examples_are_of_as_many_groups_as_there_are(tmp_path: Path, described: Describe) -> None:
    from study.data.describe import describe_folder, examples

    folder = write_ffpp(tmp_path / "data" / "ffpp", frames=4, pairs=12)
    found = describe_folder(folder, class_folders={}, cache=tmp_path / "cache")
    for total, paths in examples(found, 8).values():
        assert total == 24 * 4
        assert len({int(Path(path).parent.name[:3]) // 2 for path in paths}) == 8


@pytest.mark.parametrize(
    "kind", ["plain", "methods", "cifake", "manifest", "broken", "ffpp", "odd names"]
)
def test_the_manifest_means_what_the_folder_means(
    kind: str, tmp_path: Path, described: Describe
) -> None:
    name = "ffpp" if kind == "ffpp" else "cifake" if kind == "cifake" else "mine"
    folder = tmp_path / "data" / name
    if kind == "ffpp":
        write_ffpp(folder, frames=1)
    elif kind == "cifake":
        write_cifake(folder)
    else:
        write_dataset(
            folder,
            layout={"plain": "real_fake", "broken": "real_fake", "odd names": "methods"}.get(
                kind, kind
            ),
        )
    if kind == "broken":
        truncate(folder / "real" / "0001.png")
    if kind == "odd names":
        (folder / "fake" / "gan_a").rename(folder / "fake" / " gan a ")
        (folder / "real" / "0001.png").rename(folder / "real" / 'a\r, "b"\n.png')

    def digest() -> str:
        config = DataConfig(root=folder.parent, cache=tmp_path / "results" / "cache")
        return Catalog(config, firewall=False).dataset(name).digest

    before = digest()
    described(folder)
    shutil.copy(tmp_path / "out" / f"{name}-manifest.csv", folder / "manifest.csv")
    assert digest() == before


def test_a_manifest_is_never_written_over(tmp_path: Path, described: Describe) -> None:
    folder = write_dataset(tmp_path / "data" / "mine", n=30)
    path = tmp_path / "out" / "mine-manifest.csv"
    described(folder)
    assert len(read(path)) == 60
    path.write_text("path,label\nedited by hand,1\n", encoding="utf-8")
    assert "is there already and kept as it is" in described(folder)
    assert path.read_text(encoding="utf-8") == "path,label\nedited by hand,1\n"
    assert not (folder / "manifest.csv").exists()


def test_a_folder_that_cannot_be_split_yet_is_described_all_the_same(
    tmp_path: Path, described: Describe
) -> None:
    folder = write_dataset(tmp_path / "data" / "tiny", n=3)
    printed = described(folder)
    assert "not usable as it is: dataset 'tiny': its " in printed
    assert printed.splitlines()[-1].startswith(
        "next, when it is mended: python -m study.prepare --describe "
    )
    assert ["none", "real", "real", "3", "3"] in fields(printed)
    rows = read(tmp_path / "out" / "tiny-manifest.csv")
    assert [row["label"] for row in rows] == ["fake"] * 3 + ["real"] * 3


def test_a_folder_of_several_datasets(tmp_path: Path, described: Describe) -> None:
    printed = described(
        write_ffpp(
            tmp_path / "data" / "ffpp", frames=2, pairs=20, size=8, compressions=("c23", "c40")
        )
    )
    assert "ffpp:FaceSwap, ffpp:NeuralTextures" in printed
    assert "compression is c23 or c40" in printed
    assert "groups: 20 of 480 images, the largest 000_001 (24)" in printed
    assert printed.splitlines()[-1].startswith("next: python -m study.init ")


def test_a_folder_that_is_not_understood_says_what_it_saw(
    tmp_path: Path, described: Describe
) -> None:
    folder = write_dataset(tmp_path / "data" / "odd", layout="named", n=10)
    write_image(folder / "loose.png", picture(0))
    with pytest.raises(DataError) as error:
        described(folder)
    message = str(error.value)
    assert (
        "it holds: FaceSwap/ (5 images), NeuralTextures/ (5 images), Real_youtube/ (10 images), 1"
        " image in no folder" in message
    )
    assert "real/ fake/, 0_real/ 1_fake/, or train/ test/" in message
    options = (
        "--class-folder FaceSwap=fake --class-folder NeuralTextures=fake --class-folder"
        " Real_youtube=real"
    )
    assert f"into {options} (which of them" in message  # the folder's own names, ready to paste
    assert "10 real and 10 fake images" in described(folder, *options.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name either a study"),
        (["quick", "--describe", "x"], "name either a study"),
        (["quick", "--class-folder", "a=real"], "belong to --describe"),
        (["--describe", "x", "--set", "a=1"], "--set belongs to a study"),
        (["--describe", "/nowhere/at/all"], "'/nowhere/at/all' is not a folder"),
        (["--describe", ".", "--class-folder", "a"], "must be NAME=real or NAME=fake"),
        (["--describe", ".", "--class-folder", "a=2"], "must be NAME=real or NAME=fake"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: list[str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        prepare.main(arguments)


def test_a_place_that_cannot_be_written_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "data" / "mine", n=3)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr("study.data.describe.describe_folder", None)
    with pytest.raises(ConfigError, match=r"--out .*file/x: .* name another folder with --out DIR"):
        prepare.main(["--describe", str(folder), "--out", str(tmp_path / "file" / "x")])


def test_a_manifest_of_no_rows_is_never_written(tmp_path: Path, described: Describe) -> None:
    """Copied to its place, it would leave a folder without a single image."""
    kept = write_dataset(tmp_path / "kept", n=4, size=8)
    folder = tmp_path / "data" / "mine"
    for path in kept.glob("*/*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).symlink_to(path)
    printed = described(folder)
    assert "manifest: none is written, as no image of the folder can be read" in printed
    assert not (tmp_path / "out" / "mine-manifest.csv").exists()
    (folder / "real" / "0000.png").unlink()
    shutil.copy(kept / "real" / "0000.png", folder / "real")
    assert "mine-manifest.csv (1 row, without 7 files that cannot be read)" in described(folder)


@pytest.mark.parametrize("kind", ["equal pictures", "one person", "a group a class"])
def test_groups_that_leave_a_split_empty_are_named(
    kind: str, tmp_path: Path, described: Describe
) -> None:
    folder = write_dataset(tmp_path / "data" / "mine", n=20)
    files = sorted(folder.glob("*/*.png"))
    if kind == "equal pictures":
        for file in files:
            shutil.copy(files[0], file) if file != files[0] else None
        said = "40 images are of 1 group, the largest has 40 of them (which have equal pixels)"
    else:
        lines = ["path,label,group"]
        for file in files:
            group = file.parent.name if kind == "a group a class" else "person 1"
            lines.append(f"{file.parent.name}/{file.name},{file.parent.name},{group}")
        (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
        said = "40 images are of 1 group, the largest has 40 of them ('person 1', say the groups)"
        if kind == "a group a class":
            said = "40 images are of 2 groups, the largest has 20 of them ('fake', say the groups)"
    assert f"{said}, and a group is never parted" in described(folder)


def test_a_name_that_no_dataset_can_have(tmp_path: Path, described: Describe) -> None:
    with pytest.raises(DataError, match="rename it without"):
        described(write_dataset(tmp_path / "a+b", n=3))


NAMES = {
    "000000{:06d}.png": "ids of COCO photographs",
    "r{:08x}t.png": "ids of RAISE photographs",
    "id{}_id7_0001.png": "persons of Celeb-DF",
}


@pytest.mark.parametrize("name", NAMES)
def test_groups_that_names_carry_are_proposed_and_written_when_asked_for(
    name: str, tmp_path: Path, described: Describe
) -> None:
    folder = tmp_path / "data" / "mine"
    for label, kind in enumerate(("real", "fake")):
        for number in range(40):
            write_image(folder / kind / name.format(number), picture(label, size=16, seed=number))
    printed = described(folder)
    assert f"proposed groups: 40, as the names carry {NAMES[name]}" in printed
    written = tmp_path / "out" / "mine-manifest.csv"
    assert {row["group"] for row in rows_of(written)} == {""}
    written.unlink()
    described(folder, "--propose-groups")
    groups = Counter(row["group"] for row in rows_of(written))
    assert len(groups) == 40 and set(groups.values()) == {2}
    shutil.copy(written, folder / "manifest.csv")
    catalog = Catalog(DataConfig(root=folder.parent, cache=tmp_path / "c"), firewall=False)
    assert catalog.describe("mine").grouped


def test_nothing_is_proposed_where_names_say_nothing(tmp_path: Path, described: Describe) -> None:
    folder = tmp_path / "data" / "mine"
    for number in range(60):
        write_image(folder / ("real", "fake")[number % 2] / f"{number}.png", scene(number))
    assert "proposed groups" not in described(folder)
    with pytest.raises(DataError, match="nothing is proposed for 'mine'"):
        described(folder, "--propose-groups")


def write_scenes_with_fakes_of_them(folder: Path) -> None:
    """40 pictures a class; the first 10 fakes are copies of reals, saved anew."""
    for number in range(40):
        write_image(folder / "real" / f"r{number:02d}.png", scene(number))
        fake = folder / "fake" / f"f{number:02d}.jpg"
        write_image(fake, scene(number if number < 10 else 1000 + number))


def test_near_duplicates_are_proposed_as_groups(tmp_path: Path, described: Describe) -> None:
    folder = tmp_path / "data" / "mine"
    write_scenes_with_fakes_of_them(folder)
    printed = described(folder, "--propose-groups")
    assert "near duplicates join 20 images, 10 of the pairs a real and a fake" in printed
    written = tmp_path / "out" / "mine-manifest.csv"
    groups: dict[str, list[str]] = {}
    for line in rows_of(written):
        groups.setdefault(line["group"], []).append(Path(line["path"]).stem)
    alone = groups.pop("")
    assert sorted(groups.values()) == [[f"f{i:02d}", f"r{i:02d}"] for i in range(10)]
    assert len(alone) == 60
    shutil.copy(written, folder / "manifest.csv")
    catalog = Catalog(DataConfig(root=folder.parent, cache=tmp_path / "c"), firewall=False)
    assert catalog.describe("mine").grouped


def test_near_duplicates_join_groups_of_a_manifest(tmp_path: Path, described: Describe) -> None:
    """The rows stay, and so do the columns; two groups that hold one picture become one."""
    folder = tmp_path / "data" / "mine"
    write_scenes_with_fakes_of_them(folder)
    rows: list[dict[str, object]] = [
        {"path": f"{word}/{word[0]}{i:02d}.{suffix}", "label": word, "Group": f"{word} {i // 2}"}
        | {"camera": f"c{i}"}
        for word, suffix in (("real", "png"), ("fake", "jpg"))
        for i in range(40)
    ]
    write_manifest(folder, rows)
    described(folder, "--propose-groups")
    found = rows_of(tmp_path / "out" / "mine-manifest.csv")
    assert [line["camera"] for line in found] == [row["camera"] for row in rows]
    pairs = zip(found[:40], found[40:], strict=True)
    for number, (real, fake) in enumerate(pairs):
        assert (real["Group"] == fake["Group"]) == (number < 10)
    assert len({line["Group"] for line in found}) == 35  # of 40, 5 pairs of them joined


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
