"""What a frozen body makes of images: one forward for an image and view, whoever asks.

A frozen body in evaluation mode gives an image the same features in every epoch, trial, seed and
cell. So does the frozen part of a network whose last stages are trained (boundary.py). Both are
computed pack by pack in one order and batch size, whatever the recipe, so a union of datasets uses
those of its members, and a run that resumes sees the same bits.

They lie in the cache (core/cache.py), `<cache>/features/`, an array for a layer, a pack and a view.
Its key is everything that it follows from: the body, the layer, the pack, the view, the threads,
the kind of device, the code. Every process maps the file. The first that needs it makes it, and the
others wait for it. It can be deleted at any time, and is then made again. Where the disk has no
room for it, nothing is kept and the network computes anew, which is said once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.core.cache import Cache
from study.core.identity import digest
from study.data.images.decode import READERS
from study.detectors.base import Detector, Head
from study.detectors.geometries import crops_of
from study.training.process_group import ALONE, ProcessGroup
from study.training.runtime import TorchRuntime
from study.training.score import (
    BATCH_SIZE,
    computed,
    evaluating,
    in_batches,
    piece_of,
    slices,
    to_input,
)
from study.training.session import Images, Pixels

LIMIT_BYTES = 1 << 30
"""Most memory that kept features take in one process, beside files that are mapped."""
RESERVE = 0.1  # of the disk's free space: stays free
SECONDS = "seconds_per_image.json"  # beside an array: what an image of it took
COPIED = 0.5  # of the memory, at most, for what cannot be mapped: a union, and on a GPU
LIBRARIES = (*READERS, "torch", "timm", "open_clip_torch")  # their versions decide features
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
    of = detector.layers, crops_of(spec), detector.frozen_precision
    return digest("tensors", same, *of, body_digest(detector))


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
        x = to_input(detector, images.gather(index), runtime.device, mirrored)
        return detector.frozen_features(x)

    with evaluating(detector):
        return in_batches(
            rows,
            (len(images), detector.feature_width),
            device=runtime.device,
            piece=piece_of(detector, runtime.device),
            processes=processes,
        )


def head_logits(
    detector: Detector | Head,
    features: Tensor,
    *,
    above: nn.Module | None = None,
    processes: ProcessGroup = ALONE,
) -> list[NDArray[np.float32]]:
    """Return the head's logits in `score`'s batches: bit for bit what scoring the images gives.

    above: what makes features of what is given, where that is no features (boundary.py).
    """

    def rows(index: NDArray[np.int64]) -> Tensor:
        kept = features[index[0] : index[-1] + 1]
        # a copy, because a layer may work in place
        return detector.classify(kept if above is None else above(kept.clone()))

    with evaluating(detector):
        return [
            in_batches(rows, (len(features),), device=str(features.device), processes=processes)
            .cpu()
            .numpy()
        ]


@dataclass(frozen=True)
class Layer:
    """What is kept of an image. name: in its key. run: gives it (B, ...) of prepared images (B, 3,
    S, S), by a detector with the body in question. row_bytes: of an image. made_by: functions that
    decide it, beside those of the body.
    """

    name: str
    run: Callable[[Detector, Tensor], Tensor]
    row_bytes: Callable[[Detector], int]
    made_by: tuple[Callable[..., Any], ...] = ()


FEATURES = Layer("features", lambda d, x: d.frozen_features(x), lambda d: d.feature_width * 4)
"""What is below the head, (B, W) float32."""


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
        layer: Layer = FEATURES,
        processes: ProcessGroup = ALONE,
    ) -> Tensor:
        """Return a layer (N, ...) of images, on the device, in the order of `images`, not to be
        written to. Several workers can share out `FEATURES` alone.

        Raises StoreError where the cache cannot be written.
        """
        view = _View(body, layer, flip, runtime)
        key = digest(view.inputs(images.key), runtime.device)
        # Where one of several workers has forgotten them, all ask for them anew: it takes all.
        if processes.sum(key not in self._kept):
            self._kept[key] = self._joined(view, images, processes)
        self._kept.move_to_end(key)
        features = self._kept[key]
        while len(self._kept) > 1 and sum(f.nbytes for f in self._kept.values()) > self.limit_bytes:
            self._kept.popitem(last=False)
        return features

    def _joined(self, view: _View, images: Images, processes: ProcessGroup) -> Tensor:
        parts = images.parts()
        found = [self._part(view, pixels, processes) for pixels, _, _ in parts]
        if len(parts) == 1 and np.array_equal(parts[0][1], np.arange(len(parts[0][0]))):
            return found[0]  # mapped, not copied
        whole = _room(len(images), found[0])
        for (_, rows, places), features in zip(parts, found, strict=True):
            whole[torch.from_numpy(places)] = features[torch.from_numpy(rows)]
        return whole

    def _part(self, view: _View, pixels: Pixels, processes: ProcessGroup) -> Tensor:
        """A layer of one pack, from the disk where that has it."""
        inputs, entries = view.inputs(pixels.key), view.entries()
        together: Tensor | None = None
        if processes.size > 1:
            assert view.layer is FEATURES
            missing = not (self.cache and entries.path(self.cache, digest(inputs)).is_dir())
            together = view.shared(pixels, processes) if processes.sum(missing) else None
        if self.cache is None:
            return view.computed(pixels) if together is None else together

        def make(folder: Path) -> None:
            began = time.perf_counter()
            if together is None:
                view.write(pixels, folder)
                seconds = (time.perf_counter() - began) / max(len(pixels), 1)
                (folder / SECONDS).write_text(json.dumps(seconds), encoding="utf-8")
            else:
                rows = together.cpu().contiguous().numpy()
                with (folder / "float32.npy").open("wb") as file:
                    header = np.lib.format.header_data_from_array_1_0(rows)
                    np.lib.format.write_array_header_1_0(file, header)
                    file.write(rows.data)  # np.save does not say that a disk is full

        return _mapped(entries.folder(self.cache, inputs, make)).to(view.runtime.device)

    def fits(
        self,
        body: FrozenBody,
        *views: tuple[Images, bool],
        runtime: TorchRuntime,
        layer: Layer = FEATURES,
        processes: ProcessGroup = ALONE,
    ) -> bool:
        """Say whether there is room for a layer of these images, of each straight or mirrored; the
        same on all workers. Where there is not, it is said, once.
        """
        needed, copied = 0, 0
        for images, flip in views:
            parts = images.parts()
            for pixels, _, _ in parts:
                if not self.has(body, pixels.key, runtime, flip=flip, layer=layer):
                    needed += len(pixels) * layer.row_bytes(body.load())
            if len(parts) > 1 or runtime.kind != "cpu":  # else the file is mapped
                copied += len(images) * layer.row_bytes(body.load())
        room = self.limit_bytes
        if self.cache is not None and needed:
            self.cache.mkdir(parents=True, exist_ok=True)
            room = int(shutil.disk_usage(self.cache).free * (1 - RESERVE))
        tight = copied > _memory(runtime) * COPIED if copied else False
        if tight:
            needed, room = copied, int(_memory(runtime) * COPIED)
        short = processes.sum(needed > room) > 0
        if short and body.key not in self._said:
            self._said.add(body.key)
            where = f"'{self.cache}' has room for" if self.cache else "kept in memory are at most"
            where = "memory has room for" if tight else where
            _LOG.warning(
                "what is kept of %s takes %.1f GB and %s %.1f GB: they are computed anew each time",
                body.name,
                needed / 1e9,
                where,
                room / 1e9,
            )
        return not short

    def has(
        self,
        body: FrozenBody,
        pack: str,
        runtime: TorchRuntime,
        *,
        flip: bool,
        layer: Layer = FEATURES,
    ) -> bool:
        """Tell whether the disk has a layer of a pack, given by its key."""
        if self.cache is None:
            return False
        view = _View(body, layer, flip, runtime)
        return view.entries().path(self.cache, digest(view.inputs(pack))).is_dir()

    def seconds_per_image(
        self, body: FrozenBody, packs: Sequence[str], runtime: TorchRuntime
    ) -> float:
        """Return how long the features of an image took when they were made: the most of some
        packs, straight; NaN where the disk has none of them.
        """
        view, found = _View(body, FEATURES, False, runtime), []
        for pack in packs if self.cache is not None else ():
            assert self.cache is not None
            file = view.entries().path(self.cache, digest(view.inputs(pack))) / SECONDS
            with contextlib.suppress(OSError, ValueError):  # of an older version, or damaged
                found.append(float(json.loads(file.read_text(encoding="utf-8"))))
        return max(found, default=math.nan)

    def clear(self) -> None:
        """Forget what is in memory."""
        self._kept.clear()


@dataclass(frozen=True)
class _View:
    """A layer of straight or mirrored images."""

    body: FrozenBody
    layer: Layer
    flip: bool
    runtime: TorchRuntime

    def inputs(self, pack: str) -> list[Any]:
        """What it is keyed by. pack: the key of the images."""
        runtime = self.runtime
        return [self.body.key, self.layer.name, pack, self.flip, runtime.threads, runtime.kind]

    def entries(self) -> Cache:
        """Return the kind of entry that it is in the cache."""
        return _entries((*self.body.made_by, *self.layer.made_by))

    def shared(self, pixels: Pixels, processes: ProcessGroup) -> Tensor:
        """Compute features together."""
        return compute_features(
            self.body.load(), pixels, runtime=self.runtime, flip=self.flip, processes=processes
        )

    def computed(self, pixels: Pixels) -> Tensor:
        """Compute them into memory, (N, ...) in the layout of the layer."""
        whole = torch.empty(0)
        for index, rows in self._batches(pixels):
            whole = whole if len(whole) else _room(len(pixels), rows)
            whole[index[0] : index[-1] + 1] = rows
        return whole

    def write(self, pixels: Pixels, folder: Path) -> None:
        """Compute them into a file, batch by batch; `_mapped` reads it.

        It is written and not mapped: where the disk is full, a mapped page kills the process.
        """
        with contextlib.ExitStack() as files:
            file: BinaryIO | None = None
            for _, rows in self._batches(pixels):
                last = rows.ndim == 4 and rows.is_contiguous(memory_format=torch.channels_last)
                plain = rows.permute(0, 2, 3, 1) if last else rows
                bits = plain.view(torch.int16) if rows.dtype == torch.bfloat16 else plain
                values = bits.contiguous().cpu().numpy()
                if file is None:
                    name = f"{str(rows.dtype).removeprefix('torch.')}{'.channels_last' * last}.npy"
                    file = files.enter_context((folder / name).open("wb"))
                    shape = (len(pixels), *values.shape[1:])
                    of = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, of)
                file.write(values.data)

    def _batches(self, pixels: Pixels) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        detector, device = self.body.load(), self.runtime.device
        _LOG.debug("%s looks at %d images", self.body.name, len(pixels))

        def rows(index: NDArray[np.int64]) -> Tensor:
            mirrored = torch.ones(len(index), dtype=torch.bool) if self.flip else None
            x = to_input(detector, pixels.gather(index), device, mirrored)
            return self.layer.run(detector, x)

        with evaluating(detector):
            batches = list(slices(len(pixels), BATCH_SIZE))
            piece, side = piece_of(detector, device), detector.side_by_side
            yield from computed(rows, batches, device, piece=piece, side_by_side=side)


def _memory(runtime: TorchRuntime) -> int:
    """Return the bytes of the memory that features are copied to, whoever uses it now: what is kept
    must not depend on the moment.
    """
    if runtime.kind == "cuda":
        total: int = torch.cuda.mem_get_info(runtime.device)[1]
        return total
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _room(n: int, like: Tensor) -> Tensor:
    """Return an empty tensor (n, ...) with the rows, layout and device of another."""
    last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    shape = (n, *like.shape[1:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _mapped(folder: Path) -> Tensor:
    """Return what `_View.write` wrote. It is mapped for this process alone to write to, since torch
    has no tensors that are read only.
    """
    (file,) = folder.glob("*.npy")
    dtype, *layout, _ = file.name.split(".")
    stored = torch.from_numpy(np.load(file, mmap_mode="c"))
    typed = stored.view(torch.bfloat16) if dtype == "bfloat16" else stored
    return typed.permute(0, 3, 1, 2) if layout else typed


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

    def of_images(self, images: Images, **how: Any) -> Tensor:
        """Return a layer of images; see `FeatureStore.get`."""
        return self.store.get(self, images, **how)

    def fits(self, *views: tuple[Images, bool], **how: Any) -> bool:
        """Say whether there is room for a layer; see `FeatureStore.fits`."""
        return self.store.fits(self, *views, **how)


@cache
def _entries(made_by: Sequence[Callable[..., Any]]) -> Cache:
    return Cache("features", [_View, *made_by], libraries=LIBRARIES)
