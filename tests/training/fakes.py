"""A small detector, images it can learn from, and a session that keeps checkpoints as a file
would.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from study.core.identity import digest
from study.core.records import DetectorSpec, EpochRecord, Geometry
from study.detectors.base import Detector, Stage

SIZE_PX = 8


@dataclass
class FakeImages:
    """Images in memory, with what training needs of an image set; counts what is read."""

    sample_id: NDArray[np.str_]
    label: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    key: str
    read: int = 0

    @property
    def size_px(self) -> int:
        return self.pixels.shape[1]

    def __len__(self) -> int:
        return len(self.label)

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.read += len(index)
        return self.pixels[index]

    def parts(self) -> list[tuple[FakeImages, NDArray[np.intp], NDArray[np.intp]]]:
        return [(self, np.arange(len(self)), np.arange(len(self)))]


def images(
    n: int = 21, *, seed: int = 0, size_px: int = SIZE_PX, amplitude: int = 30
) -> FakeImages:
    """Noise; on fakes lies a diagonal stripe pattern, which a mirror image turns round. A third and
    more of each class.
    """
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 5 < 2).astype(np.uint8)
    rows, columns = np.indices((size_px, size_px))
    stripes = amplitude * ((rows + columns) % 4 < 2)
    pixels = (
        rng.integers(60, 160, (n, size_px, size_px, 3))
        + label[:, None, None, None] * stripes[None, :, :, None]
    )
    names = np.array([f"set/{i:04d}.png" for i in range(n)])
    return FakeImages(
        names, label, pixels.astype(np.uint8), digest("fake", n, seed, size_px, amplitude)
    )


class Tiny(Detector):
    """Three stages below the head, BatchNorm and dropout inside: 8 px images."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, 8)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.block1 = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.block2 = nn.Sequential(
            nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.1)
        )

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.block1(F.relu(self.stem(x))))
        return F.relu(self.block2(x)).mean(dim=(2, 3))

    def body_stages(self) -> tuple[Stage, ...]:
        return (
            Stage("block2", (self.block2,)),
            Stage("block1", (self.block1,)),
            Stage("stem", (self.stem,)),
        )


def tiny(seed: int = 0, size_px: int = SIZE_PX) -> Tiny:
    torch.manual_seed(seed)
    geometry = Geometry(size_px=size_px, mode="crop")
    half = (0.5, 0.5, 0.5)
    return Tiny(
        DetectorSpec(
            name="tiny", family="tiny", geometry=geometry, mean=half, std=half, learner="gradient"
        )
    )


class Plain(Detector):
    """Three stages below the head without BatchNorm and dropout: how a batch is cut up changes
    nothing but rounding.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, 8)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block1 = nn.Conv2d(4, 6, 3, padding=1)
        self.block2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.block1(F.relu(self.stem(x))))
        return F.relu(self.block2(x)).mean(dim=(2, 3))

    def body_stages(self) -> tuple[Stage, ...]:
        return (
            Stage("block2", (self.block2,)),
            Stage("block1", (self.block1,)),
            Stage("stem", (self.stem,)),
        )


def plain(seed: int = 0) -> Plain:
    return Plain(dataclasses.replace(tiny(seed).spec, name="plain", family="plain"))


class Attentive(Detector):
    """Two blocks of torch's own attention on the four patches of an 8 px image, without dropout."""

    channels_last = False

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec, 8)
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.block1 = nn.MultiheadAttention(8, 2, batch_first=True)
        self.block2 = nn.MultiheadAttention(8, 2, batch_first=True)

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in (self.block1, self.block2):
            x = x + block(x, x, x, need_weights=False)[0]
        return x.mean(dim=1)

    def body_stages(self) -> tuple[Stage, ...]:
        return (
            Stage("block2", (self.block2,)),
            Stage("block1", (self.block1,)),
            Stage("stem", (self.stem,)),
        )


def attentive(seed: int = 0) -> Attentive:
    torch.manual_seed(seed)
    return Attentive(dataclasses.replace(tiny(seed).spec, name="attentive", family="attentive"))


def limit_memory(module: nn.Module, at_most: int) -> list[int]:
    """Let a module run out of memory above so many images; return the list of what it was given,
    which grows.
    """
    seen: list[int] = []

    def refuse(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(len(inputs[0]))
        if len(inputs[0]) > at_most:
            raise torch.OutOfMemoryError(f"no memory for {len(inputs[0])} images")

    module.register_forward_pre_hook(refuse)
    return seen


class InterruptedError(Exception):
    """The process was stopped."""


@dataclass
class FakeSession:
    """Keeps the last checkpoint as bytes that `weights_only` can read; stops the run after
    `stop_after` saves.
    """

    stop_after: int | None = None
    records: list[EpochRecord] = field(default_factory=list)
    saves: int = 0
    content: bytes | None = None

    def report(self, record: EpochRecord) -> None:
        self.records.append(record)

    def load(self) -> dict[str, Any] | None:
        return (
            None
            if self.content is None
            else torch.load(io.BytesIO(self.content), weights_only=True)
        )

    def keep_epoch(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        pass

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.content = buffer.getvalue()
        self.saves += 1
        if self.saves == self.stop_after:
            raise InterruptedError
