"""Large frozen backbones of timm and open_clip below a linear head, by short names.

Preprocessing is the library's own for the checkpoint; a test holds it to that. Until when such a
backbone has seen images stands in weights.py (`data_until`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.core.records import Geometry
from study.detectors.entry import CLIP_MEAN, CLIP_STD, RGB, Entry, Option
from study.detectors.weights import Source

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
# the body stays frozen, and the head, a convex problem, is solved to its minimum
_PROBE: dict[str, Any] = {"learner": "logistic", "schedules": (), "space": "probe"}
_IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_CLIP: dict[str, Any] = {"mean": CLIP_MEAN, "std": CLIP_STD}


def _timm(backbone: str, tag: str, size_px: int, resize_px: int = 0, **fields: Any) -> Entry:
    return Entry(
        family="timm_network",
        source=Source.on_hub(
            f"timm/{backbone}.{tag}", backbone=backbone, pretrained=tag, classifier=("head",)
        ),
        geometry=Geometry(size_px=size_px, mode="resize_crop", resize_px=resize_px or size_px),
        **fields,
        **_PROBE,
    )


def _clip(model: str, tag: str, repository: str, *, quick_gelu: bool, **fields: Any) -> Entry:
    return Entry(
        family="clip",
        source=Source.on_hub(
            repository,
            "open_clip_model.safetensors",
            fallback="open_clip_pytorch_model.bin",
            backbone=model,
            pretrained=tag,
            prefix="visual.",
        ),
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=224),
        arguments={"force_quick_gelu": True} if quick_gelu else {},
        **_CLIP,
        **fields,
        **_PROBE,
    )


def _dinov3(size: str) -> Entry:
    return _timm(
        f"vit_{size}_patch16_dinov3",
        "lvd1689m",
        256,
        about=f"frozen DINOv3 ViT-{size[0].upper()}/16, linear head",
        licence="DINOv3 License",
        blocks=24 if size == "large" else 12,
        **_IMAGENET,
    )


PROBES: Mapping[str, Entry] = {
    "dinov3_small_linear": _dinov3("small"),
    "dinov3_base_linear": _dinov3("base"),
    "dinov3_large_linear": _dinov3("large"),
    "dinov2_large_linear": _timm(
        "vit_large_patch14_dinov2",
        "lvd142m",
        224,
        about="frozen DINOv2 ViT-L/14, linear head",
        blocks=24,
        licence="Apache-2.0",
        arguments={"dynamic_img_size": True},
        options={"size_px": Option(default=224, low=98, high=518, multiple=14)},
        **_IMAGENET,
    ),
    "siglip2_so400m_linear": _timm(
        "vit_so400m_patch14_siglip_224",
        "v2_webli",
        224,
        248,
        about="frozen SigLIP 2 So400m/14 visual encoder, linear head",
        blocks=27,
        licence="Apache-2.0",
    ),
    "pe_large_linear": _timm(
        "vit_pe_core_large_patch14_336",
        "fb",
        336,
        about="frozen Perception Encoder (PE-Core) ViT-L/14, linear head",
        blocks=24,
        licence="Apache-2.0",
    ),
    "clip_large_linear": _clip(
        "ViT-L-14",
        "openai",
        "timm/vit_large_patch14_clip_224.openai",
        quick_gelu=True,
        about="frozen CLIP ViT-L/14 visual encoder of OpenAI, linear head",
        blocks=24,
        licence="MIT",
    ),
    "clip_huge_linear": _clip(
        "ViT-H-14",
        "laion2b_s32b_b79k",
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        quick_gelu=False,
        about="frozen CLIP ViT-H/14 visual encoder of LAION, linear head",
        blocks=32,
        licence="MIT",
    ),
    "metaclip2_linear": _clip(
        "ViT-H-14-worldwide-quickgelu",
        "metaclip2_worldwide",
        "timm/vit_huge_patch14_clip_224.metaclip2_worldwide",
        quick_gelu=True,
        about="frozen MetaCLIP 2 ViT-H/14 visual encoder, linear head",
        blocks=32,
        licence="CC-BY-NC-4.0",
    ),
    "efficientnet_lite0_linear": Entry(
        about="frozen EfficientNet-Lite0, ImageNet weights, linear head",
        family="timm_network",
        source=Source.on_hub(
            "timm/tf_efficientnet_lite0.in1k",
            backbone="tf_efficientnet_lite0",
            pretrained="in1k",
            classifier=("classifier",),
        ),
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=256),
        licence="Apache-2.0",
        **_PROBE,
    ),
}
