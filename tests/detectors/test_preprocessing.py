"""Preprocessing is the library's own for the checkpoint: constants equal, and pixels equal through
the whole path.
"""

from __future__ import annotations

import math

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME
from PIL import Image
from timm.data import create_transform, resolve_data_config

from study.core.records import DetectorSpec
from study.data.images.geometry import fit_geometry
from study.detectors import registry
from study.detectors.base import Detector

TIMM = ("resnet50", "convnext_tiny")


def spec_of(name: str) -> DetectorSpec:
    line = registry.entry(name)
    return DetectorSpec(
        name=name,
        family=line.family,
        geometry=line.geometry,
        mean=line.mean,
        std=line.std,
        learner=line.learner,
    )


def photograph(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * width)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray(
        np.clip(np.asarray(coarse, dtype=np.int64) + noise, 0, 255).astype(np.uint8)
    )


def ours(name: str, image: Image.Image) -> torch.Tensor:
    spec = spec_of(name)
    square = fit_geometry(np.asarray(image), spec.geometry)
    return Detector(spec, 1).prepare(torch.from_numpy(square[None].copy()))[0]


@pytest.mark.parametrize("name", TIMM)
def test_timm_constants(name: str) -> None:
    line = registry.entry(name)
    assert line.source is not None
    theirs = timm.get_pretrained_cfg(f"{line.source.backbone}.{line.source.pretrained}")
    assert (line.source.repository, line.source.filename) == (theirs.hf_hub_id, "model.safetensors")
    assert line.source.classifier == (theirs.classifier,)
    assert (line.mean, line.std, line.geometry.interpolation) == (
        theirs.mean,
        theirs.std,
        theirs.interpolation,
    )
    assert (3, line.geometry.size_px, line.geometry.size_px) == theirs.input_size
    assert line.geometry.mode == "resize_crop" and line.geometry.resize_px == math.floor(
        line.geometry.size_px / theirs.crop_pct
    )


def test_mobilenet_keeps_its_checkpoints_own_constants() -> None:
    """Timm has no weights for this width; the checkpoint is Keras', on pixels in [-1, 1], with
    Keras' padding.
    """
    line = registry.entry("mobilenetv2_035")
    assert line.source is not None and line.source.classifier == (
        timm.get_pretrained_cfg("mobilenetv2_035").classifier,
    )
    assert line.arguments == {"pad_type": "same"}
    prepared = Detector(spec_of("mobilenetv2_035"), 1).prepare(
        torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    )
    assert prepared[0, :, 0].T.tolist() == [[-1.0] * 3, [1.0] * 3]


def test_open_clip_constants() -> None:
    line = registry.entry("clip_linear")
    assert line.source is not None
    theirs = open_clip.get_pretrained_cfg(line.source.backbone, line.source.pretrained)
    assert (line.source.repository + "/", line.source.filename) == (
        theirs["hf_hub"],
        HF_SAFE_WEIGHTS_NAME,
    )
    assert (line.mean, line.std) == (theirs["mean"], theirs["std"])
    assert (line.geometry.interpolation, theirs["resize_mode"]) == (
        theirs["interpolation"],
        "shortest",
    )
    size = open_clip.get_model_config(line.source.backbone)["vision_cfg"]["image_size"]
    assert (line.geometry.size_px, line.geometry.resize_px) == (size, size)
    assert line.arguments == {"force_quick_gelu": theirs["quick_gelu"]}


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("shape", [(256, 256), (300, 400), (417, 251), (32, 32)])
def test_pixels_equal_timms(name: str, shape: tuple[int, int]) -> None:
    source = registry.entry(name).source
    assert source is not None
    cfg = timm.get_pretrained_cfg(f"{source.backbone}.{source.pretrained}").to_dict()
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=cfg))
    image = photograph(*shape)
    torch.testing.assert_close(ours(name, image), transform(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(256, 256), (300, 400), (417, 251), (32, 32)])
def test_pixels_equal_open_clips(shape: tuple[int, int]) -> None:
    line = registry.entry("clip_linear")
    transform = open_clip.image_transform(
        line.geometry.size_px, is_train=False, mean=line.mean, std=line.std
    )
    image = photograph(*shape)
    torch.testing.assert_close(ours("clip_linear", image), transform(image), rtol=0, atol=1e-5)


def test_prepare_is_the_definition() -> None:
    spec = spec_of("convnext_tiny")
    images = torch.randint(0, 256, (2, 5, 5, 3), dtype=torch.uint8)
    expected = (images.numpy().astype(np.float64) / 255 - spec.mean) / spec.std
    prepared = Detector(spec, 1).prepare(images)
    np.testing.assert_allclose(prepared.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
