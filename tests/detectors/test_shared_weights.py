"""The one real pretrained backbone, where its file lies beside this repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from study.core.identity import file_sha256
from study.detectors import registry
from study.detectors.base import Detector

ROOT = Path(__file__).parents[3] / "shared" / "weights"
FILE = ROOT / "mobilenetv2_035.safetensors"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="../shared/weights/mobilenetv2_035.safetensors is not here"
)


@pytest.fixture(scope="module")
def detector() -> Detector:
    spec = registry.resolve("mobilenetv2_035", options={}, weights_root=ROOT)
    assert spec.weights == file_sha256(FILE)
    return registry.build(spec, weights_root=ROOT, seed=0).eval()


def test_every_array_of_the_file_is_in_the_backbone(detector: Detector) -> None:
    state = detector.state_dict()
    for key, value in load_file(FILE).items():
        assert torch.equal(state[f"backbone.{key}"], value), key
    assert sum(p.numel() for p in detector.backbone.parameters()) == 396_128


def test_padding_is_that_of_the_checkpoint(detector: Detector) -> None:
    """Keras pads strided layers at the bottom and right alone; timm's default would shift the
    pixels.
    """
    import timm

    theirs = timm.create_model("mobilenetv2_035", num_classes=0, pad_type="same").eval()
    theirs.load_state_dict(load_file(FILE), strict=True)
    x = detector.prepare(
        torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
        )
    )
    with torch.no_grad():
        assert torch.equal(detector.features(x), theirs(x))
    stem = next(m for m in detector.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    assert type(stem).__name__ == "Conv2dSame"
