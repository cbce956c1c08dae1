"""Attention found in what the two libraries build: how many projections, counted from their
papers.
"""

from __future__ import annotations

import pytest
import timm
from torch import nn

from study.core.errors import ConfigError
from study.detectors import registry
from study.detectors.attention import projections, unknown_attention
from study.detectors.clip import empty_tower
from study.detectors.meta_device import empty
from study.training.lora import adapted_projections

# Twelve blocks of a joint projection and one of the output, and more where the last column says so.
TIMM = {
    "vit_tiny_patch16_224": 24,
    "vit_base_patch14_dinov2": 24,
    "vit_base_patch16_siglip_224": 24 + 3,  # its attention pooling: q, kv, proj
    "vit_pe_core_tiny_patch16_384": 24 + 3,
    "beit_base_patch16_224": 24,
    "swin_tiny_patch4_window7_224": 2 * (2 + 2 + 6 + 2),
    # joint projection and output, wrapped with their norms; q, kv, output where it downsamples
    "levit_128s": 9 * 2 + 2 * 3,
    # outlook attention: values, weights, output; class blocks: q, kv, output
    "volo_d1_224": 4 * 3 + 14 * 2 + 2 * 3,
    "convit_tiny": 2 * 2 + 10 * 3,  # ten gated blocks of qk, v, proj
    "resnet18": 0,
    "convnext_atto": 0,
    "efficientnet_b0": 0,
    "mixer_s16_224": 0,
}
TOWERS = {
    "ViT-B-32": 24,
    "RN50": 4,  # the attention pooling of CLIP's ResNets: q, k, v and the output
    "convnext_base": 0,
    "EVA02-B-16": 12 * 4,
}


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    network = empty(lambda: timm.create_model(name, num_classes=0))
    found = projections(network)
    assert len(found) == len({(id(module), parameter) for module, parameter in found}) == TIMM[name]
    assert not unknown_attention(network)
    assert all(getattr(module, parameter).ndim == 2 for module, parameter in found)


@pytest.mark.parametrize("name", TOWERS)
def test_open_clip(name: str) -> None:
    assert len(projections(empty_tower(name))) == TOWERS[name]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("nextvit_small", ["ConvAttention"]),
        ("coatnet_0_rw_224", ["Attention2d"]),
        ("resnest14d", ["SplitAttn"]),
    ],
)
def test_attention_that_is_not_known_is_named(name: str, classes: list[str]) -> None:
    """Next-ViT has both kinds: to adapt the known one alone would be half of what was asked for."""
    assert unknown_attention(empty(lambda: timm.create_model(name, num_classes=0))) == classes


def test_a_network_with_both_kinds_is_refused_and_not_adapted_in_part() -> None:
    name = "timm:nextvit_small.bd_in1k"
    assert "lora" not in registry.schedules_of(name)
    detector = registry.create(registry.spec_of(name), 0)
    assert projections(detector)
    with pytest.raises(ConfigError, match=r"ConvAttention of timm:nextvit_small\.bd_in1k"):
        adapted_projections(detector, 0)


def test_an_attention_with_keys_of_another_width_has_four() -> None:
    found = projections(nn.MultiheadAttention(8, 2, kdim=4, vdim=6))
    assert [parameter for _, parameter in found] == [
        "q_proj_weight",
        "k_proj_weight",
        "v_proj_weight",
        "weight",
    ]


def test_a_layer_named_proj_alone_is_no_attention() -> None:
    assert not projections(nn.ModuleDict({"proj": nn.Linear(2, 2), "v": nn.Linear(2, 2)}))
