"""What systems leave in folders is no image of a dataset, wherever it lies; it is counted. What is
nearly a manifest is named.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study import audit, prepare
from study.core.errors import DataError
from study.data.catalog import Catalog, DataConfig, DatasetSummary
from study.data.layouts.folders import find_layout
from tests.factories import picture, write_dataset, write_image

THUMB = picture(0, size=16)


def summary(folder: Path) -> DatasetSummary:
    config = DataConfig(root=folder.parent, cache=folder.parent.parent / "cache")
    return Catalog(config, firewall=False).describe(folder.name)


def forks(folder: Path, into: Path) -> None:
    """Write what the zip of macOS holds beside a folder: the same tree of ._ files."""
    for image in sorted(folder.rglob("*.png")):
        fork = into / image.relative_to(folder.parent).with_name(f"._{image.name}")
        fork.parent.mkdir(parents=True, exist_ok=True)
        fork.write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")


def beside_a_wrapper(folder: Path) -> None:
    (folder / "photos").mkdir()
    for name in ("real", "fake"):
        shutil.move(folder / name, folder / "photos" / name)
    forks(folder / "photos", folder / "__MACOSX")


def in_each(pattern: str) -> Callable[[Path], None]:
    """An image of that name in every class folder; {} is the name of the image it is of."""

    def deed(folder: Path) -> None:
        for image in sorted(folder.glob("*/*.png")):
            write_image(image.parent / pattern.format(image.name), THUMB)

    return deed


LEFT: dict[str, tuple[Callable[[Path], None], str, int]] = {
    "__MACOSX beside the outer folder": (beside_a_wrapper, "__MACOSX", 60),
    "__MACOSX in the folder": (lambda f: forks(f / "fake", f / "__MACOSX"), "__MACOSX", 30),
    "Synology": (in_each("@eaDir/{}/SYNOPHOTO_THUMB_M.jpg"), "@eaDir", 60),
    "QNAP": (in_each("@Recently-Snapshot/{}"), "@Recently-Snapshot", 60),
    "a bin": (in_each("#recycle/{}"), "#recycle", 60),
    "Windows": (lambda f: write_image(f / "$Recycle.bin/real/1.png", THUMB), "$RECYCLE.BIN", 1),
    "Jupyter": (in_each(".ipynb_checkpoints/{}"), ".ipynb_checkpoints", 60),
    "forks": (in_each("._{}"), "._*", 60),
    "thumbnails of Linux": (in_each(".thumbnails/{}"), "hidden files", 60),
    "lost+found": (lambda f: write_image(f / "lost+found/real/1.png", THUMB), "lost+found", 1),
    "Explorer": (lambda f: (f / "fake/thumbs.DB").write_bytes(b"x"), "Thumbs.db", 1),
    "the Finder": (lambda f: (f / "fake/.DS_Store").write_bytes(b"x"), ".DS_Store", 1),
}  # fmt: skip


@pytest.mark.parametrize(("deed", "kind", "number"), LEFT.values(), ids=LEFT)
def test_what_was_left_behind_is_counted_and_nothing_else_changes(
    tmp_path: Path, deed: Callable[[Path], None], kind: str, number: int
) -> None:
    plain = summary(write_dataset(tmp_path / "plain" / "d", n=30, size=16))
    folder = write_dataset(tmp_path / "data" / "d", n=30, size=16)
    deed(folder)
    found = summary(folder)
    assert found.digest == plain.digest and found.counts == plain.counts
    files = "1 file" if number == 1 else f"{number} files"
    assert found.skipped == (
        (kind, f"{files} that a system or a program left behind, none of the dataset's"),
    )
    assert found.excluded == ()


def test_what_was_left_behind_is_no_dataset(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", n=2, size=8)
    write_dataset(tmp_path / "__MACOSX", n=2, size=8)
    catalog = Catalog(DataConfig(root=tmp_path, cache=tmp_path / "cache"), firewall=False)
    assert "d" in catalog.names() and "__MACOSX" not in catalog.names()


def test_splits_with_what_was_left_behind_by_two_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "data" / "d", layout="train_test", n=40, size=16)
    write_image(folder / "train" / "@eaDir" / "x.png", THUMB)
    write_image(folder / "@eaDir" / "real" / "x.png", THUMB)
    places = ["--results", str(tmp_path / "results")]
    prepare.main(["--describe", str(folder), "--out", str(tmp_path), *places])
    printed = capsys.readouterr().out
    assert "not used: @eaDir: 2 files that a system or a program left behind" in printed
    assert "40 real and 40 fake images" in printed
    audit.main(["--datasets", "d", "--data-root", str(tmp_path / "data"), *places])
    assert "40 real" in capsys.readouterr().out


NEARLY = [
    *("Manifest.csv", "manifest.CSV", "MANIFEST.CSV", "manifest.txt", "manifest.csv.txt"),
    *("manifest (1).csv", "manifest-2.csv", "manifests.csv", "manifest.tsv", "manifest.csv "),
]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", NEARLY)
def test_what_is_nearly_a_manifest_is_refused_by_name(
    tmp_path: Path, name: str, separator: str
) -> None:
    folder = write_dataset(tmp_path / "data" / "d", n=2, size=8)
    header = separator.join(("Path", "label", "group"))
    (folder / name).write_text(f"{header}\n", encoding="utf-8-sig")
    with pytest.raises(DataError) as error:
        summary(folder)
    assert f"/{name}' has the columns of a manifest" in str(error.value)
    assert "Rename it to manifest.csv" in str(error.value)
    (folder / name).rename(folder / "manifest.csv")
    layout = find_layout(folder)
    assert layout is not None and not layout.parts


def test_a_compressed_one_is_refused_likewise_and_read_when_renamed(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data" / "d", layout="manifest", n=30, size=16)
    whole = summary(folder)
    text = (folder / "manifest.csv").read_bytes()
    (folder / "manifest.csv").unlink()
    (folder / "manifest.csv.gz").write_bytes(gzip.compress(text))
    with pytest.raises(DataError, match=r"manifest.csv.gz' has the columns of a manifest"):
        summary(folder)
    (folder / "manifest.csv.gz").rename(folder / "manifest.csv")
    assert summary(folder).digest == whole.digest


@pytest.mark.parametrize("name", [*NEARLY, "manifest.json", "manifest.xlsx", "Manifest"])
def test_what_has_nearly_the_name_only_is_not_used(tmp_path: Path, name: str) -> None:
    folder = write_dataset(tmp_path / "data" / "d", n=30, size=16)
    (folder / name).write_bytes(b"d41d8cd98f00b204e9800998ecf8427e  real/0000.png\n\xff")
    assert summary(folder).skipped == ((name, "not read: only manifest.csv is"),)


@pytest.mark.parametrize(
    "name", ["d-manifest.csv", "unmanifest.csv", "manifest_of_2019.csv", "x.csv"]
)
def test_other_files_are_nobodys_business(tmp_path: Path, name: str) -> None:
    """Among them the one that `prepare --describe` writes."""
    folder = write_dataset(tmp_path / "data" / "d", n=30, size=16)
    (folder / name).write_text("path,label\nreal/0000.png,real\n", encoding="utf-8")
    assert summary(folder).skipped == ()
