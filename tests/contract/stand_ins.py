"""Checkpoints for every detector, in the libraries' real formats and small: the same classes and
the same path, fewer blocks.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import open_clip.pretrained
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._efficientnet_blocks import InvertedResidual
from torch import nn

from study.core.identity import file_sha256
from study.core.records import DetectorSpec
from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.registry import Entry
from study.detectors.weights import Source
from tests.detectors import authors

# What makes timm build a small network of the same class. A network that is not here is built as
# large as it is.
VIT = {"depth": 2, "embed_dim": 32, "num_heads": 2}
DINOV3 = {"depth": 2, "embed_dim": 64, "num_heads": 2}
SMALLER: dict[str, dict[str, Any]] = {
    # with 8 channels torch's backward pass can crash
    "resnet18": {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128)},
    "resnet50": {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128)},
    "convnext_tiny": {"depths": (1, 1, 1, 1), "dims": (16, 32, 64, 128)},
    "vit_small_patch16_384": VIT,
    "vit_base_patch14_dinov2": VIT,
    "vit_base_patch14_reg4_dinov2": VIT,
    "vit_large_patch14_dinov2": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "vit_so400m_patch14_siglip_224": VIT,
    "vit_pe_core_base_patch16_224": VIT,
    "vit_pe_core_large_patch14_336": VIT,
    "vit_small_patch16_dinov3": DINOV3,
    "vit_base_patch16_dinov3": DINOV3,
    "vit_large_patch14_clip_quickgelu_224": VIT,
    "vit_large_patch16_dinov3": DINOV3,
    "vit_large_patch16_dinov3_qkvb": DINOV3,
}
CLIP_NAME, CLIP = "contract-vit", "visual."
CLIP_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
# what cannot be made smaller sees smaller images, in pixels
SMALLER_SIDES = {
    "legacy_xception": 72,
    "efficientnet_b4": 64,
    "npr_published": 64,
    "safe_published": 64,
    "ladeda": 64,
    "tiny_ladeda": 64,
}
# sides of detectors that are built as they are, in pixels
SIDES = {"ferretnet": 32, "safe": 32, "srm": 32}
# published ones with the batch statistics of noise: with those of a new network images are alike
NORMALISED = ("ladeda",)
LIBRARY_NAMES = (
    "timm:test_vit.r160_in1k",
    "timm:test_efficientnet.r160_in1k",
    f"open_clip:{CLIP_NAME}/tests",
)


@dataclass(frozen=True)
class Case:
    """A detector with its small checkpoint in `folder`; `line` is its registry line as shipped."""

    name: str
    line: Entry
    folder: Path

    def resolve(self) -> DetectorSpec:
        side = {"size_px": SIDES[self.name]} if self.name in SIDES else {}
        return registry.resolve(self.name, options=side, weights_root=self.folder, download=False)

    def build(self, seed: int = 0) -> Detector:
        return registry.build(self.resolve(), weights_root=self.folder, seed=seed).eval()

    @property
    def source(self) -> Source | None:
        """Of the small checkpoint, None where the detector has none."""
        return registry.entry(self.name).source

    @property
    def file(self) -> Path:
        assert self.source is not None
        name = f"{self.source.backbone}.{self.source.pretrained}.safetensors"
        return self.folder / (self.source.file or name)

    @property
    def files(self) -> list[Path]:
        """The checkpoint, and the head of its authors where that is a file of its own."""
        card = registry.entry(self.name).published
        return [self.file, *([self.folder / card.head.file] if card and card.head else [])]


def make_case(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Case:
    """Write a detector's small checkpoint and, where its backbone is made smaller for that, its
    changed line in the registry.
    """
    add_small_clip(folder, patch)
    case = Case(name, registry.entry(name), folder)
    if case.line.source is None:
        return case
    if name in registry.DETECTORS:
        patch.setattr(registry, "DETECTORS", {**registry.DETECTORS, name: _smaller(case.line)})
    line = registry.entry(name)
    assert line.source is not None
    if line.published:
        _publish(case, patch)
    if line.published and not line.published.head:
        return case
    whole = (
        whole_clip(**line.arguments)
        if line.source.prefix == CLIP
        else _whole_timm(line.source, line.arguments)
    )
    save_file({k: v.contiguous() for k, v in whole.state_dict().items()}, case.file)
    return case


def _publish(case: Case, patch: pytest.MonkeyPatch) -> None:
    """Write what the authors of a published detector would, in their own names, and its digest into
    the registry: all of a network of theirs, or their head on a library's backbone.
    """
    line = registry.entry(case.name)
    assert line.source is not None and line.published is not None
    if case.name in authors.FILES:
        _write(case, patch, line.source, authors.FILES[case.name]())
        return
    detector: Any = registry.create(registry.spec_of(case.name), 0)
    torch.manual_seed(0)
    part = detector.published if line.published.head else detector.backbone
    part.to_empty(device="cpu")
    for module in part.modules():
        for parameter in module.parameters(recurse=False):
            nn.init.zeros_(parameter)
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    _used(part, ADDED.get(line.source.backbone, 0.02))
    if case.name in NORMALISED:
        _normalise(part, SMALLER_SIDES[case.name])
    source = line.published.head or line.source
    named = {f"{source.prefix}{k}": v.contiguous() for k, v in part.state_dict().items()}
    _write(case, patch, source, {"model": named} if source.file else named)


def _write(case: Case, patch: pytest.MonkeyPatch, source: Source, content: Any) -> None:
    """As a file of their own name, with its digest in the registry, or as on the hub."""
    line = registry.entry(case.name)
    assert line.published is not None
    if not source.file:
        save_file(content, case.folder / f"{source.stem}.safetensors")
        return
    torch.save(content, case.folder / source.file)
    source = replace(source, sha256=file_sha256(case.folder / source.file))
    changed = (
        replace(line, published=replace(line.published, head=source))
        if line.published.head
        else replace(line, source=source)
    )
    patch.setattr(registry, "DETECTORS", {**registry.DETECTORS, case.name: changed})


def _smaller(line: Entry) -> Entry:
    line = replace(line, blocks=min(line.blocks, 2))
    if line.source.prefix == CLIP:
        return replace(line, source=replace(line.source, backbone=CLIP_NAME))
    side, geometry = SMALLER_SIDES.get(line.source.backbone), line.geometry
    if side:
        geometry = replace(geometry, size_px=side, resize_px=geometry.resize_px and side + 8)
    named = line.arguments.get("name", line.source.backbone)
    arguments = {**line.arguments, **SMALLER.get(named, {})}
    return replace(line, arguments=arguments, geometry=geometry)


# What is added at most to every weight of a network: with more, the one's ReLU6 gives the same for
# every image, and with less the other nearly does.
ADDED = {
    "tf_efficientnet_lite0": 0.002,
    "efficientnet_b4": 0.0005,
    "legacy_xception": 0.0005,
    "ferretnet_s": 0.05,
    "npr_published": 0.0005,
    "ladeda": 0.0003,
}


def _whole_timm(source: Source, arguments: Any) -> nn.Module:
    """As timm would publish it: with a classifier, statistics that are not those of a new
    BatchNorm, biases that are not 0.
    """
    torch.manual_seed(0)
    network = timm.create_model(source.backbone, **{"num_classes": 7, **arguments})
    _used(network, ADDED.get(source.backbone, 0.05))
    if side := SMALLER_SIDES.get(source.backbone):
        _normalise(network, side)
    return network


def whole_clip(**arguments: Any) -> nn.Module:
    """The whole small CLIP, text tower included, as open_clip would publish it."""
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    try:
        return _used(open_clip.create_model(CLIP_NAME, pretrained=None, **arguments))
    finally:
        logging.disable(logging.NOTSET)


def _used(network: nn.Module, by: float = 0.05) -> nn.Module:
    """Nothing stays at the 0 and 1 of a new network, at which an error would not show."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim:
                tensor.add_(by * torch.rand_like(tensor))
    return network


def _normalise(network: nn.Module, side: int) -> None:
    """Give every BatchNorm the statistics of noise of many contrasts and colours. A block with a
    skip adds little.

    In a deep network with the statistics of a new one each layer makes images more alike, until all
    have the same features. Where such blocks add much, it makes a thousandfold of rounding.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all that it sees
            module.reset_running_stats()
        if isinstance(module, InvertedResidual) and module.has_skip:
            module.bn3.weight.data.mul_(0.2)
    with torch.no_grad():
        noise = torch.randn(32, 3, side, side) * torch.rand(32, 1, 1, 1)
        network.train()(noise + torch.randn(32, 3, 1, 1))


def add_small_clip(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Tell open_clip of the small model, and of one checkpoint of it with preprocessing of its
    own.
    """
    configuration = folder / "configs" / f"{CLIP_NAME}.json"
    configuration.parent.mkdir(exist_ok=True)
    configuration.write_text(json.dumps(CLIP_CONFIG))
    open_clip.add_model_config(configuration)
    tag = {
        "url": "https://example.org/contract.pt",
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.4),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    patch.setitem(open_clip.pretrained._PRETRAINED, CLIP_NAME, {"tests": tag})
