"""Detectors of the real families on networks small enough for tests, with checkpoints in the
libraries' own formats.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from study.core.records import Geometry
from study.detectors import registry
from study.detectors.registry import Entry
from study.detectors.weights import Source

TIMM_NAMES = (
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
)  # BatchNorm, BatchNorm with a last 1 x 1, LayerNorm before the head
CLASSIFIERS = {"test_resnet": "fc", "test_efficientnet": "classifier", "test_convnext": "head.fc"}
CLIP_NAME = "tiny-clip"
CLIP_CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}
SIZE_PX = 32


def register(monkeypatch: pytest.MonkeyPatch, name: str, entry: Entry) -> None:
    monkeypatch.setattr(registry, "DETECTORS", {**registry.DETECTORS, name: entry})


def timm_entry(name: str) -> Entry:
    source = Source(
        backbone=name,
        pretrained="tests",
        origin=f"https://example.org/{name}",
        classifier=(CLASSIFIERS[name],),
        only=True,
    )
    return Entry(
        about=name,
        family="timm_network",
        geometry=Geometry(size_px=SIZE_PX, mode="squash"),
        source=source,
    )


def timm_network(name: str, seed: int = 0) -> torch.nn.Module:
    """A timm model with its own classifier of 10 classes, as timm would publish it."""
    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=10)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def write_timm(folder: Path, name: str, seed: int = 0, suffix: str = ".safetensors") -> Path:
    state = timm_network(name, seed).state_dict()
    path = folder / f"{name}{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def clip_entry(folder: Path) -> Entry:
    """A tiny CLIP under its own open_clip configuration, written to `folder` and registered with
    open_clip.
    """
    configuration = folder / "configs" / f"{CLIP_NAME}.json"
    configuration.parent.mkdir(exist_ok=True)
    configuration.write_text(json.dumps(CLIP_CONFIG))
    open_clip.add_model_config(configuration)
    source = Source(
        backbone=CLIP_NAME,
        pretrained="tests",
        origin="https://example.org/clip",
        prefix="visual.",
        only=True,
    )
    geometry = Geometry(size_px=SIZE_PX, mode="resize_crop", resize_px=SIZE_PX)
    return Entry(
        about=CLIP_NAME,
        family="clip",
        geometry=geometry,
        source=source,
        schedules=("head",),
        arguments={"force_quick_gelu": True},
    )


def clip_model(seed: int = 0) -> torch.nn.Module:
    """The whole tiny CLIP, text tower included, as open_clip builds it."""
    torch.manual_seed(seed)
    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(CLIP_NAME, pretrained=None, force_quick_gelu=True)
    finally:
        logging.disable(logging.NOTSET)
