"""`study.load` against the files that cross_eval wrote; a detector against its stored scores."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import study
from study.core.errors import ConfigError, DataError, StoreError
from study.data.images.decode import decode_image
from study.store.store import Store
from tests.commands.conftest import run_both
from tests.factories import picture, write_dataset

FILE = """
name = "small"
detectors = ["spectrum"]
train_on = ["alpha", "beta"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 2
[data]
root = "{root}"
[detector.spectrum]
size_px = 16
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("alpha", "beta")):
        write_dataset(folder / name, n=30, size=24, seed=number)
    return folder


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    file = results / "small.toml"
    file.write_text(FILE.format(root=data), encoding="utf-8")
    return run_both(file, results, "--local").store.folder


def test_the_frame_is_matrix_csv(folder: Path) -> None:
    frame = study.load(folder).frame()
    with (folder / "matrix.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(frame) == len(rows)
    assert [*frame.columns] == [name for name in rows[0] if name != "schema"]
    values = [float(row["value"] or "nan") for row in rows]
    np.testing.assert_array_equal(frame["value"].to_numpy(dtype=float), values)


@pytest.mark.parametrize(
    ("metric", "threshold"), [("auc", ""), ("accuracy", "fixed"), ("balanced_accuracy", "source")]
)
def test_a_matrix_holds_the_means_over_seeds(folder: Path, metric: str, threshold: str) -> None:
    table = study.load(folder).matrix("spectrum", metric, threshold=threshold or None)
    assert [*table.index] == [*table.columns] == ["alpha", "beta"]
    compared = 0
    with (folder / "matrix.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = (
                row["detector"],
                row["seed"],
                row["level"],
                row["subset"],
                row["leak_free"].lower(),
            )
            quantity = (row["metric"], row["threshold"])
            if place == ("spectrum", "mean", "image", "", "false") and quantity == (
                metric,
                threshold,
            ):
                assert table.loc[row["train_on"], row["test_on"]] == float(row["value"])
                compared += 1
    assert compared == 4
    assert not table.isna().any(axis=None)


def test_a_detector_scores_files_and_arrays_as_the_study_did(folder: Path, data: Path) -> None:
    results = study.load(folder)
    detector = results.detector("spectrum", train_on="alpha", seed=1)
    assert detector.record.winner_seed == 1
    store = Store(folder.parent, folder.name)
    with (folder / "cells.csv").open(encoding="utf-8", newline="") as file:
        key = next(
            row["scores"]
            for row in csv.DictReader(file)
            if (row["train_on"], row["test_on"], row["seed"]) == ("alpha", "beta", "1")
        )
    held = store.scores(key)
    paths = [data / name for name in held.sample_id.tolist()]
    by_path = detector.score(paths)
    np.testing.assert_allclose(by_path["logit"], held.logit, rtol=0, atol=1e-5)
    np.testing.assert_allclose(by_path["probability"], 1 / (1 + np.exp(-by_path["logit"])))
    pixels = np.stack([decode_image(path) for path in paths])
    np.testing.assert_array_equal(detector.score(pixels)["logit"], by_path["logit"])
    # one image alone may take another kernel of the processor's library
    alone = detector.score(pixels[0])["logit"]
    np.testing.assert_allclose(alone, by_path["logit"][:1], rtol=1e-6, atol=0)
    assert len(detector.score([])) == 0


def test_wrong_names_are_refused_with_the_valid_ones(folder: Path, tmp_path: Path) -> None:
    results = study.load(folder)
    assert results.detectors == ["spectrum"]
    with pytest.raises(ConfigError, match="unknown detector 'spectrun': did you mean 'spectrum'"):
        results.matrix("spectrun")
    with pytest.raises(ConfigError, match="unknown metric 'acc'"):
        results.matrix("spectrum", "acc")
    with pytest.raises(ConfigError, match="unknown training set 'gamma'"):
        results.detector("spectrum", train_on="gamma")
    with pytest.raises(ConfigError, match="unknown seed '7'"):
        results.detector("spectrum", train_on="alpha", seed=7)
    with pytest.raises(ConfigError, match="unknown level 'unit'"):
        results.matrix("spectrum", level="unit")
    with pytest.raises(StoreError, match="is no folder"):
        study.load(tmp_path / "nothing")
    with pytest.raises(AttributeError, match="has no attribute 'lode'; it has evaluate, load"):
        study.lode  # noqa: B018


def test_pixels_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    detector = study.load(folder).detector("spectrum", train_on="alpha")
    grey = picture(0, size=24)[..., 0]
    with pytest.raises(DataError, match=r"image 0 is an array of shape \(24, 24\)"):
        detector.score([grey])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png' cannot be scored"):
        detector.score([broken])


def test_import_study_imports_nothing_heavy() -> None:
    code = "import study, sys; print({'torch', 'numpy', 'pandas', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert {"load", "evaluate"} <= {*dir(study)}
