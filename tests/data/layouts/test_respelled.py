"""Paths of a manifest that was written elsewhere: absolute ones of this folder are read, others are
missing files with the reason, and `prepare --describe` writes every row as the disk has it.
"""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from study import cli, prepare
from study.core.errors import DataError
from study.data.layouts.manifest import read_manifest
from tests.factories import picture, write_image

N = 20  # images a class


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "mine"
    for label, name in enumerate("ab"):
        for number in range(N):
            write_image(
                folder / name / f"café{number:02d}.png", picture(label, size=8, seed=number)
            )
    return folder


def write(root: Path, spelled: Callable[[str], str]) -> Path:
    """A manifest with a column of its owner's, of which every path goes through `spelled`."""
    lines = ["label,path,camera"]
    for path in sorted(str(p.relative_to(root)) for p in root.glob("*/*.png")):
        lines.append(f"{int(path[0] == 'b')},{spelled(path)},mine {path[-6:-4]}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


ELSEWHERE = {
    "Windows": lambda path: "C:\\sets\\mine\\" + path.replace("/", "\\"),
    "a Windows share": lambda path: "\\\\nas\\mine\\" + path.replace("/", "\\"),
    "backslashes": lambda path: path.replace("/", "\\"),
    "another machine": lambda path: f"/kaggle/input/mine/{path}",
    "from the folder above": lambda path: f"mine/{path}",
    "out and in": lambda path: f"../mine/{path}",
    "another case": lambda path: path.replace(".png", ".PNG"),
    "another case of a folder": lambda path: path.replace("a/", "A/").replace("b/", "B/"),
    "NFD": lambda path: unicodedata.normalize("NFD", path),
    "all at once": lambda path: "D:\\X\\" + unicodedata.normalize("NFD", path.upper()),
}


@pytest.mark.parametrize("spelled", ELSEWHERE.values(), ids=ELSEWHERE)
def test_following_the_advice_loses_no_row_and_ends_in_a_dataset(
    spelled: Callable[[str], str],
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(root, spelled)
    options = ["--describe", str(root), "--results", str(tmp_path / "results")]
    assert prepare.main([*options, "--out", str(tmp_path)]) == cli.DONE
    printed = capsys.readouterr().out
    assert "not usable as it is: dataset 'mine': none of its 40 images" in printed
    assert f"{2 * N} x file is missing: " in printed
    assert f"'a/café00.png' is there: python -m study.prepare --describe {root} writes" in printed
    written = tmp_path / "mine-manifest.csv"
    rows = list(csv.DictReader(written.open(encoding="utf-8", newline="")))
    assert [row["path"] for row in rows] == [
        f"{name}/café{number:02d}.png" for name in "ab" for number in range(N)
    ]
    assert [row["label"] for row in rows] == ["real"] * N + ["fake"] * N
    assert [row["camera"] for row in rows] == [f"mine {n:02d}" for n in range(N)] * 2
    written.replace(root / "manifest.csv")
    assert prepare.main([*options, "--out", str(tmp_path / "again")]) == cli.DONE
    assert f"{N} real and {N} fake images" in capsys.readouterr().out


def test_absolute_paths_of_this_folder_are_read(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "link"
    linked.symlink_to(root, target_is_directory=True)
    for place in (root, linked):
        write(root, lambda path, place=place: f"{place}/{path}")
        table = read_manifest(place).table
        assert table["path"][0].as_py() == "a/café00.png"
        assert set(table["problem"].to_pylist()) == {""}


def test_nothing_is_looked_for_outside_of_the_folder(root: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "secret.png", picture(0, size=8))
    for path in ("../secret.png", str(tmp_path / "data" / "secret.png"), "/etc/hostname"):
        (root / "manifest.csv").write_text(f"path,label\n{path},0\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"line 2: path '.*' must be a file below"):
            read_manifest(root)
    # the end of it is a file of the folder, and the file that it names is not opened
    (tmp_path / "data" / "a").mkdir()
    write_image(tmp_path / "data" / "a" / "café00.png", picture(1, size=16))
    (root / "manifest.csv").write_text("path,label\n../a/café00.png,0\n", encoding="utf-8")
    (row,) = read_manifest(root).table.to_pylist()
    assert row["problem"].startswith("file is missing: ") and row["size"] == -1


def test_rows_that_mean_no_file_stay(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is gone may come back; two files of one name are not chosen between."""
    write(root, lambda path: path.replace("café00", "CAFÉ00"))
    os.link(root / "a" / "café00.png", root / "a" / "Café00.png")
    with (root / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write("0,gone.png,x\n")
    options = ["--describe", str(root), "--results", str(tmp_path / "results")]
    assert prepare.main([*options, "--out", str(tmp_path)]) == cli.DONE
    assert f"({2 * N + 1} rows: those of {root / 'manifest.csv'}" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "mine-manifest.csv").open(encoding="utf-8", newline="")))
    paths = [row["path"] for row in rows]
    assert paths[0] == "a/CAFÉ00.png" and paths[N] == "b/café00.png" and paths[-1] == "gone.png"
    assert len(rows) == 2 * N + 1


def test_splits_of_a_manifest_that_is_no_dataset_yet_are_kept(root: Path, tmp_path: Path) -> None:
    lines = [f"{path},{int(path[0] == 'b')},test" for path in ("a/café00.PNG", "b/café00.PNG")]
    (root / "manifest.csv").write_text("\n".join(["path,label,split", *lines]), encoding="utf-8")
    options = ["--describe", str(root), "--results", str(tmp_path / "results")]
    assert prepare.main([*options, "--out", str(tmp_path)]) == cli.DONE
    assert (tmp_path / "mine-manifest.csv").read_text(encoding="utf-8").splitlines() == [
        "path,label,split,method,group",
        "a/café00.png,real,test,,",
        "b/café00.png,fake,test,,",
    ]
