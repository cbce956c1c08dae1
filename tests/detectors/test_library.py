"""Detectors by a library's own name: every kind of network parts into stages and loads; what is not
offered is said in one line.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from study.core.errors import ConfigError, WeightsError, located
from study.core.records import DetectorSpec, Geometry
from study.detectors import registry, weights
from study.detectors.clip import empty_tower, tower_depths
from study.detectors.entry import SCHEDULES
from study.detectors.library import library_entry
from study.detectors.meta_device import empty, is_convolutional
from study.detectors.stages import depths_in_order, stages_by_depth, timm_depths
from study.detectors.timm_network import TimmNetwork
from study.detectors.weights import Source
from tests.contract.stand_ins import CLIP_NAME, add_small_clip

# One or more of every kind: what has no rules of its own (caformer, csatv2, pit), none for stages
# (rdnet), modules in two places (coat), tensors that are never saved (beit, swin, eva, levit,
# convit), a layer behind the pooling (mobilenetv3, ghostnet).
ARCHITECTURES = [
    "beit_base_patch16_224",
    "caformer_s18",
    "cait_xxs24_224",
    "coat_tiny",
    "coatnet_0_rw_224",
    "convit_tiny",
    "convmixer_768_32",
    "convnext_atto",
    "convnextv2_atto",
    "crossvit_9_240",
    "csatv2",
    "cspresnet50",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "dla34",
    "dm_nfnet_f0",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientnet_b0",
    "efficientvit_b0",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "focalnet_tiny_srf",
    "ghostnet_100",
    "hgnet_tiny",
    "hrnet_w18_small",
    "inception_v3",
    "levit_128s",
    "mambaout_femto",
    "maxvit_nano_rw_256",
    "mixer_s16_224",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "pit_ti_224",
    "poolformer_s12",
    "pvt_v2_b0",
    "rdnet_tiny",
    "regnetx_002",
    "regnety_002",
    "repvgg_a0",
    "repvit_m1",
    "resmlp_12_224",
    "resnet18",
    "resnet50",
    "resnetv2_50",
    "resnext50_32x4d",
    "seresnet18",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "tf_efficientnetv2_b0",
    "tiny_vit_5m_224",
    "twins_svt_small",
    "vgg11",
    "vit_base_patch14_dinov2",
    "vit_base_patch16_siglip_224",
    "vit_pe_core_tiny_patch16_384",
    "vit_small_patch16_dinov3",
    "vit_tiny_patch16_224",
    "volo_d1_224",
    "xception41",
    "xcit_nano_12_p8_224",
]
# Towers of open_clip: transformers (CLIP, CoCa, CLIPA), CLIP's ResNets, and trunks of timm.
TOWERS = [
    "ViT-B-32",
    "coca_ViT-B-32",
    "ViT-L-14-CLIPA",
    "RN50",
    "RN101",
    "convnext_base",
    "ViT-B-16-SigLIP",
    "PE-Core-B-16",
    "EVA02-B-16",
    "MobileCLIP-S1",
]
# Built whole and compared with the library's own: each computes tensors that it never saves, or is
# loaded by a rule of its own.
LOADED = {
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 32, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1), "embed_dim": 16, "num_heads": (1, 2)},
    "eva02_tiny_patch14_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "levit_128s": {},
    "swinv2_tiny_window8_256": {"depths": (1, 1), "embed_dim": 16, "num_heads": (1, 2)},
    "caformer_s18": {},
    "test_mambaout": {},
    "test_vit3": {},
    "mobilenetv3_small_050": {},
}


def check_parted(network: nn.Module, depth: dict[str, int]) -> None:
    stages = stages_by_depth(network, depth)
    found = [id(p) for stage in stages for p in stage.all_parameters()]
    assert sorted(found) == sorted(id(p) for p in network.parameters()), (
        "each parameter once, none left out"
    )
    assert (
        len(stages) > 1
        and stages[-1].name == "stem"
        and all(stage.all_parameters() for stage in stages)
    )
    assert len({stage.name for stage in stages}) == len(stages)
    assert {t.device.type for t in network.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_timm_network_parts_into_stages(name: str) -> None:
    network = empty(lambda: timm.create_model(name, num_classes=0))
    check_parted(network, timm_depths(network))
    depths = timm_depths(network)
    first = next(name for name, p in network.named_parameters() if p.ndim == 4)
    assert depths[first] == min(depths.values()), "the first convolution of all is in the stem"


@pytest.mark.parametrize("name", TOWERS)
def test_any_visual_tower_of_open_clip_parts_into_stages(name: str) -> None:
    tower = empty_tower(name)
    check_parted(tower, tower_depths(tower))


def test_clips_resnet_parts_into_its_layers() -> None:
    tower = empty_tower("RN50")
    stages = stages_by_depth(tower, tower_depths(tower))
    assert len(stages) == 5
    deepest = {id(p) for p in stages[0].all_parameters()}
    assert deepest == {id(p) for part in (tower.layer4, tower.attnpool) for p in part.parameters()}  # type: ignore[union-attr]


def test_depths_follow_the_order_of_registration() -> None:
    names = ["stem.weight", "a.weight", "between.weight", "b.0.weight", "norm.weight"]
    assert depths_in_order(names, ["a", "b"]) == dict(zip(names, (0, 1, 1, 2, 2), strict=True))


@pytest.mark.parametrize("name", LOADED)
def test_a_checkpoint_of_any_kind_gives_timms_own_features(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name, **LOADED[name]).eval()
    save_file(
        {k: v.contiguous() for k, v in whole.state_dict().items()}, tmp_path / f"{name}.safetensors"
    )
    config = whole.pretrained_cfg
    classifier = config["classifier"]
    source = Source(
        backbone=name,
        pretrained="",
        origin="",
        classifier=(classifier,) if isinstance(classifier, str) else classifier,
    )
    side = config["input_size"][-1]
    spec = DetectorSpec(
        name=name,
        family="timm_network",
        geometry=Geometry(size_px=side, mode="squash"),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        learner="gradient",
        backbone=name,
    )
    network = empty(lambda: timm.create_model(name, num_classes=0, **LOADED[name]))
    detector = TimmNetwork(spec, network)
    weights.load_backbone(detector.backbone, tmp_path / f"{name}.safetensors", source)
    whole.reset_classifier(0)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = whole(x)
        assert expected.shape == (2, detector.n_features)
        assert torch.equal(detector.eval().features(x), expected)


def test_the_librarys_own_filter_reads_older_files(tmp_path: Path) -> None:
    """DeiT's authors wrap their checkpoints as {"model": ...}; timm knows a flat patch projection
    of ViT's first versions.
    """
    line = library_entry("timm:test_vit.r160_in1k")
    torch.manual_seed(0)
    whole = timm.create_model("test_vit")
    state = dict(whole.state_dict())
    kernel = state["patch_embed.proj.weight"]
    state["patch_embed.proj.weight"] = kernel.flatten(1)
    torch.save({"model": state}, tmp_path / "test_vit.r160_in1k.pth")
    assert line.source is not None
    spec = registry.resolve("timm:test_vit.r160_in1k", options={}, weights_root=tmp_path)
    detector = registry.build(spec, weights_root=tmp_path, seed=0)
    assert torch.equal(detector.state_dict()["backbone.patch_embed.proj.weight"], kernel)
    state["patch_embed.proj.weight"] = kernel.flatten(1)[:, :-1]
    torch.save({"model": state}, tmp_path / "test_vit.r160_in1k.pth")
    with pytest.raises(WeightsError, match=r"another shape for patch_embed\.proj\.weight"):
        registry.build(
            registry.resolve(spec.name, options={}, weights_root=tmp_path),
            weights_root=tmp_path,
            seed=0,
        )


# Names


def test_a_timm_name_is_answered_by_timm() -> None:
    line = registry.entry("timm:resnet18.a1_in1k")
    theirs: Any = timm.get_pretrained_cfg("resnet18.a1_in1k")
    assert line.source is not None
    assert (line.source.backbone, line.source.pretrained) == ("resnet18", "a1_in1k")
    assert (line.source.repository, line.source.filename, line.source.classifier) == (
        theirs.hf_hub_id,
        "model.safetensors",
        ("fc",),
    )
    assert (line.mean, line.std, line.schedules) == (theirs.mean, theirs.std, SCHEDULES)
    assert line.geometry == Geometry(
        size_px=224, mode="resize_crop", resize_px=math.floor(224 / 0.95)
    )
    spec = registry.spec_of("timm:resnet18.a1_in1k")
    assert (spec.name, spec.family, spec.backbone) == (
        "timm:resnet18.a1_in1k",
        "timm_network",
        "resnet18",
    )


def test_a_name_without_a_tag_is_timms_default() -> None:
    theirs: Any = timm.get_pretrained_cfg("resnet18")
    assert registry.spec_of("timm:resnet18").pretrained == theirs.tag


def test_an_open_clip_name_is_answered_by_open_clip() -> None:
    line = registry.entry("open_clip:ViT-B-32/openai")
    ours = registry.entry("clip_linear")
    assert replace(line.source, fallback="") == ours.source  # type: ignore[type-var]
    assert (line.geometry, line.mean, line.std, line.arguments) == (
        ours.geometry,
        ours.mean,
        ours.std,
        ours.arguments,
    )
    siglip = registry.entry("open_clip:ViT-B-16-SigLIP2/webli")
    assert siglip.geometry == Geometry(size_px=224, mode="squash") and not siglip.arguments
    vitamin = registry.entry("open_clip:ViTamin-S/datacomp1b").source
    assert vitamin is not None and (vitamin.repository, vitamin.filename) == (
        "jienengchen/ViTamin-S",
        "pytorch_model.bin",
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "timm:resnet18.a1_in2k",
            [
                "unknown detector 'timm:resnet18.a1_in2k'",
                "'timm:resnet18.a1_in1k'",
                "timm.list_pretrained()",
            ],
        ),
        ("timm:resnet", ["unknown detector 'timm:resnet'", "did you mean"]),
        ("timm:", ["unknown detector 'timm:'"]),
        # timm has this network, and no weights for it
        ("timm:mobilenetv2_035", ["unknown detector 'timm:mobilenetv2_035'"]),
        ("timm:../../x", ["unknown detector"]),
        (
            "open_clip:ViT-B-32/openay",
            ["'open_clip:ViT-B-32/openai'", "open_clip.list_pretrained()"],
        ),
        ("open_clip:ViT-B-32", ["unknown detector 'open_clip:ViT-B-32'", "did you mean"]),
        ("timn:resnet18", ["unknown detector 'timn:resnet18'"]),
        (
            "timm:dm_nfnet_f0.dm_in1k",
            ["preprocessing", "squash crop of 0.9", "choose another checkpoint"],
        ),
        # timm pads it
        (
            "timm:volo_d4_448.sail_in1k",
            ["preprocessing", "center crop of 1.15", "choose another checkpoint"],
        ),
    ],
)
def test_a_name_that_is_not_offered_is_one_line(name: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught, located("my.toml"):
        registry.entry(name)
    message = str(caught.value)
    assert message.startswith("my.toml: ") and "\n" not in message
    assert len(message) < (800 if "Valid:" in message else 400)  # of names there are thirty
    for word in words:
        assert word in message


def test_what_open_clip_pads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_small_clip(tmp_path, monkeypatch)
    padded = {
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "interpolation": "bicubic",
        "resize_mode": "longest",
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, CLIP_NAME, {"padded": padded})
    with pytest.raises(
        ConfigError, match=r"preprocessing \(224 px, longest, bicubic\) is not offered"
    ):
        registry.entry(f"open_clip:{CLIP_NAME}/padded")


def test_nearly_all_of_both_libraries_is_offered() -> None:
    """By name and preprocessing, which is all that can be known without the weights."""
    refused = 0
    for name in timm.list_pretrained():
        try:
            library_entry(f"timm:{name}")
        except ConfigError:
            refused += 1
    assert refused < len(timm.list_pretrained()) / 50
    for model, tag in open_clip.list_pretrained():
        library_entry(f"open_clip:{model}/{tag}")


def test_an_older_name_of_the_file_is_asked_for_where_the_first_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    asked = []

    def download(repository: str, filename: str) -> str:
        asked.append((repository, filename))
        if filename == "model.safetensors":
            # otherwise made of a server's answer
            raise EntryNotFoundError.__new__(EntryNotFoundError)
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    source = registry.entry("timm:resnet18.a1_in1k").source
    assert source is not None and weights.find(source, tmp_path) == tmp_path / "pytorch_model.bin"
    assert asked == [
        ("timm/resnet18.a1_in1k", "model.safetensors"),
        ("timm/resnet18.a1_in1k", "pytorch_model.bin"),
    ]


def test_convolutional_networks_and_transformers_are_told_apart() -> None:
    kinds = {
        name: is_convolutional(empty(lambda n=name: timm.create_model(n, num_classes=0)))
        for name in ("resnet18", "convnext_atto")
    }  # type: ignore[misc]
    kinds |= {
        name: is_convolutional(empty(lambda n=name: timm.create_model(n, num_classes=0)))
        for name in ("test_vit", "test_vit4")
    }  # type: ignore[misc]
    assert kinds == {"resnet18": True, "convnext_atto": True, "test_vit": False, "test_vit4": False}
