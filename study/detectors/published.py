"""Detectors as their authors published them: frozen weights, what they were trained on, and what
was claimed of them.

One line each, as in registry.py. docs/adding-detectors.md tells how to add one. A file is taken
only where its SHA-256 is the one that stands here. Where none does, nobody here had the file: it is
taken by its name, and must fit the network array by array.

Not here: CoDE (Baraldi et al., ECCV 2024). Of its three heads, linear, nearest neighbours and SVM,
its authors give pickled scikit-learn models alone, and a pickle runs whatever its file says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.core.records import Geometry
from study.detectors.entry import CLIP_MEAN, CLIP_STD, HALF, Claim, Entry, Published
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

_CENTRE = "centre crop of {} pixels, never resized; smaller images are padded with black"
_AS_JPEG = "fakes compressed as JPEG of quality 96"
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


def _gend(
    encoder: str,
    repository: str,
    began: tuple[str, str],
    *,
    resized: str,
    licence: str,
    **fields: Any,
) -> Entry:
    """The line of one of three encoders. began: timm's network, and a tag of the weights that it
    began from. resized: how an image is, in words.
    """
    backbone, pretrained = began
    return Entry(
        about=f"GenD as published: {encoder}, layer norms trained (Yermakov et al., 2025)",
        family="gend",
        source=Source.on_hub(f"yermandy/{repository}", backbone=backbone, pretrained=pretrained),
        published=Published(
            title=f"GenD, {encoder} (Yermakov et al., WACV 2026, arXiv 2508.06248)",
            page=f"https://huggingface.co/yermandy/{repository}",
            licence=licence,
            trained_on="ffpp",
            training="the training set of FaceForensics++ (c23: DeepFakes, Face2Face, FaceSwap,"
            " NeuralTextures), faces that a detector found",
            released="2025-08",
            preprocessing=f"{resized}, of the cut-out face with a margin of 1.3",
            claims=(),  # its tables are not on record: they were not at hand
        ),
        **{**_SHARED, **fields},
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
    "safe_published": Entry(
        about="SAFE as published: wavelet detail, half a ResNet-50 (Li et al., 2025)",
        family="safe_published",
        geometry=Geometry(size_px=256, mode="crop_black"),
        source=Source(
            backbone="safe_published",
            pretrained="",
            file="checkpoint-best.pth",
            origin="checkpoint/checkpoint-best.pth of https://github.com/Ouxiang-Li/SAFE",
        ),
        published=Published(
            title="SAFE (Li et al., KDD 2025, arXiv 2408.06741)",
            page="https://github.com/Ouxiang-Li/SAFE",
            licence="none stated: ask its authors",
            trained_on="cnnspot:progan",
            training="four classes of the ProGAN training set of Wang et al. (2020)",
            released="2024-08",
            preprocessing=_CENTRE.format(256),
            claims=tuple(
                Claim(
                    metric="recall",
                    threshold="fixed",
                    value=value,
                    data=f"{n} images of GPT-4o, the part {part} of GPT-ImgEval; fakes alone",
                    n_fake=n,
                    step=0.0001,
                    source="README.md of its repository",
                )
                for part, n, value in (("GenEval", 555, 0.9892), ("ReasoningEdit", 190, 0.9632))
            ),
        ),
        **{**_SHARED, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    ),
    "ladeda": _ladeda("LaDeDa", tiny=False),
    "tiny_ladeda": _ladeda("Tiny_LaDeDa", tiny=True),
    "gend_clip": _gend(
        "CLIP ViT-L/14",
        "GenD_CLIP_L_14",
        ("vit_large_patch14_clip_quickgelu_224", "openai_gend"),
        resized="the shorter side resized to 224 pixels, bicubic, centre crop",
        licence="MIT",
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=224),
    ),
    "gend_pe": _gend(
        "PE-Core ViT-L/14",
        "GenD_PE_L",
        ("vit_pe_core_large_patch14_336", "gend"),
        resized="the shorter side resized to 224 pixels, bicubic, centre crop",
        licence="MIT; of the encoder Apache-2.0",
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=224),
        mean=HALF,
        std=HALF,
        arguments={"dynamic_img_size": True},
    ),
    "gend_dinov3": _gend(
        "DINOv3 ViT-L/16",
        "GenD_DINOv3_L",
        ("vit_large_patch16_dinov3_qkvb", "lvd1689m_gend"),
        resized="both sides resized to 224 pixels, bilinear",
        licence="MIT; of the encoder the DINOv3 License",
        geometry=Geometry(size_px=224, mode="squash", interpolation="bilinear"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        arguments={"global_pool": "token"},
    ),
    "dda": Entry(
        about="DDA as published: DINOv2 ViT-L/14, low-rank matrices (Chen et al., 2025)",
        family="dda",
        geometry=Geometry(size_px=336, mode="crop_black"),
        source=Source(
            backbone="dda",
            pretrained="",
            file="ckpt.pth",
            origin="ckpt.pth of https://modelscope.cn/datasets/roych1997/Dual_Data_Alignment",
        ),
        published=Published(
            title="DDA (Chen et al., NeurIPS 2025, arXiv 2505.14359)",
            page="https://github.com/roy-ch/Dual-Data-Alignment",
            licence="none stated: ask its authors",
            trained_on="dda_train",
            training="MS-COCO, and its images reconstructed and aligned in pixels and frequencies",
            released="2025-05",
            preprocessing=f"{_CENTRE.format(336)}; CLIP's mean and standard deviation",
            claims=tuple(
                Claim(
                    metric="accuracy",
                    threshold="fixed",
                    value=value,
                    data=data,
                    source="README.md of its repository, table of 11 benchmarks, six of them",
                    preprocessing=first,
                )
                for data, value, first in (
                    ("mean over the generators of GenImage", 0.917, _AS_JPEG),
                    ("mean over the generators of DRCT-2M", 0.981, ""),
                    ("mean over the generators of Synthbuster", 0.901, ""),
                    ("mean over the generators of AIGCDetectBenchmark", 0.878, _AS_JPEG),
                    ("mean over Reddit, Twitter and Facebook of WildRF", 0.903, ""),
                    ("Chameleon", 0.824, ""),
                )
            ),
        ),
        arguments={"name": "vit_large_patch14_dinov2"},
        **_SHARED,
    ),
    "b_free": Entry(
        about="B-Free as published: DINOv2 ViT-B/14 with registers (Guillaro et al., 2025)",
        family="timm_published",
        geometry=Geometry(size_px=504, mode="crop"),
        source=Source(
            backbone="b_free",
            pretrained="",
            file="model_epoch_best.pth",
            origin="BFREE_dino2reg4/model_epoch_best.pth in the archive of"
            " https://www.grip.unina.it/download/prog/B-Free/weights",
        ),
        published=Published(
            title="B-Free (Guillaro et al., CVPR 2025, arXiv 2412.17671)",
            page="https://github.com/grip-unina/B-Free",
            licence="GRIP-UNINA: informational and nonprofit use alone",
            trained_on="b_free",
            training="MS-COCO, and its images regenerated and inpainted by Stable Diffusion 2.1",
            released="2024-12",
            preprocessing="centre crop of 504 pixels, never resized, smaller images continued by"
            " reflection; ImageNet's mean and standard deviation. Its authors take five crops, on a"
            " grid of 14 pixels from the corner, and repeat smaller images",
            claims=(
                Claim(
                    metric="balanced_accuracy",
                    threshold="fixed",
                    value=0.92,
                    step=0.01,
                    data="viral images of its authors, days after they were first posted, about",
                    preprocessing="five crops of 504 pixels",
                    source="its page, https://grip-unina.github.io/B-Free",
                ),
            ),
        ),
        arguments={"name": "vit_base_patch14_reg4_dinov2", "img_size": 504},
        **_PLAIN,
    ),
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
