"""Does the error model hold? Coverage, false positives and power of `study/statistics/
error_model.py` with known truth, and the simulation that chose how the training sample is counted.

    python benchmarks/error_model.py                   # all parts, 2,000 runs a setting
    python benchmarks/error_model.py --runs 200 draws  # one part, quicker
    python benchmarks/error_model.py --show            # the tables of what is there

Detectors are mean differences of Gaussian features, trained on a sample, with a seed's noise added.
Their expected AUC over samples and seeds is known. Runs are seeded and come in chunks of 100, each
a line of the result file (`error_model.jsonl`): what is there is not computed again. One process.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from study.statistics.comparisons import holm
from study.statistics.error_model import (
    ALPHA,
    Finding,
    Part,
    Sampled,
    draw_part,
    infer,
    own_noise,
    sampled,
    seed_part,
    training_part,
)
from study.statistics.resampling import Clusters, clusters

Floats = NDArray[Any]
Ints = NDArray[np.int_]
CHUNK = 100
TRAIN = 100  # images a class
Outcome = dict[str, tuple[float, float]]  # what -> whether it held or was shown, width
Run = Callable[[np.random.Generator], Outcome]


@dataclass(frozen=True, kw_only=True)
class World:
    """Detectors of `features` dimensions each, which see the same images. learned: how far the
    classes of the training set lie apart, in feature 0. auc: the expected AUC on the test sets,
    whose classes lie apart along a direction at an angle of cosine `cosine` to feature 0. noise: of
    a seed, as a share of the weights' length. images: of a class in a test set, with `mixed` in
    groups of one of each. decay: of the features' variance.
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


def outcome(found: Finding, truth: float) -> tuple[float, float]:
    """Whether the interval holds the truth, and its width."""
    return float(found.low <= truth <= found.high), found.high - found.low


# What is simulated: part -> setting -> a function from a generator to outcomes. ---------------


def draws_setting(world: World) -> Run:
    """Every way of counting the training sample, on one cell."""
    shift, truth = world.solve()

    def run(rng: np.random.Generator) -> Outcome:
        contrast = Contrast(weights=np.ones(1), scored=study(world, shift, rng))
        images = contrast.images()
        if not images[0].varies:
            return {}
        ways = contrast.ways().items()
        return {name: outcome(infer(images, part, kind="auc"), truth) for name, part in ways}

    return run


DRAWS = {
    "nothing to learn": World(learned=0),
    "nothing to learn, 5 features": World(learned=0, features=5),
    "nothing to learn, 2 features": World(learned=0, features=2),
    "nothing to learn, 1 feature": World(learned=0, features=1),
    "nothing to learn, one feature leads, 1,000 images": World(learned=0, decay=1, images=1000),
    "what is learned says nothing there": World(cosine=0),
    "what is learned says nothing there, weak": World(cosine=0, learned=0.5),
    "weak, .6": World(learned=0.4, auc=0.6),
    "weak, .8, 1,000 images": World(learned=0.5, images=1000),
    ".8": World(),
    ".8, 1,000 images": World(images=1000),
    ".95": World(auc=0.95),
    ".8, 5 features": World(features=5),
    ".8, 300 features": World(features=300),
    ".8, much seed noise": World(noise=1.0),
    "nothing to learn, 5 seeds, much seed noise": World(learned=0, seeds=5, noise=1.5),
}


def coverage_setting(world: World) -> Run:
    """A cell, a mean over two test sets and a difference of two detectors, as the product has
    them.
    """
    world = replace(world, detectors=2, sets=2)
    shift, truth = world.solve()

    def run(rng: np.random.Generator) -> Outcome:
        scored = study(world, shift, rng)
        asked = {
            "cell": (Contrast(weights=np.array([1.0, 0.0]), scored=scored[:1]), truth),
            "mean": (Contrast(weights=np.array([1.0, 0.0]), scored=scored), truth),
            "difference": (Contrast(weights=np.array([1.0, -1.0]), scored=scored[:1]), 0.0),
            "difference of means": (Contrast(weights=np.array([1.0, -1.0]), scored=scored), 0.0),
        }
        found = {}
        for name, (contrast, true) in asked.items():
            images = contrast.images()
            if "difference" not in name:  # separated: the exact bound
                images = [replace(one, alike=one.value == one.scale) for one in images]
            known = infer(images, contrast.product(), kind="auc" if true else "difference")
            found[name] = outcome(known, true)
        return found

    return run


