"""What a body computes in that no fit touches: the study's precision, from the kept features to the
scores of new images. Against torch's own autocast.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from study.core.records import Pairing
from study.detectors import registry
from study.detectors.base import Detector
from study.jobs.cell import CellJob, load_detector, run_cell, score_cell
from study.jobs.score_images import Scorer
from study.jobs.winner import WinnerJob
from study.jobs.workspace import Workspace, frozen_precision, open_catalog
from study.planning.keys import Keys
from study.planning.study_file import parse_study
from study.store.store import Store
from study.training import features, runtime
from tests.contract.stand_ins import make_case
from tests.jobs.test_trial_and_winner import small_workspace, won

REDUCED = "bfloat16"


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any processor computes in bfloat16, if slowly."""
    monkeypatch.setattr(runtime, "cpu_has_bfloat16", lambda: True)


def winner(
    tmp_path: Path, patch: pytest.MonkeyPatch, params: dict[str, Any], name: str
) -> WinnerJob:
    """Train a winner of a small network in bfloat16."""
    case = make_case(name, tmp_path, patch)
    workspace = replace(small_workspace(tmp_path, case.folder), precision=REDUCED)
    return won(case, workspace, params, epochs=2)


def pixels_of(workspace: Workspace, job: WinnerJob, split: Any) -> NDArray[np.uint8]:
    """The squares of a split."""
    images = open_catalog(workspace.data, firewall=False).open("mine", split, job.spec.geometry)
    return images.gather(np.arange(len(images)))


def by_torch(detector: Detector, pixels: NDArray[np.uint8], *, reduced: bool) -> Any:
    """The logits of squares, the body by torch's autocast or in float32."""
    with torch.no_grad():
        x = detector.prepare(torch.from_numpy(pixels))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            seen = detector.features(x)
        return detector.classify(seen.float()).numpy()


HEADS = [
    ("timm:test_vit.r160_in1k", {"schedule": "head", "lr": 0.1, "batch_size": 8, "flip": 0.0}),
    ("clip_linear", {"C": 0.1}),
]


@pytest.mark.parametrize(("name", "params"), HEADS)
@pytest.mark.usefixtures("has_bfloat16")
def test_all_scores_of_an_untouched_body_are_of_one_precision(
    name: str, params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = winner(tmp_path, monkeypatch, params, name)
    workspace, store = job.workspace, Store(job.workspace.results, "s")
    detector = load_detector(store.model_folder("w"))
    assert store.model("w").provenance["frozen_precision"] == detector.frozen_precision == REDUCED

    val = by_torch(detector, pixels_of(workspace, job, "val"), reduced=True)
    np.testing.assert_allclose(store.val_scores("w").logit, val, rtol=0, atol=1e-6)

    catalog = open_catalog(workspace.data, firewall=False)
    test_key = catalog.key("mine", ("test",))
    cell = CellJob(
        workspace=workspace, model="w", test_on="mine", scores_key="c", data_key=test_key
    )
    run_cell(cell)  # from kept features
    kept = store.scores("c").logit
    assert np.array_equal(kept, score_cell(cell, detector).logit)  # by the whole network
    monkeypatch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)
    run_cell(replace(cell, scores_key="d"))  # without room for features
    assert np.array_equal(kept, store.scores("d").logit)

    pixels = pixels_of(workspace, job, "test")
    np.testing.assert_allclose(kept, by_torch(detector, pixels, reduced=True), rtol=0, atol=1e-6)
    plain = by_torch(detector, pixels, reduced=False)
    assert not np.array_equal(kept, plain)
    np.testing.assert_allclose(kept, plain, rtol=0.1, atol=0.1)

    names = [str(file) for file in sorted((tmp_path / "data" / "mine").rglob("*.png"))][:8]
    new = Scorer(store.model_folder("w")).score(names)
    monkeypatch.setattr(runtime, "cpu_has_bfloat16", lambda: False)
    elsewhere = Scorer(store.model_folder("w")).score(names)  # a machine that emulates it
    assert np.array_equal(new, elsewhere)
    exact = Scorer(store.model_folder("w"), exact=True).score(names)
    assert not np.array_equal(new, exact)
    np.testing.assert_allclose(new, exact, rtol=0.1, atol=0.1)


@pytest.mark.usefixtures("has_bfloat16")
def test_what_was_trained_is_scored_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"schedule": "lp_ft", "lr": 0.01, "batch_size": 8}
    job = winner(tmp_path, monkeypatch, params, "timm:test_vit.r160_in1k")
    store = Store(job.workspace.results, "s")
    detector = load_detector(store.model_folder("w"))
    assert "frozen_precision" not in store.model("w").provenance
    val = by_torch(detector, pixels_of(job.workspace, job, "val"), reduced=False)
    np.testing.assert_allclose(store.val_scores("w").logit, val, rtol=0, atol=1e-6)


def test_which_bodies_compute_in_the_precision_of_the_study() -> None:
    def of(name: str, **params: Any) -> str:
        return frozen_precision(registry.spec_of(name), params, REDUCED)

    vit = "timm:vit_tiny_patch16_224.augreg_in21k"
    assert of("clip_linear") == of("siglip_linear") == of("dinov2_linear") == REDUCED
    assert of(vit, schedule="head") == of("clip_adapter", schedule="head") == REDUCED
    assert {of(vit, schedule=one) for one in ("full", "last_stage", "lp_ft")} == {"float32"}
    # convolutional; values of many orders; random; those of their authors
    convolutional = ("mobilenetv2_035_linear", "efficientnet_lite0_linear", "open_clip:RN50/openai")
    assert {of(name, schedule="head") for name in convolutional} == {"float32"}
    assert {of(name) for name in ("spectrum", "npr", "univfd", "gend_clip", "clip_zero_shot")} == {
        "float32"
    }
    assert frozen_precision(registry.spec_of("clip_linear"), {}, "float32") == "float32"


def test_the_precision_of_an_untouched_body_is_in_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside that of training, which all trials have in theirs and a probe has not."""
    vit = "timm:vit_tiny_patch16_224.augreg_in21k"
    pairing = Pairing(detector=vit, train_on="a")

    def keys(precision: str) -> tuple[str, str, str]:
        table = {"name": "s", "detectors": [vit], "train_on": ["a"]}
        study = parse_study({**table, "run": {"precision": precision}}, where="s.toml")
        specs = {vit: registry.spec_of(vit)}
        made = Keys(study=study, specs=specs, data={"a": "d"}, epochs={"a": 1})
        head, full = (made.trial(pairing, 0, {"schedule": one}) for one in ("head", "full"))
        return head, full, made.probe(pairing, registry.spec_of("clip_linear"))

    plain, reduced = keys("float32"), keys(REDUCED)
    assert not {*plain} & {*reduced}
    monkeypatch.setattr(registry, "reduces_frozen", lambda spec: False)
    assert keys("float32") == plain
    before = keys(REDUCED)
    assert before[0] != reduced[0] and before[1] == reduced[1] and before[2] == plain[2]
