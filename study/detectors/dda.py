"""DDA with its authors' weights (Chen et al., NeurIPS 2025, arXiv 2505.14359): DINOv2 ViT-L/14 with
low-rank matrices in every linear layer of its blocks, and one logit.

In the file both stand beside each other, in the names of DINOv2's own code. Here the matrices are
part of the weights that they add to, and the embeddings of places, learned at 518 pixels, are those
of smaller images, as DINOv2 makes them in every forward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.timm_published import TimmPublished, network
from study.detectors.weights import Source, load_backbone

ALPHA = 1.0  # the matrices count for ALPHA / rank
UNUSED = "base_model.model.mask_token"  # of masked patches
OFFSET = 0.1  # of a patch, by which DINOv2 scales places too far


class Dda(TimmPublished):
    """DINOv2's class token, one logit."""

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the network. Raises WeightsError, changing nothing."""
        grid = int(cast(Any, self.backbone).patch_embed.grid_size[0])
        load_backbone(self.backbone, path, source, convert=lambda state, _: timm_state(state, grid))


def timm_state(state: Mapping[str, Tensor], grid: int) -> dict[str, Tensor]:
    """Return the arrays of a file as timm has them, for images of grid x grid patches. Raises
    KeyError or RuntimeError for a file of another form; a name that is not known stays.
    """
    named = {_name(key): tensor for key, tensor in state.items() if key != UNUSED}
    for key in [key for key in named if key.endswith(".original_layer.weight")]:
        layer = key.removesuffix(".original_layer.weight")
        down, up = (named.pop(f"{layer}.lora.lora_{half}") for half in "AB")
        named[f"{layer}.weight"] = named.pop(key) + ALPHA / len(down) * (up @ down)
        named[f"{layer}.bias"] = named.pop(f"{layer}.original_layer.bias")
    named["pos_embed"] = places(named["pos_embed"], grid)
    return named


def _name(key: str) -> str:
    return key.replace("base_model.fc.", "head.").removeprefix("base_model.model.")


def places(embedded: Tensor, grid: int) -> Tensor:
    """Return the embeddings of the class token and of M x M places (1, 1 + M M, D) for grid x grid
    places, (1, 1 + grid grid, D): bicubic, scaled by (grid + .1) / M.
    """
    first, rest = embedded[:, :1], embedded[:, 1:]
    side = math.isqrt(rest.shape[1])
    if side == grid:
        return embedded
    square = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    found = F.interpolate(square, scale_factor=(grid + OFFSET) / side, mode="bicubic")
    return torch.cat([first, found.flatten(2).transpose(1, 2)], dim=1)


def create(spec: DetectorSpec, *, name: str, **arguments: Any) -> Dda:
    """Build the detector of `spec`, empty. name: of the network in timm, to which `arguments` go,
    too.
    """
    return Dda(spec, network(name, img_size=spec.geometry.size_px, **arguments))