COVERAGE = {
    f"{kind}AUC {auc}, {n} a class{', mixed groups' * mixed}": World(
        auc=auc, images=n, mixed=mixed, learned=1.2 if auc > 0.5 else learned, cosine=cosine
    )
    for n, mixed in ((20, False), (100, False), (1000, False), (50, True))
    for kind, auc, learned, cosine in (
        ("nothing to learn, ", 0.5, 0.0, 1.0),
        ("learned is elsewhere, ", 0.5, 1.2, 0.0),
        ("", 0.8, 1.2, 1.0),
        ("", 0.95, 1.2, 1.0),
    )
}


def null_setting(world: World) -> Run:
    """Row 1: labels permuted, two detectors, three test sets: is the first called better or
    worse in the mean, and in how many cells after Holm?
    """
    world = replace(world, learned=0.0, detectors=2, sets=3)

    def run(rng: np.random.Generator) -> Outcome:
        scored = study(world, 2.0, rng)
        weights = np.array([1.0, -1.0])
        mean = Contrast(weights=weights, scored=scored)
        found = infer(mean.images(), mean.product())
        cells = [Contrast(weights=weights, scored=(one,)) for one in scored]
        each = [infer(cell.images(), cell.product()).p for cell in cells]
        old = infer(mean.images(), mean.ways()["and seeds"])
        return {
            "mean": (float(found.p < ALPHA), found.high - found.low),
            "some cell, after Holm": (float((holm(each) < ALPHA).any()), math.nan),
            "mean, training sample not counted": (float(old.p < ALPHA), old.high - old.low),
        }

    return run


NULLS = {
    f"{p} features, decay {decay}, {n} a class": World(features=p, decay=decay, images=n)
    for p, decay in ((30, 0), (30, 1), (5, 0), (2, 0))
    for n in (40, 200)
}


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Differences without a world: normal errors of known size. Images, draw and seed: standard
    deviations; search: of an effect that the configuration has, the same in every model.
    """

    images: float = 0.02
    draw: float = 0.02
    seed: float = 0.02
    search: float = 0.0
    seeds: int = 3
    pairs: int = 10
    groups: int = 200

    def found(self, lead: float, rng: np.random.Generator, tests: int = 1) -> Finding:
        """One study's difference whose truth is `lead`."""
        truth = lead + self.search * rng.normal() + self.draw * rng.normal()
        values = truth + self.seed * rng.normal(size=self.seeds)
        spread = math.hypot(self.draw, self.seed)
        apart = spread * math.sqrt(2) * rng.normal(size=self.pairs)
        part = training_part(draw_part(apart), seed_part(values), self.seeds)
        # of two strata, each as large
        errors = rng.normal(size=self.groups) * self.images / math.sqrt(self.groups)
        value = float(values.mean() + errors.sum())
        half = self.groups // 2
        label = np.repeat([1, 0], half)
        centred = errors - np.repeat([errors[:half].mean(), errors[half:].mean()], half)
        share = np.full(self.groups, 1 / self.groups)
        groups = clusters(label, np.arange(self.groups).astype(str))
        return infer([sampled(centred, value * share, share, groups)], part, tests=tests)


