"""A study of faces from start to end: what stands in the tables and the plan, and that new images
go through the same step by `predict`, MLflow's model and the Python API.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import study
from study import plan, predict, sweep
from study.analysis.cells_csv import read_cells
from study.analysis.results_csv import read_matrix
from study.core.errors import ConfigError, DataError
from study.data.images import faces
from study.tracking.logged_model import _load_pyfunc
from tests.commands.conftest import StudyRun, run_both
from tests.data.images import drawn_faces
from tests.data.images.drawn_faces import draw
from tests.factories import picture, write_image

FILE = """
name = "small"
detectors = ["spectrum"]
train_on = ["drawn"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
default_winners = false
[detector.spectrum]
size_px = 16
[data]
root = "{root}"
faces = "crop1.3"
"""
WITHOUT = 2  # images of each class without a face


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyRun]:
    folder = tmp_path_factory.mktemp("faces")
    for label, word in enumerate(("real", "fake")):
        for number in range(40):
            pixels = picture(label, size=48, seed=number)
            if number >= WITHOUT:
                pixels = draw(pixels, (6 + number % 5, 6, 20, 18))
            write_image(folder / "data" / "drawn" / word / f"{number:02d}.png", pixels)
    file = folder / "faces.toml"
    file.write_text(FILE.format(root=folder / "data"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        drawn_faces.use(patch)
        yield run_both(file, folder / "results", "--local")


def test_the_tables_and_the_plan_say_what_was_done_and_in_how_many_images(
    finished: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = (finished.store.folder / "tables.md").read_text(encoding="utf-8")
    assert "every image became the largest face in it" in tables and "crop1.3" in tables
    file = finished.store.results.parent / "faces.toml"
    assert plan.main([str(file), "--results", str(finished.store.results)]) == 0
    said = capsys.readouterr().out
    assert "crop1.3: a square of 1.3 times" in said
    assert "drawn: a face in 38 of 40 real, 38 of 40 fake" in said
    (audit,) = json.loads(finished.store.audit_file.read_text(encoding="utf-8"))["datasets"]
    assert audit["faces"] == "a face in 38 of 40 real, 38 of 40 fake"
    assert "faceless" in [finding["code"] for finding in audit["findings"]]
    assert {row.detector for row in read_matrix(finished.store.matrix_file)} >= {"spectrum"}


def test_new_images_become_their_faces_too_and_those_without_one_are_refused(
    finished: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (cell,) = [c for c in read_cells(finished.store.folder / "cells.csv") if c.model]
    held, root = finished.store.scores(cell.scores), finished.store.results.parent / "data"
    paths = [str(root / name) for name in held.sample_id.tolist()]
    bare = str(root / "drawn" / "real" / "00.png")
    capsys.readouterr()
    words = ["small", *paths, bare, "--results", str(finished.store.results)]
    assert predict.main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose([one["logit"] for one in found["images"]], held.logit, **close)
    (refused,) = found["refused"]
    assert refused["name"] == bare and "no face found" in refused["reason"]
    assert found["faces"] == "crop1.3"
    assert predict.main(words) == 1
    assert "the largest face is cut out first (crop1.3)" in capsys.readouterr().out
    api = study.load(finished.store.folder).detector("spectrum", train_on="drawn")
    model = _load_pyfunc(str(finished.store.model_folder(cell.model)))
    for scored in (api.score(paths), model.predict(paths)):
        np.testing.assert_allclose(scored["logit"], held.logit, **close)
    with pytest.raises(DataError, match="no face found"):
        api.score(bare)
    # what a network is shown is of the square of 26 pixels around the face of 20, cut out by hand
    whole, left = np.asarray(Image.open(paths[0])), 6 + int(Path(paths[0]).stem) % 5 - 3
    (shown,) = api._scorer.squares(whole)
    api._scorer.faces = ""
    np.testing.assert_array_equal(shown, api._scorer.squares(whole[2:28, left : left + 26])[0])
    assert not np.array_equal(shown, api._scorer.squares(whole)[0])


def test_a_command_that_needs_the_extra_says_how_it_is_installed(
    finished: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "NEEDED", ("no_such_package_here",))
    results = ["--results", str(finished.store.results)]
    file = finished.store.results.parent / "faces.toml"
    image = str(finished.store.results.parent / "data" / "drawn" / "real" / "05.png")
    for main, words in ((sweep.main, [str(file), "--local"]), (predict.main, ["small", image])):
        with pytest.raises(ConfigError, match=r"pip install 'fake-image-study\[faces\]'"):
            main([*words, *results])
