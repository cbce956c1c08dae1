"""Training a ResNet-18 at 32 px: against the loop of notebooks (G7), and against its own loop on a
batch that is always the same (G8).

    python -m benchmarks --only G7 G8

One thread. The project trains by its own `fit`, in the precision that it takes on this machine by
itself, from a file of uint8 that is mapped. The notebook's loop is in float32: a DataLoader of
Pillow images, transforms one by one, cross-entropy, Adam. An epoch is measured, the second one; the
first warms up.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.frozen_boundary import Clock
from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row, Taken, median_of
from study.detectors import registry
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime

SIDE, IMAGES, BATCH = 32, 192, 32
GMAC = 0.556  # of a ResNet-18 with CIFAR's stem at 32 px; forward, and twice that backward
NAME = "resnet18_scratch"


class Mapped:
    """Pictures of noise in a file that is mapped. constant: whatever is asked for, its first."""

    size_px = SIDE

    def __init__(self, folder: Path, n: int, seed: int, *, constant: bool = False) -> None:
        rng, file = np.random.default_rng(seed), folder / f"{n}-{seed}.u8"
        rng.integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8).tofile(file)
        self.pixels = np.memmap(file, np.uint8, "r", shape=(n, SIDE, SIDE, 3))
        self.label = (np.arange(n) % 2).astype(np.uint8)
        self.sample_id = np.array([f"{i:05d}" for i in range(n)])
        self.key = f"noise {n} {seed}"
        self._first = np.array(self.pixels[:BATCH]) if constant else None

    def __len__(self) -> int:
        return len(self.label)

    def gather(self, index: Any) -> Any:
        """Return images by index."""
        return self.pixels[index] if self._first is None else self._first[: len(index)]

    def parts(self) -> Any:
        """All of them are here."""
        rows = np.arange(len(self))
        return [(self, rows, rows)]


def ours(folder: Path, *, constant: bool) -> tuple[float, float]:
    """Return CPU and wall seconds of the second epoch of a fit."""
    spec = registry.resolve(NAME, options={"size_px": SIDE}, weights_root=None)
    detector = registry.build(spec, weights_root=None, seed=0)
    runtime, clock = TorchRuntime.resolve(device="cpu", threads=1, precision="auto"), Clock()
    recipe = Recipe.from_params(
        {"schedule": "full", "patience": 0, "lr": 1e-4, "batch_size": BATCH}
    )
    train = Mapped(folder, IMAGES, 0, constant=constant)
    fit(
        detector,
        train,
        Mapped(folder, 2, 1),
        recipe,
        epochs=2,
        seed=0,
        runtime=runtime,
        session=clock,
    )
    return clock.times[2] - clock.times[1], clock.walls[2] - clock.walls[1]


class Pictures(Dataset[Any]):
    """Pillow images with a transform each, as notebooks have them."""

    def __init__(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
        self.images = [Image.fromarray(one) for one in noise]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        pixels = torch.from_numpy(np.array(self.images[at])).permute(2, 0, 1).contiguous()
        return (pixels.float() / 255 - 0.5) / 0.5, at % 2


def notebook() -> tuple[float, float]:
    """Return CPU and wall seconds of the second epoch of a notebook's loop."""
    import timm

    network: nn.Module = timm.create_model("resnet18", pretrained=False, num_classes=2)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    loader, taken = DataLoader(Pictures(), batch_size=BATCH, shuffle=True), (0.0, 0.0)
    torch.set_num_threads(1)
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        for pixels, label in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(pixels), label).backward()
            optimizer.step()
        taken = time.process_time() - cpu, time.perf_counter() - wall
    return taken


def products() -> tuple[float, float]:
    """Return CPU and wall seconds of as many multiplications as an epoch has, as products of
    matrices in the project's precision.
    """
    torch.set_num_threads(1)
    precision = TorchRuntime.resolve(device="cpu", threads=1, precision="auto").precision
    one = torch.ones(1024, 1024, dtype=getattr(torch, precision))
    times = round(3 * GMAC * IMAGES * 1e9 / 1024**3)
    one @ one
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        one @ one
    return time.process_time() - cpu, time.perf_counter() - wall


def _measured(ways: dict[str, Callable[[], tuple[float, float]]], rounds: int) -> dict[str, Taken]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return {name: median_of(of) for name, of in found.items()}


def against_notebooks(options: Options) -> Goal:
    """G7."""
    found = Goal("G7", f"an epoch of a ResNet-18 on {IMAGES} images of {SIDE} px")
    with tempfile.TemporaryDirectory() as name:
        ways = {PROJECT: partial(ours, Path(name), constant=False), PEER: notebook, LIMIT: products}
        taken = _measured(ways, options.rounds)
    note = "the limit is as many multiplications as products of matrices"
    found.rows.append(Row(name="one thread", taken=taken, peer_goal=1.8, limit_goal=0.8, note=note))
    return found


def against_itself(options: Options) -> Goal:
    """G8."""
    found = Goal("G8", "an epoch on images from a mapped file, against the same batch again")
    with tempfile.TemporaryDirectory() as name:
        ways = {key: partial(ours, Path(name), constant=key == LIMIT) for key in (PROJECT, LIMIT)}
        taken = _measured(ways, options.rounds)
    found.rows.append(Row(name=f"{IMAGES} images of {SIDE} px", taken=taken, limit_goal=0.95))
    return found
