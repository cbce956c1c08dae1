"""Visual encoders of open_clip with a head on their projected features (Ojha et al., CVPR 2023)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import open_clip
import torch
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.detectors.entry import LAYERS
from study.detectors.meta_device import empty, is_convolutional
from study.detectors.stages import depths_in_order, stages_by_depth, timm_depths

_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")
_RESNET_LAYERS = ("layer1", "layer2", "layer3", "layer4")
# In place of the text tower, where only the visual one is wanted: any that open_clip builds without
# asking for a file.
_NO_TEXT = {"context_length": 4, "vocab_size": 4, "width": 8, "heads": 1, "layers": 1}


class ClipDetector(Detector):
    """The visual half of CLIP; features are the embedding before L2 normalisation (Ojha et al.)."""

    side_by_side = True

    def __init__(
        self, spec: DetectorSpec, backbone: nn.Module, head: nn.Module | None = None
    ) -> None:
        super().__init__(spec, embedding_width(spec.backbone), head)
        self.backbone = backbone
        self.channels_last = is_convolutional(backbone)

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to image embeddings (B, D), or (B, layers D) where all
        blocks are asked for.
        """
        if LAYERS in self.spec.options:
            return self._all_layers(x)
        embedded = self.backbone(x)
        # CoCa's gives its tokens too
        return cast(Tensor, embedded[0] if isinstance(embedded, tuple) else embedded)

    def _all_layers(self, x: Tensor) -> Tensor:
        """The output of every block, the last one first, pooled and projected as the last one
        is.
        """
        tower = cast(Any, self.backbone)
        _, found = tower.transformer.forward_intermediates(tower._embeds(x))
        pooled = [tower._pool(tokens)[0] for tokens in reversed(found)]
        return torch.cat([one if tower.proj is None else one @ tower.proj for one in pooled], 1)

    def body_stages(self) -> tuple[Stage, ...]:
        """The blocks, the last (with norm and projection) first; the stem embeds the patches."""
        return stages_by_depth(self.backbone, tower_depths(self.backbone))


def tower_depths(tower: nn.Module) -> dict[str, int]:
    """Depth per parameter name of an open_clip visual tower, 0 for the stem: a transformer, CLIP's
    ResNet, or a timm network.
    """
    names = [name for name, _ in tower.named_parameters()]
    trunk = getattr(tower, "trunk", None)
    if isinstance(trunk, nn.Module):
        inside = {f"trunk.{name}": depth for name, depth in timm_depths(trunk).items()}
        return {name: inside.get(name, max(inside.values())) for name in names}
    if not hasattr(tower, "transformer"):
        return depths_in_order(names, _RESNET_LAYERS)
    return _transformer_depths(tower, names)


def _transformer_depths(tower: nn.Module, names: list[str]) -> dict[str, int]:
    """Blocks one by one; before them is what stands beside them by name, after them the norm, the
    pooling and the projection.
    """
    blocks = {name: int(found[1]) + 1 for name in names if (found := _BLOCK.match(name))}
    last = max(blocks.values())
    # attn_pool, attn_pool_contrastive; `proj` is a parameter of the tower itself
    after = ("ln_post.", "attn_pool", "proj")
    return {name: blocks.get(name, last if name.startswith(after) else 0) for name in names}


def embedding_width(model: str) -> int:
    """Return D, the width of the embedding that images and texts share in an open_clip model."""
    return int(cast(Mapping[str, Any], open_clip.get_model_config(model))["embed_dim"])


def parts(model: str, *, force_quick_gelu: bool = False) -> dict[str, Any]:
    """Return what open_clip builds a model from, by its own configuration, without fetching."""
    config = cast(Mapping[str, Any], open_clip.get_model_config(model))
    return {
        "embed_dim": config["embed_dim"],
        "vision_cfg": {**config["vision_cfg"], "timm_model_pretrained": False},
        "text_cfg": config["text_cfg"],
        "quick_gelu": force_quick_gelu or config.get("quick_gelu", False),
    }


def empty_tower(model: str, *, force_quick_gelu: bool = False) -> nn.Module:
    """Return the visual tower of an open_clip model, empty."""
    made_of = {**parts(model, force_quick_gelu=force_quick_gelu), "text_cfg": _NO_TEXT}
    return empty(lambda: cast(nn.Module, open_clip.CLIP(**made_of).visual))


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> ClipDetector:
    """Build the detector of `spec` with an empty encoder, to be filled from a file.

    force_quick_gelu: the checkpoint was trained with CLIP's first activation, whatever the model's
    configuration says.
    """
    return ClipDetector(spec, empty_tower(spec.backbone, force_quick_gelu=force_quick_gelu))
