"""RINE from scratch: its head is trained on CLIP's frozen class tokens (Koutlis and Papadopoulos,
ECCV 2024, arXiv 2402.19091).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import near_zero_
from study.detectors.clip import empty_tower
from study.detectors.metric_losses import contrast
from study.detectors.rine import BlockTokens, Head

CONTRAST = 0.2  # its weight beside the sum of the batch's cross-entropies


class RineTrained(BlockTokens):
    """The class tokens of all blocks, frozen, below the published head, random."""

    def __init__(self, spec: DetectorSpec, tower: nn.Module) -> None:
        super().__init__(spec, tower, nn.Identity())
        self.head = Head(len(self.norms), self.width)
        # by torch's starting values what images differ by fades over eleven layers
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        near_zero_(cast(nn.Linear, self.head.head[-1]))

    def classify(self, features: Tensor) -> Tensor:
        """Class tokens (B, blocks * width) to logits (B,)."""
        return cast(Tensor, self.head(self.tokens(features)))

    def added_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """Return the contrastive loss of what the last layers read, by .2 over the batch's size:
        the authors add it to a sum of cross-entropies, not to their mean.
        """
        seen = self.head.seen(self.tokens(features.float()))
        return CONTRAST / len(label) * contrast(seen, label)


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> RineTrained:
    """Build the detector of `spec` with an empty encoder, to be filled from a file."""
    return RineTrained(spec, empty_tower(spec.backbone, force_quick_gelu=force_quick_gelu))
