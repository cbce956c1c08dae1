"""Scores made elsewhere find their images by id or path, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
import pytest

from study.core.errors import DataError
from study.data.catalog import Catalog, DataConfig
from study.data.datasets import Dataset
from study.data.match_predictions import match_predictions
from tests.factories import truncate, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """20 test images: test/REAL/0030.jpg and so on, one of them broken."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "mine", layout="train_test", n=40, size=16, suffix=".jpg")
    truncate(folder / "mine" / "test" / "FAKE" / "0039.jpg")
    return Catalog(DataConfig(root=folder, cache=folder / "cache"), firewall=False).dataset("mine")


@pytest.fixture
def file(tmp_path: Path):
    def write(header: str, *lines: str) -> Path:
        path = tmp_path / "scores.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        return path

    return write


SPELT = {
    "sample id": "mine/test/{}.jpg",
    "path": "test/{}.jpg",
    "dotted": "./test/{}.jpg",
    "end of the path": "{}.jpg",
    "on their disk": "/home/them/test/{}.jpg",
    "on their Windows disk": "C:\\data\\test\\{}.jpg",
}


@pytest.mark.parametrize("spelt", SPELT.values(), ids=SPELT)
def test_an_image_is_found_however_it_is_spelt(dataset: Dataset, file, spelt: str) -> None:
    places = ("REAL/0031", "FAKE/0030", "REAL/0030")
    lines = [
        f"{spelt.format(place)},{score}"
        for place, score in zip(places, (-1.5, 2.25, 0.1), strict=True)
    ]
    found = match_predictions(file("path,score", *lines), dataset).scores
    assert found.sample_id.tolist() == [
        f"mine/test/{place}.jpg" for place in ("FAKE/0030", "REAL/0030", "REAL/0031")
    ]
    assert found.logit.tolist() == [2.25, 0.1, -1.5] and found.logit.dtype == np.float64
    assert found.label.tolist() == [1, 0, 0]
    assert (len(found.excluded), found.listed, found.coverage) == (17, 20, 3 / 20)
    assert dict(found.excluded)["mine/test/FAKE/0031.jpg"] == "no prediction"


def test_groups_and_methods_are_the_datasets(dataset: Dataset, file) -> None:
    found = match_predictions(file("path,score", "FAKE/0030.jpg,1"), dataset).scores
    own = {row["id"]: row for row in dataset.samples.to_pylist()}[found.sample_id[0]]
    assert (found.group[0], found.method[0], found.unit[0]) == (
        own["group"],
        own["method"],
        own["unit"],
    )


def test_what_is_missing_and_what_is_too_much_is_counted_and_named(dataset: Dataset, file) -> None:
    lines = (
        "REAL/0030.jpg,1",
        "REAL/0001.jpg,1",
        "REAL/0002.jpg,2",
        "nowhere.jpg,3",
        "FAKE/0039.jpg,1",
    )
    found = match_predictions(file("path,score", *lines), dataset)
    notes = "\n".join(found.notes)
    assert "1 lines fit no image of 'mine': nowhere.jpg" in notes
    named = {
        split: sum(f"mine/{split}" in f"mine/{line}" for line in lines)
        for split in ("train", "val")
    }
    assert (
        named == {"train": 0, "val": 0}
        and "images of 'mine' and are left out" in notes
        and "REAL/0001.jpg" in notes
    )
    # one is scored, one cannot be decoded here
    assert "18 of 20 test images have no prediction" in notes
    assert found.scores.sample_id.tolist() == ["mine/test/REAL/0030.jpg"]
    assert dict(found.scores.excluded)["mine/test/FAKE/0039.jpg"] != "no prediction"


def test_probabilities_become_logits(dataset: Dataset, file) -> None:
    path = file("sample_id,score", "mine/test/REAL/0030.jpg,0.25", "mine/test/FAKE/0030.jpg,0.75")
    found = match_predictions(path, dataset, unit="probability").scores
    np.testing.assert_allclose(found.logit, [np.log(3), -np.log(3)], rtol=1e-15)
    assert "say --probability" in match_predictions(path, dataset).notes[0]


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("path,score", ["0030.jpg,1"], "line 2: '0030.jpg' fits 2 images"),
        (
            "path,score",
            ["REAL/0030.jpg,1", "test/REAL/0030.jpg,1"],
            "line 3: .* is the image of line 2 again",
        ),
        (
            "path,score,label",
            ["REAL/0030.jpg,1,fake"],
            "line 2: label 1, but mine/test/REAL/0030.jpg has 0",
        ),
        ("path,score", ["REAL/0001.jpg,1"], "none of its 1 lines is of a test image of 'mine'"),
        ("image,score", ["REAL/0030.jpg,1"], "neither a column 'sample_id' nor 'path'"),
        ("path,p", ["REAL/0030.jpg,1"], "unknown column 'score'.*rename the column"),
        ("path,score", ["REAL/0030.jpg,nan"], "line 2: score 'nan' is not finite"),
    ],
)
def test_what_is_refused(
    dataset: Dataset, file, header: str, lines: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        match_predictions(file(header, *lines), dataset)


def test_labels_that_are_all_turned_say_so(dataset: Dataset, file) -> None:
    lines = [
        f"{c}/{n:04d}.jpg,{int(c == 'REAL')},1" for c in ("REAL", "FAKE") for n in range(30, 38)
    ]
    with pytest.raises(DataError) as error:
        match_predictions(file("path,label,score", *lines), dataset)
    said = (
        "line 2: label 1, but mine/test/REAL/0030.jpg has 0 (1 is fake), and likewise in 16 of 16"
    )
    assert said in str(error.value) and "rename the column label" in str(error.value)


def test_units_and_direction(dataset: Dataset, file) -> None:
    path = file("path,score", "REAL/0030.jpg,75", "FAKE/0030.jpg,25")
    with pytest.raises(DataError, match=r"line 2: score 75, and all lie in \[0, 100\].* --percent"):
        match_predictions(path, dataset)
    found = match_predictions(path, dataset, unit="percent", higher_is_real=True).scores
    assert found.sample_id.tolist() == ["mine/test/FAKE/0030.jpg", "mine/test/REAL/0030.jpg"]
    assert found.logit == pytest.approx([np.log(3), -np.log(3)])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("spelt", ["test/{}/{}", "{}/{}", "/home/them/mine/test/{}/{}"])
def test_an_accent_is_the_same_letter_on_every_system(
    spelt: str, form: Literal["NFC", "NFD"], tmp_path: Path, file
) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    folder = write_dataset(tmp_path / "mine", layout="train_test", n=40, size=8)
    for path in folder.glob("test/*/*.png"):
        path.rename(path.with_name(normalize(form, f"é{path.name}")))
    catalog = Catalog(DataConfig(root=tmp_path, cache=tmp_path / "cache"), firewall=False)
    lines = [normalize(other, spelt.format(c, "é0030.png")) + ",1" for c in ("REAL", "FAKE")]
    found = match_predictions(file("path,score", *lines), catalog.dataset("mine"))
    assert len(found.scores.label) == 2
