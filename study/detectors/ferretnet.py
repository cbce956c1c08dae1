"""FerretNet (Liang et al., NeurIPS 2025, arXiv 2509.20890): its small version with its authors'
weights, and its larger one from scratch.

What a 3 x 3 median without the centre leaves of an image, into a small network of depthwise
convolutions. The architecture follows the paper's and the weights file's description
(github.com/xigua7105/FerretNet); names of arrays are those of the file.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.detectors.meta_device import empty

SMALL = 32  # channels before the first stage; each of the two stages doubles them
BLOCKS = 2  # a stage
# after these the median of nine is the fifth (Smith, 1996): seven times as fast as sorting
_EXCHANGES = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)


def median_residual(x: Tensor) -> Tensor:
    """Return x minus the median of the 3 x 3 neighbourhood of each pixel, in which the centre, and
    what is beyond the border, counts as 0.

    x: (B, C, S, S); the result has its shape.
    """
    height, width = x.shape[-2:]
    around = F.pad(x, (1, 1, 1, 1))
    nine = [
        torch.zeros_like(x)
        if (row, column) == (1, 1)
        else around[..., row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    ]
    for low, high in _EXCHANGES:
        one, other = nine[low], nine[high]
        nine[low], nine[high] = torch.minimum(one, other), torch.maximum(one, other)
    return x - nine[4]


class _Pair(nn.Module):
    """Two depthwise convolutions on one input, near and wide, summed and mixed by 1 x 1."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(
                width_in,
                width,
                3,
                stride=stride,
                padding=reach,
                dilation=reach,
                groups=width_in,
                bias=False,
            )
            for reach in (1, 2)
        )
        self.conv3 = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C in, H, W) to (B, C, H / stride, W / stride)."""
        return cast(Tensor, self.conv3(self.conv1(x) + self.conv2(x)))


class _Separable(nn.Module):
    """A depthwise convolution, then 1 x 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth_wise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.point_wise = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return cast(Tensor, self.point_wise(self.depth_wise(x)))


class _Block(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Pair(width_in, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _Separable(width),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if width_in != width or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride=stride), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C in, H, W) to (B, C, H / stride, W / stride)."""
        return F.relu(self.layers(x) + self.shortcut(x))


class Body(nn.Module):
    """Two convolutions and two stages of blocks. width: before the first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.cbr1 = _convolution(3, width // 2, 1)
        self.cbr2 = _convolution(width // 2, width, 2)
        stages: list[nn.Module] = [
            nn.Sequential(
                _Block(before, after, 2), *(_Block(after, after, 1) for _ in range(BLOCKS - 1))
            )
            for before, after in pairwise(widths)
        ]
        self.feature = nn.Sequential(*stages, nn.Conv2d(widths[-1], widths[-1], 1, bias=False))

    def forward(self, residual: Tensor) -> Tensor:
        """Residuals (B, 3, S, S) to maps (B, 4 * width, S / 8, S / 8)."""
        return cast(Tensor, self.feature(self.cbr2(self.cbr1(residual))))


class Network(Body):
    """All arrays of the file, in its names."""

    def __init__(self) -> None:
        super().__init__(SMALL)
        self.logit = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * SMALL, 1))


def _convolution(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class FerretNet(Detector):
    """Residual, two convolutions, two stages of two blocks, average pooling, a head."""

    side_by_side = True

    def __init__(
        self, spec: DetectorSpec, width: int, backbone: nn.Module, head: nn.Module | None = None
    ) -> None:
        super().__init__(spec, 4 * width, head)
        self.backbone = cast(Body, backbone)

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to features (B, 4 * width)."""
        if torch.compiler.is_exporting():  # a loop would fix the number of images
            residual = median_residual(x)
        else:  # one after the other: nine shifted copies of a batch would fill the memory
            residual = torch.cat([median_residual(one[None]) for one in x])
        return cast(Tensor, self.backbone(residual)).mean(dim=(2, 3))

    def body_stages(self) -> tuple[Stage, ...]:
        """The blocks, then the stem."""
        body = self.backbone
        return Stage("feature", (body.feature,)), Stage("stem", (body.cbr1, body.cbr2))


class Published(FerretNet):
    """FerretNet-S, whose authors' file has the layer that gives the logit, too."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, SMALL, empty(Network), nn.Identity())

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, 128) to logits (B,)."""
        return cast(Tensor, cast(Network, self.backbone).logit(features)).squeeze(1)

    def body_stages(self) -> tuple[Stage, ...]:
        """The logit's layer, the network's parts from the last one on, stem."""
        return Stage("logit", (cast(Network, self.backbone).logit,)), *super().body_stages()


def create(spec: DetectorSpec, *, width: int = 0) -> FerretNet:
    """Build the detector of `spec`: empty, to be filled from its authors' file, or with a width
    random, to be trained.
    """
    return FerretNet(spec, width, Body(width)) if width else Published(spec)
