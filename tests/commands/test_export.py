"""study.export: the model that it writes, run by onnxruntime alone, against the scores of the
study, and what it says of the two.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from PIL import Image
from sklearn.metrics import roc_auc_score

from study import export
from study.analysis.cells_csv import CellFile, read_cells
from study.core import environment
from study.core.errors import ConfigError
from study.store.store import Store
from tests.commands.conftest import StudyRun


def exported(run: StudyRun, *words: str) -> int:
    return export.main(["small", *words, "--results", str(run.store.results)])


def cells_of(store: Store, detector: str, train_on: str) -> list[CellFile]:
    cells = read_cells(store.folder / "cells.csv")
    wanted = (detector, train_on, 0)
    return [c for c in cells if (c.detector, c.train_on, c.seed) == wanted]


def test_the_model_says_what_the_study_stored(
    local_run: StudyRun, study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files decoded here, by Pillow alone. `beta` is of JPEGs, `alpha` of PNGs."""
    hub = tmp_path / "hub"
    words = ("--with", "npr @ alpha", "--int8", "--out", str(tmp_path / "out"), "--hf", str(hub))
    assert exported(local_run, *words) == 0
    said = capsys.readouterr().out
    model = onnxruntime.InferenceSession(
        str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    check = json.loads((tmp_path / "out" / "check.json").read_text(encoding="utf-8"))
    rows = {row["test_on"]: row for row in check["test_sets"] if row["model"] == "fp32"}
    for cell in cells_of(local_run.store, "npr", "alpha"):
        held = local_run.store.scores(cell.scores)
        found = []
        for name in held.sample_id.tolist():
            with Image.open(study_file.parent / "datasets" / name) as image:
                pixels = np.asarray(image.convert("RGB"))
            found.append(float(model.run(None, {"image": pixels[None]})[0][0]))
        np.testing.assert_allclose(found, held.logit, rtol=1e-4, atol=1e-4)
        row = rows[cell.test_on]
        assert row["auc_before"] == pytest.approx(roc_auc_score(held.label, held.logit))
        assert row["auc_after"] == pytest.approx(roc_auc_score(held.label, found))
        assert row["images"] == len(held.label)
        assert cell.test_on in said
    told = {one.key: one.value for one in onnx.load(tmp_path / "out/model.onnx").metadata_props}
    assert (told["detector"], told["train_on"], told["seed"]) == ("npr", "alpha", "0")
    assert check["bytes"]["int8"] < 0.5 * check["bytes"]["fp32"]
    images = sum(row["images"] for row in rows.values())
    assert check["timed"]["images"] == {"study": 20, "fp32": images, "int8": images}
    times = check["milliseconds_an_image"]
    assert f"{times['int8'] / times['fp32']:.2f} of fp32's time" in said
    assert f"times: on this machine, 1 thread, one image at a time, median over {images}" in said
    assert_card(hub, local_run.store)


def assert_card(hub: Path, store: Store) -> None:
    """The head is YAML whose numbers are those of matrix.csv; files lie beside it."""
    import pandas as pd

    names = {path.name for path in hub.iterdir()}
    assert names >= {"README.md", "model.onnx", "model.int8.onnx", "detector.json"}
    _, head, text = (hub / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(head)
    assert (card["license"], card["license_name"]) == ("other", "unknown")
    assert "What a score is not" in text and "No proof" in text
    matrix = pd.read_csv(store.matrix_file, keep_default_na=False)
    found = {
        result["dataset"]["type"]: metric
        for result in card["model-index"][0]["results"]
        for metric in result["metrics"]
        if metric["type"] == "auc"
    }
    mine = matrix.query(
        "detector == 'npr' and train_on == 'alpha' and seed == '0' and metric == 'auc'"
        " and subset == '' and level == 'image'"
    )
    assert set(found) == set(mine.test_on) == {"alpha", "beta"}
    for row in mine.to_dict("records"):
        metric = found[row["test_on"]]
        assert metric["value"] == pytest.approx(float(row["value"]), abs=1e-6)
        for end in ("low", "high"):
            assert metric["args"][end] == pytest.approx(float(row[end]), abs=1e-6)


def test_what_cannot_be_exported_is_said_before_anything_is_done(
    local_run: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"--page .*give the folder of npm's package"):
        exported(local_run, "--with", "npr @ alpha", "--page", str(tmp_path))
    with pytest.raises(ConfigError, match="--images 0 must be at least 1"):
        exported(local_run, "--with", "npr @ alpha", "--images", "0")
    with pytest.raises(ConfigError, match="--int8: spectrum has no weights but its head's"):
        exported(local_run, "--with", "spectrum @ alpha", "--int8")
    with pytest.raises(ConfigError, match="unknown winner 'nprr @ alpha'"):
        exported(local_run, "--with", "nprr @ alpha")
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'fake-image-study\[export\]'"):
        exported(local_run, "--with", "npr @ alpha")
