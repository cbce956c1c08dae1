"""CLIP's image encoder of which the layer norms alone are trained, on a sphere (GenD; Yermakov et
al., WACV 2026, arXiv 2508.06248).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Stage
from study.detectors.clip import ClipDetector, empty_tower
from study.detectors.metric_losses import alignment, uniformity
from study.detectors.stages import part_alone

ALIGNMENT, UNIFORMITY = 0.1, 0.5  # their weights beside cross-entropy


class LayerNorms(ClipDetector):
    """Embeddings of unit length; the norms are one stage, all else is the stem."""

    keeps_below = False  # the first norm is at the stem: below it is next to nothing

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to embeddings of unit length (B, D)."""
        return F.normalize(super().features(x), dim=1)

    def added_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """Return .1 times the alignment and .5 times the uniformity of a batch's embeddings."""
        # dropout changes their length
        unit = F.normalize(features.float(), dim=1)
        return ALIGNMENT * alignment(unit, label) + UNIFORMITY * uniformity(unit)

    def body_stages(self) -> tuple[Stage, ...]:
        """The layer norms, then all that is never trained."""
        return part_alone(self.backbone, "norms", nn.LayerNorm)


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> LayerNorms:
    """Build the detector of `spec` with an empty encoder, to be filled from a file."""
    return LayerNorms(spec, empty_tower(spec.backbone, force_quick_gelu=force_quick_gelu))
