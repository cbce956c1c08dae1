"""Tables as programs write them: separators, encodings and compression, and what is no table."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.core.errors import DataError
from study.data.layouts.manifest import read_manifest
from study.data.predictions import read_predictions
from tests.factories import picture, write_image

TEXT = 'path,label,score\n"é, a.png",0,-1.5\nb.png,1,2.5\n'
TABS = 'path\tlabel\tscore\n"é, a.png"\t0\t-1.5\nb.png\t1\t2.5\n'
SPELLINGS: dict[str, bytes] = {
    "commas": TEXT.encode(),
    "tabs": TABS.encode(),
    "a byte-order mark": TEXT.encode("utf-8-sig"),
    "tabs, Windows": TABS.replace("\n", "\r\n").encode("utf-8-sig"),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 and tabs, as Excel's Unicode text": TABS.encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "gzip": gzip.compress(TEXT.encode()),
    "gzip and tabs": gzip.compress(TABS.encode()),
    "bzip2": bz2.compress(TEXT.encode()),
    "xz": lzma.compress(TEXT.encode()),
}


@pytest.mark.parametrize("content", SPELLINGS.values(), ids=SPELLINGS)
def test_a_table_is_read_however_it_is_written(content: bytes, tmp_path: Path) -> None:
    for number, name in enumerate(("é, a.png", "b.png")):
        write_image(tmp_path / name, picture(number, size=8))
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    scores = read_predictions(path, {}).scores
    assert scores.label.tolist() == [0, 1] and scores.logit.tolist() == [-1.5, 2.5]
    table = read_manifest(tmp_path).table
    assert table["path"].to_pylist() == ["é, a.png", "b.png"]
    assert table["problem"].to_pylist() == ["", ""]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("p.csv", TEXT)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"label": [0]}), file)
    return file.getvalue()


NO_TABLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a ZIP archive": (zipped, "is a ZIP archive or an Excel workbook, and no CSV file; save"),
    "Parquet": (parquet, "is a Parquet file, and no CSV file; save the table as CSV"),
    "a cut gzip file": (
        lambda: gzip.compress(TEXT.encode() * 999)[:-20],
        "compressed, and damaged",
    ),
    "a cut xz file": (lambda: lzma.compress(TEXT.encode() * 999)[:-20], "compressed, and damaged"),
    "semicolons": (lambda: TEXT.replace(",", ";").encode(), "separated by ';' .*must be by ','"),
    "bars": (lambda: TEXT.replace(",", "|").encode(), "separated by '|' .*must be by ','"),
}


@pytest.mark.parametrize(("make", "message"), NO_TABLES.values(), ids=NO_TABLES)
def test_what_is_no_table_says_so(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(make())
    for read in (lambda: read_predictions(path, {}), lambda: read_manifest(tmp_path)):
        with pytest.raises(DataError, match=message.replace("|", r"\|")) as error:
            read()
        assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["nan", "None", "NA", "null"])
def test_words_for_missing_values_in_a_manifest(word: str, tmp_path: Path) -> None:
    lines = ["path,label,method,group,split,video"]
    for number in range(6):
        write_image(tmp_path / f"{number}.png", picture(number % 2, size=8, seed=number))
        lines.append(f"{number}.png,{number % 2},{word},{word},{word},{word}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    listing = read_manifest(tmp_path)
    for name in ("group", "split", "video"):
        assert listing.table[name].to_pylist() == [""] * 6
    assert listing.table["method"].to_pylist() == ["real", "fake"] * 3
    assert [what for what, _ in listing.skipped] == [
        f"{name} '{word}' of 6 of 6 rows" for name in ("method", "group", "split", "video")
    ]
