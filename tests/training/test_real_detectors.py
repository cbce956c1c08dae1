"""The loop on the detectors of the registry, pretrained ones from checkpoints in their libraries'
formats.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from study.detectors import registry
from study.detectors.base import Detector
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import score
from tests.detectors.tiny import (
    CLIP_NAME,
    SIZE_PX,
    TIMM_NAMES,
    clip_entry,
    clip_model,
    register,
    timm_entry,
    write_timm,
)
from tests.training.fakes import FakeSession, images


@pytest.mark.parametrize(
    ("name", "n", "epochs", "reached"), [("npr", 60, 4, 0.9), ("resnet18_scratch", 20, 2, 0.0)]
)
def test_scratch_detectors_learn_repeat_and_come_back(
    name: str, n: int, epochs: int, reached: float, runtime: TorchRuntime
) -> None:
    spec = registry.resolve(name, options={"size_px": 16}, weights_root=None)
    train, val = images(n, size_px=16, amplitude=60), images(n, seed=1, size_px=16, amplitude=60)
    logits = []
    for _ in range(2):
        detector = registry.build(spec, weights_root=None, seed=0)
        recipe = Recipe.from_params({"lr": 1e-3, "batch_size": 10, "patience": 0})
        result = fit(
            detector,
            train,
            val,
            recipe,
            epochs=epochs,
            seed=0,
            runtime=runtime,
            session=FakeSession(),
        )
        logits.append(result.val_logit)
    assert result.val_auc > reached
    assert np.array_equal(*logits)
    restored = registry.restore(spec, detector.state_dict())
    runtime.place(restored)
    assert np.array_equal(score(restored, val, runtime=runtime), result.val_logit)


def frozen_part(detector: Detector, stages: int) -> dict[str, torch.Tensor]:
    """Every tensor, statistics included, below the first `stages` stages."""
    moving = {
        id(t)
        for s in detector.stages()[:stages]
        for m in s.modules
        for t in (*m.parameters(), *m.buffers())
    }
    moving |= {id(p) for s in detector.stages()[:stages] for p in s.parameters}
    named = (*detector.named_parameters(), *detector.named_buffers())
    return {name: t.detach().clone() for name, t in named if id(t) not in moving}


@pytest.mark.parametrize("schedule", ["head", "last_stage", "progressive"])
@pytest.mark.parametrize("name", TIMM_NAMES)
def test_pretrained_stages_stay_frozen(
    name: str, schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: TorchRuntime
) -> None:
    register(monkeypatch, name, timm_entry(name))
    write_timm(tmp_path, name)
    detector = registry.build(
        registry.resolve(name, options={}, weights_root=tmp_path), weights_root=tmp_path, seed=0
    )
    train, val = images(13, size_px=SIZE_PX), images(10, seed=1, size_px=SIZE_PX)
    # two epochs: head, last_stage
    epochs, stages = {"head": (2, 1), "last_stage": (2, 2), "progressive": (2, 2)}[schedule]
    before = frozen_part(detector, stages)
    recipe = Recipe.from_params(
        {"schedule": schedule, "lr": 0.01, "batch_size": 4, "weight_decay": 0.5}
    )
    result = fit(
        detector, train, val, recipe, epochs=epochs, seed=0, runtime=runtime, session=FakeSession()
    )
    after = frozen_part(detector, stages)
    assert before and all(torch.equal(value, after[key]) for key, value in before.items())
    assert np.isfinite(result.val_logit).all()


def test_clip_learns_its_head_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: TorchRuntime
) -> None:
    register(monkeypatch, "tiny_clip", clip_entry(tmp_path))
    save_file(
        {k: v.contiguous() for k, v in clip_model().state_dict().items()},
        tmp_path / f"{CLIP_NAME}.safetensors",
    )
    spec = registry.resolve("tiny_clip", options={}, weights_root=tmp_path)
    detector = registry.build(spec, weights_root=tmp_path, seed=0)
    before = frozen_part(detector, 1)
    train, val = (
        images(40, size_px=SIZE_PX, amplitude=80),
        images(20, seed=1, size_px=SIZE_PX, amplitude=80),
    )
    recipe = Recipe.from_params({"schedule": "head", "lr": 0.05, "batch_size": 10, "patience": 0})
    result = fit(
        detector, train, val, recipe, epochs=10, seed=0, runtime=runtime, session=FakeSession()
    )
    assert result.val_auc > 0.9 and train.read == 2 * len(train)
    assert all(torch.equal(value, frozen_part(detector, 1)[key]) for key, value in before.items())


SHARED = Path(__file__).parents[3] / "shared" / "weights"


@pytest.mark.skipif(
    not (SHARED / "mobilenetv2_035.safetensors").is_file(),
    reason="../shared/weights/mobilenetv2_035.safetensors is not here",
)
def test_the_real_backbone_through_all_phases(runtime: TorchRuntime) -> None:
    spec = registry.resolve("mobilenetv2_035", options={}, weights_root=SHARED)
    detector = registry.build(spec, weights_root=SHARED, seed=0)
    train, val = images(12, size_px=224), images(10, seed=1, size_px=224)
    before = frozen_part(detector, 0)
    session = FakeSession()
    recipe = Recipe.from_params(
        {"schedule": "progressive", "lr": 1e-2, "batch_size": 6, "patience": 0}
    )
    fit(detector, train, val, recipe, epochs=3, seed=0, runtime=runtime, session=session)
    assert [record.phase for record in session.records] == ["head", "last_stage", "full"]
    state = session.load()
    assert state is not None and set(state["state"]) == set(detector.state_dict())
    moved = [
        key
        for key, value in state["state"].items()
        if key in before and not torch.equal(value, before[key])
    ]
    assert len(moved) > 0.9 * len(state["state"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("error:.*deterministic:UserWarning")
@pytest.mark.parametrize("name", ["npr", "resnet18_scratch", "spectrum"])
def test_on_a_gpu_the_same_seed_gives_the_same_bits(name: str) -> None:
    runtime = TorchRuntime.resolve(device="cuda", precision="float32")
    spec = registry.resolve(name, options={"size_px": 64}, weights_root=None)
    train, val = images(60, size_px=64, amplitude=60), images(40, seed=1, size_px=64, amplitude=60)
    learner = spec.learner
    logits = []
    for _ in range(2):
        detector = registry.build(spec, weights_root=None, seed=0)
        recipe = Recipe.from_params(
            {} if learner == "logistic" else {"lr": 1e-3, "batch_size": 10}, learner=learner
        )
        result = fit(
            detector, train, val, recipe, epochs=3, seed=0, runtime=runtime, session=FakeSession()
        )
        logits.append(result.val_logit)
    assert np.array_equal(*logits)
