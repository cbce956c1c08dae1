"""Noise residuals of fixed filters into a small ResNet, from scratch.

The filters are three of the spatial rich models of steganalysis (Fridrich and Kodovsky, IEEE TIFS
2012), those that Zhou et al. (CVPR 2018, arXiv 1805.04953) chose for edited images: differences of
second order along rows, around a pixel, and in a 5 x 5 neighbourhood. They are never trained. As in
steganalysis the residuals are cut at 3 grey levels, so that edges do not drown the noise.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.small_resnet import SmallResNet

LEVELS = 3.0  # grey levels at which a residual is cut
# (divisor, rows of 5 x 5)
FILTERS = (
    (2, ((0,) * 5, (0,) * 5, (0, 1, -2, 1, 0), (0,) * 5, (0,) * 5)),
    (4, ((0,) * 5, (0, -1, 2, -1, 0), (0, 2, -4, 2, 0), (0, -1, 2, -1, 0), (0,) * 5)),
    (
        12,
        (
            (-1, 2, -2, 2, -1),
            (2, -6, 8, -6, 2),
            (-2, 8, -12, 8, -2),
            (2, -6, 8, -6, 2),
            (-1, 2, -2, 2, -1),
        ),
    ),
)


def filters() -> Tensor:
    """Return the three filters, (3, 1, 5, 5) float32."""
    return torch.tensor([rows for _, rows in FILTERS], dtype=torch.float32)[:, None] / (
        torch.tensor([divisor for divisor, _ in FILTERS], dtype=torch.float32).view(3, 1, 1, 1)
    )


class Srm(SmallResNet):
    """Nine residuals, three of each colour, into the small ResNet."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, 9)
        # not saved: fixed by the code
        self.register_buffer("_filters", filters().repeat(3, 1, 1, 1), persistent=False)

    def traces(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) in grey levels to residuals (B, 9, S, S) in [-1, 1]."""
        around = F.pad(x, (2, 2, 2, 2), mode="reflect")
        residuals = F.conv2d(around, cast(Tensor, self._filters), groups=3)
        return residuals.clamp(-LEVELS, LEVELS) / LEVELS


def create(spec: DetectorSpec) -> Srm:
    """Build the detector of `spec`, random but for its filters."""
    return Srm(spec)
