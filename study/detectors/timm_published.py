"""A network of timm whose authors' file has the layer that gives the logit, too, in timm's names
(Community Forensics; Park and Owens, CVPR 2025. B-Free; Guillaro et al., CVPR 2025).
"""

from __future__ import annotations

from typing import Any, cast

import timm
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.detectors.meta_device import empty
from study.detectors.stages import stages_by_depth, timm_depths


class TimmPublished(Detector):
    """All of it is the backbone; the head is an identity."""

    side_by_side = True

    def __init__(self, spec: DetectorSpec, backbone: Any) -> None:
        super().__init__(spec, int(backbone.head_hidden_size), nn.Identity())
        self.backbone = backbone

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to what the last layer reads, (B, D)."""
        tokens = self.backbone.forward_features(x)
        return cast(Tensor, self.backbone.forward_head(tokens, pre_logits=True))

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, D) to logits (B,)."""
        return cast(Tensor, self.backbone.get_classifier()(features)).squeeze(1)

    def body_stages(self) -> tuple[Stage, ...]:
        """The network's blocks, the last one with the layer of the logit first."""
        return stages_by_depth(self.backbone, timm_depths(self.backbone))


def network(name: str, **arguments: Any) -> nn.Module:
    """Return a network of timm with one logit, empty; `arguments` go to `timm.create_model`."""
    made_of = {"pretrained": False, "num_classes": 1, **arguments}
    return empty(lambda: timm.create_model(name, **made_of))


def create(spec: DetectorSpec, *, name: str = "", **arguments: Any) -> TimmPublished:
    """Build the detector of `spec`, empty. name: of the network in timm, where the backbone is not
    called by it; `arguments` go to `timm.create_model`.
    """
    return TimmPublished(spec, network(name or spec.backbone, **arguments))
