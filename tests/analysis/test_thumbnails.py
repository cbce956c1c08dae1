"""Small pictures of the worst errors: the right image, small, within the room that a page has."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.analysis import thumbnails as module
from study.analysis.cell_curves import CellCurves, WorstImage
from study.analysis.thumbnails import SIDE, thumbnails
from study.data.catalog import Catalog, DataConfig
from tests.factories import picture, write_image

NONE = np.empty(0)


def worst_of(test_on: str, *names: str) -> CellCurves:
    return CellCurves(
        detector="npr",
        train_on="x",
        test_on=test_on,
        seeds=1,
        n_real=0,
        n_fake=1,
        tpr=NONE,
        low=NONE,
        high=NONE,
        precision=NONE,
        edges=NONE,
        reals=NONE,
        fakes=NONE,
        bins=(),
        worst=tuple(WorstImage(sample_id=name, is_fake=True, logit=-1.0) for name in names),
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A set whose images have a colour each."""
    for split, kind, i in ((s, k, i) for s in ("train", "test") for k in (0, 1) for i in range(4)):
        folder = tmp_path / "data" / "mine" / split / ("real", "fake")[kind]
        pixels = np.zeros((100, 200, 3), np.uint8) + picture(kind, size=4, seed=i)[0, 0]
        write_image(folder / f"{split}{i}.png", pixels)
    config = DataConfig(root=tmp_path / "data", cache=tmp_path / "cache")
    return Catalog(config, firewall=False)


def test_the_image_that_is_named_is_shown_small(catalog: Catalog) -> None:
    images = catalog.originals("mine", "test")
    names = [str(name) for name in images.sample_id]
    found = thumbnails(catalog, [worst_of("mine", names[1], "mine/gone.png")])
    assert found.keys() == {"mine"} and found["mine"].keys() == {names[1]}
    shown = Image.open(io.BytesIO(found["mine"][names[1]]))
    assert (shown.format, shown.size) == ("JPEG", (SIDE, SIDE // 2))
    colour = np.asarray(shown, float).mean((0, 1))
    assert colour == pytest.approx(images.read(1).mean((0, 1)), abs=4)


def test_of_too_many_the_first_are_shown(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(name) for name in catalog.originals("mine", "test").sample_id]
    whole = thumbnails(catalog, [worst_of("mine", *names)])["mine"]
    assert list(whole) == names
    monkeypatch.setattr(module, "MOST_BYTES", len(whole[names[0]]) + 1)
    assert list(thumbnails(catalog, [worst_of("mine", *names)])["mine"]) == names[:2]
