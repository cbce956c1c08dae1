"""Training augmentations: drawn per image and epoch from the fit's own generator, the same for both
classes.

They act on the pixels of the pack, at the detector's input size, in this order: crop, colour, blur,
JPEG (blur before JPEG, as in the degradations that are evaluated). What is drawn for an image
depends on (seed, epoch) and its place in the split alone (where `data.balance` repeats images: on
its place in the epoch, so that repeats differ), so neither the batch size nor the number of workers
changes it.

  crop    a window of 50 to 100 % of the area, aspect ratio 3/4 to 4/3, resized back (bilinear,
          antialiased)
  colour  brightness, contrast and saturation by factors of 0.8 to 1.2, hue by up to 0.02 of the
          circle
  blur    Gaussian, sigma uniform in [0, 3] pixels
  jpeg    quality uniform in 30 to 100

Blur and JPEG, with one probability for each, are those of Wang et al., CVPR 2020 (Blur+JPEG at 0.5
and 0.1), which UnivFD kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from study.data.images import steps
from study.training.recipe import Recipe

CROP_AREA = (0.5, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
COLOUR_FACTOR = (0.8, 1.2)
HUE = 0.02
SIGMA = (0.0, 3.0)
QUALITY = (30, 100)
LEAST_SIGMA = 0.1  # below it a blur moves no pixel value by as much as one level


@dataclass(frozen=True)
class Draws:
    """What was drawn for the N images of one epoch: a row of uniform numbers in [0, 1) each, and
    what the recipe makes of them.
    """

    recipe: Recipe
    uniform: Tensor  # (N, 14) float64

    @classmethod
    def draw(cls, recipe: Recipe, n: int, generator: torch.Generator) -> Draws | None:
        """Draw for an epoch; None, and nothing drawn, where the recipe augments by flips alone."""
        if not any((recipe.crop, recipe.colour, recipe.blur, recipe.jpeg)):
            return None
        return cls(recipe, torch.rand(n, 14, generator=generator, dtype=torch.float64))

    def apply(self, images: Tensor, row: Tensor) -> Tensor:
        """Return augmented copies of uint8 images (B, S, S, 3), each by its row (B,) of draws."""
        return torch.stack(
            [
                self._one(image, self.uniform[i].tolist())
                for image, i in zip(images, row.tolist(), strict=True)
            ]
        )

    def _one(self, image: Tensor, drawn: list[float]) -> Tensor:
        pixels = image.permute(2, 0, 1)  # (3, S, S)
        if drawn[0] < self.recipe.crop:
            pixels = crop(pixels, drawn[1], drawn[2], drawn[3], drawn[4])
        if drawn[5] < self.recipe.colour:
            pixels = colour(pixels, drawn[6], drawn[7], drawn[8], drawn[9])
        if drawn[10] < self.recipe.blur:
            pixels = blur(pixels, between(SIGMA, drawn[11]))
        if drawn[12] < self.recipe.jpeg:
            pixels = jpeg(
                pixels, QUALITY[0] + math.floor(drawn[13] * (QUALITY[1] - QUALITY[0] + 1))
            )
        return pixels.permute(1, 2, 0)


@dataclass(frozen=True)
class Batch:
    """Training images of one step, or of a rank's or micro-batch's part of it.

    index: (B,) places in the split. row: (B,) which of the epoch's draws are theirs. flip: (B,)
    bool, mirrored.
    partner: the images that mixup mixes in, mirrored as those they are mixed into, or None.
    keep: of a mix, the share of the image itself, in (0, 1].
    """

    index: Tensor
    row: Tensor
    flip: Tensor
    partner: Batch | None = None
    keep: float = 1.0

    def __len__(self) -> int:
        return len(self.index)

    def cut(self, pieces: Callable[[Tensor], Sequence[Tensor]]) -> list[Batch]:
        """Cut it as `pieces` cuts each of its tensors."""
        indices = pieces(self.index)
        partners: Sequence[Batch | None] = (
            self.partner.cut(pieces) if self.partner is not None else [None] * len(indices)
        )
        cut = zip(indices, pieces(self.row), pieces(self.flip), partners, strict=True)
        return [Batch(*parts, keep=self.keep) for parts in cut]


def mix(recipe: Recipe, batch: Batch, seed: int) -> Batch:
    """Give a batch its partners by mixup: another order of itself, one share for all of it, from
    Beta(alpha, alpha) and a seed.
    """
    if not recipe.mixup:
        return batch
    draw = np.random.default_rng(seed)
    keep = float(draw.beta(recipe.mixup, recipe.mixup))
    order = torch.from_numpy(draw.permutation(len(batch)))
    partner = Batch(batch.index[order], batch.row[order], batch.flip)
    # A share of 0 would leave an image out of its own batch; max(keep, 1 - keep) would change the
    # distribution.
    return replace(batch, partner=partner, keep=max(keep, 1e-6))


def between(ends: tuple[float, float], share: float) -> float:
    """Return the point at `share` in [0, 1) of the way between two ends."""
    return ends[0] + share * (ends[1] - ends[0])


def crop(pixels: Tensor, area: float, ratio: float, down: float, right: float) -> Tensor:
    """Cut a window from uint8 pixels (3, S, S) and resize it back; the four numbers, in [0, 1),
    choose its shape and place.
    """
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resized_crop

    size = pixels.shape[-1]
    shape = math.exp(between((math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])), ratio))
    share = between(CROP_AREA, area)
    height, width = (
        max(1, min(size, round(size * math.sqrt(share * s)))) for s in (1 / shape, shape)
    )
    top, left = math.floor(down * (size - height + 1)), math.floor(right * (size - width + 1))
    bilinear = InterpolationMode.BILINEAR
    return cast(
        "Tensor",
        resized_crop(
            pixels, top, left, height, width, [size, size], interpolation=bilinear, antialias=True
        ),
    )


def colour(
    pixels: Tensor, brightness: float, contrast: float, saturation: float, hue: float
) -> Tensor:
    """Change the colours of uint8 pixels (3, S, S); the four numbers, in [0, 1), choose by how
    much, 0.5 by nothing.
    """
    from torchvision.transforms.v2 import functional

    changed: Tensor = functional.adjust_brightness(pixels, between(COLOUR_FACTOR, brightness))
    changed = functional.adjust_contrast(changed, between(COLOUR_FACTOR, contrast))
    changed = functional.adjust_saturation(changed, between(COLOUR_FACTOR, saturation))
    return cast("Tensor", functional.adjust_hue(changed, between((-HUE, HUE), hue)))


def blur(pixels: Tensor, sigma: float) -> Tensor:
    """Blur uint8 pixels (3, S, S) with a Gaussian of `sigma` pixels, cut at 4 sigma, borders
    mirrored; none below 0.1.
    """
    return pixels if sigma < LEAST_SIGMA else _step(steps.blur, pixels, sigma)


def jpeg(pixels: Tensor, quality: int) -> Tensor:
    """Write uint8 pixels (3, S, S) as a JPEG of `quality` (30 to 100, libjpeg's scale, chroma
    halved) and read it again.
    """
    return _step(steps.jpeg, pixels, quality)


def _step(run: Callable[[steps.Pixels, float], steps.Pixels], pixels: Tensor, by: float) -> Tensor:
    """Do a step of study/data/images/steps.py to uint8 pixels (3, S, S)."""
    return torch.from_numpy(run(pixels.permute(1, 2, 0).contiguous().numpy(), by)).permute(2, 0, 1)
