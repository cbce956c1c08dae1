"""Detectors as their authors published them: frozen weights, what they were trained on, and what
was claimed of them.

One line each, as in registry.py. docs/adding-detectors.md tells how to add one. A file is taken
only where its SHA-256 is the one that stands here. Where none does, nobody here had the file: it is
taken by its name, and must fit the network array by array.

Not here: SAFE's file holds more than arrays and is not read (`weights_only`), CoDE's head is a
pickled scikit-learn model, and of DDA, GenD and B-Free the names in the files are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.core.records import Geometry
from study.detectors.entry import CLIP_MEAN, CLIP_STD, Claim, Entry, Published
from study.detectors.probes import IMAGENET_MEAN, IMAGENET_STD
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

_PLAIN: dict[str, Any] = {**_SHARED, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
_SQUASHED = "both sides resized to 256 pixels, bilinear; ImageNet's mean and standard deviation"
_RESIZED: dict[str, Any] = {
    **_PLAIN,
    "geometry": Geometry(size_px=256, mode="squash", interpolation="bilinear"),
}


def _ladeda(name: str, *, tiny: bool) -> Entry:
    """The line of a detector of one repository."""
    claim = Claim(
        metric="ap",
        value=0.937,
        data="mean over Reddit, Twitter and Facebook of WildRF",
        source="abstract of arXiv 2406.09398",
    )
    title, weights = name.replace("_", "-"), f"weights/{name}/WildRF_{name}.pth"
    page = "https://github.com/barcavia/RealTime-DeepfakeDetection-in-the-RealWorld"
    return Entry(
        about=f"{title} as published: patches of 9 x 9 pixels (Cavia et al., 2024)",
        family="ladeda",
        source=Source(
            backbone=name.lower(),
            pretrained="",
            file=f"WildRF_{name}.pth",
            origin=f"{weights} of {page}" + ("" if tiny else " (its README links to the file)"),
        ),
        published=Published(
            title=f"{title} (Cavia et al., 2024, arXiv 2406.09398)",
            page=page,
            licence="Software Research License of Yissum: research alone",
            trained_on="wildrf",
            training="the training set of WildRF, images of Reddit",
            released="2024-06",
            preprocessing=_SQUASHED,
            claims=() if tiny else (claim,),  # of the tiny one the abstract has no number
        ),
        arguments={"tiny": tiny},
        **_RESIZED,
    )


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
    "npr_published": Entry(
        about="NPR as published: neighbouring pixels, half a ResNet-50 (Tan et al., 2024)",
        family="half_resnet50",
        source=Source(
            backbone="npr_published",
            pretrained="",
            file="NPR.pth",
            origin="NPR.pth of https://github.com/chuangchuangtan/NPR-DeepfakeDetection",
        ),
        published=Published(
            title="NPR (Tan et al., CVPR 2024, arXiv 2312.10461)",
            page="https://github.com/chuangchuangtan/NPR-DeepfakeDetection",
            licence="none stated: ask its authors",
            trained_on="cnnspot:progan",
            training="four classes of the ProGAN training set of Wang et al. (2020)",
            released="2023-12",
            preprocessing=_SQUASHED,
            claims=tuple(
                Claim(
                    metric=metric,
                    threshold=threshold,
                    value=value,
                    data="mean over the eight generators of ForenSynths that the authors name",
                    source="README.md of its repository, last line of the table",
                )
                for metric, threshold, value in (("accuracy", "fixed", 0.925), ("ap", "", 0.961))
            ),
        ),
        **_RESIZED,
    ),
    "ladeda": _ladeda("LaDeDa", tiny=False),
    "tiny_ladeda": _ladeda("Tiny_LaDeDa", tiny=True),
    "community_forensics": Entry(
        about="Community Forensics as published: ViT-S/16 at 384 px (Park and Owens, 2025)",
        family="timm_published",
        geometry=Geometry(size_px=384, mode="resize_crop", resize_px=440, interpolation="bilinear"),
        source=Source.on_hub(
            "OwensLab/commfor-model-384",
            backbone="vit_small_patch16_384",
            pretrained="commfor",
            prefix="vit.",
        ),
        published=Published(
            title="Community Forensics (Park and Owens, CVPR 2025, arXiv 2411.04125)",
            page="https://huggingface.co/OwensLab/commfor-model-384",
            licence="MIT",
            trained_on="community_forensics",
            training="Community Forensics, images of thousands of generators, and real ones",
            released="2024-11",
            preprocessing="the shorter side resized to 440 pixels, bilinear, centre crop of 384;"
            " ImageNet's mean and standard deviation",
            claims=(),  # its tables are not on record: they were not at hand
        ),
        **_PLAIN,
    ),
}
