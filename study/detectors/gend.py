"""GenD with its authors' weights (Yermakov et al., WACV 2026, arXiv 2508.06248): an encoder whose
layer norms were trained, its embedding made of length 1, and a linear layer to two logits.

The files are Hugging Face's: of CLIP and DINOv3 the arrays have that library's names, and become
timm's here. The Perception Encoder is timm's there, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.one_logit import one_logit
from study.detectors.timm_published import TimmPublished, network
from study.detectors.weights import Source, load_backbone

# theirs -> timm's, one after the other
NAMES = (
    ("model.linear.", "head."),
    ("feature_extractor.", ""),
    # CLIP
    ("vision_model.embeddings.class_embedding", "cls_token"),
    ("vision_model.embeddings.position_embedding.weight", "pos_embed"),
    ("vision_model.embeddings.patch_embedding.", "patch_embed.proj."),
    ("vision_model.pre_layrnorm.", "norm_pre."),
    ("vision_model.encoder.layers.", "blocks."),
    ("vision_model.post_layernorm.", "norm."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
    (".self_attn.out_proj.", ".attn.proj."),
    (".self_attn.", ".attn."),
    # DINOv3
    ("backbone.embeddings.cls_token", "cls_token"),
    ("backbone.embeddings.register_tokens", "reg_token"),
    ("backbone.embeddings.patch_embeddings.", "patch_embed.proj."),
    ("backbone.layer.", "blocks."),
    (".attention.o_proj.", ".attn.proj."),
    (".attention.", ".attn."),
    (".layer_scale1.lambda1", ".gamma_1"),
    (".layer_scale2.lambda1", ".gamma_2"),
    (".mlp.up_proj.", ".mlp.fc1."),
    (".mlp.down_proj.", ".mlp.fc2."),
    # both, and timm's own
    ("backbone.", ""),
)
# what no image passes through: CLIP's way to texts, numbers of places, the token of masked patches
UNUSED = (
    "feature_extractor.visual_projection.weight",
    "feature_extractor.vision_model.embeddings.position_ids",
    "feature_extractor.backbone.embeddings.mask_token",
)


class GenD(TimmPublished):
    """The embedding of length 1, and the logit of fake against real."""

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to embeddings of length 1, (B, D)."""
        return F.normalize(super().features(x), dim=1)

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the network. Raises WeightsError, changing nothing."""
        load_backbone(self.backbone, path, source, convert=lambda state, _: timm_state(state))


def timm_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the arrays of a file as timm has them: names, one array for queries, keys and values,
    one logit. Raises KeyError or ValueError for a file of another form; a name that is not known
    stays.
    """
    named = {_name(key): tensor for key, tensor in state.items() if key not in UNUSED}
    for key in [key for key in named if key.endswith(".attn.q_proj.weight")]:
        block = key.removesuffix("q_proj.weight")
        both = [f"{block}{one}_proj" for one in "qkv"]
        named[f"{block}qkv.weight"] = torch.cat([named.pop(f"{one}.weight") for one in both])
        if f"{block}k_proj.bias" in named:
            named[f"{block}qkv.bias"] = torch.cat([named.pop(f"{one}.bias") for one in both])
        else:  # of DINOv3 keys have none
            named[f"{block}q_bias"] = named.pop(f"{block}q_proj.bias")
            named[f"{block}v_bias"] = named.pop(f"{block}v_proj.bias")
    named["cls_token"] = named["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in named:
        named["pos_embed"] = named["pos_embed"].reshape(1, -1, named["cls_token"].shape[-1])
    return one_logit(named, "head")


def _name(key: str) -> str:
    for theirs, timms in NAMES:
        key = key.replace(theirs, timms)
    return key


def create(spec: DetectorSpec, **arguments: Any) -> GenD:
    """Build the detector of `spec`, empty; `arguments` go to `timm.create_model`."""
    return GenD(spec, network(spec.backbone, **arguments))
