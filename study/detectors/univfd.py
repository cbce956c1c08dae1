"""UniversalFakeDetect with its authors' weights (Ojha et al., CVPR 2023): a linear layer on CLIP's
image embedding, not normalised.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Stage
from study.detectors.clip import ClipDetector, empty_tower
from study.detectors.meta_device import empty
from study.detectors.weights import Source, load_backbone


class OnClip(ClipDetector):
    """CLIP's image encoder below a head of its authors, `published`, of which one file has all."""

    published: nn.Module

    def load_head(self, path: Path, source: Source) -> None:
        """Fill the authors' head. Raises WeightsError, changing nothing."""
        load_backbone(self.published, path, source)

    def body_stages(self) -> tuple[Stage, ...]:
        """The authors' head, then the encoder."""
        alone = tuple(self.published.parameters(recurse=False))
        modules = tuple(self.published.children())
        return (Stage("published", modules, alone), *super().body_stages())


class UniversalFakeDetect(OnClip):
    """The embedding of the image, one linear layer."""

    def __init__(self, spec: DetectorSpec, *, force_quick_gelu: bool) -> None:
        tower = empty_tower(spec.backbone, force_quick_gelu=force_quick_gelu)
        super().__init__(spec, tower, nn.Identity())
        self.published = empty(lambda: nn.Linear(self.n_features, 1))

    def classify(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) to logits (B,)."""
        return cast(Tensor, self.published(features)).squeeze(1)


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> UniversalFakeDetect:
    """Build the detector of `spec`, empty, to be filled from CLIP's and its authors' files."""
    return UniversalFakeDetect(spec, force_quick_gelu=force_quick_gelu)
