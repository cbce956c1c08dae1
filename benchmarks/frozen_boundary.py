"""What it saves to compute the frozen part of a network once while its last stage is trained.

    python benchmarks/frozen_boundary.py [--images 256] [--epochs 6] [--rounds 2]

The training loop itself, with the schedule `last_stage` and mirrored images, on generated pictures
and random weights: kept rows against the whole network in every step. Rounds alternate. Seconds are
CPU seconds, so other programs count little. `epoch` leaves out the first one, in which the rows are
made.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import timm
import torch
from torch import Tensor

from benchmarks.goals import PEER, PROJECT, Goal, Options, Row, median_of
from study.core.records import DetectorSpec, EpochRecord, Geometry
from study.detectors.base import Detector, Stage
from study.detectors.meta_device import is_convolutional
from study.detectors.stages import stages_by_depth, timm_depths
from study.training.features import FeatureStore, FrozenBody
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime

NETWORKS = ("mobilenetv2_035", "resnet18", "vit_small_patch16_224")
SIZE_PX = 224


class Network(Detector):
    """A network of timm with random weights."""

    def __init__(self, name: str) -> None:
        half = (0.5, 0.5, 0.5)
        spec = DetectorSpec(
            name=name,
            family="timm_network",
            geometry=Geometry(size_px=SIZE_PX, mode="squash"),
            mean=half,
            std=half,
            learner="gradient",
        )
        backbone: Any = timm.create_model(name, pretrained=False, num_classes=0)
        super().__init__(spec, backbone.head_hidden_size)
        self.backbone, self.channels_last = backbone, is_convolutional(backbone)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features (B, D)."""
        pooled: Tensor = self.backbone(x)
        return pooled

    def body_stages(self) -> tuple[Stage, ...]:
        """By timm's own groups."""
        return stages_by_depth(self.backbone, timm_depths(self.backbone))


class Pictures:
    """Noise in memory."""

    size_px = SIZE_PX

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.pixels = rng.integers(0, 256, (n, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        self.label = (np.arange(n) % 2).astype(np.uint8)
        self.sample_id = np.array([f"{i:05d}" for i in range(n)])
        self.key = f"noise {n} {seed}"

    def __len__(self) -> int:
        return len(self.label)

    def gather(self, index: Any) -> Any:
        """Return images by index."""
        return self.pixels[index]

    def parts(self) -> Any:
        """All of them are here."""
        rows = np.arange(len(self))
        return [(self, rows, rows)]


class Clock:
    """A session that notes the CPU time and that of the wall at the end of every epoch."""

    def __init__(self) -> None:
        self.times, self.walls = [time.process_time()], [time.perf_counter()]

    def report(self, record: EpochRecord) -> None:
        """Note the time."""
        self.times.append(time.process_time())
        self.walls.append(time.perf_counter())

    def load(self) -> None:
        """Nothing is kept."""

    def save(self, state: dict[str, Any]) -> None:
        """Nothing is kept."""

    def keep_epoch(self, epoch: int, state: dict[str, Any]) -> None:
        """Nothing is kept."""


def train(
    name: str, precision: str, images: int, epochs: int, *, kept: bool
) -> tuple[float, float, float]:
    """Return the CPU seconds of a fit, and of an epoch but the first, and the latter's by the
    wall.
    """
    torch.manual_seed(0)
    detector, clock = Network(name), Clock()
    runtime = TorchRuntime.resolve(device="cpu", threads=1, precision=precision)
    recipe = Recipe.from_params({"schedule": "last_stage", "patience": 0, "flip": 0.5})
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder))
        body = FrozenBody(key=name, name=name, load=lambda: detector, store=store)
        with mock.patch.object(FeatureStore, "fits", lambda *_, **__: kept):
            fit(
                detector,
                Pictures(images, 0),
                Pictures(images // 4, 1),
                recipe,
                epochs=epochs,
                seed=0,
                runtime=runtime,
                session=clock,
                body=body,
            )
    epoch, wall = ((of[-1] - of[1]) / (epochs - 1) for of in (clock.times, clock.walls))
    return clock.times[-1] - clock.times[0], epoch, wall


def goal(options: Options) -> Goal:
    """G10: an epoch that trains the last stage of a network alone."""
    found = Goal("G10", "an epoch with the last stage trained, from what crosses the boundary")
    for name, wanted in (("vit_small_patch16_224", 3.5), ("resnet18", None)):
        taken: dict[str, list[tuple[float, float]]] = {PROJECT: [], PEER: []}
        for _ in range(options.rounds):
            for way, mine in taken.items():
                _, cpu, wall = train(name, "bfloat16", 32, 3, kept=way == PROJECT)
                mine.append((cpu, wall))
        medians = {way: median_of(of) for way, of in taken.items()}
        note = "32 images of 224 px; the peer computes the whole network in every step"
        found.rows.append(Row(name=name, taken=medians, peer_goal=wanted, note=note))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    options = parser.parse_args()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average before the start: {load}; one thread")
    for name in options.networks:
        for precision in ("float32", "bfloat16"):
            least = {True: (1e9, 1e9), False: (1e9, 1e9)}
            for _ in range(options.rounds):
                for kept in (True, False):
                    found = train(name, precision, options.images, options.epochs, kept=kept)
                    least[kept] = min(least[kept][0], found[0]), min(least[kept][1], found[1])
            (fit_kept, epoch_kept), (fit_whole, epoch_whole) = least[True], least[False]
            print(
                f"{name:22} {precision:8}  epoch {epoch_kept:6.2f} s, whole {epoch_whole:6.2f} s:"
                f" {epoch_whole / epoch_kept:5.1f} x   fit {fit_kept:6.2f} s, whole"
                f" {fit_whole:6.2f} s: {fit_whole / fit_kept:4.1f} x",
                flush=True,
            )


if __name__ == "__main__":
    main()
