"""Stages: from head to stem, every parameter in exactly one, found from the network's own
structure.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from study.core.records import UNTRAINED
from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.probes import PROBES
from tests.detectors.tiny import TIMM_NAMES, clip_entry, register, timm_entry

CLIP = ("clip_adapter", "clip_finetune", "clip_linear", "clip_zero_shot")
MOBILENET = ("mobilenetv2_035", "mobilenetv2_035_linear")
VIT = ("dinov2_linear", "pe_linear", "siglip_linear")
EXPECTED = {
    "spectrum": ["head"],
    **{name: ["head", "layer2", "layer1", "stem"] for name in ("npr", "safe", "srm")},
    "ferretnet": ["head", "feature", "stem"],
    "resnet18_scratch": ["head", "layer4", "layer3", "layer2", "layer1", "stem"],
    **{name: ["head", *(f"blocks.{i}" for i in range(6, -1, -1)), "stem"] for name in MOBILENET},
    "resnet18": ["head", "layer4", "layer3", "layer2", "layer1", "stem"],
    **{
        name: ["head", "layer4", "layer3", "layer2", "layer1", "stem"]
        for name in ("resnet50", "cnnspot")
    },
    "xception": ["head", "conv3", *(f"block{i}" for i in range(12, 0, -1)), "stem"],
    "efficientnet_b4": ["head", *(f"blocks.{i}" for i in range(6, -1, -1)), "stem"],
    "convnext_tiny": ["head", "stages.3", "stages.2", "stages.1", "stages.0", "stem"],
    **{
        name: ["head", *(f"transformer.resblocks.{i}" for i in range(11, -1, -1)), "stem"]
        for name in CLIP
    },
    **{name: ["head", *(f"blocks.{i}" for i in range(11, -1, -1)), "stem"] for name in VIT},
    "effort": ["head", "residuals", "stem"],
    "ln": ["head", "norms", "stem"],
    "ferretnet_s": ["head", "logit", "feature", "stem"],
    **{
        name: ["head", "fc1", "layer2", "layer1", "stem"]
        for name in ("npr_published", "safe_published")
    },
    "ladeda": ["head", "fc", *(f"layer{i}" for i in range(4, 0, -1)), "stem"],
    "tiny_ladeda": ["head", "fc", "layer1", "stem"],
    **{
        name: ["head", *(f"blocks.{i}" for i in range(11, -1, -1)), "stem"]
        for name in ("b_free", "community_forensics")
    },
    **{
        name: ["head", *(f"blocks.{i}" for i in range(23, -1, -1)), "stem"]
        for name in ("dda", "gend_clip", "gend_dinov3", "gend_pe")
    },
    "rine_trained": [
        "head",
        *(f"transformer.resblocks.{i}" for i in range(23, -1, -1)),
        "stem",
    ],
    **{
        name: [
            *("head", "published"),
            *(f"transformer.resblocks.{i}" for i in range(23, -1, -1)),
            "stem",
        ]
        for name in ("univfd", "rine")
    },
}


def skeleton(name: str) -> Detector:
    """The network of a detector, a pretrained backbone left empty: its structure needs no
    numbers.
    """
    return registry.create(registry.spec_of(name), 0)


def names_in_stages(detector: Detector) -> list[list[str]]:
    names = {id(p): name for name, p in detector.named_parameters()}
    return [[names[id(p)] for p in stage.all_parameters()] for stage in detector.stages()]


@pytest.mark.parametrize("name", registry.names())
def test_stages_part_the_parameters(name: str) -> None:
    detector = skeleton(name)
    if name not in PROBES:  # test_probes.py has the names of theirs
        assert [stage.name for stage in detector.stages()] == EXPECTED[name]
    found = [n for stage in names_in_stages(detector) for n in stage]
    assert sorted(found) == sorted(n for n, _ in detector.named_parameters()), (
        "each parameter once, none left out"
    )
    head, *body = names_in_stages(detector)
    assert all(body), "no empty stage"
    assert head == [n for n, _ in detector.named_parameters() if n.startswith("head.")]
    assert bool(head) == (detector.spec.learner not in UNTRAINED)


@pytest.mark.parametrize("name", registry.names())
def test_every_module_with_buffers_is_in_one_stage(name: str) -> None:
    """Otherwise BatchNorm statistics of a frozen part could move."""
    detector = skeleton(name)
    inside = [id(m) for stage in detector.stages() for top in stage.modules for m in top.modules()]
    normed = [m for m in detector.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert all(inside.count(id(m)) == 1 for m in normed)
    if name in ("npr", "resnet18_scratch", "resnet18", "resnet50", *MOBILENET):
        assert normed


def test_what_stands_between_the_last_block_and_the_head_goes_with_the_block() -> None:
    mobilenet = names_in_stages(skeleton("mobilenetv2_035"))[1]
    assert {
        "backbone.conv_head.weight",
        "backbone.bn2.bias",
        "backbone.blocks.6.0.conv_dw.weight",
    } <= set(mobilenet)
    convnext = names_in_stages(skeleton("convnext_tiny"))[1]
    assert (
        "backbone.head.norm.weight" in convnext and "backbone.stages.3.blocks.2.gamma" in convnext
    )
    clip = skeleton("clip_linear")
    assert {"backbone.ln_post.weight", "backbone.proj"} <= set(names_in_stages(clip)[1])
    stem = (
        "conv1.weight",
        "class_embedding",
        "positional_embedding",
        "ln_pre.weight",
        "ln_pre.bias",
    )
    assert set(names_in_stages(clip)[-1]) == {f"backbone.{name}" for name in stem}


def test_stages_run_from_head_to_stem_in_the_order_of_the_forward_pass() -> None:
    detector = skeleton("npr")
    order: list[str] = []
    for stage in detector.stages():
        stage.modules[0].register_forward_hook(lambda *_, name=stage.name: order.append(name))
    detector(torch.zeros(2, 3, 16, 16))
    assert order == [stage.name for stage in reversed(detector.stages())]


@pytest.mark.parametrize("name", [*TIMM_NAMES, "test_byobnet", "test_mambaout"])
def test_any_timm_network_parts_by_its_own_structure(name: str) -> None:
    import timm

    from study.detectors.stages import stages_by_depth, timm_depths

    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    stages = stages_by_depth(network, timm_depths(network))
    found = [id(p) for stage in stages for p in stage.all_parameters()]
    assert sorted(found) == sorted(id(p) for p in network.parameters())
    assert stages[-1].name == "stem" and len(stages) > 3


def test_tiny_clip_keeps_loose_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "tiny_clip", clip_entry(tmp_path))
    stages = skeleton("tiny_clip").stages()
    assert [s.name for s in stages] == [
        "head",
        "transformer.resblocks.1",
        "transformer.resblocks.0",
        "stem",
    ]
    assert [len(s.parameters) for s in stages] == [0, 1, 0, 2]


def test_tiny_timm_is_a_whole_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TIMM_NAMES:
        register(monkeypatch, name, timm_entry(name))
        assert len(skeleton(name).stages()) >= 5
