"""Features of a frozen body, computed once per image and view while only the head is trained.

A frozen body in evaluation mode gives an image the same features in every epoch and, for pretrained
weights, in every trial. They are computed in one order and batch size whatever the recipe, so that
a run that resumes sees the same bits, and kept in this process, keyed on everything they follow
from.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.identity import digest
from study.detectors.base import Detector
from study.detectors.registry import without_head
from study.training.process_group import ALONE, ProcessGroup
from study.training.runtime import TorchRuntime
from study.training.score import evaluating, in_batches, to_input
from study.training.session import Images

LIMIT_BYTES = 1 << 30
"""Most memory that kept features take in one process; a set that would take more by itself is
computed anew every epoch."""


def body_digest(detector: Detector) -> str:
    """Return a digest of every tensor below the head, bit by bit."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(detector.state_dict().items()):
        if not name.startswith("head."):
            hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            hasher.update(tensor.cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def compute_features(
    detector: Detector,
    images: Images,
    *,
    runtime: TorchRuntime,
    flip: bool = False,
    processes: ProcessGroup = ALONE,
) -> Tensor:
    """Return features (N, D) float32 on the device, of the images or of their mirror images, in the
    order of `images`.

    Of several workers each computes a share, and all have all features.
    """

    def rows(index: NDArray[np.int64]) -> Tensor:
        mirrored = torch.ones(len(index), dtype=torch.bool) if flip else None
        return detector.features(to_input(detector, images.gather(index), runtime.device, mirrored))

    with evaluating(detector):
        return in_batches(
            rows, (len(images), detector.n_features), device=runtime.device, processes=processes
        )


def head_logits(
    detector: Detector, features: Tensor, *, processes: ProcessGroup = ALONE
) -> list[NDArray[np.float32]]:
    """Return the head's logits in `score`'s batches: bit for bit what scoring the images gives."""

    def rows(index: NDArray[np.int64]) -> Tensor:
        return detector.classify(features[index[0] : index[-1] + 1])

    with evaluating(detector):
        return [
            in_batches(rows, (len(features),), device=str(features.device), processes=processes)
            .cpu()
            .numpy()
        ]


class FeatureCache:
    """Features by key, the least recently used forgotten first, within `limit_bytes`."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def fits(self, detector: Detector, *images: Images) -> bool:
        """Say whether the float32 features of these images fit together, on any machine."""
        return sum(map(len, images)) * detector.n_features * 4 <= self.limit_bytes

    def get(
        self,
        detector: Detector,
        body: str,
        images: Images,
        *,
        runtime: TorchRuntime,
        flip: bool = False,
        processes: ProcessGroup = ALONE,
    ) -> Tensor:
        """Return features as `compute_features` does; `body` is the detector's `body_digest`."""
        key = digest(
            without_head(detector.spec),
            body,
            images.key,
            len(images),
            flip,
            runtime.device,
            runtime.threads,
        )
        # Where one of several workers has forgotten them, all compute them: it takes all.
        if processes.sum(key not in self._kept):
            self._kept[key] = compute_features(
                detector, images, runtime=runtime, flip=flip, processes=processes
            )
        self._kept.move_to_end(key)
        features = self._kept[key]
        while len(self._kept) > 1 and sum(f.nbytes for f in self._kept.values()) > self.limit_bytes:
            self._kept.popitem(last=False)
        return features

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


SHARED = FeatureCache()
"""One for the process: trials of one pairing that differ in their head alone share their
features."""
