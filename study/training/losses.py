"""The losses of training by gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, label: Tensor, smoothing: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy from logits (B,) and labels (B,) in {0, 1}, mean over images; e turns
    targets into e/2 and 1 - e/2.

    weight: (B,) of each image's loss; the mean is still over the number of images.
    """
    return F.binary_cross_entropy_with_logits(
        logits.float(), label * (1 - smoothing) + smoothing / 2, weight
    )


def class_weights(label: Tensor) -> Tensor:
    """Return weights (N,), mean 1, for labels (N,) in {0, 1}: both classes count alike."""
    fakes = label.mean()
    return torch.where(label > 0, 0.5 / fakes, 0.5 / (1 - fakes))


def diverged(loss: float, epoch: int, phase: str, rate: float) -> str:
    """Say that a step's loss is no number."""
    return (
        f"the loss is {loss} in epoch {epoch} ({phase}, learning rate {rate:.2g}):"
        " lower lr or clip_norm"
    )


def not_finite(epoch: int) -> str:
    """Say that a logit of source val is no number."""
    return f"a logit on source val is not finite after epoch {epoch}: lower lr or clip_norm"
