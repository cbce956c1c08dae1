"""Large probes: what the libraries say of each checkpoint, and the network on the meta device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm

from study.detectors import registry
from study.detectors.library import library_entry
from study.detectors.probes import PROBES
from study.detectors.weights import data_until

WIDTHS = {
    "dinov3_small_linear": 384,
    "dinov3_base_linear": 768,
    "dinov3_large_linear": 1024,
    "dinov2_large_linear": 1024,
    "siglip2_so400m_linear": 1152,
    "pe_large_linear": 1024,
    "clip_large_linear": 768,
    "clip_huge_linear": 1024,
    "metaclip2_linear": 1024,
    "efficientnet_lite0_linear": 1280,
}
BLOCKS = ("Block", "EvaBlock", "ResidualAttentionBlock")
LICENCES = {"apache-2.0": "Apache-2.0", "dinov3-license": "DINOv3 License"}


@pytest.mark.parametrize("name", PROBES)
def test_a_line_is_what_its_library_says(name: str) -> None:
    line = PROBES[name]
    assert line.source is not None and line.licence and data_until(line.source)
    library = "open_clip" if line.source.prefix else "timm"
    between = "/" if line.source.prefix else "."
    checkpoint = f"{line.source.backbone}{between}{line.source.pretrained}"
    theirs = library_entry(f"{library}:{checkpoint}")
    assert theirs.source is not None
    assert (line.mean, line.std, line.family) == (theirs.mean, theirs.std, theirs.family)
    assert replace(line.source, fallback="") == replace(theirs.source, fallback="")
    if name == "dinov2_large_linear":  # at another size than its last training's
        assert line.arguments == {"dynamic_img_size": True}
    else:
        assert (line.geometry, line.arguments) == (theirs.geometry, theirs.arguments)
    if library == "timm":
        config = timm.get_pretrained_cfg(checkpoint)
        assert config is not None and line.licence == LICENCES[str(config.license)]


def test_all_probes_are_there() -> None:
    assert PROBES.keys() == WIDTHS.keys()


@pytest.mark.parametrize("name", PROBES)
def test_the_network_is_built_without_memory(name: str) -> None:
    detector = registry.create(registry.spec_of(name), 0)
    assert detector.n_features == WIDTHS[name]
    body = [p for key, p in detector.named_parameters() if not key.startswith("head.")]
    assert {p.device.type for p in body} == {"meta"}
    blocks = [m for m in detector.modules() if type(m).__name__ in BLOCKS]
    assert PROBES[name].blocks == len(blocks)
    names = [stage.name for stage in detector.stages()]
    assert names[0] == "head" and names[-1] == "stem" and len(names) >= 9


SHARED = Path(__file__).parents[3] / "shared" / "weights"


@pytest.mark.skipif(
    not (SHARED / "tf_efficientnet_lite0.in1k.safetensors").is_file(),
    reason="../shared/weights/tf_efficientnet_lite0.in1k.safetensors is not here",
)
def test_the_real_weights_of_efficientnet_lite0_give_timms_features() -> None:
    import torch
    from safetensors.torch import load_file

    spec = registry.resolve("efficientnet_lite0_linear", options={}, weights_root=SHARED)
    detector = registry.build(spec, weights_root=SHARED, seed=0).eval()
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(load_file(SHARED / "tf_efficientnet_lite0.in1k.safetensors"))
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = (
            detector.features(x),
            theirs.forward_head(theirs.forward_features(x), pre_logits=True),
        )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
