"""Does the error model hold? Coverage, false positives and power of `study/statistics/
error_model.py` with known truth, and the simulation that chose how the training sample is counted.

    python benchmarks/error_model.py                   # all parts, 2,000 runs a setting
    python benchmarks/error_model.py --runs 200 draws  # one part, quicker
    python benchmarks/error_model.py --show            # the tables of what is there

The studies are those of `gaussian_worlds.py`. Runs are seeded and come in chunks of 100, each a
line of the result file (`error_model.jsonl`): what is there is not computed again. One process.
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
from gaussian_worlds import Contrast, World, study

from study.statistics.comparisons import holm
from study.statistics.error_model import (
    ALPHA,
    Finding,
    Part,
    draw_part,
    infer,
    sampled,
    seed_part,
    training_part,
)
from study.statistics.resampling import clusters

CHUNK = 100
Outcome = dict[str, tuple[float, float]]  # what -> whether it held or was shown, width
Run = Callable[[np.random.Generator], Outcome]


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

COVERAGE |= {  # a shortcut that all halves learn divides the images, and says nothing of them
    f"a shortcut is learned, AUC 0.5, {n} a class": World(
        auc=0.5, images=n, learned=3.0, cosine=0.0, modes=3.0
    )
    for n in (100, 1000)
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
    "training sample and seeds alike, few image errors, S = 5": Plain(
        images=0.005, draw=0.02, seed=0.02, seeds=5
    ),
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
