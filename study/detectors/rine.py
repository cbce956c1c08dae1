"""RINE with its authors' weights (Koutlis and Papadopoulos, ECCV 2024, arXiv 2402.19091): the class
tokens of all of CLIP's blocks, weighted by block.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.clip import ClipDetector, empty_tower
from study.detectors.meta_device import empty
from study.detectors.univfd import OnClip

WIDTH, LAYERS, DROPOUT = 128, 4, 0.5  # of a projection; dropout does nothing in a frozen network


class Head(nn.Module):
    """All arrays of the file, in its names: class tokens (B, blocks, width) to logits (B,)."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(1, blocks, WIDTH))
        self.proj1, self.proj2 = _projection(width), _projection(WIDTH)
        hidden = [
            part
            for _ in range(2)
            for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(DROPOUT))
        ]
        self.head = nn.Sequential(*hidden, nn.Linear(WIDTH, 1))

    def seen(self, tokens: Tensor) -> Tensor:
        """Class tokens (B, blocks, width) to what the last layers read, (B, 128)."""
        weighted = self.alpha.softmax(dim=1) * self.proj1(tokens)
        return cast(Tensor, self.proj2(weighted.sum(dim=1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Class tokens (B, blocks, width) to logits (B,)."""
        return cast(Tensor, self.head(self.seen(tokens))).squeeze(1)


def _projection(width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Dropout(DROPOUT)]
    for number in range(LAYERS):
        layers += [nn.Linear(WIDTH if number else width, WIDTH), nn.ReLU(), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers)


class BlockTokens(ClipDetector):
    """The second layer norm of every block of CLIP's image encoder, its class token."""

    side_by_side = False  # while it computes, the layers hand their tokens to one list

    def __init__(self, spec: DetectorSpec, tower: nn.Module, head: nn.Module) -> None:
        super().__init__(spec, tower, head)
        # a list, so that they are no modules of the detector's a second time
        self.norms = [part for name, part in tower.named_modules() if name.endswith(".ln_2")]
        self.width = cast(nn.LayerNorm, self.norms[0]).normalized_shape[0]
        self.n_features = len(self.norms) * self.width

    def tokens(self, features: Tensor) -> Tensor:
        """Features (B, blocks * width) by block, (B, blocks, width)."""
        return features.view(-1, len(self.norms), self.width)

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to the class tokens of all blocks, (B, blocks * width)."""
        tokens: list[Tensor] = []
        hooks = [
            norm.register_forward_hook(lambda _module, _given, found: tokens.append(found[:, 0]))
            for norm in self.norms
        ]
        try:
            self.backbone(x)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(tokens, dim=1)


class Rine(OnClip, BlockTokens):
    """The tokens below the head of its authors."""

    def __init__(self, spec: DetectorSpec, *, force_quick_gelu: bool) -> None:
        tower = empty_tower(spec.backbone, force_quick_gelu=force_quick_gelu)
        super().__init__(spec, tower, nn.Identity())
        self.published = empty(lambda: Head(len(self.norms), self.width))

    def classify(self, features: Tensor) -> Tensor:
        """Class tokens (B, blocks * width) to logits (B,)."""
        return cast(Tensor, self.published(self.tokens(features)))


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> Rine:
    """Build the detector of `spec`, empty, to be filled from CLIP's and its authors' files."""
    return Rine(spec, force_quick_gelu=force_quick_gelu)
