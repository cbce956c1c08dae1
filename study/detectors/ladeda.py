"""LaDeDa and Tiny-LaDeDa with their authors' weights (Cavia et al., 2024, arXiv 2406.09398): the
mean of what patches of 9 x 9 pixels say. Names of arrays are those of the files.

LaDeDa is a ResNet-50 without padding, on neighbouring pixel relationships. Its convolutions are
1 x 1, but for one in the stem and one in each of the first two layers. Tiny-LaDeDa has four
convolutions, on a diagonal gradient.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.detectors.meta_device import empty
from study.detectors.npr import NPR_SCALE, neighbouring_pixel_relationships

BLOCKS, STRIDES, THREES, EXPANSION = (3, 4, 6, 3), (2, 2, 2, 1), (1, 1, 0, 0), 4
TINY = 8  # channels throughout
DIAGONAL = ((-2.0, -1.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 2.0))


def _conv(width_in: int, width: int, kernel: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, kernel, stride=stride, bias=False)


class _Block(nn.Module):
    """A bottleneck without padding: of the shortcut, what is beyond its own result is cut off."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int, *, first: bool) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1, self.bn1 = _conv(width_in, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, kernel, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, out), nn.BatchNorm2d(out)
        shortcut = (_conv(width_in, out, 1, stride), nn.BatchNorm2d(out))
        self.downsample = nn.Sequential(*shortcut) if first else None

    def forward(self, x: Tensor) -> Tensor:
        found = F.relu(self.bn1(self.conv1(x)))
        found = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(found)))))
        beside = x if self.downsample is None else self.downsample(x)
        return F.relu(found + beside[..., : found.shape[-2], : found.shape[-1]])


class _TinyBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(TINY, TINY), nn.BatchNorm2d(TINY)
        self.conv2, self.bn2 = _conv(TINY, TINY, 3, 2), nn.BatchNorm2d(TINY)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Network(nn.Module):
    """All arrays of a file. tiny: of Tiny-LaDeDa's."""

    def __init__(self, *, tiny: bool) -> None:
        super().__init__()
        width = TINY if tiny else 64
        self.conv1, self.conv2 = _conv(3, width), _conv(width, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.layers = ["layer1"] if tiny else ["layer1", "layer2", "layer3", "layer4"]
        if tiny:
            self.layer1, out = nn.Sequential(_TinyBlock()), TINY
        else:
            out = self._add_layers()
        self.fc = nn.Linear(out, 1)

    def _add_layers(self) -> int:
        width_in = 64
        for place, name in enumerate(self.layers):
            width, three = 64 << place, THREES[place]
            blocks = []
            for number in range(BLOCKS[place]):
                stride = STRIDES[place] if number == 0 else 1
                kernel = 3 if number < three else 1
                blocks.append(_Block(width_in, width, kernel, stride, first=number == 0))
                width_in = width * EXPANSION
            self.add_module(name, nn.Sequential(*blocks))
        return width_in

    def forward(self, x: Tensor) -> Tensor:
        """Traces (B, 3, S, S) to features of patches (B, D, P, P)."""
        x = F.relu(self.bn1(self.conv2(self.conv1(x))))
        for name in self.layers:
            x = self.get_submodule(name)(x)
        return x


class LaDeDa(Detector):
    """The mean over patches, below an identity as head."""

    side_by_side = True

    def __init__(self, spec: DetectorSpec, *, tiny: bool) -> None:
        backbone = cast(Network, empty(lambda: Network(tiny=tiny)))
        super().__init__(spec, backbone.fc.in_features, nn.Identity())
        self.backbone, self.tiny = backbone, tiny
        kernel = torch.tensor(DIAGONAL).expand(3, 1, 3, 3).clone()
        self.register_buffer("_diagonal", kernel, persistent=False)

    def traces(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S), S even, to what the network sees of them, of their
        shape.
        """
        if self.tiny:
            return F.conv2d(x, cast(Tensor, self._diagonal), padding=1, groups=3)
        return neighbouring_pixel_relationships(x) * NPR_SCALE

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to the mean of their patches' features (B, D)."""
        return cast(Tensor, self.backbone(self.traces(x))).mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, D) to logits (B,)."""
        return cast(Tensor, self.backbone.fc(features)).squeeze(1)

    def body_stages(self) -> tuple[Stage, ...]:
        """fc, the layers from the last one on, stem."""
        body = self.backbone
        layers = [Stage(name, (body.get_submodule(name),)) for name in reversed(body.layers)]
        stem = Stage("stem", (body.conv1, body.conv2, body.bn1))
        return Stage("fc", (body.fc,)), *layers, stem


def create(spec: DetectorSpec, *, tiny: bool) -> LaDeDa:
    """Build the detector of `spec`, empty, to be filled from its authors' file."""
    return LaDeDa(spec, tiny=tiny)
