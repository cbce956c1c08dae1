"""Neighbouring pixel relationships into a small ResNet, from scratch (Tan et al., CVPR 2024).

Up-sampling inside a generator makes pixels of one 2 x 2 cell depend on each other. NPR shows it:
each pixel minus the one that represents its cell. As in the authors' code
(github.com/chuangchuangtan/NPR-DeepfakeDetection) the network is the first half of a ResNet on NPR
x 2/3; basic blocks of ResNet-18 stand here where they have the bottlenecks of ResNet-50.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.small_resnet import SmallResNet

CELL_PX = 2
NPR_SCALE = 2.0 / 3.0


def neighbouring_pixel_relationships(x: Tensor) -> Tensor:
    """Return x minus its nearest-neighbour down- and up-sampling by 2: each 2 x 2 cell minus its
    top left pixel.

    x: (B, C, S, S) with S even; the result has its shape. The top left pixel of every cell is 0.
    """
    cells = x[..., ::CELL_PX, ::CELL_PX]
    return x - F.interpolate(cells, scale_factor=float(CELL_PX), mode="nearest")


class NPR(SmallResNet):
    """NPR into the small ResNet."""

    def traces(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to NPR x 2/3, of the same shape."""
        return neighbouring_pixel_relationships(x) * NPR_SCALE


def create(spec: DetectorSpec) -> NPR:
    """Build the detector of `spec`, random."""
    return NPR(spec)
