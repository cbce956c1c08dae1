"""How often training draws an image: once an epoch, or so that all strata are drawn alike often.


A stratum is a class, or a class of one dataset of a union (`data.balance`). An epoch has as many
draws as there are images, so that steps, schedules and time are those of the unbalanced set: of a
large stratum it sees a part, another one in every epoch, of a small one every image several times.
Drawing, and not weights in the loss, keeps a rare stratum from coming once in a hundred steps with
a hundred times the gradient. All follows from the fit's own generator, which is the same on every
worker.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Strata = NDArray[np.int64]  # (N,) the stratum of each training image


def epoch_order(n: int, strata: Strata | None, generator: torch.Generator) -> Tensor:
    """Return the images of an epoch in the order of training, (N,) int64: a permutation, or N
    draws, even over strata.

    Of K strata each has N // K draws, N % K of them, at random, one more; no image of a stratum is
    drawn twice more than another.
    """
    if strata is None:
        return torch.randperm(n, generator=generator)
    members = [torch.from_numpy(np.flatnonzero(strata == stratum)) for stratum in np.unique(strata)]
    one_more = set(torch.randperm(len(members), generator=generator)[: n % len(members)].tolist())
    draws = [
        _draw(images, n // len(members) + (k in one_more), generator)
        for k, images in enumerate(members)
    ]
    return torch.cat(draws)[torch.randperm(n, generator=generator)]


def even_weights(strata: Strata) -> NDArray[np.float64]:
    """Return weights (N,), mean 1, with which all strata weigh alike in a logistic regression."""
    _, number, counts = np.unique(strata, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = len(strata) / (len(counts) * counts[number])
    return weights


def strata_key(strata: Strata | None) -> list[str]:
    """Return what strata are known by in the identity of a fit; nothing where there are none."""
    return [] if strata is None else [hashlib.sha256(strata.tobytes()).hexdigest()]


def _draw(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` draws of images: each equally often, a random part of them once more."""
    rest = torch.randperm(len(images), generator=generator)[: count % len(images)]
    return torch.cat([images.repeat(count // len(images)), images[rest]])
