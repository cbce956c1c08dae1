"""Keys never move: a store that an older version filled opens with nothing to train or to score.

The keys below are those that commit 83fed73 gave to the same studies, but for those of linear heads
(HEAD_VERSION). Where one of them changes,
results on record are lost; raise a version in study/planning/keys.py if that is what you want.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.core.records import DetectorSpec, Geometry, Pairing
from study.jobs.epochs import EpochsJob
from study.planning.keys import Keys
from study.planning.open_study import OpenStudy, open_study
from study.planning.study_file import parse_study

NPR = Pairing(detector="npr", train_on="alpha")
MODEL = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of images whose every pixel is written down here."""
    folder = tmp_path_factory.mktemp("keys")
    rows, columns = np.indices((16, 16))
    for number, name in ((30, "alpha"), (31, "beta")):
        for label, kind in enumerate(("real", "fake")):
            (folder / name / kind).mkdir(parents=True)
            for i in range(number):
                channels = [(rows * 7 + columns * c * 5 + i * 11 + label * 64) for c in (1, 2, 3)]
                pixels = (np.stack(channels, axis=2) % 256).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / kind / f"{i}.png")
    return folder


def opened(root: Path, **changes: dict[str, Any]) -> OpenStudy:
    table: dict[str, Any] = {
        "name": "s",
        "detectors": ["npr", "spectrum", "ensemble"],
        "train_on": ["alpha", "beta", "alpha+beta"],
        "seed": 3,
        "data": {"root": str(root)},
        "run": {"precision": "float32"},
        "budget": {"trials": 3, "epochs": 2, "seeds": 2},
    }
    table |= {part: {**table[part], **values} for part, values in changes.items()}
    study = parse_study(table, where="s.toml")
    return open_study(
        study, results=root.parent / "keys_results", weights_root=None, firewall=False
    )


# whatever the default of npr is today
PUBLISHED = {
    **{"lr": 2e-4, "batch_size": 32, "optimizer": "adam", "weight_decay": 0.0, "flip": 0.5},
    **{"warmup_share": 0.0, "label_smoothing": 0.0, "dropout": 0.0},
    **{"schedule": "full", "patience": 3, "clip_norm": 1.0},
}


def keys_of(study: OpenStudy, pairing: Pairing, *numbers: int) -> list[str]:
    params = PUBLISHED if pairing.detector == "npr" else {"C": 1.0}
    return [study.keys.trial(pairing, number, params) for number in numbers]


def test_keys_of_trials_and_winners(root: Path) -> None:
    study = opened(root)
    trial = study.jobs.trial(NPR, 0, PUBLISHED).trial
    assert trial.key == "4808420e933de64136ad"
    assert trial.seed == 437531123
    assert trial.search == "26e956132709c35b5533"
    winners = study.jobs.retrained(NPR, PUBLISHED, 0)
    assert [job.trial.key for job in winners] == ["050db24fd2d8d8132e73", "02c4bd40375f0cc79468"]
    assert keys_of(study, NPR, 0, -1, -2) == [trial.key, *(job.trial.key for job in winners)]
    union = Pairing(detector="spectrum", train_on="alpha+beta")
    assert keys_of(study, union, 1) == ["2dc928d33fa06461bd50"]


def test_keys_hold_balance_workers_threads_and_epochs(root: Path) -> None:
    study = opened(
        root,
        data={"balance": "dataset"},
        run={"workers_per_trial": 2, "threads": 2},
        budget={"epochs": 5},
    )
    assert keys_of(study, NPR, 0, -1) == ["e25a1cf27c1e8fd61de8", "c3e621e3227a239447be"]
    union = Pairing(detector="npr", train_on="alpha+beta")
    assert keys_of(study, union, 0) == ["2b0e43d3befbb7f11b8a"]


def test_what_is_trained_along_is_a_linear_head_that_draws_the_same_images(root: Path) -> None:
    study = opened(root)
    npr, probe = study.keys.specs["npr"], study.keys.specs["spectrum"]
    keys = replace(study.keys, specs={"resnet18": replace(npr, name="resnet18"), "spectrum": probe})
    pairing = Pairing(detector="resnet18", train_on="alpha")
    first = {"schedule": "head", "lr": 0.1}
    along = [{**first, "lr": 0.2}, {**first, "optimizer": "adam", "label_smoothing": 0.1}]
    not_along: list[dict[str, Any]] = [
        {"schedule": "full", "lr": 0.1},
        {**first, "batch_size": 64},
        {**first, "flip": 0.0},
        {**first, "dropout": 0.2},
        {**first, "optimizer": "sgd"},
        {**first, "head_width": 8},
        {**first, "crop": 0.5},
    ]
    proposed = [*not_along[:3], first, *along, *not_along[3:]]
    assert keys.beside(pairing, first, proposed) == tuple(along)
    assert keys.beside(pairing, not_along[0], proposed) == ()
    probed = Pairing(detector="spectrum", train_on="alpha")
    assert keys.beside(probed, {"C": 1.0}, [{"C": 1.0}, {"C": 2.0}]) == ()
    run = replace(study.study.run, workers_per_trial=2)
    several = replace(keys, study=replace(study.study, run=run))
    assert several.beside(pairing, first, proposed) == ()


def test_keys_of_data(root: Path) -> None:
    assert opened(root).keys.data == {
        "alpha": "8949b717a07e5d2e661d",
        "beta": "8ab7918bc92dc5e30d79",
        "alpha+beta": "62c9235720be618505e0",
    }
    study = opened(root, data={"unify": True, "shuffle_labels": True, "max_per_class": 25})
    assert study.keys.data == {
        "alpha": "28e791645d6f877ea2ac",
        "beta": "cbcfa2dd9f853dfa7ea7",
        "alpha+beta": "d2b90f8788d030ef7ec2",
    }
    assert keys_of(study, NPR, 0) == ["9af07cbcde8c39d8f900"]


def test_key_of_an_untrained_detector() -> None:
    spec = DetectorSpec(
        name="clip_zero_shot",
        family="clip_zero_shot",
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=224),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        learner="none",
        backbone="ViT-B-32",
        weights="ab12",
    )
    table = {"detectors": ["npr"], "train_on": ["alpha"], "run": {"precision": "float32"}}
    study = parse_study({"name": "s", **table}, where="s.toml")
    keys = Keys(study=study, specs={"clip_zero_shot": spec}, data={}, epochs={})
    assert keys.untrained("clip_zero_shot") == "0b9d710744e16085fe3c"


def test_keys_of_cells(root: Path) -> None:
    jobs = opened(root).jobs
    assert jobs.cell(MODEL, "alpha").scores_key == "efa2e3287cef710fdedb"
    assert jobs.cell(MODEL, "beta", "blur1+jpeg50").scores_key == "71f5289550347562d120"
    epochs = EpochsJob(cell=jobs.cell(MODEL, "alpha"), epochs=(4,))
    assert epochs.scores_key(4) == "67f4db0d0d03e6fe61c3"


def test_keys_of_ensembles(root: Path) -> None:
    ensemble = Pairing(detector="ensemble", train_on="alpha")
    models = {"npr": "m1", "spectrum": "m2"}
    job = opened(root).jobs.ensemble_cell(ensemble, 1, models, ["s1", "s2"])
    assert job.key == "69ec330d0e2cbe4976b0"
    assert job.scores_key == "219974c9b1fbdb9fe472"
