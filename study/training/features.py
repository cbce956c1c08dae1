"""Features of a frozen body: one forward for an image and view, whoever asks.

A frozen body in evaluation mode gives an image the same features in every epoch, trial, seed and
cell. They are computed pack by pack in one order and batch size, whatever the recipe, so a union of
datasets uses those of its members, and a run that resumes sees the same bits.

They lie in the cache (core/cache.py), `<cache>/features/`, an array of float32 for a pack and view.
Its key is everything that it follows from: the body, the pack, the view, the threads, the kind of
device, the code. Every process maps the file. The first that needs it makes it, and the others wait
for it. It can be deleted at any time, and is then made again. Where the disk has no room for it,
nothing is kept and the network computes anew, which is said once.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.cache import Cache
from study.core.identity import digest
from study.detectors.base import Detector, Head
from study.training.process_group import ALONE, ProcessGroup
from study.training.runtime import TorchRuntime
from study.training.score import evaluating, in_batches, to_input
from study.training.session import Images, Pixels

LIMIT_BYTES = 1 << 30
"""Most memory that kept features take in one process, beside files that are mapped."""
RESERVE = 0.1  # of the disk's free space: stays free
LIBRARIES = ("numpy", "torch", "timm", "open_clip_torch")  # their versions decide features
FILE = "features.npy"
_LOG = logging.getLogger(__name__)


def body_digest(detector: Detector) -> str:
    """Return a digest of every tensor below the head, bit by bit."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(detector.state_dict().items()):
        if not name.startswith("head."):
            hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            hasher.update(tensor.cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def tensors_key(detector: Detector) -> str:
    """Return the identity of a detector's body by what it holds, wherever that comes from."""
    spec = detector.spec
    same = (spec.family, spec.backbone, spec.geometry, spec.mean, spec.std)
    return digest("tensors", same, body_digest(detector))


def compute_features(
    detector: Detector,
    images: Pixels,
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
    detector: Detector | Head, features: Tensor, *, processes: ProcessGroup = ALONE
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


class FeatureStore:
    """Features on disk below `cache`, or in memory alone where that is None.

    In memory are what was used last, within `limit_bytes`; mapped files count there too.
    """

    def __init__(self, cache: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.cache, self.limit_bytes = cache, limit_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._said: set[str] = set()

    def get(
        self,
        body: FrozenBody,
        images: Images,
        *,
        runtime: TorchRuntime,
        flip: bool = False,
        processes: ProcessGroup = ALONE,
    ) -> Tensor:
        """Return features as `compute_features` does, not to be written to. Raises StoreError where
        the cache cannot be written.
        """
        key = digest(body.key, images.key, flip, runtime.device, runtime.threads)
        # Where one of several workers has forgotten them, all ask for them anew: it takes all.
        if processes.sum(key not in self._kept):
            self._kept[key] = self._joined(body, images, runtime, flip, processes)
        self._kept.move_to_end(key)
        features = self._kept[key]
        while len(self._kept) > 1 and sum(f.nbytes for f in self._kept.values()) > self.limit_bytes:
            self._kept.popitem(last=False)
        return features

    def _joined(
        self,
        body: FrozenBody,
        images: Images,
        runtime: TorchRuntime,
        flip: bool,
        processes: ProcessGroup,
    ) -> Tensor:
        parts = images.parts()
        found = [self._part(body, pixels, runtime, flip, processes) for pixels, _, _ in parts]
        if len(parts) == 1 and np.array_equal(parts[0][1], np.arange(len(parts[0][0]))):
            return found[0]  # mapped, not copied
        whole = found[0].new_empty((len(images), found[0].shape[1]))
        for (_, rows, places), features in zip(parts, found, strict=True):
            whole[torch.from_numpy(places)] = features[torch.from_numpy(rows)]
        return whole

    def _part(
        self,
        body: FrozenBody,
        pixels: Pixels,
        runtime: TorchRuntime,
        flip: bool,
        processes: ProcessGroup,
    ) -> Tensor:
        """The features of one pack, from the disk where that has them."""
        compute = partial(_compute, body, pixels, runtime=runtime, flip=flip)
        if self.cache is None:
            return compute(processes=processes)
        entries, inputs = body.entries(), _inputs(body, pixels.key, runtime, flip)
        together: Tensor | None = None
        if processes.size > 1:
            missing = not entries.path(self.cache, digest(inputs)).is_dir()
            together = compute(processes=processes) if processes.sum(missing) else None

        def make(folder: Path) -> None:
            features = compute() if together is None else together
            np.save(folder / FILE, features.cpu().numpy())

        folder = entries.folder(self.cache, inputs, make)
        # mapped for this process alone to write to, since torch has no tensors that are read only
        mapped = np.load(folder / FILE, mmap_mode="c")
        return torch.from_numpy(mapped).to(runtime.device)

    def fits(
        self,
        body: FrozenBody,
        *views: tuple[Images, bool],
        runtime: TorchRuntime,
        processes: ProcessGroup = ALONE,
    ) -> bool:
        """Say whether there is room for the features of these images, of each straight or mirrored;
        the same on all workers. Where there is not, it is said, once.
        """
        needed = 0
        for images, flip in views:
            for pixels, _, _ in images.parts():
                if not self.has(body, pixels.key, runtime, flip=flip):
                    needed += len(pixels) * body.n_features() * 4
        room = self.limit_bytes
        if self.cache is not None and needed:
            self.cache.mkdir(parents=True, exist_ok=True)
            room = int(shutil.disk_usage(self.cache).free * (1 - RESERVE))
        short = processes.sum(needed > room) > 0
        if short and body.key not in self._said:
            self._said.add(body.key)
            where = f"'{self.cache}' has room for" if self.cache else "kept in memory are at most"
            _LOG.warning(
                "the features of %s take %.1f GB and %s %.1f GB: they are computed anew each time",
                body.name,
                needed / 1e9,
                where,
                room / 1e9,
            )
        return not short

    def has(self, body: FrozenBody, pack: str, runtime: TorchRuntime, *, flip: bool) -> bool:
        """Tell whether the disk has the features of a pack, given by its key."""
        if self.cache is None:
            return False
        inputs = _inputs(body, pack, runtime, flip)
        return body.entries().path(self.cache, digest(inputs)).is_dir()

    def clear(self) -> None:
        """Forget what is in memory."""
        self._kept.clear()


def _inputs(body: FrozenBody, pack: str, runtime: TorchRuntime, flip: bool) -> list[Any]:
    return [body.key, pack, flip, runtime.threads, runtime.kind]


def _compute(body: FrozenBody, pixels: Pixels, **how: Any) -> Tensor:
    _LOG.debug("%s looks at %d images%s", body.name, len(pixels), " mirrored" * how["flip"])
    return compute_features(body.load(), pixels, **how)


SHARED = FeatureStore()
"""That of bodies which nobody gave a place on the disk."""


@cache
def features_in(folder: Path) -> FeatureStore:
    """Return this process's store of the features below a cache folder."""
    return FeatureStore(folder)


@dataclass(frozen=True, kw_only=True)
class FrozenBody:
    """What is below a detector's head, as built.

    key: of all that decides its features, but for images and code. name: for messages. load: gives
    a detector with that body, on its device; called where features are missing alone. made_by: the
    functions that build it.
    """

    key: str
    name: str
    load: Callable[[], Detector]
    made_by: tuple[Callable[..., Any], ...] = ()
    store: FeatureStore = field(default_factory=lambda: SHARED)

    @classmethod
    def of(cls, detector: Detector) -> FrozenBody:
        """Return the body of a detector that is at hand, by its tensors."""
        key = tensors_key(detector)
        return cls(key=key, name=detector.spec.name, load=lambda: detector)

    def features(self, images: Images, **how: Any) -> Tensor:
        """Return features of images; see `FeatureStore.get`."""
        return self.store.get(self, images, **how)

    def fits(self, *views: tuple[Images, bool], **how: Any) -> bool:
        """Say whether there is room for features; see `FeatureStore.fits`."""
        return self.store.fits(self, *views, **how)

    def n_features(self) -> int:
        """Return D, the width of a row of features."""
        return self.load().n_features

    def entries(self) -> Cache:
        """Return the kind of entry that its features are in the cache."""
        return _entries(self.made_by)


@cache
def _entries(made_by: Sequence[Callable[..., Any]]) -> Cache:
    return Cache("features", [compute_features, *made_by], libraries=LIBRARIES)
