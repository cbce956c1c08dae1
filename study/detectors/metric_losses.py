"""Losses on features of a batch, beside that of the logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SPREAD = 2.0  # of the kernel by which uniformity is measured
TEMPERATURE = 0.07
SMALLEST = 1e-6


def alignment(features: Tensor, label: Tensor) -> Tensor:
    """Return the mean squared distance of two images of one class (Wang and Isola, ICML 2020); 0
    where no class has two.

    features: (B, D), of unit length. label: (B,) in {0, 1}.
    """
    same = torch.triu(label[:, None] == label[None, :], diagonal=1)
    apart = (2 - 2 * features @ features.T).clamp_min(0)
    return (apart * same).sum() / same.sum().clamp_min(1)


def uniformity(features: Tensor) -> Tensor:
    """Return the log of the mean of exp(-2 d^2) over all pairs (Wang and Isola, ICML 2020); 0 for
    one image.

    features: (B, D), of unit length.
    """
    count = len(features)
    if count < 2:
        return features.new_zeros(())
    pairs = torch.triu(torch.ones(count, count, device=features.device), diagonal=1)
    apart = (2 - 2 * features @ features.T).clamp_min(0)
    mean = (torch.exp(-SPREAD * apart) * pairs).sum() / pairs.sum()
    return mean.clamp_min(SMALLEST).log()


def contrast(features: Tensor, label: Tensor) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., NeurIPS 2020) at a temperature of .07,
    mean over the images that have another one of their class; 0 where none has.

    features: (B, D), of any length. label: (B,) in {0, 1}.
    """
    unit = F.normalize(features, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    alike = (unit @ unit.T / TEMPERATURE).masked_fill(itself, float("-inf"))
    log_share = (alike - alike.logsumexp(dim=1, keepdim=True)).masked_fill(itself, 0)
    same = (label[:, None] == label[None, :]) & ~itself
    count = same.sum(dim=1)
    each = -(log_share * same).sum(dim=1) / count.clamp_min(1)
    return each.sum() / (count > 0).sum().clamp_min(1)