def power_setting(plain: Plain) -> Run:
    """Row 4: is a lead that shows 4 times in 5, by what the rule counts on average at the true
    variances, shown so often?
    """
    rng = np.random.default_rng(3)
    drawn = (plain.draw**2 + plain.seed**2) * rng.chisquare(plain.pairs, 4000) / plain.pairs
    seeds = plain.seed**2 * rng.chisquare(plain.seeds - 1, 4000) / (plain.seeds - 1)
    # with the degrees of freedom that the rule counts, which are those of its own sentence
    counted = [
        training_part(Part(variance=d, doubt=d**2 / plain.pairs), Part(variance=s), plain.seeds)
        for d, s in zip(drawn, seeds, strict=True)
    ]
    known = Part(
        variance=float(np.mean([one.variance for one in counted])),
        doubt=float(np.mean([one.doubt for one in counted])),
    )
    # the images' variance with its degrees of freedom
    label = np.repeat([1, 0], plain.groups // 2)
    groups = clusters(label, np.arange(plain.groups).astype(str))
    unit = np.tile([1.0, -1.0], plain.groups // 2) * plain.images / math.sqrt(plain.groups)
    share = np.full(plain.groups, 1 / plain.groups)
    lead = infer([sampled(unit, 0 * share, share, groups)], known).smallest

    def run(rng: np.random.Generator) -> Outcome:
        if math.isnan(lead):
            return {"no lead up to .5 would": (1.0, math.nan)}
        found = plain.found(lead, rng)
        return {f"a lead of {lead:.3f}": (float(found.p < ALPHA), found.high - found.low)}

    return run


POWERS = {
    f"S = {seeds}, {name}, {groups} groups": replace(plain, seeds=seeds, groups=groups)
    for seeds in (2, 3, 5)
    for groups in (40, 200)
    for name, plain in {
        "alike": Plain(),
        "images most": Plain(draw=0.005, seed=0.005),
        "draw most": Plain(draw=0.06),
        "seeds most": Plain(seed=0.06),
        "large": Plain(images=0.15, draw=0.15, seed=0.15),
    }.items()
}


def equal_setting(plain: Plain) -> Run:
    """Rows 6 and 8: equal detectors, 6 cells of their own; the family-wise error after Holm."""

    def run(rng: np.random.Generator) -> Outcome:
        each = [plain.found(0.0, rng, tests=6) for _ in range(6)]
        p = np.array([one.p for one in each])
        width = float(np.mean([one.high - one.low for one in each]))
        return {
            "one cell": (float(p[0] < ALPHA), width),
            "some of 6 cells, after Holm": (float((holm(p) < ALPHA).any()), width),
        }

    return run


EQUALS = {
    **{
        f"row 8: seed sd .026, S = {seeds}": Plain(images=0.02, draw=0, seed=0.026, seeds=seeds)
        for seeds in (1, 2, 3, 5)
    },
    "row 6: a fixed effect of the training sample": Plain(images=0.015, draw=0.03, seed=0.01),
    "row 6: a fixed effect of the search (not counted)": Plain(
        images=0.03, draw=0.015, seed=0.01, search=0.03
    ),
}

PARTS: Mapping[str, tuple[Callable[[Any], Run], Mapping[str, Any]]] = {
    "draws": (draws_setting, DRAWS),
    "coverage": (coverage_setting, COVERAGE),
    "null": (null_setting, NULLS),
    "power": (power_setting, POWERS),
    "equal": (equal_setting, EQUALS),
}


def simulate(path: Path, parts: list[str], runs: int) -> None:
    """Run what the file lacks, and add it, chunk by chunk."""
    done = {(row["part"], row["setting"], row["chunk"]) for row in read(path)}
    for part in parts:
        make, settings = PARTS[part]
        for setting, given in settings.items():
            missing = [c for c in range(runs // CHUNK) if (part, setting, c) not in done]
            run = make(given) if missing else None
            for chunk in missing:
                assert run is not None
                each = [run(np.random.default_rng([chunk, i])) for i in range(CHUNK)]
                row = {"part": part, "setting": setting, "chunk": chunk, "found": summed(each)}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


def summed(outcomes: list[Outcome]) -> dict[str, tuple[int, float, float | None]]:
    """What, how many runs, how many held or shown, and the mean width."""
    found = {}
    for what in dict.fromkeys(name for one in outcomes for name in one):
        held = [one[what] for one in outcomes if what in one]
        width = float(np.mean([w for _, w in held]))
        known = None if math.isnan(width) else round(width, 5)
        found[what] = len(held), sum(h for h, _ in held), known
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of the result file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def show(path: Path) -> None:
    """Print what the file says: the share of runs and the mean width."""
    found: dict[tuple[str, str], dict[str, list[tuple[int, float, float | None]]]] = {}
    for row in read(path):
        of = found.setdefault((row["part"], row["setting"]), {})
        for what, summary in row["found"].items():
            of.setdefault(what, []).append(summary)
    for (part, setting), each in found.items():
        print(f"{part}: {setting}")
        for what, chunks in each.items():
            runs, shown = sum(n for n, _, _ in chunks), sum(s for _, s, _ in chunks)
            known = [n * w for n, _, w in chunks if w is not None]
            wide = f", width {sum(known) / runs:.3f}" if known else ""
            print(f"    {100 * shown / runs:5.1f} %  {what} ({runs} runs{wide})")


def main() -> None:
    """Run and show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="draws, coverage, null, power, equal; default all")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--show", action="store_true", help="run nothing")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: give {', '.join(PARTS)}")
    if not options.show:
        simulate(options.out, options.parts or [*PARTS], options.runs)
    show(options.out)


if __name__ == "__main__":
    main()
