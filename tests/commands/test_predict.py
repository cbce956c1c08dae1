"""`study.predict` against the stored scores of the study, and against hand computations."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import study
from study import cli, predict
from study.analysis.cells_csv import read_cells
from study.core.errors import ConfigError, DataError, StoreError
from study.core.records import Scores
from study.data.images.decode import decode_image
from study.data.images.degradations import degrade, parse_degradation
from study.tracking.logged_model import _load_pyfunc
from tests.commands.conftest import StudyRun, run_both
from tests.factories import files_of, picture, write_dataset, write_video

FILE = """
name = "small"
detectors = ["spectrum", "npr", "ensemble"]
train_on = ["alpha", "beta"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
default_winners = false
[detector.spectrum]
size_px = 16
[detector.npr]
size_px = 32
[data]
root = "{root}"
unify = true
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets of two sizes, so that `unify` gives them two sides."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "alpha", n=24, size=40, seed=1)
    write_dataset(folder / "beta", n=24, size=64, seed=2, suffix=".jpg")
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    results = tmp_path_factory.mktemp("results")
    file = results / "small.toml"
    file.write_text(FILE.format(root=data), encoding="utf-8")
    return run_both(file, results, "--local")


def said(capsys: pytest.CaptureFixture[str], run: StudyRun, *words: str, code: int = 0) -> Any:
    """What `predict --json` says."""
    capsys.readouterr()
    places = ("--results", str(run.store.results), "--json")
    assert predict.main(["small", *words, *places]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("detector", ["spectrum", "npr", "ensemble"])
@pytest.mark.parametrize("test_on", ["alpha", "beta"])
def test_new_images_get_the_scores_that_the_study_gave_them(
    detector: str,
    test_on: str,
    finished: StudyRun,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of an ensemble, too, whose members are looked up; with each data set's own side."""
    cell = next(
        cell
        for cell in read_cells(finished.store.folder / "cells.csv")
        if (cell.detector, cell.train_on, cell.test_on, cell.seed)
        == (detector, "alpha", test_on, 0)
    )
    held = finished.store.scores(cell.scores)
    paths = [str(data / name) for name in held.sample_id.tolist()]
    words = ("--with", f"{detector} @ alpha", "--prepare-as", test_on)
    found = said(capsys, finished, *paths, *words)
    assert [one["name"] for one in found["images"]] == paths
    logits = [one["logit"] for one in found["images"]]
    np.testing.assert_allclose(logits, held.logit, rtol=1e-5, atol=1e-5)
    temperature = finished.store.model(cell.model).temperature
    chances = 1 / (1 + np.exp(-held.logit.astype(float) / temperature))
    given = [one["probability"] for one in found["images"]]
    np.testing.assert_allclose(given, chances, rtol=1e-4, atol=1e-6)
    # without unify they would be others
    plain = study.load(finished.store.folder).detector("spectrum", train_on="alpha")
    plain._scorer.unified_px = 0
    assert not np.allclose(plain.score(paths)["logit"], logits, atol=1e-3)


def test_images_of_the_study_are_named(
    finished: StudyRun, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their pixels, whatever the file is called or how it is encoded: val and test by the ids of
    their scores, and train is the rest.
    """
    (cell,) = (
        one
        for one in read_cells(finished.store.folder / "cells.csv")
        if (one.detector, one.train_on, one.test_on) == ("spectrum", "alpha", "alpha")
    )
    tested = set(finished.store.scores(cell.scores).sample_id.tolist())
    val = set(finished.store.val_scores(cell.model).sample_id.tolist())
    ids = [path.relative_to(data).as_posix() for path in files_of(data / "alpha")]
    copies = {name: tmp_path / name.replace("/", "-").replace(".png", ".bmp") for name in ids}
    for name, copy in copies.items():
        Image.open(data / name).save(copy)
    pixels = np.array(Image.open(data / ids[0]).convert("RGB"))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / "new.png")
    found = said(capsys, finished, str(tmp_path), "--with", "spectrum @ alpha", code=0)
    known = {one["name"]: one["known"] for one in found["images"]}
    assert known.pop(str(tmp_path / "new.png")) == ""
    for name in ids:
        expected = "train of alpha, on which it was trained"
        expected = "val of alpha, by which it was selected" if name in val else expected
        expected = "test of alpha" if name in tested else expected
        assert known.pop(str(copies[name])) == expected
    assert not known and val and tested
    # of a winner of the other set none of them was for training
    of_beta = said(capsys, finished, str(copies[ids[0]]), "--with", "spectrum @ beta")
    assert of_beta["images"][0]["known"] in ("train of alpha", "val of alpha", "test of alpha")


def test_a_damaged_list_of_images_is_refused_and_one_that_is_missing_is_said(
    finished: StudyRun, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, image = finished.store.folder / "images.parquet", str(next(files_of(data / "alpha")))
    held = pq.read_table(path)
    try:
        moved = held.set_column(4, "split", pa.array(["train"] * held.num_rows))
        pq.write_table(moved, path)
        with pytest.raises(StoreError, match=r"images.parquet' cannot be read .*cross_eval again"):
            said(capsys, finished, image)
        path.unlink()
        assert predict.main(["small", image, "--results", str(finished.store.results)]) == 0
        assert "is not known: it has no images.parquet" in capsys.readouterr().out
    finally:
        pq.write_table(held, path)


def test_the_rates_of_a_threshold_are_counted_on_val_and_on_every_test_set(
    finished: StudyRun, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(next(files_of(data / "alpha")))
    found = said(capsys, finished, image, "--with", "spectrum @ beta", "--threshold", "source")
    store, cells = finished.store, read_cells(finished.store.folder / "cells.csv")
    mine = [c for c in cells if (c.detector, c.train_on, c.seed) == ("spectrum", "beta", 0)]
    of_val, cut = store.val_scores(mine[0].model), store.model(mine[0].model).thresholds["source"]
    assert cut == found["threshold"]["logit"]
    samples = {"source val": of_val} | {c.test_on: store.scores(c.scores) for c in mine}
    assert [one["where"] for one in found["false_positive_rates"]] == [*samples]
    for one in found["false_positive_rates"]:
        fakes = samples[one["where"]].logit[samples[one["where"]].label == 1]
        assert one["found"] == pytest.approx(np.mean(fakes.astype(float) >= cut))
        assert one["found_low"] <= one["found"] <= one["found_high"]
        assert one["n_fake"] == len(fakes)
        reals = samples[one["where"]].logit[samples[one["where"]].label == 0]
        assert one["rate"] == pytest.approx(np.mean(reals.astype(float) >= cut))
        assert one["low"] <= one["rate"] <= one["high"] and one["n_real"] == len(reals)


def test_the_best_is_that_with_the_highest_mean_over_test_sets(
    finished: StudyRun, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = pd.read_csv(finished.store.matrix_file)
    auc = matrix[
        (matrix.metric == "auc")
        & (matrix.seed == "mean")
        & (matrix.level == "image")
        & matrix.subset.isna()
        & (matrix.role == "detector")
    ]
    datasets = pd.read_csv(finished.store.folder / "datasets.csv")
    pairs = pd.read_csv(finished.store.folder / "pairs.csv")
    leaky = pairs[pairs.warnings.notna() | (pairs.leaked > 0)]
    gone = {*zip(leaky.train_on, leaky.test_on, strict=True)}
    places = zip(auc.train_on, auc.test_on, strict=True)
    counted = auc[
        (auc.domain == "cross")
        & ~auc.test_on.isin(datasets[datasets.warnings.notna()].name)
        & np.array([place not in gone for place in places])
    ]
    assert len(counted) > 2
    means = counted.groupby(["detector", "train_on"]).value.mean()
    found = said(capsys, finished, str(next(files_of(data / "alpha"))))
    assert (found["detector"], found["train_on"]) == means.idxmax()
    assert f"{means.max():.3f}" in found["chosen_by"]


def test_a_verdict_that_a_copy_does_not_get_is_unsure(
    finished: StudyRun, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in files_of(data / "beta")]
    found = said(capsys, finished, *paths, "--with", "spectrum @ alpha", "--threshold", "fixed")
    cut, scorer = found["threshold"]["logit"], detector(finished, "spectrum")
    for one, path in zip(found["images"], paths, strict=True):
        pixels = decode_image(Path(path))
        flipped = [
            copy
            for copy in ("jpeg90", "jpeg75", "down0.75", "down0.5")
            if (score_of(scorer, degrade(pixels, parse_degradation(copy))) >= cut)
            != (one["logit"] >= cut)
        ]
        assert one["flipped"] == flipped
        sure = "fake" if one["logit"] >= cut else "real"
        assert one["verdict"] == ("unsure" if flipped else sure)
    assert "unsure" in {one["verdict"] for one in found["images"]}


def detector(run: StudyRun, name: str) -> Any:
    return study.load(run.store.folder).detector(name, train_on="alpha")


def score_of(scorer: Any, pixels: Any) -> float:
    return float(scorer.score(pixels)["logit"].iloc[0])


def test_folders_globs_and_what_is_refused(
    finished: StudyRun, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shots = tmp_path / "shots"
    shutil.copytree(data / "alpha" / "real", shots / "deep")
    number = len([*files_of(shots)])
    (shots / "broken.png").write_bytes(b"\x89PNG no")
    (shots / "notes.txt").write_text("no image", encoding="utf-8")
    file = tmp_path / "out.csv"
    words = [str(shots), str(data / "beta" / "fake" / "*1.jpg"), "--csv", str(file)]
    found = said(capsys, finished, *words, code=cli.SOME_FAILED)
    named = sorted((data / "beta" / "fake").glob("*1.jpg"))
    assert len(found["images"]) == number + len(named)
    ((name, reason),) = [one.values() for one in found["refused"]]
    assert name == str(shots / "broken.png") and reason
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["image"] for row in rows] == [one["name"] for one in found["images"]] + [name]
    assert rows[-1]["refused"] == reason and rows[-1]["verdict"] == ""
    assert float(rows[0]["logit"]) == found["images"][0]["logit"]
    predict.main(["small", words[0], "--results", str(finished.store.results)])
    text = capsys.readouterr().out
    assert f"REFUSED {name}: {reason}" in text and "no ground for accusing" in text


@pytest.fixture(scope="module")
def of_videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRun, Path]:
    """A study of videos, three frames each; in half of them one is of the other kind."""
    data, results = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("results")
    for number in range(72):
        label, name = number % 2, "alpha" if number < 48 else "beta"
        kinds = [label, label, 1 - label if number % 4 < 2 else label]
        pictures = [picture(kind, seed=3 * number + i) for i, kind in enumerate(kinds)]
        write_video(data / name / ("real", "fake")[label] / f"{number:03d}.mp4", pictures)
    file = results / "small.toml"
    text = FILE.format(root=data).replace(', "npr", "ensemble"', "").replace("unify = true", "")
    text = text.replace(
        'train_on = ["alpha", "beta"]', 'train_on = ["alpha"]\ntest_on = ["alpha", "beta"]'
    )
    file.write_text(f"{text}frames_per_video = 3\n", encoding="utf-8")
    return run_both(file, results, "--local"), data


def test_a_video_gets_the_verdict_that_the_study_gives_its_units(
    of_videos: tuple[StudyRun, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its score, threshold and temperature, and how often these are wrong; all by hand here."""
    run, data = of_videos
    cells = [
        cell
        for cell in read_cells(run.store.folder / "cells.csv")
        if (cell.detector, cell.train_on, cell.seed) == ("spectrum", "alpha", 0)
    ]
    cell = next(cell for cell in cells if cell.test_on == "beta")
    truth = units_of(run.store.scores(cell.scores))
    paths = [str(data / name.partition("#")[0]) for name in truth.index]
    found = said(capsys, run, *paths, "--with", "spectrum @ alpha")
    assert [one["name"] for one in found["videos"]] == paths
    logits = np.array([one["logit"] for one in found["videos"]])
    np.testing.assert_allclose(logits, truth.logit, rtol=1e-4, atol=1e-4)
    rule, val = found["of_videos"], units_of(run.store.val_scores(cell.model))
    cut = rule["threshold"]["logit"]
    assert cut != found["threshold"]["logit"] and rule["temperature"] != found["temperature"]
    # the cut has the highest balanced accuracy that any has on source val's videos
    cuts = [-np.inf, *(val.logit - 1e-9), np.inf]
    assert balanced(val, cut) == max(balanced(val, one) for one in cuts)
    calls = [one["verdict"] for one in found["videos"] if one["verdict"] != "unsure"]
    sure = [one["verdict"] != "unsure" for one in found["videos"]]
    assert calls == ["fake" if one >= cut else "real" for one in logits[sure]]
    chances = 1 / (1 + np.exp(-logits / rule["temperature"]))
    np.testing.assert_allclose([one["probability"] for one in found["videos"]], chances)
    samples = {"source val": val}
    samples |= {one.test_on: units_of(run.store.scores(one.scores)) for one in cells}
    assert [one["where"] for one in rule["false_positive_rates"]] == [*samples]
    for one in rule["false_positive_rates"]:
        reals = samples[one["where"]][samples[one["where"]].label == 0]
        assert one["n_real"] == len(reals)
        assert one["rate"] == pytest.approx((reals.logit >= cut).mean())
    predict.main(["small", *paths, "--with", "spectrum @ alpha", "--results", places(run)])
    text = capsys.readouterr().out
    assert "videos, by the mean probability of their frames" in text and "videos of" in text


def places(run: StudyRun) -> str:
    return str(run.store.results)


def units_of(scores: Scores) -> pd.DataFrame:
    """The label and the logit of the mean probability of each video, by its first frame."""
    table = pd.DataFrame({name: getattr(scores, name) for name in ("sample_id", "unit", "label")})
    table["chance"] = 1 / (1 + np.exp(-scores.logit.astype(float)))
    units = table.groupby("unit").agg(
        sample_id=("sample_id", "first"), label=("label", "first"), chance=("chance", "mean")
    )
    units["logit"] = np.log(units.chance / (1 - units.chance))
    return units.set_index("sample_id")


def balanced(units: pd.DataFrame, cut: float) -> float:
    called = units.logit >= cut
    return float(called[units.label == 1].mean() + (~called[units.label == 0]).mean()) / 2


def test_frames_of_a_video_and_its_mean(
    finished: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [picture(1, size=48, seed=number) for number in range(12)]
    clip = write_video(tmp_path / "clip.mp4", pictures)
    found = said(capsys, finished, str(clip), "--frames", "3")
    names = [one["name"] for one in found["images"]]
    assert names == [f"{clip}#frame={number:06d}" for number in (2, 6, 10)]
    (video,) = found["videos"]
    chance = np.mean([1 / (1 + np.exp(-one["logit"])) for one in found["images"]])
    assert video["name"] == str(clip)
    assert video["logit"] == pytest.approx(np.log(chance / (1 - chance)), abs=1e-5)
    # this study is of images: it knows no rate of videos but that of single images
    assert "single images" in found["of_videos"]["note"]
    rates = found["of_videos"]["false_positive_rates"]
    assert [one["where"] for one in rates] == ["source val (single images)"]


def test_names_that_are_none(finished: StudyRun, data: Path, tmp_path: Path) -> None:
    image, places = str(next(files_of(data / "alpha"))), ["--results", str(finished.store.results)]
    for words, error, text in (
        (["small", image, "--with", "npr @ alhpa"], ConfigError, "did you mean 'npr @ alpha'"),
        (["small", image, "--threshold", "sauce"], ConfigError, "did you mean 'source'"),
        (["small", image, "--seed", "7"], ConfigError, "unknown seed '7'"),
        (["small", image, "--prepare-as", "gamma"], ConfigError, "alpha, beta"),
        (["smal", image], StoreError, "did you mean 'small'"),
        (["small", str(tmp_path / "no.png")], DataError, "does not exist"),
        (["small", str(tmp_path / "*.png")], DataError, "no file matches"),
        (["small", str(tmp_path)], DataError, "holds no image"),
    ):
        with pytest.raises(error, match=text):
            predict.main([*words, *places])


def test_mlflow_and_the_python_api_unify_too_from_every_form_of_an_image(
    finished: StudyRun, data: Path
) -> None:
    """The model that MLflow loads is a copy of the model folder."""
    cell = next(
        cell
        for cell in read_cells(finished.store.folder / "cells.csv")
        if (cell.detector, cell.train_on, cell.test_on) == ("spectrum", "beta", "beta")
    )
    held = finished.store.scores(cell.scores)
    paths = [data / name for name in held.sample_id.tolist()]
    forms: dict[str, Any] = {
        "paths": [str(path) for path in paths],
        "a table of paths": pd.DataFrame({"path": [str(path) for path in paths]}),
        "bytes": [path.read_bytes() for path in paths],
        "Pillow images": [Image.open(path) for path in paths],
        "an array": np.stack([decode_image(path) for path in paths]),
    }
    model = _load_pyfunc(str(finished.store.model_folder(cell.model)))
    api = study.load(finished.store.folder).detector("spectrum", train_on="beta")
    for name, form in forms.items():
        for scored in [model.predict(form)] + ([] if "table" in name else [api.score(form)]):
            np.testing.assert_allclose(
                scored["logit"], held.logit, rtol=1e-5, atol=1e-5, err_msg=name
            )


def test_pillow_images_of_other_modes_are_decoded_as_their_files(
    finished: StudyRun, tmp_path: Path
) -> None:
    rng, api = np.random.default_rng(0), detector(finished, "spectrum")
    rgb = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    turned = rgb.getexif()
    turned[0x0112] = 6  # orientation
    for mode, kind, extra in (
        ("RGBA", "png", {}),
        ("L", "png", {}),
        ("P", "gif", {}),
        ("CMYK", "tif", {}),
        ("RGB", "jpg", {"exif": turned, "quality": 95}),
    ):
        path = tmp_path / f"{mode}.{kind}"
        image = rgb.convert(mode)
        if mode == "RGBA":
            image.putalpha(100)
        image.save(path, **extra)
        by_path = score_of(api, path)
        with Image.open(path) as opened:
            assert score_of(api, opened) == pytest.approx(by_path, abs=1e-6), mode
        assert score_of(api, path.read_bytes()) == pytest.approx(by_path, abs=1e-6), mode
    with pytest.raises(DataError, match="image 0 is of type float"):
        api.score([0.5])
