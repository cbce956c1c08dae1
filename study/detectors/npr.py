"""Neighbouring pixel relationships into a small ResNet, from scratch (Tan et al., CVPR 2024).

Up-sampling inside a generator makes pixels of one 2 x 2 cell depend on each other. NPR shows it:
each pixel minus the one that represents its cell. As in the authors' code
(github.com/chuangchuangtan/NPR-DeepfakeDetection) the network is the first half of a ResNet on NPR
x 2/3; basic blocks of ResNet-18 stand here where they have the bottlenecks of ResNet-50.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage

CELL_PX = 2
NPR_SCALE = 2.0 / 3.0
WIDTH = 64


def neighbouring_pixel_relationships(x: Tensor) -> Tensor:
    """Return x minus its nearest-neighbour down- and up-sampling by 2: each 2 x 2 cell minus its
    top left pixel.

    x: (B, C, S, S) with S even; the result has its shape. The top left pixel of every cell is 0.
    """
    cells = x[..., ::CELL_PX, ::CELL_PX]
    return x - F.interpolate(cells, scale_factor=float(CELL_PX), mode="nearest")


def _layer(width_in: int, width: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or width_in != width:
        shortcut = nn.Sequential(
            nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
        )
    return nn.Sequential(
        BasicBlock(width_in, width, stride=stride, downsample=shortcut), BasicBlock(width, width)
    )


class NPR(Detector):
    """NPR, a 3 x 3 stride 2 stem with pooling, two layers of two basic blocks, average pooling."""

    side_by_side = True

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, 2 * WIDTH)
        self.conv1 = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(WIDTH, WIDTH, 1)
        self.layer2 = _layer(WIDTH, 2 * WIDTH, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to features (B, 128)."""
        x = neighbouring_pixel_relationships(x) * NPR_SCALE
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return cast(Tensor, self.layer2(self.layer1(x))).mean(dim=(2, 3))

    def body_stages(self) -> tuple[Stage, ...]:
        """layer2, layer1, stem."""
        return (
            Stage("layer2", (self.layer2,)),
            Stage("layer1", (self.layer1,)),
            Stage("stem", (self.conv1, self.bn1)),
        )


def create(spec: DetectorSpec) -> NPR:
    """Build the detector of `spec`, random."""
    return NPR(spec)
