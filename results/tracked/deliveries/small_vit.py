"""A small ViT of timm with random weights, of which the layer norms alone are trained, as `ln` does
with CLIP ViT-L/14. No small pretrained ViT is at hand here, so this shows the path and says nothing
of GenD.
"""

import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.detectors.layer_norms import ALIGNMENT, UNIFORMITY
from study.detectors.metric_losses import alignment, uniformity
from study.detectors.own import Geometry, detector
from study.detectors.stages import part_alone

WIDTH = 128


class Norms(Detector):
    """Embeddings of unit length; the norms are one stage, all else is the stem."""

    keeps_below = False  # the first norm is in the first block

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, WIDTH)
        self.backbone = VisionTransformer(
            img_size=spec.geometry.size_px,
            patch_size=16,
            embed_dim=WIDTH,
            depth=4,
            num_heads=4,
            num_classes=0,
        )

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to embeddings of unit length (B, D)."""
        return F.normalize(self.backbone(x), dim=1)

    def added_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """Return the two losses of `ln`, with its weights."""
        unit = F.normalize(features.float(), dim=1)
        return ALIGNMENT * alignment(unit, label) + UNIFORMITY * uniformity(unit)

    def body_stages(self) -> tuple[Stage, ...]:
        """The layer norms, then all that is never trained."""
        return part_alone(self.backbone, "norms", nn.LayerNorm)


@detector(
    about="layer norms of a small random ViT",
    geometry=Geometry(size_px=64, mode="crop"),
    schedules=("last_stage",),
    space="ln",
)
def norms(spec: DetectorSpec) -> Norms:
    """Build the detector of `spec`."""
    return Norms(spec)
