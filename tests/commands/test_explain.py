"""study.explain: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import explain
from study.analysis.cells_csv import read_cells
from study.core.errors import ConfigError
from tests.commands.conftest import StudyRun


def test_the_worst_errors_of_a_cell(
    local_run: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--with", "npr @ alpha", "--test-on", "beta", "--worst", "3")
    places = ("--results", str(local_run.store.results), "--out", str(tmp_path))
    assert explain.main(["small", *words, *places]) == 0
    said = capsys.readouterr().out
    assert "Grad-CAM: with weights in random order the maps of 3 images correlate by" in said
    assert f"files: maps.json, mean_maps.png, sheet.png in {tmp_path}" in said
    found = json.loads((tmp_path / "maps.json").read_text(encoding="utf-8"))
    (cell,) = (
        c
        for c in read_cells(local_run.store.folder / "cells.csv")
        if (c.detector, c.train_on, c.test_on, c.seed) == ("npr", "alpha", "beta", 0)
    )
    held = local_run.store.scores(cell.scores)
    wrong = np.where(held.label == 1, -held.logit, held.logit)
    expected = sorted(zip(-wrong, held.sample_id.tolist(), held.logit, strict=True))[:3]
    assert [one["name"] for one in found["images"]] == [name for _, name, _ in expected]
    logits = [one["logit"] for one in found["images"]]
    np.testing.assert_allclose(logits, [logit for *_, logit in expected], rtol=1e-4, atol=1e-5)
    counts = {name: int((held.label == n).sum()) for n, name in enumerate(("real", "fake"))}
    assert found["mean_of"] == {name: min(count, 32) for name, count in counts.items()}
    for name in ("sheet.png", "mean_maps.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100


def test_what_has_no_places_is_refused(local_run: StudyRun, tmp_path: Path) -> None:
    places = ("--results", str(local_run.store.results), "--out", str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="spectrum cannot be explained by a map"):
        explain.main(["small", "--with", "spectrum @ alpha", "--test-on", "beta", *places])
    with pytest.raises(ConfigError, match="unknown test set of this winner 'gamma'"):
        explain.main(["small", "--with", "npr @ alpha", "--test-on", "gamma", *places])
    with pytest.raises(ConfigError, match="give images, or --test-on DATASET"):
        explain.main(["small", *places])
    with pytest.raises(ConfigError, match="--worst 201 must be from 1 to 200"):
        explain.main(["small", "--test-on", "beta", "--worst", "201", *places])
    (tmp_path / "many").mkdir()
    for number in range(201):
        (tmp_path / "many" / f"{number}.png").touch()
    with pytest.raises(ConfigError, match="201 images are too many for a sheet; give 200 at most"):
        explain.main(["small", str(tmp_path / "many"), "--with", "npr @ alpha", *places])
    assert not (tmp_path / "out").exists()
