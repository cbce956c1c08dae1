"""SAFE's network: the diagonal detail of a wavelet transform into a small ResNet, from scratch (Li
et al., KDD 2025, arXiv 2408.06741).

An image is cropped and never resized. Its detail is that of one level of Haar's transform: what is
left of every 2 x 2 cell when its mean and its two slopes are taken away. The authors' filter
(bior1.3 of PyWavelets) has the same two taps for details, so that it gives the same numbers but at
the border. As in their code (github.com/Ouxiang-Li/SAFE) the detail is then enlarged to the size of
the image; basic blocks stand here where they have bottlenecks.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.small_resnet import SmallResNet


def diagonal_detail(x: Tensor) -> Tensor:
    """Return (a - b - c + d) / 2 of each cell a b / c d of 2 x 2 pixels, the HH band of one level.

    x: (B, C, S, S) with S even; the result is (B, C, S / 2, S / 2).
    """
    top, bottom = x[..., ::2, :], x[..., 1::2, :]
    falling = top - bottom
    return (falling[..., ::2] - falling[..., 1::2]) / 2


class Safe(SmallResNet):
    """The detail, enlarged, into the small ResNet."""

    def traces(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to their detail, bilinearly enlarged to the same shape."""
        detail = diagonal_detail(x)
        return F.interpolate(detail, scale_factor=2.0, mode="bilinear", align_corners=False)


def create(spec: DetectorSpec) -> Safe:
    """Build the detector of `spec`, random."""
    return Safe(spec)
