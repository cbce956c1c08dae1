"""Goals G3 and G4: reading an epoch from a pack, and building the pack.

    python -m benchmarks --only G3 G4

The peer is what notebooks do: a torch DataLoader of two workers which opens each file by Pillow,
resizes it and normalises it. At 32 pixels the images are made here (JPEG), at 224 they are those of
`faces_140k` below --data (else made here, at 256 pixels). The limit of reading is a copy of the
same bytes in memory, that of building is to decode the same files in two threads.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row, Way, in_turn
from study.core.records import Geometry
from study.data.catalog import Catalog, DataConfig
from study.data.images.decode import decode_image
from study.data.images.packs import ImageSet
from study.detectors.base import Detector
from study.detectors.registry import spec_of
from study.training.runtime import TorchRuntime

BATCH, WORKERS = 64, 2
SMALL, LARGE = Geometry(size_px=32, mode="squash"), Geometry(size_px=224, mode="squash")
N_SMALL, N_LARGE = 4000, 600  # images made
GATHER = "gather"


@dataclass(frozen=True)
class Files(Dataset[tuple[torch.Tensor, int]]):
    """What a notebook's dataset does with a file."""

    paths: tuple[str, ...]
    size_px: int
    normalised: bool

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.paths[at]).convert("RGB")
        if image.size != (self.size_px, self.size_px):
            image = image.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image))
        if self.normalised:
            pixels = pixels.permute(2, 0, 1).float().div_(255).sub_(0.5).div_(0.5)
        return pixels, 0


def loader_of(files: Files) -> DataLoader[tuple[torch.Tensor, int]]:
    """A DataLoader of an epoch."""
    torch.manual_seed(0)
    return DataLoader(files, batch_size=BATCH, shuffle=files.normalised, num_workers=WORKERS)


def drain(files: Files) -> None:
    """Read an epoch by a DataLoader."""
    for _ in loader_of(files):
        pass


@dataclass(frozen=True)
class Place:
    """A dataset and where it is kept."""

    catalog: Catalog
    name: str
    geometry: Geometry

    def images(self) -> ImageSet:
        """The images of train."""
        self.catalog._opened.clear()
        return self.catalog.open(self.name, "train", self.geometry)

    def paths(self) -> tuple[str, ...]:
        """Their files."""
        dataset = self.catalog.dataset(self.name)
        return tuple(f"{dataset.root}/{path}" for path in dataset.rows("train")["path"].to_pylist())


@contextmanager
def places(options: Options) -> Iterator[dict[str, Place]]:
    """Give a dataset of small images and one of large ones, with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "data", Path(folder) / "cache"
        make(root / "small", N_SMALL, 32)
        real = options.data / "faces_140k" if options.data else None
        if real is None:
            make(root / "large", N_LARGE, 256)
        found = {
            "32 px": Place(
                Catalog(DataConfig(root=root, cache=cache), firewall=True), "small", SMALL
            ),
            "224 px": Place(
                Catalog(DataConfig(root=options.data or root, cache=cache), firewall=True),
                real.name if real else "large",
                LARGE,
            ),
        }
        yield found


def make(folder: Path, n: int, size: int) -> None:
    """Write n smooth pictures with noise as JPEG, half of them fake."""
    rng = np.random.default_rng(0)
    for number in range(n):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
        noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        path = folder / ("real", "fake")[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)


def epoch(options: Options) -> Goal:
    """G3: an epoch from the pack."""
    goal = Goal("G3", "an epoch from the pack, gathered and normalised")
    TorchRuntime.resolve(device="cpu").apply()  # as all work of a study has it
    with places(options) as found:
        goal.rows += [_epoch(name, place, options.rounds) for name, place in found.items()]
    return goal


def _epoch(name: str, place: Place, rounds: int) -> Row:
    images, files, side = place.images(), place.paths(), place.geometry.size_px
    order = np.random.default_rng(0).permutation(len(images))
    batches = np.split(order, range(BATCH, len(order), BATCH))
    whole = images.gather(order)
    room, detector = np.empty_like(whole), Detector(spec_of("npr"), 1)

    def gathered() -> None:
        for index in batches:
            images.gather(index)

    def prepared() -> None:
        for index in batches:
            detector.prepare(torch.from_numpy(images.gather(index)))

    ways = {
        PROJECT: Way(prepared),
        PEER: Way(lambda: drain(Files(files, side, normalised=True))),
        GATHER: Way(gathered),
        LIMIT: Way(lambda: np.copyto(room, whole)),
    }
    return Row(
        name=name,
        taken=in_turn(ways, rounds),
        peer_goal=50 if side == SMALL.size_px else 10,
        limit_goal=0.5,
        limited=GATHER,
        note=f"{len(images)} images; the limit is a copy, against the gather alone",
    )


def building(options: Options) -> Goal:
    """G4: building a pack."""
    goal = Goal("G4", "building the pack")
    with places(options) as found:
        goal.rows += [_building(name, place, options.rounds) for name, place in found.items()]
    return goal


def _building(name: str, place: Place, rounds: int) -> Row:
    files, side = place.paths(), place.geometry.size_px

    def built() -> None:
        shutil.rmtree(place.catalog.config.cache / "packs", ignore_errors=True)
        place.images()

    def decoded() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(lambda path: decode_image(Path(path)), files, chunksize=16):
                pass

    ways = {
        PROJECT: Way(built),
        PEER: Way(lambda: drain(Files(files, side, normalised=False))),
        LIMIT: Way(decoded),
    }
    note = f"{len(files)} images"
    taken = in_turn(ways, rounds)
    return Row(name=name, taken=taken, peer_goal=4, limit_goal=0.5, note=note)
