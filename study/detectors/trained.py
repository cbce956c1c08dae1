"""Detectors of the literature that are trained here, each after its paper: where it differs is a
table in the header of its search space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.core.records import Geometry
from study.detectors.entry import CLIP_MEAN, CLIP_STD, HEAD_WIDTH, Entry, Option
from study.detectors.probes import IMAGENET_MEAN, IMAGENET_STD
from study.detectors.weights import Source

_SCRATCH: dict[str, Any] = {"schedules": ("full",)}
_IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
# OpenAI's CLIP ViT-L/14, of which a part is trained: the stage above the stem
_CLIP_L14: dict[str, Any] = {
    "source": Source.on_hub(
        "timm/vit_large_patch14_clip_224.openai",
        "open_clip_model.safetensors",
        backbone="ViT-L-14",
        pretrained="openai",
        prefix="visual.",
    ),
    "geometry": Geometry(size_px=224, mode="resize_crop", resize_px=224),
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
    "arguments": {"force_quick_gelu": True},
    "licence": "MIT",
}


def _timm(source: Source, geometry: Geometry, **fields: Any) -> Entry:
    """Return the line of a network of timm that is trained whole, as its recipe wants it."""
    return Entry(
        family="timm_network",
        source=source,
        geometry=geometry,
        options=HEAD_WIDTH,
        schedules=("full",),
        **fields,
    )


def _side(default: int, multiple: int = 1) -> Mapping[str, Option]:
    low = 16 if multiple < 8 else 32
    return {"size_px": Option(default=default, low=low, high=512, multiple=multiple)}


TRAINED: Mapping[str, Entry] = {
    "ferretnet": Entry(
        about="median residual into a network of depthwise convolutions, from scratch (Liang et"
        " al., 2025)",
        family="ferretnet",
        geometry=Geometry(size_px=224, mode="crop"),
        mean=CLIP_MEAN,
        std=CLIP_STD,
        options=_side(224),
        arguments={"width": 96},
        **_SCRATCH,
    ),
    "safe": Entry(
        about="diagonal wavelet detail into a small ResNet, from scratch (Li et al., KDD 2025)",
        family="safe",
        geometry=Geometry(size_px=256, mode="crop"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        options=_side(256, 2),
        **_SCRATCH,
    ),
    "srm": Entry(
        about="residuals of three fixed SRM filters into a small ResNet, from scratch",
        family="srm",
        geometry=Geometry(size_px=128, mode="crop"),
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),  # grey levels
        options=_side(128),
        **_SCRATCH,
    ),
    "cnnspot": _timm(
        Source.on_hub(
            "timm/resnet50.tv_in1k", backbone="resnet50", pretrained="tv_in1k", classifier=("fc",)
        ),
        Geometry(size_px=224, mode="crop"),
        about="ResNet-50 on blurred and JPEG-compressed crops (CNNSpot; Wang et al., CVPR 2020)",
        **_IMAGENET,
    ),
    "xception": _timm(
        Source(
            backbone="legacy_xception",
            pretrained="tf_in1k",
            classifier=("fc",),
            origin="https://github.com/rwightman/pytorch-image-models/releases/download/"
            "v0.1-cadene/xception-43020ad28.pth",
        ),
        Geometry(size_px=299, mode="resize_crop", resize_px=333),
        about="Xception, ImageNet weights, as in FaceForensics++ (Roessler et al., ICCV 2019)",
    ),
    "efficientnet_b4": _timm(
        Source.on_hub(
            "timm/efficientnet_b4.ra2_in1k",
            backbone="efficientnet_b4",
            pretrained="ra2_in1k",
            classifier=("classifier",),
        ),
        Geometry(size_px=320, mode="resize_crop", resize_px=365),
        about="EfficientNet-B4, ImageNet weights (Tan and Le, 2019), a baseline of DeepfakeBench",
        **_IMAGENET,
    ),
    "effort": Entry(
        about="CLIP ViT-L/14, smallest singular components of its attention trained (Effort; Yan et"
        " al., ICML 2025)",
        family="effort",
        options=HEAD_WIDTH,
        schedules=("last_stage",),
        **_CLIP_L14,
    ),
    "ln": Entry(
        about="CLIP ViT-L/14, layer norms trained, alignment and uniformity (GenD; Yermakov et al.,"
        " 2025)",
        family="layer_norms",
        options=HEAD_WIDTH,
        schedules=("last_stage",),
        **_CLIP_L14,
    ),
    "rine_trained": Entry(
        about="RINE's head on the class tokens of all blocks of a frozen CLIP ViT-L/14, trained"
        " (Koutlis and Papadopoulos, ECCV 2024)",
        family="rine_trained",
        schedules=("head",),
        own_head=True,
        **{**_CLIP_L14, "geometry": Geometry(size_px=224, mode="crop")},
    ),
}
