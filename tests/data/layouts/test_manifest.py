"""manifest.csv: what it may say, and that every mistake is named with file, line and value."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from study.core.errors import DataError
from study.data.layouts.folders import find_layout, read_layout
from study.data.layouts.manifest import lists_urls, manifest_subgroups, read_manifest
from study.data.subgroups import subgroups_of
from tests.data.conftest import MakeCatalog
from tests.factories import picture, write_dataset, write_image, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        write_image(tmp_path / "d" / f"{name}.png", picture(0, size=8, seed=ord(name)))
    return tmp_path / "d"


def manifest(folder: Path, text: str) -> Path:
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    return folder


def test_all_columns(folder: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "path": "a.png",
            "label": "real",
            "method": "",
            "group": "g1",
            "split": "train",
            "video": "v1",
            "extra": "x",
        },
        {
            "path": "./b.png",
            "label": "FAKE",
            "method": "gan",
            "group": "",
            "split": "Valid",
            "video": "v2",
            "extra": "y",
        },
        {
            "path": "c.png",
            "label": " 1 ",
            "method": "gan",
            "group": "",
            "split": "TEST",
            "video": "",
            "extra": "",
        },
        {
            "path": "d.png",
            "label": 0,
            "method": "photo",
            "group": "g4",
            "split": "validation",
            "video": "",
            "extra": "",
        },
    ]
    write_manifest(folder, rows, bom=True)
    listing = read_manifest(folder)
    table = listing.table
    assert listing.layout == "manifest.csv"
    assert table["path"].to_pylist() == ["a.png", "b.png", "c.png", "d.png"]
    assert table["label"].to_pylist() == [0, 1, 1, 0]
    assert table["method"].to_pylist() == ["real", "gan", "gan", "photo"]
    assert table["group"].to_pylist() == ["g1", "v2", "", "g4"]  # frames of one video share a group
    assert table["video"].to_pylist() == ["v1", "v2", "", ""]
    assert table["split"].to_pylist() == ["train", "val", "test", "val"]
    assert table["size"].to_pylist() == [(folder / f"{name}.png").stat().st_size for name in "abcd"]


def test_header_in_any_case_and_blank_lines(folder: Path) -> None:
    table = read_manifest(manifest(folder, "Label, Path\r\n\r\n0,a.png\r\n1,b.png\r\n")).table
    assert table["path"].to_pylist() == ["a.png", "b.png"]


def test_missing_files_are_rows_with_a_reason(folder: Path) -> None:
    table = read_manifest(manifest(folder, "path,label\na.png,0\ngone.png,1\nb.png,1\n")).table
    assert table["problem"].to_pylist() == ["", "file is missing", ""]
    assert table["size"].to_pylist()[1] == -1


def test_links_out_of_the_folder_are_rows_with_a_reason(folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "outside" / "x.png", picture(1, size=8))
    (folder / "link.png").symlink_to(tmp_path / "outside" / "x.png")
    (folder / "sub").symlink_to(tmp_path / "outside", target_is_directory=True)
    table = read_manifest(manifest(folder, "path,label\nlink.png,0\nsub/x.png,1\na.png,1\n")).table
    assert ["leaves" in problem for problem in table["problem"].to_pylist()] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\na.png,0\nb.png,maybe\n",
            "manifest.csv, line 3: label 'maybe' must be 0 or real, 1 or fake",
        ),
        ("path,label\na.png,0\nb.png,\n", "line 3: label '' must be"),
        ("path,label,split\na.png,0,third\n", "line 2: split 'third' must be train, val or test"),
        (
            "path,label,split\na.png,0,train\nb.png,1,\n",
            "line 3: split is empty while other rows have one",
        ),
        (
            "path,label\na.png,0\nb.png,1\n./a.png,1\n",
            "line 4: path 'a.png' is listed already in line 2",
        ),
        ("path,label\n../x.png,0\n", "line 2: path '../x.png' must be a file below"),
        ("path,label\nq/../../x.png,0\n", "must be a file below"),
        ("path,label\n/etc/x.png,0\n", "must be a file below"),
        ("path,label\n,0\n", "line 2: path is empty"),
        ("file,label\na.png,0\n", "line 1: no column 'path' in 'file,label'"),
        ("path;label\na.png;0\n", "line 1: the file is separated by ';' (path;label)"),
        ("path,label,label\na.png,0,0\n", "'label' stands there twice"),
        ("path,label\na.png\n", "line 2: 1 fields, fewer than the header"),
        ("path,label\n", "lists no images"),
        ("", "no column 'path'"),
    ],
)
def test_mistakes_name_file_line_and_value(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_manifest(manifest(folder, text))
    assert message in str(error.value)
    assert str(folder / "manifest.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_number_counts_lines_and_not_rows(folder: Path) -> None:
    text = 'path,label,note\na.png,0,"two\nlines"\n\nb.png,huh,\n'
    with pytest.raises(DataError, match="line 5: label 'huh'"):
        read_manifest(manifest(folder, text))


def test_not_utf8_says_so(folder: Path) -> None:
    (folder / "manifest.csv").write_bytes(b"path,label\n\xff.png,0\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_manifest(folder)


def test_a_manifest_wins_over_the_layout_beside_it(folder: Path) -> None:
    write_image(folder / "real" / "x.png", picture(0, size=8))
    write_image(folder / "fake" / "y.png", picture(1, size=8))
    manifest(folder, "path,label\nreal/x.png,fake\na.png,real\n")
    layout = find_layout(folder)
    assert layout is not None
    assert read_layout(layout, name="d").table["path"].to_pylist() == ["real/x.png", "a.png"]


def test_rows_that_a_spreadsheet_leaves_empty_are_passed_over(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0))
    (tmp_path / "manifest.csv").write_text(
        "path,label,group\n,,\na.png,real,g\n , ,\n\n", encoding="utf-8"
    )
    assert read_manifest(tmp_path).table["path"].to_pylist() == ["a.png"]


def test_a_quote_that_does_not_close_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text('path,label\n"a.png,real\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest.csv, line 2: "):
        read_manifest(tmp_path)


def test_a_manifest_that_is_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", n=2, size=8)
    (folder / "manifest.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(
        DataError, match=r"d/manifest.csv' is a link to nothing; mend it, or delete it"
    ):
        find_layout(folder)
    (folder / "manifest.csv").unlink()
    os.mkfifo(folder / "manifest.csv")
    assert not lists_urls(folder / "manifest.csv")
    with pytest.raises(DataError, match=r"is no regular file"):
        find_layout(folder)


@pytest.mark.parametrize(
    ("spelled", "hint"),
    [
        ("{0}\\{1}", "file is missing: folders are separated by / here, and not by \\"),
        ("d/{0}/{1}", "file is missing: a path is relative to the manifest's folder"),
        ("elsewhere/{0}/{1}", "file is missing: a path is relative to the manifest's folder"),
        ("C:\\sets\\d\\{0}\\{1}", "file is missing: a path is relative to the manifest's folder"),
        ("/kaggle/input/d/{0}/{1}", "file is missing: a path is relative to the manifest's folder"),
        ("../d/{0}/{1}", "file is missing: a path is relative to the manifest's folder"),
        ("{0}/{1}.jpg", None),
    ],
)
def test_paths_that_are_all_wrong_in_one_way_say_which(
    root: Path, make_catalog: MakeCatalog, spelled: str, hint: str | None
) -> None:
    folder = write_dataset(root / "d", n=4, size=8)
    words = [
        (word, path.name) for word in ("fake", "real") for path in sorted((folder / word).iterdir())
    ]
    write_manifest(folder, [{"path": spelled.format(*each), "label": each[0]} for each in words])
    with pytest.raises(DataError) as error:
        make_catalog().dataset("d")
    if hint is None:
        assert str(error.value).endswith("file is missing")
    else:
        command = f"python -m study.prepare --describe {folder} "
        assert f"{hint}. 'fake/0000.png' is there: {command}" in str(error.value)


def test_subgroups_are_read_and_change_nothing_of_the_listing(folder: Path) -> None:
    plain = "path,label\na.png,0\n./b.png,1\n"
    listed = read_manifest(manifest(folder, plain)).table
    assert manifest_subgroups(folder) == {}
    given = "path,label,Subgroup:Skin tone,subgroup:camera\na.png,0,dark,x\n./b.png,1,None,y\n"
    assert read_manifest(manifest(folder, given)).table == listed
    assert manifest_subgroups(folder) == {
        "Skin tone": {"a.png": "dark"},
        "camera": {"a.png": "x", "b.png": "y"},
    }


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,label,subgroup:", "the column 'subgroup:' has no name: write subgroup:NAME"),
        ("path,label,subgroup:a,SUBGROUP:a", "the column 'SUBGROUP:a' stands there twice"),
    ],
)
def test_subgroups_without_a_name_or_twice_are_refused(
    folder: Path, header: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(manifest(folder, f"{header}\na.png,0,x,x\n"))


def test_a_subgroup_of_names_is_refused(folder: Path) -> None:
    rows = "".join(f"{n}.png,{n % 2},person {n}\n" for n in range(21))
    text = f"path,label,subgroup:who\n{rows}"
    message = "'subgroup:who' has 21 different values, and a subgroup has at most 20; put them"
    with pytest.raises(DataError, match=message):
        read_manifest(manifest(folder, text))


def test_the_subgroups_of_a_dataset_are_of_its_test_images(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = write_dataset(root / "faces", layout="manifest", n=30, size=16)
    plain = make_catalog().dataset("faces")
    assert subgroups_of(plain) == {}
    lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()
    tones = ["subgroup:tone", *(("dark", "light", "")[n // 12 % 3] for n in range(len(lines) - 1))]
    manifest(folder, "\n".join(f"{a},{b}" for a, b in zip(lines, tones, strict=True)))
    dataset = make_catalog().dataset("faces")
    assert dataset.digest == plain.digest  # it decides nothing that is trained or scored
    of_path = dict(zip((line.split(",")[0] for line in lines), tones, strict=True))
    rows = dataset.rows("test").to_pylist()
    expected = {row["id"]: of_path[row["path"]] for row in rows if of_path[row["path"]]}
    assert subgroups_of(dataset) == {"tone": expected} and len(expected) < len(rows)


def test_the_first_date_of_every_method_of_fakes_is_when_it_was_published(folder: Path) -> None:
    text = (
        "path,label,method,released\na.png,0,cam,1999\nb.png,1,gan,2024-08\n"
        "c.png,1,gan,2024-03-01\nd.png,1,other,NA\n"
    )
    assert read_manifest(manifest(folder, text)).released == {"gan": "2024-03-01"}
    with pytest.raises(DataError, match="line 2: released 'May 2024' is no date; write 2024, "):
        read_manifest(manifest(folder, "path,label,released\na.png,0,May 2024\nb.png,1,2024\n"))


def test_a_manifest_elsewhere_is_as_one_in_the_folder(
    root: Path, make_catalog: MakeCatalog
) -> None:
    """The data cannot be written: nothing of them changes, and every identity is the same."""
    write_dataset(root / "mine", layout="manifest", n=40)
    inside = make_catalog().dataset("mine")
    elsewhere = root.parent / "lists" / "mine.csv"
    elsewhere.parent.mkdir()
    (root / "mine" / "manifest.csv").rename(elsewhere)
    found = make_catalog(manifests={"mine": elsewhere}).dataset("mine")
    assert found.digest == inside.digest and found.root == root / "mine"
    # of no folder's name: relative to the data root, or absolute
    text = elsewhere.read_text(encoding="utf-8")
    for above in ("mine", str(root / "mine")):
        elsewhere.write_text(re.sub(r"^(?=real/|fake/)", f"{above}/", text, flags=re.M), "utf-8")
        catalog = make_catalog(manifests={"some": elsewhere})
        assert "some" in catalog.names() and catalog.dataset("some").counts() == found.counts()
        assert set(catalog.dataset("some").samples["sha256"].to_pylist()) == set(
            found.samples["sha256"].to_pylist()
        )


def test_a_manifest_elsewhere_has_subgroups(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "mine", layout="manifest", n=40)
    lines = (root / "mine" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    (root / "mine" / "manifest.csv").unlink()
    elsewhere = root.parent / "mine.csv"
    levels = [
        "subgroup:light",
        *(f"{'dark' if n % 2 else 'bright'}" for n in range(len(lines) - 1)),
    ]
    text = "\n".join(f"{line},{level}" for line, level in zip(lines, levels, strict=True))
    elsewhere.write_text(text, encoding="utf-8")
    dataset = make_catalog(manifests={"mine": elsewhere}).dataset("mine")
    found = subgroups_of(dataset)["light"]
    assert len(found) == dataset.rows("test").num_rows
    for sample, level in found.items():  # numbers from 0 on in either class
        assert level == ("dark" if int(Path(sample).stem) % 2 else "bright")
