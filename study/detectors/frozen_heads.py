"""Heads on a frozen body: what of its features they read, and nearest neighbours.

A body may give the outputs of all its blocks beside each other, the last one's first, and those of
several crops one after the other. A head reads one layer of each crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.detectors.entry import LAYER

TEMPERATURE = 0.07  # of a vote, as in DINO's nearest neighbours (Caron et al., ICCV 2021)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a head reads of features.

    width: D, of a layer. layer: which, counted back from the last. unit: made of length 1. crops:
    how many lie one after the other.
    """

    width: int
    layer: int = 0
    unit: bool = False
    crops: int = 1

    @classmethod
    def of(cls, options: Mapping[str, Any], width: int, crops: int = 1) -> Reading:
        """Return that of a configuration, or of a spec's options."""
        unit = options.get("head", "logistic") != "logistic"
        return cls(width=width, layer=int(options.get(LAYER, 0)), unit=unit, crops=crops)

    @property
    def is_needed(self) -> bool:
        """Whether it is more than the features of a body's last block as they are."""
        return self.unit or self.layer > 0

    def __call__(self, features: Tensor) -> Tensor:
        """Features (B, W) to what a linear head is fitted on (B, D): the mean over crops, whose
        logit is the mean of theirs.
        """
        each = features.reshape(features.shape[0], self.crops, -1)
        read = each[..., self.layer * self.width : (self.layer + 1) * self.width]
        read = F.normalize(read, dim=2) if self.unit else read
        return (read[:, 0] if self.crops == 1 else read.mean(dim=1)).contiguous()


class LinearOn(nn.Linear):
    """A linear head on what it reads: features of a crop (B, W) to logits (B, 1)."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading.width, 1)
        self.reading = reading

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, W) to logits (B, 1)."""
        return super().forward(self.reading(features))


class Neighbours(nn.Module):
    """The log-odds of a vote of the nearest training images of each class, by cosine: with one of
    each, by how much the nearest fake is nearer (Ojha et al., CVPR 2023).

    Each of the k nearest of a class has the weight exp(cosine / T). real, fake: what training
    images are read as, of length 1, (N, D) and (M, D) float32; empty until `remember`.
    """

    real: Tensor
    fake: Tensor

    def __init__(self, reading: Reading, neighbours: int) -> None:
        super().__init__()
        self.reading, self.neighbours = reading, neighbours
        for name in ("real", "fake"):
            self.register_buffer(name, torch.zeros(0, reading.width))

    def remember(self, read: Tensor, label: Tensor) -> None:
        """Keep training images: read (N, D), label (N,) in {0, 1}."""
        self.real, self.fake = (read[label == of].clone() for of in (0, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Features of a crop (B, W) to logits (B, 1)."""
        read = self.reading(features)
        return (self._vote(read, self.fake) - self._vote(read, self.real))[:, None]

    def _vote(self, read: Tensor, of: Tensor) -> Tensor:
        if not len(of):
            return read.new_zeros(len(read))
        near = (read @ of.T).topk(min(self.neighbours, len(of)), dim=1).values
        return (near / TEMPERATURE).logsumexp(dim=1)

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        """Take as many training images as there are."""
        for name in ("real", "fake"):
            if (held := state.get(prefix + name)) is not None:
                setattr(self, name, held.new_zeros(held.shape))
        super()._load_from_state_dict(state, prefix, *rest)
