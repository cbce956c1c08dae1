"""A small ResNet on traces of an image, from scratch: what NPR, SAFE and SRM filters share.

It has the shape of the first half of a ResNet-18: a 3 x 3 stride 2 stem with pooling, two layers of
two basic blocks (64 and 128 wide), average pooling.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage

WIDTH = 64


def _layer(width_in: int, width: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or width_in != width:
        shortcut = nn.Sequential(
            nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
        )
    return nn.Sequential(
        BasicBlock(width_in, width, stride=stride, downsample=shortcut), BasicBlock(width, width)
    )


class SmallResNet(Detector):
    """A subclass gives `traces`. channels: of those."""

    side_by_side = True

    def __init__(self, spec: DetectorSpec, channels: int = 3) -> None:
        super().__init__(spec, 2 * WIDTH)
        self.conv1 = nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(WIDTH, WIDTH, 1)
        self.layer2 = _layer(WIDTH, 2 * WIDTH, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def traces(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to what the network sees of them, (B, channels, S, S)."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to features (B, 128)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(self.traces(x)))))
        return cast(Tensor, self.layer2(self.layer1(x))).mean(dim=(2, 3))

    def body_stages(self) -> tuple[Stage, ...]:
        """layer2, layer1, stem."""
        return (
            Stage("layer2", (self.layer2,)),
            Stage("layer1", (self.layer1,)),
            Stage("stem", (self.conv1, self.bn1)),
        )
