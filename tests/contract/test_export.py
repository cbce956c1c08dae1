"""Every detector that is built can be exported: its graph gives the logits of the network, from
images of any size. Networks are the small stand-ins of the contract.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from study.data.images.geometry import fit_geometry
from study.detectors import registry
from study.exporting.agreement import TOLERANCE
from study.exporting.onnx_model import onnx_model
from study.training.score import evaluating, to_input
from tests.contract.stand_ins import LIBRARY_NAMES, make_case

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[3] / "shared" / "weights"
OWN_WEIGHTS = "mobilenetv2_035"  # with made-up ones it gives every image the same


@pytest.mark.parametrize("name", [*registry.names(), *LIBRARY_NAMES])
def test_the_graph_gives_the_networks_logits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(name, tmp_path, monkeypatch)
    if case.source is not None and case.source.backbone == OWN_WEIGHTS:
        held = SHARED / f"{OWN_WEIGHTS}.safetensors"
        if not held.is_file():
            pytest.skip(f"there is no '{held}'")
        shutil.copy(held, case.file)
    detector = case.build()
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in detector.head.parameters():  # a new head gives all images the same
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    noise = rng.integers(0, 256, (97, 130, 3), dtype=np.uint8)
    images = np.stack([noise, noise // 64 * 64, np.full_like(noise, 30)])
    squares = np.stack([fit_geometry(image, detector.spec.geometry) for image in images])
    with evaluating(detector):
        expected = detector(to_input(detector, squares, "cpu")).numpy()
    assert np.ptp(expected) > 1e-5, "else anything would be equal"
    session = onnxruntime.InferenceSession(
        onnx_model(detector, {}).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for count in (3, 1):
        (found,) = session.run(None, {"image": images[:count]})
        np.testing.assert_allclose(found, expected[:count], rtol=TOLERANCE, atol=TOLERANCE)
