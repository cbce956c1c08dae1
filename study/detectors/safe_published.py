"""SAFE with its authors' weights (Li et al., KDD 2025, arXiv 2408.06741): the diagonal detail of a
wavelet transform into the first half of a ResNet-50. Names of arrays are those of the file.

Their transform (bior1.3, continued symmetrically) reaches one cell over each border. So the detail
of S pixels has S / 2 + 2, and is enlarged to S from there.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.half_resnet50 import HalfResNet50
from study.detectors.one_logit import one_logit
from study.detectors.safe import diagonal_detail
from study.detectors.weights import Source, load_backbone


class PublishedSafe(HalfResNet50):
    """The network on the enlarged detail."""

    def traces(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S), S even, to their detail, bilinearly enlarged to their
        shape.
        """
        detail = _over_the_border(_over_the_border(diagonal_detail(x), 2), 3)
        size = (x.shape[2], x.shape[3])
        return F.interpolate(detail, size=size, mode="bilinear", align_corners=False)

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the network, its two logits as one. Raises WeightsError, changing nothing."""
        load_backbone(self.backbone, path, source, convert=lambda state, _: one_logit(state, "fc1"))


def _over_the_border(detail: Tensor, axis: int) -> Tensor:
    """One more on each side along an axis: of a mirrored image, the detail with the other sign."""
    first, last = detail.narrow(axis, 0, 1), detail.narrow(axis, detail.shape[axis] - 1, 1)
    return torch.cat([-first, detail, -last], dim=axis)


def create(spec: DetectorSpec) -> PublishedSafe:
    """Build the detector of `spec`, empty, to be filled from its authors' file."""
    return PublishedSafe(spec)
