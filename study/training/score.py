"""Scoring: one float32 logit per image, every image, whatever the batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.core.errors import ScoreError
from study.core.parallel import ordered_map
from study.detectors.base import Detector
from study.training.memory import in_pieces
from study.training.process_group import ALONE, ProcessGroup
from study.training.runtime import TorchRuntime
from study.training.session import Images, Named

BATCH_SIZE = 64
LEAST_PIECE = 16
PIECE_PIXELS = 16 * 224**2  # of what a convolutional network computes at a time on a CPU


class _Side:
    """How many batches this process computes side by side; see `compute_side_by_side`."""

    batches = 1


def compute_side_by_side(batches: int) -> None:
    """Let this process compute so many batches at a time, on a CPU, of detectors that allow it.
    Each is computed as before, by as many threads as a trial has, so results have the same bits.
    """
    _Side.batches = batches


def slices(n: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Give the indices 0 to n - 1 in batches, in order, none left out; the last one is shorter."""
    for start in range(0, n, batch_size):
        yield np.arange(start, min(start + batch_size, n), dtype=np.int64)


def to_input(
    detector: Detector, images: NDArray[np.uint8], device: str, flip: Tensor | None = None
) -> Tensor:
    """Turn uint8 images (B, S, S, 3) into input on the device; `flip` (B,) bool mirrors those."""
    pixels = torch.from_numpy(images)
    if flip is not None:
        pixels = torch.where(flip.view(-1, 1, 1, 1), pixels.flip(2), pixels)
    return detector.prepare(pixels.to(device))


def computed(
    compute: Callable[[NDArray[np.int64]], Tensor],
    batches: Sequence[NDArray[np.int64]],
    device: str,
    *,
    piece: int = BATCH_SIZE,
    side_by_side: bool = False,
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield the index of each batch and its rows, in order, without gradients; in halves where
    memory does not suffice. piece: images that are computed at a time. side_by_side: threads may
    call `compute` at the same time.
    """
    threads = torch.get_num_threads()

    def one(index: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        torch.set_num_threads(threads)  # each thread has a number of its own
        with torch.no_grad():  # this, too
            return index, in_pieces(compute, index, device, piece)

    if side_by_side and device == "cpu" and min(_Side.batches, len(batches)) > 1:
        yield from ordered_map(one, batches, threads=_Side.batches, at_once=1)
    else:
        yield from map(one, batches)


def piece_of(detector: Detector, device: str) -> int:
    """Return how many images of a batch a detector computes at a time: all, or on a CPU so few that
    a convolutional network's activations take little memory. At 224 pixels a whole batch took
    MobileNet 500 MB more, and half as long again.

    Pieces of 16 and more gave the bits of the whole batch in every network tried. Smaller ones did
    not in those with squeeze and excitation (tests/training/test_score.py).
    """
    if device != "cpu" or not detector.channels_last:
        return BATCH_SIZE
    fit = PIECE_PIXELS // detector.spec.geometry.size_px**2
    return min(max(1 << fit.bit_length() >> 1, LEAST_PIECE), BATCH_SIZE)


@contextmanager
def evaluating(detector: nn.Module) -> Iterator[None]:
    """Put a detector or its head into evaluation mode, without gradients, and back afterwards."""
    modes = [(module, module.training) for module in detector.modules()]
    detector.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def in_batches(
    compute: Callable[[NDArray[np.int64]], Tensor],
    shape: tuple[int, ...],
    *,
    device: str,
    batch_size: int = BATCH_SIZE,
    piece: int = BATCH_SIZE,
    processes: ProcessGroup = ALONE,
    side_by_side: bool = False,
) -> Tensor:
    """Return rows (N, ...) = `shape`, float32 on `device`, in order, whole on every rank.

    compute: gives the rows (B, ...) of an index (B,). Batches are the same however many ranks there
    are and each is computed on one of them, so the rows are the same too. piece, side_by_side: see
    `computed`.
    """
    mine = processes.deal(list(slices(shape[0], batch_size)))
    alone = side_by_side and processes.size == 1
    return processes.join(
        computed(compute, mine, device, piece=piece, side_by_side=alone), shape, device
    )


def score(
    detector: Detector,
    images: Images,
    *,
    runtime: TorchRuntime,
    batch_size: int = BATCH_SIZE,
    processes: ProcessGroup = ALONE,
) -> NDArray[np.float32]:
    """Return a logit per image (N,) float32, in the order of `images`; higher is more fake.

    In evaluation mode; in float32, but for a frozen body (`Detector.frozen_precision`). `detector`
    and `runtime` are as `runtime.apply()` and `runtime.place(detector)` left them. Of several
    workers each scores a share, and all have all logits. Raises ScoreError, naming the image, where
    a logit is not finite.
    """

    def logits(index: NDArray[np.int64]) -> Tensor:
        return cast(Tensor, detector(to_input(detector, images.gather(index), runtime.device)))

    with evaluating(detector):
        logit = in_batches(
            logits,
            (len(images),),
            device=runtime.device,
            batch_size=batch_size,
            piece=piece_of(detector, runtime.device),
            processes=processes,
            side_by_side=detector.side_by_side,
        )
    return finite_logits([logit.cpu().numpy()], images)


def finite_logits(batches: Sequence[NDArray[np.float32]], images: Named) -> NDArray[np.float32]:
    """Join logits of consecutive batches into (N,) float32. Raises ScoreError, naming the first
    image whose logit is not finite.
    """
    logit = np.concatenate([*batches, np.empty(0)]).astype(np.float32)
    assert len(logit) == len(images), (len(logit), len(images))
    broken = np.flatnonzero(~np.isfinite(logit))
    if len(broken):
        image = images.sample_id[broken[0]]
        raise ScoreError(
            f"the score of {image} is {logit[broken[0]]}, {len(broken)} of {len(logit)} are not"
            " finite: train it anew"
        )
    return logit
