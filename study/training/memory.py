"""Going on after running out of memory: the same work again, in smaller pieces.

Only `torch.OutOfMemoryError` counts, which CUDA raises and nothing else is mistaken for. Whoever
catches it leaves the `except` block before trying again, since the exception holds the tensors of
the failed attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core import stop


def free(device: str) -> None:
    """Give back what torch keeps of a device's memory without using it."""
    if device != "cpu":
        torch.cuda.empty_cache()


def in_pieces(
    compute: Callable[[NDArray[np.int64]], Tensor],
    index: NDArray[np.int64],
    device: str,
    piece: int,
) -> Tensor:
    """Return `compute(index)`, rows (B, ...) of an index (B,), of `piece` images at a time, with
    the rest in the last one; in halves, and halves of those, where memory does not suffice.

    Raises torch.OutOfMemoryError where one image is too much.
    """
    cuts = range(piece, len(index) - piece + 1, piece)
    made = [_in_halves(compute, part, device) for part in np.split(index, cuts)]
    return made[0] if len(made) == 1 else torch.cat(made)


def _in_halves(
    compute: Callable[[NDArray[np.int64]], Tensor], index: NDArray[np.int64], device: str
) -> Tensor:
    stop.check()
    try:
        return compute(index)
    except torch.OutOfMemoryError:
        if len(index) == 1:
            raise
    free(device)
    return torch.cat([_in_halves(compute, half, device) for half in np.array_split(index, 2)])


class StepSnapshot:
    """What a training step changes on its way, as it was: torch's generators, some buffers."""

    def __init__(self, device: str, buffers: Sequence[Tensor]) -> None:
        self._device, self._buffers = device, buffers
        self._copies = [buffer.clone() for buffer in buffers]
        self._cpu = torch.get_rng_state()
        self._cuda = None if device == "cpu" else torch.cuda.get_rng_state(device)

    def restore(self) -> None:
        """Put it back."""
        for buffer, copy in zip(self._buffers, self._copies, strict=True):
            buffer.copy_(copy)
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
