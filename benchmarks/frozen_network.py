"""Goals G1 and G5: what a frozen network costs, against notebooks that show it every image anew.

    python -m benchmarks --only G1 G5

A ViT-B/32 of random weights on JPEG files made here. G1 is a search of linear heads by gradient:
the project decodes each image into a pack, shows it to the network once, and trains all heads. G5
scores a test set by four heads on that network. The peer decodes by Pillow in a DataLoader of two
workers and computes in float32: for G1 in every epoch of every trial, of which one is measured and
multiplied, for G5 once a detector. The limit is as many multiplications as the forwards have, as
products of matrices in bfloat16, against the forwards alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.frozen_boundary import Network
from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row, Way, in_turn
from benchmarks.packs import LARGE, Files, Place, loader_of, make
from study.data.catalog import Catalog, DataConfig
from study.training.features import FeatureStore, FrozenBody, compute_features, head_logits
from study.training.head_stack import Head, train_heads
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime

NAME, GMAC = "vit_base_patch32_224", 4.41  # of an image, as timm's results say
IMAGES, TRIALS, EPOCHS, DETECTORS = 96, 20, 10, 4


class World:
    """The images, the network, and what each way does with them."""

    def __init__(self, folder: Path) -> None:
        make(folder / "data" / "large", IMAGES, 256)
        config = DataConfig(root=folder / "data", cache=folder / "cache")
        self.place = Place(Catalog(config, firewall=True), "large", LARGE)
        self.runtime = TorchRuntime.resolve(device="cpu", threads=1, precision="auto")
        self.runtime.apply()
        torch.manual_seed(0)
        self.network = Network(NAME).eval()
        self.runtime.place(self.network)
        self.files = Files(self.place.paths(), LARGE.size_px, normalised=True)
        self.images = self.place.images()

    def features(self, precision: str) -> Tensor:
        """The features of all images, from their files, as a study computes them at first."""
        config = self.place.catalog.config
        for kept in ("packs", "features"):
            shutil.rmtree(config.cache / kept, ignore_errors=True)
        self.network.frozen_precision = precision
        body, store = FrozenBody.of(self.network), FeatureStore(config.cache)
        return store.get(body, self.place.images(), runtime=self.runtime)

    def search(self, precision: str) -> None:
        """All heads, all epochs."""
        features = self.features(precision)
        recipe = Recipe(schedule="head", lr=1e-3, batch_size=32, patience=0, flip=0.0)
        weight, label = torch.zeros(features.shape[1]), self.images.label
        heads = [Head(recipe=recipe, seed=n, weight=weight, bias=0.0, label=label)
                 for n in range(TRIALS)]  # fmt: skip
        val = features[: IMAGES // 5].clone()
        train_heads([features], val, label[: len(val)], heads, epochs=EPOCHS, runtime=self.runtime)

    def score(self, precision: str) -> None:
        """Four heads, from one look at each image."""
        features = self.features(precision)
        for _ in range(DETECTORS):
            head_logits(self.network, features)

    @torch.no_grad()
    def notebook(self) -> None:
        """One look at each image, decoded anew, with a linear head."""
        for pixels, _ in loader_of(self.files):
            self.network.classify(self.network.features(pixels))

    def forward(self) -> None:
        """The network alone, as the project has it."""
        self.network.frozen_precision = self.runtime.precision
        compute_features(self.network, self.images, runtime=self.runtime)

    def products(self) -> None:
        """As many multiplications as products of matrices."""
        one = torch.ones(1024, 1024, dtype=getattr(torch, self.runtime.precision))
        for _ in range(round(GMAC * len(self.images) * 1e9 / 1024**3)):
            torch.mm(one, one)


def goals(options: Options) -> list[Goal]:
    """G1: a search on a frozen network. G5: four detectors on one test set."""
    search = Goal("G1", f"a search of {TRIALS} heads, {EPOCHS} epochs each, on a frozen network")
    scored = Goal("G5", f"{DETECTORS} detectors on a frozen network score a test set")
    with TemporaryDirectory() as name:
        world, passes = World(Path(name)), TRIALS * EPOCHS
        for precision, share, least in (("float32", 0.9, 1.5), ("bfloat16", 1.8, 3.0)):
            if precision == "bfloat16" and world.runtime.precision != precision:
                continue
            of = partial(_row, world, precision, options.rounds)
            search.rows.append(of(world.search, passes, share * passes))
            scored.rows.append(of(world.score, DETECTORS, least))
        ways = {PROJECT: Way(world.forward), LIMIT: Way(world.products)}
        for goal, wanted in ((search, 0.75), (scored, 0.7)):
            taken = in_turn(ways, options.rounds)
            note = f"{len(world.images)} images of {NAME} in {world.runtime.precision}"
            goal.rows.append(Row(name="forward alone", taken=taken, limit_goal=wanted, note=note))
    return [search, scored]


def _row(
    world: World,
    precision: str,
    rounds: int,
    way: Callable[[str], None],
    times: int,
    wanted: float,
) -> Row:
    ways = {PROJECT: Way(partial(way, precision)), PEER: Way(world.notebook, times=times)}
    note = f"{len(world.images)} images, of the peer one look at each, times {times}"
    return Row(name=precision, taken=in_turn(ways, rounds), peer_goal=wanted, note=note)
