"""A network that takes crops of the square it is given: one at random in training, in testing the
one in the middle or several, whose logits have their mean.

What draws the random places is the training loop (study/training/steps.py), which cuts the pixels
before they come here. So what has the size of a crop is seen whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.data.images.deliveries import PLACES
from study.detectors.base import Detector
from study.detectors.geometries import Cut

CENTRE = (0.5, 0.5)


def cropping(detector: Detector, cut: Cut) -> Detector:
    """Make a network of crops one of squares, in place, and return it; its tensors stay the
    same.
    """
    family = type(detector)
    detector.__class__ = type(f"Cropping{family.__name__}", (_Cropping, family), {})
    detector.cut = cut
    return detector


class _Cropping(Detector):
    """Stands before a family's class."""

    @property
    def feature_width(self) -> int:
        """Those of every crop beside each other."""
        return super().feature_width * (self.cut.crops if self.cut else 1)

    def features(self, x: Tensor) -> Tensor:
        """Prepared squares (B, 3, S, S) to the features of their crops (B, crops D); prepared crops
        to theirs (B, D).
        """
        assert self.cut is not None
        if x.shape[-1] == self.cut.size_px:
            return super().features(x)
        seen = [super(_Cropping, self).features(one) for one in windows(x, self.cut)]
        return torch.cat(seen, dim=1)

    def classify(self, features: Tensor) -> Tensor:
        """Features of crops (B, crops D) to the mean logit over the crops (B,)."""
        each = features.reshape(-1, super().feature_width)
        return super().classify(each).view(features.shape[0], -1).mean(dim=1)


def windows(x: Tensor, cut: Cut) -> Sequence[Tensor]:
    """Return the crops of squares (B, 3, S, S) that are looked at in testing, each (B, 3, s, s)."""
    free, size = x.shape[-1] - cut.size_px, cut.size_px
    places = [CENTRE] if cut.crops == 1 else PLACES
    found = []
    for square in (x, x.flip(-1)) if cut.crops > len(PLACES) else (x,):
        for down, right in places:
            top, left = round(free * down), round(free * right)
            found.append(square[..., top : top + size, left : left + size])
    return found


def random_crops(images: NDArray[np.uint8], places: Tensor, size_px: int) -> NDArray[np.uint8]:
    """Return a crop of each square (B, S, S, 3). places: (B, 2) in [0, 1), down and right: every
    place is as likely.
    """
    free = images.shape[1] - size_px
    corners: Any = torch.floor(places * (free + 1)).long().tolist()
    cuts = [
        image[top : top + size_px, left : left + size_px]
        for image, (top, left) in zip(images, corners, strict=True)
    ]
    return np.stack(cuts)
