"""`unify`: both classes re-encoded alike, by one rule, under keys of their own; a difference of
files is gone after it.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study import cross_eval, sweep
from study.analysis.results_csv import read_matrix
from study.core.errors import ConfigError, StoreError
from study.core.records import Geometry, Split
from study.data.catalog import Catalog
from study.data.images.unify import QUALITY, unify
from study.planning.study_file import load_study, parse_study, to_toml
from study.store.store import Store
from tests.data.conftest import MakeCatalog
from tests.data.leaks.pictures import scene
from tests.factories import write_dataset, write_image

CROP = Geometry(size_px=24, mode="crop")


def write_sizes(folder: Path, sizes: dict[tuple[str, str], list[tuple[int, int]]]) -> None:
    """Images of given (width, height) for every (split, class)."""
    number = 0
    for (split, word), wanted in sizes.items():
        for width, height in wanted:
            number += 1
            write_image(
                folder / split / word / f"{number:04d}.png",
                scene(number, max(width, height))[:height, :width],
            )


def test_an_image_becomes_its_centre_square_at_the_side_as_jpeg() -> None:
    image = scene(1, 96)[:64]
    buffer = io.BytesIO()
    square = Image.fromarray(image).crop((16, 0, 80, 64)).resize((40, 40), Image.Resampling.BICUBIC)
    square.save(buffer, "JPEG", quality=QUALITY, subsampling=2)
    np.testing.assert_array_equal(unify(image, 40), np.asarray(Image.open(buffer)))
    np.testing.assert_array_equal(unify(image, 40), unify(image, 40))


def test_the_common_side_is_half_of_what_both_classes_have(
    root: Path, make_catalog: MakeCatalog
) -> None:
    reals, fakes = [(96, 80)] * 29 + [(20, 20)], [(64, 100)] * 30  # one real in thirty is tiny
    rest = {
        ("val", "real"): [(30, 30)],
        ("val", "fake"): [(30, 30)],
        ("test", "real"): [(16, 16)],
        ("test", "fake"): [(16, 16)],
    }
    write_sizes(root / "d", {("train", "real"): reals, ("train", "fake"): fakes, **rest})
    for firewall in (False, True):  # the test split has no say in it
        catalog = make_catalog(unify=True, firewall=firewall)
        assert catalog.dataset("d").unified_px == 32
        assert make_catalog(firewall=firewall).dataset("d").unified_px is None
    assert make_catalog(unify=True).key("d", ("train", "val")) == make_catalog(
        unify=True, firewall=True
    ).key("d", ("train", "val"))


def test_packs_hold_unified_images_under_their_own_keys(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "d", n=30, size=64)
    plain, unified = make_catalog(), make_catalog(unify=True)
    assert unified.key("d", ("test",)) != plain.key("d", ("test",))
    assert unified.key("d", ("test",)) == make_catalog(unify=True).key("d", ("test",))
    plain.open("d", "test", CROP)
    assert plain.packed("d", "test", CROP)
    assert not unified.packed("d", "test", CROP)
    images = unified.open("d", "test", CROP)
    assert make_catalog(unify=True).packed("d", "test", CROP)
    for at, sample in enumerate(images.sample_id):
        whole = unify(np.asarray(Image.open(root / str(sample))), 32)
        np.testing.assert_array_equal(images.gather(np.array([at]))[0], whole[4:28, 4:28])


def write_confound(folder: Path, counts: tuple[int, int, int] = (80, 40, 80)) -> None:
    """Two classes of like pictures, reals as PNG, fakes as JPEG: nothing but the encoding parts
    them.
    """
    for split, start, n in zip(("train", "val", "test"), (0, 200, 300), counts, strict=True):
        for label, word in enumerate(("real", "fake")):
            for number in range(n):
                path = folder / split / word / f"{number:03d}{('.png', '.jpg')[label]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = Image.fromarray(scene(2 * (start + number) + label, 64))
                pixels.save(path, **({"quality": 50} if label else {}))


def spectrum_auc(catalog: Catalog) -> float:
    """AUC on test of a linear classifier of `spectrum`'s untrained input: the log amplitudes of a
    crop, from train.
    """
    size = 32

    def features(split: Split) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        images = catalog.open("confounded", split, Geometry(size_px=size, mode="crop"))
        grey = images.gather(np.arange(len(images))).astype(np.float64).mean(axis=3)
        amplitude = np.abs(np.fft.fft2(grey - grey.mean(axis=(1, 2), keepdims=True)))
        return np.log1p(amplitude).reshape(len(images), -1), images.label

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300)).fit(
        *features("train")
    )
    x, label = features("test")
    return float(roc_auc_score(label, model.decision_function(x)))


def test_what_the_encoding_gave_away_is_gone_after_unify(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_confound(root / "confounded")
    assert spectrum_auc(make_catalog()) > 0.95
    assert 0.35 < spectrum_auc(make_catalog(unify=True)) < 0.65


def test_a_unified_study_says_so_and_has_results_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_confound(tmp_path / "data" / "confounded", (40, 20, 80))
    study = tmp_path / "confound.toml"
    study.write_text(
        'name = "confound"\ndetectors = ["spectrum"]\ntrain_on = ["confounded"]\n[budget]\ntrials'
        " = 1\nepochs = 2\nseeds = 1\n[detector.spectrum]\nsize_px = 32\n[data]\nroot ="
        f' "{tmp_path / "data"}"\n',
        encoding="utf-8",
    )
    arguments = [
        str(study),
        "--results",
        str(tmp_path / "results"),
        "--local",
        "--set",
        "data.unify=true",
    ]
    assert sweep.main(arguments) == 0
    capsys.readouterr()
    assert cross_eval.main(arguments) == 0
    store = Store(tmp_path / "results", "confound")
    auc = next(
        r.estimate.value
        for r in read_matrix(store.matrix_file)
        if r.is_plain and (r.seed, r.metric) == ("mean", "auc")
    )
    assert 0.3 < auc < 0.7
    said = "both classes were re-encoded alike"
    assert said in capsys.readouterr().out
    assert said in (store.folder / "tables.md").read_text(encoding="utf-8")
    # the study as it is has not been run
    with pytest.raises(StoreError, match="holds 1 of other configurations"):
        cross_eval.main(arguments[:-2])


def test_format_alone_is_no_cue_after_unify(root: Path, make_catalog: MakeCatalog) -> None:
    """Each picture in both classes, as PNG and as JPEG: what a pixel-wise comparison could still
    tell is next to nothing.
    """
    for number in range(60):
        for label, word in enumerate(("real", "fake")):
            split = ("train", "val", "test")[number % 3]
            path = root / "d" / split / word / f"{number:03d}{('.png', '.jpg')[label]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene(number, 64)).save(path, **({"quality": 50} if label else {}))

    def fine_detail(unified: bool) -> float:
        images = make_catalog(unify=unified).open("d", "test", CROP)
        pixels = images.gather(np.arange(len(images))).astype(np.float64).mean(axis=3)
        return float(
            roc_auc_score(images.label, -np.abs(np.diff(pixels, axis=2)).mean(axis=(1, 2)))
        )

    assert abs(fine_detail(unified=True) - 0.5) < 0.1 < abs(fine_detail(unified=False) - 0.5)


def test_unify_is_a_key_of_the_study_file(tmp_path: Path) -> None:
    table = {
        "name": "s",
        "detectors": ["npr"],
        "train_on": ["demo_nearest"],
        "data": {"unify": True},
    }
    study = parse_study(table, where="here")
    assert study.data.unify
    path = tmp_path / "s.toml"
    path.write_text(to_toml(study), encoding="utf-8")
    assert load_study(str(path)).data.unify
    with pytest.raises(ConfigError, match=r"data\.unify = 1 must be true or false"):
        parse_study({**table, "data": {"unify": 1}}, where="here")


def test_what_is_degraded_has_been_unified(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", n=30, size=64)
    plain, unified = (
        make_catalog().originals("d", "test"),
        make_catalog(unify=True).originals("d", "test"),
    )
    for at, sample in enumerate(unified.sample_id):
        np.testing.assert_array_equal(
            unified.read(at), unify(np.asarray(Image.open(root / str(sample))), 32)
        )
        assert plain.read(at).shape == (64, 64, 3)
