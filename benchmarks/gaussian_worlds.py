"""Studies with known truth: detectors that are mean differences of Gaussian features, trained on a
sample, with a seed's noise added. Their expected AUC over samples and seeds is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from study.statistics.error_model import (
    Part,
    Sampled,
    draw_part,
    own_noise,
    sampled,
    seed_part,
    training_part,
)
from study.statistics.resampling import Clusters, clusters

Floats = NDArray[Any]
Ints = NDArray[np.int_]
TRAIN = 100  # images a class


@dataclass(frozen=True, kw_only=True)
class World:
    """Detectors of `features` dimensions each, which see the same images. learned: how far the
    classes of the training set lie apart, in feature 0. auc: the expected AUC on the test sets,
    whose classes lie apart along a direction at an angle of cosine `cosine` to feature 0. noise: of
    a seed, as a share of the weights' length. images: of a class in a test set, with `mixed` in
    groups of one of each. decay: of the features' variance. modes: how far a shortcut that
    is learned, and says nothing on the test sets, moves half of their images each way.
    """

    features: int = 30
    learned: float = 1.2
    auc: float = 0.8
    cosine: float = 1.0
    noise: float = 0.3
    images: int = 100
    mixed: bool = False
    seeds: int = 3
    pairs: int = 10
    decay: float = 0.0
    modes: float = 0.0
    detectors: int = 1
    sets: int = 1

    @property
    def scale(self) -> Floats:
        """(P,) standard deviations of the features."""
        return np.asarray(np.arange(1, self.features + 1) ** (-self.decay / 2))

    def direction(self, test_set: int) -> Floats:
        """(P,) unit vector along which a test set's classes differ."""
        found = np.zeros(self.features)
        found[0] = self.cosine
        found[(1 + test_set) % self.features] += math.sqrt(1 - self.cosine**2)
        return found

    def drawn(self, n: int, rng: np.random.Generator) -> Floats:
        """(D, n, P) features: each image's in every detector, half of their variance in common."""
        shape = (n, self.features)
        own = rng.normal(size=(self.detectors, *shape))
        if self.detectors > 1:
            own = math.sqrt(0.5) * (own + rng.normal(size=shape))
        return own * self.scale

    def seeded(self, weights: Floats, rng: np.random.Generator) -> Floats:
        """Weights (..., P) with the noise of a seed each."""
        length = math.sqrt(self.learned**2 + (self.scale**2).sum() * 2 / TRAIN)
        noise = self.noise * length / math.sqrt(self.features)
        return weights + noise * rng.normal(size=weights.shape)

    def solve(self) -> tuple[float, float]:
        """How far apart the test sets' classes lie, and the expected AUC that gives exactly."""
        if self.learned * self.cosine == 0:
            return 2.0, 0.5
        rng = np.random.default_rng(1)
        drawn = rng.normal(size=(20_000, self.features)) * self.scale * math.sqrt(2 / TRAIN)
        drawn[:, 0] += self.learned
        weights = self.seeded(drawn, rng)
        along = weights @ self.direction(0) / np.sqrt(2 * (weights**2 @ self.scale**2))
        low, high = 0.0, 50.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if ndtr(along * middle).mean() < self.auc else (low, middle)
        return low, float(ndtr(along * low).mean())


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A test set, scored. values, influences by kind of model (`seeds`, `first`, `second`,
    `bootstrap`): (D, M) and (D, M, N). alike: the mean correlation of two halves' scores.
    """

    values: Mapping[str, Floats]
    influences: Mapping[str, Floats]
    groups: Clusters
    label: Ints
    alike: float


def models(world: World, rng: np.random.Generator) -> dict[str, Floats]:
    """Train the detectors of one study; each kind's weights (D, M, P)."""
    fake, real = world.drawn(TRAIN, rng), world.drawn(TRAIN, rng)
    fake[..., 0] += world.learned

    def fit(of_fake: Floats, of_real: Floats) -> Floats:
        shares = [of / of.sum(axis=1, keepdims=True) for of in (of_fake, of_real)]
        return np.asarray(shares[0] @ fake - shares[1] @ real)

    half = [np.argsort(rng.random((world.pairs, TRAIN)), 1) < TRAIN // 2 for _ in range(2)]
    drawn = [rng.multinomial(TRAIN, np.full(TRAIN, 1 / TRAIN), world.pairs) for _ in range(2)]
    whole = np.ones((world.seeds, TRAIN))
    found = {
        "seeds": fit(whole, whole),
        "first": fit(half[0] * 1.0, half[1] * 1.0),
        "second": fit(1.0 - half[0], 1.0 - half[1]),
        "bootstrap": fit(drawn[0] * 1.0, drawn[1] * 1.0),
    }
    return {name: world.seeded(weights, rng) for name, weights in found.items()}


def ranked(scores: Floats, label: Ints) -> tuple[Floats, Floats]:
    """The AUC (..., M) and influences (..., M, N) of scores (..., M, N) without ties."""
    n_fake = int(label.sum())
    n_real = len(label) - n_fake
    order = np.argsort(scores, axis=-1)
    fake = label[order] == 1
    reals, fakes = np.cumsum(~fake, axis=-1) / n_real, np.cumsum(fake, axis=-1) / n_fake
    placed = np.empty_like(scores)
    np.put_along_axis(placed, order, np.where(fake, reals, 1 - fakes), axis=-1)
    auc = placed[..., label == 1].mean(axis=-1)
    share = np.where(label == 1, 1 / n_fake, 1 / n_real)
    return auc, (placed - auc[..., None]) * share


def score(
    world: World,
    trained: Mapping[str, Floats],
    shift: float,
    test_set: int,
    rng: np.random.Generator,
) -> Scored:
    """Draw a test set, and score it with every model."""
    n = world.images
    label, group = np.repeat([1, 0], n), np.arange(2 * n)
    images = world.drawn(2 * n, rng)
    if world.mixed:  # half of the variance is the group's
        group = np.tile(np.arange(n), 2)
        images = (images + world.drawn(n, rng)[:, group]) * math.sqrt(0.5)
    images[:, :n] += shift * world.direction(test_set)
    if world.modes:
        images[..., 0] += world.modes * rng.choice([-1, 1], size=2 * n)
    scores = {name: w @ images.transpose(0, 2, 1) for name, w in trained.items()}
    found = {name: ranked(of, label) for name, of in scores.items()}
    return Scored(
        values={name: of[0] for name, of in found.items()},
        influences={name: of[1] for name, of in found.items()},
        groups=clusters(label, group.astype(str)),
        label=label,
        alike=correlation(scores["first"], scores["second"], label),
    )


def correlation(first: Floats, second: Floats, label: Ints) -> float:
    """The mean correlation, within a class, of the scores (D, R, N) of pairs of models."""
    centred = []
    for one in (first, second):
        parts = [one[..., label == k] for k in (0, 1)]
        both = np.concatenate([of - of.mean(axis=-1, keepdims=True) for of in parts], axis=-1)
        centred.append(both / np.sqrt((both**2).sum(axis=-1, keepdims=True)))
    return float((centred[0] * centred[1]).sum(axis=-1).mean())


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum of detectors' AUCs, weights (D,), a mean over its test sets."""

    weights: Floats
    scored: tuple[Scored, ...]

    def values(self, kind: str) -> Floats:
        """(M,) of each model of a kind."""
        each = [self.weights @ one.values[kind] for one in self.scored]
        return np.asarray(np.mean(each, axis=0))

    def noise(self, *kinds: str) -> float:
        """The sample variance of models that the images alone give; of two kinds, of pairs."""
        found = 0.0
        for one in self.scored:
            of = [np.tensordot(self.weights, one.influences[kind], 1) for kind in kinds]
            sets = [of[0]] if len(of) == 1 else list(np.stack(of, axis=1))
            found += float(np.mean([own_noise(each, one.groups) for each in sets]))
        return found / len(self.scored) ** 2

    def images(self) -> list[Sampled]:
        """What the test sets' images say."""
        found, share = [], 1 / len(self.scored)
        for one in self.scored:
            influences = np.tensordot(self.weights, one.influences["seeds"], 1).mean(axis=0)
            value = float((self.weights @ one.values["seeds"]).mean())
            half = 0.5 * share / np.bincount(one.label)[one.label]
            found.append(sampled(influences * share, value * half, half, one.groups, scale=share))
        return found

    def ways(self) -> dict[str, Part]:
        """The part of training sample and seeds by each way of counting it."""
        apart, copies = self.values("first") - self.values("second"), self.values("bootstrap")
        noise, alike = 2 * self.noise("first", "second"), max(self.scored[0].alike, 0.0)
        seeds = self.values("seeds")
        seed = seed_part(seeds, self.noise("seeds"))
        halves = draw_part(apart, noise)
        found = {
            "images alone": Part(),
            "and seeds": seed.times(1 / len(seeds)),
            "bootstrap": seed_part(copies),
            "bootstrap less images": seed_part(copies, self.noise("bootstrap")),
            "halves": draw_part(apart),
            "halves less images": halves,
            "scaled by 1 / (1 + r)": halves.times(1 / (1 + alike)),
            "scaled by 1/2": halves.times(1 / 2),
        }
        if len(seeds) > 1:
            for name in [*found][2:]:
                found[name] = training_part(found[name], seed, len(seeds))
        return found

    def product(self) -> Part:
        """The part as the product counts it."""
        return self.ways()["halves less images"]


def study(world: World, shift: float, rng: np.random.Generator) -> tuple[Scored, ...]:
    """One study: its detectors, scored on all test sets."""
    trained = models(world, rng)
    return tuple(score(world, trained, shift, y, rng) for y in range(world.sets))
