"""Detectors as their authors published them: frozen weights, what they were trained on, and what
was claimed of them.

One line each, as in registry.py. docs/adding-detectors.md tells how to add one. A file is taken
only where its SHA-256 is the one that stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.core.records import Geometry
from study.detectors.entry import CLIP_MEAN, CLIP_STD, Claim, Entry, Published
from study.detectors.weights import Source

_CROPPED = "CLIP's mean and standard deviation; smaller images are padded with black"
# OpenAI's CLIP ViT-L/14, below two heads
_CLIP_L14: dict[str, Any] = {
    "geometry": Geometry(size_px=224, mode="crop_black"),
    "source": Source.on_hub(
        "timm/vit_large_patch14_clip_224.openai",
        "open_clip_model.safetensors",
        backbone="ViT-L-14",
        pretrained="openai",
        prefix="visual.",
    ),
    "arguments": {"force_quick_gelu": True},
}
_SHARED: dict[str, Any] = {
    "learner": "published",
    "schedules": (),
    "own_head": True,
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
}

PUBLISHED: Mapping[str, Entry] = {
    "ferretnet_s": Entry(
        about="FerretNet-S as published: median residual, small network (Liang et al., 2025)",
        family="ferretnet",
        geometry=Geometry(size_px=256, mode="crop_black"),
        source=Source(
            backbone="ferretnet_s",
            pretrained="",
            file="ferretnet-s-median-3.pth",
            sha256="5604ab1ade78dc615181b7d014242bf26f7bc5e2bc82351e6e8d42ce5f28f485",
            origin="checkpoints/4cls_ckpt/ferretnet-s-median-3.pth of"
            " https://github.com/xigua7105/FerretNet",
        ),
        published=Published(
            title="FerretNet-S (Liang et al., NeurIPS 2025, arXiv 2509.20890)",
            page="https://github.com/xigua7105/FerretNet",
            licence="Apache-2.0",
            trained_on="cnnspot:progan",
            training="four classes of the ProGAN training set of Wang et al. (2020)",
            released="2025-09",
            preprocessing=f"centre crop of 256 pixels, never resized; {_CROPPED}",
            claims=(
                Claim(
                    metric="accuracy",
                    threshold="fixed",
                    value=0.971,
                    data="mean over 22 generators of ForenSynths, Diffusion-6-cls, Synthetic-Pop"
                    " and Synthetic-Aesthetic",
                    of="the version with 1.1 million parameters, whose weights are another file",
                    source="abstract of arXiv 2509.20890",
                ),
            ),
        ),
        **_SHARED,
    ),
    "univfd": Entry(
        about="UniversalFakeDetect as published: CLIP ViT-L/14, linear head (Ojha et al., 2023)",
        family="univfd",
        published=Published(
            title="UniversalFakeDetect (Ojha et al., CVPR 2023, arXiv 2302.10174)",
            page="https://github.com/WisconsinAIVision/UniversalFakeDetect",
            licence="MIT",
            trained_on="cnnspot:progan",
            training="the ProGAN training set of Wang et al. (2020), 20 classes",
            released="2023-02",
            preprocessing=f"centre crop of 224 pixels, never resized; {_CROPPED}",
            claims=(),  # its table of average precisions is not on record: it was not at hand
            head=Source(
                backbone="univfd",
                pretrained="",
                file="fc_weights.pth",
                sha256="477100745713bcc957beb2b40859536859b6483fd6301b3b9293151b194c7847",
                origin="pretrained_weights/fc_weights.pth of"
                " https://github.com/WisconsinAIVision/UniversalFakeDetect",
            ),
        ),
        **_SHARED,
        **_CLIP_L14,
    ),
    "rine": Entry(
        about="RINE as published: all blocks of CLIP ViT-L/14 (Koutlis and Papadopoulos, 2024)",
        family="rine",
        published=Published(
            title="RINE, two classes (Koutlis and Papadopoulos, ECCV 2024, arXiv 2402.19091)",
            page="https://github.com/mever-team/rine",
            licence="Apache-2.0",
            trained_on="cnnspot:progan",
            training="two classes of the ProGAN training set of Wang et al. (2020)",
            released="2024-02",
            preprocessing=f"centre crop of 224 pixels, never resized; {_CROPPED}",
            claims=(),
            head=Source(
                backbone="rine",
                pretrained="",
                file="model_2class_trainable.pth",
                sha256="680d301b6d191da85b9dabcebf42cd3df20c5c669fa8320c498f835d02bf5ccb",
                origin="ckpt/model_2class_trainable.pth of https://github.com/mever-team/rine",
            ),
        ),
        **_SHARED,
        **_CLIP_L14,
    ),
}
