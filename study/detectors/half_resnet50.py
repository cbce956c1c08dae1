"""NPR with its authors' weights (Tan et al., CVPR 2024): neighbouring pixel relationships into the
first half of a ResNet-50. Names of arrays are those of the file.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from timm.models.resnet import Bottleneck
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.detectors.meta_device import empty
from study.detectors.npr import NPR_SCALE, neighbouring_pixel_relationships

WIDTH, BLOCKS = 64, (3, 4)  # of the first layer; blocks of the two that there are


def _layer(width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    out = width * Bottleneck.expansion
    shortcut = nn.Sequential(
        nn.Conv2d(width_in, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
    )
    first = Bottleneck(width_in, width, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(Bottleneck(out, width) for _ in range(blocks - 1)))


class Network(nn.Module):
    """All arrays of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(WIDTH, WIDTH, BLOCKS[0], 1)
        self.layer2 = _layer(4 * WIDTH, 2 * WIDTH, BLOCKS[1], 2)
        self.fc1 = nn.Linear(8 * WIDTH, 1)


class HalfResNet50(Detector):
    """The network on traces of an image, by default NPR x 2/3; the head is an identity."""

    side_by_side = True

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, 8 * WIDTH, nn.Identity())
        self.backbone = cast(Network, empty(Network))

    def traces(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S), S even, to what the network sees of them, of their
        shape.
        """
        return neighbouring_pixel_relationships(x) * NPR_SCALE

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S), S even, to features (B, 512)."""
        body = self.backbone
        x = body.maxpool(F.relu(body.bn1(body.conv1(self.traces(x)))))
        return cast(Tensor, body.layer2(body.layer1(x))).mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, 512) to logits (B,)."""
        return cast(Tensor, self.backbone.fc1(features)).squeeze(1)

    def body_stages(self) -> tuple[Stage, ...]:
        """fc1, layer2, layer1, stem."""
        body = self.backbone
        layers = (Stage("layer2", (body.layer2,)), Stage("layer1", (body.layer1,)))
        return Stage("fc1", (body.fc1,)), *layers, Stage("stem", (body.conv1, body.bn1))


def create(spec: DetectorSpec) -> HalfResNet50:
    """Build the detector of `spec`, empty, to be filled from its authors' file."""
    return HalfResNet50(spec)
