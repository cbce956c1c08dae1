"""Trained detectors that stay loaded in this process from batch to batch and from job to job, and
what they have in common.

Winners with the same frozen body (seeds, training sets) hold it in memory once and see the
same features.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from study.core.identity import digest
from study.detectors import registry
from study.detectors.base import Detector
from study.jobs.cell import stored_detector
from study.store.store import Store
from study.training.features import tensors_key
from study.training.runtime import TorchRuntime

LIMIT_BYTES = 2 << 30
"""Most that the detectors kept take; those beyond it are loaded anew whenever they are asked
for."""


@dataclass(frozen=True, kw_only=True)
class LoadedDetector:
    """A detector on its device. body: the same for detectors that have the same features of every
    image. n_bytes: its own.
    """

    detector: Detector
    body: str
    n_bytes: int


class DetectorCache:
    """Detectors by model folder and device."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, str], LoadedDetector] = {}

    def only(self, folders: Collection[Path]) -> None:
        """Forget all but those of some model folders."""
        self._kept = {place: one for place, one in self._kept.items() if place[0] in folders}

    def get(self, store: Store, key: str, runtime: TorchRuntime) -> LoadedDetector:
        """Return a trained detector of a store, loaded where it is not kept. Raises StoreError
        where that is impossible.
        """
        place = store.model_folder(key), runtime.device
        if place not in self._kept:
            one = self._load(store, key, runtime)
            if sum(kept.n_bytes for kept in self._kept.values()) + one.n_bytes > LIMIT_BYTES:
                return one
            self._kept[place] = one
        return self._kept[place]

    def _load(self, store: Store, key: str, runtime: TorchRuntime) -> LoadedDetector:
        detector = stored_detector(store, key)
        arguments = registry.entry(detector.spec.name).arguments  # an activation is no tensor
        body = digest(tensors_key(detector), arguments)
        runtime.place(detector)
        twin = next(
            (
                kept
                for (_, device), kept in self._kept.items()
                if (kept.body, device) == (body, runtime.device)
            ),
            None,
        )
        if twin is not None:
            theirs = dict(_tensors(twin.detector))
            for name, tensor in _tensors(detector):
                if not name.startswith("head."):
                    tensor.data = theirs[name].data
        own = (
            tensor.nbytes
            for name, tensor in _tensors(detector)
            if twin is None or name.startswith("head.")
        )
        return LoadedDetector(detector=detector, body=body, n_bytes=sum(own))


def _tensors(detector: Detector) -> Iterator[tuple[str, Tensor]]:
    yield from detector.named_parameters()
    yield from detector.named_buffers()
