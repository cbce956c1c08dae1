"""Does the interval of a mean over repeated splits, or over repeated searches, hold its truth?

    python benchmarks/repeats.py              # all settings, 200 studies each
    python benchmarks/repeats.py --runs 40    # quicker
    python benchmarks/repeats.py --show       # the table of what is there

Detectors are ridge regressions on Gaussian features, one image a group. Their penalty and the
features that they see are drawn anew in each repeat, as another search would select others. Data
are split, trained on, halved and scored as a study does it, and the numbers go through the
product's own code (`study/analysis/single_models.py`). The truth of a number is .5 or 0 where there
is nothing to learn, else its mean over all studies of the setting. Beside the rule stand those that
need no models of halves: Student's t of the repeats, Nadeau and Bengio's corrected variance, and
the variance between repeats undivided.

Studies are seeded and come in chunks of 20, each a line of `repeats.jsonl`: what is there is not
computed again. One process.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from study.analysis.overlap_groups import Images
from study.analysis.score_set import Aligned
from study.analysis.single_models import (
    Column,
    SingleModels,
    halves_from,
    over_repeats,
    single_models,
)
from study.analysis.weighted_sums import Term, WeightedSum, alone
from study.data.draws import halves

Floats = NDArray[Any]
CHUNK = 20
TRAIN, TEST = 0.70, 0.85  # where a split ends
SEEDS, PAIRS = 3, 10
DETECTORS = ("one", "two")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A world. images: of a class, in the training set's dataset and in the other one. shift: how
    far the classes lie apart there; across: in the other one. searched: whether repeats select
    other settings. whole: the other dataset is tested whole. splits: whether repeats split anew.
    """

    repeats: int = 5
    images: int = 100
    features: int = 20
    shift: float = 0.0
    across: float = 0.0
    searched: bool = True
    whole: bool = False
    splits: bool = True


SETTINGS = {
    "null": Setting(),
    "null, 3 folds": Setting(repeats=3),
    "null, 10 folds": Setting(repeats=10),
    "null, other set whole": Setting(whole=True),
    "signal": Setting(shift=0.35, across=0.25),
    "signal, 400 a class": Setting(shift=0.35, across=0.25, images=400),
    "signal, one search for all": Setting(shift=0.35, across=0.25, searched=False),
    "null, 3 searches": Setting(repeats=3, splits=False),
    "signal, 3 searches": Setting(repeats=3, splits=False, shift=0.35, across=0.25),
}


def data(setting: Setting, shift: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return features (2, N, P) of both detectors, and labels (N,)."""
    label = np.arange(2 * setting.images) % 2
    x = rng.standard_normal((len(DETECTORS), len(label), setting.features))
    x += shift * (label - 0.5)[:, None]
    return x, label.astype(np.uint8)


def ridge(x: Floats, label: Floats, penalty: float) -> Floats:
    """Return the weights (P,) of a ridge regression."""
    centred = x - x.mean(axis=0)
    gram = centred.T @ centred + penalty * len(x) * np.eye(x.shape[1])
    found: Floats = np.linalg.solve(gram, centred.T @ (label - label.mean()))
    return found


def models_of(
    trained: tuple[Floats, Floats, NDArray[np.str_]],
    tested: tuple[Floats, NDArray[np.uint8], NDArray[np.str_]],
    owner: Hashable,
    search: tuple[float, NDArray[np.bool_]],
    rng: np.random.Generator,
) -> SingleModels:
    """Train an owner's winners and halves, and score them. search: what it has selected."""
    (x, label, group), (z, truth, names), (penalty, seen) = trained, tested, search

    def logits(rows: NDArray[np.bool_]) -> Floats:
        w = ridge(x[rows][:, seen], label[rows], penalty)
        w = w + 0.3 * np.linalg.norm(w) / math.sqrt(len(w)) * rng.standard_normal(len(w))
        return np.asarray(z[:, seen] @ w)

    every = np.ones(len(x), dtype=bool)
    held = Aligned(
        sample_id=names,
        group=names,
        label=truth,
        logits=np.stack([logits(every) for _ in range(SEEDS)]),
    )
    dealt = [halves(group, label.astype(np.uint8), number, 0) for number in range(PAIRS)]
    of_halves = np.array([[logits(half == side) for side in (0, 1)] for half in dealt])
    found = halves_from(truth, tuple(range(PAIRS)), of_halves)
    return single_models(held, {s: s for s in range(SEEDS)}, owner, halves=found)


def study_of(setting: Setting, rng: np.random.Generator) -> dict[str, Column]:
    """Return the two columns, in-domain and cross-domain, of one study with its repeats."""
    (x, label), (z, truth) = (data(setting, s, rng) for s in (setting.shift, setting.across))
    names, others = (np.array([f"{of}{i:04}" for i in range(len(label))]) for of in "xz")
    columns: dict[str, dict[int, Column]] = {"in": {}, "cross": {}}
    place, other_place = rng.random(len(label)), rng.random(len(truth))
    search = chosen(setting, rng)
    for repeat in range(setting.repeats):
        if setting.splits and repeat:
            place, other_place = rng.random(len(label)), rng.random(len(truth))
        search = chosen(setting, rng) if setting.searched else search
        train, test = place < TRAIN, place >= TEST
        theirs = np.ones(len(truth), dtype=bool) if setting.whole else other_place >= TEST
        for kind, (features, labels, ids, rows) in {
            "in": (x, label, names, test),
            "cross": (z, truth, others, theirs),
        }.items():
            models: dict[Hashable, SingleModels] = {
                name: models_of(
                    (x[d][train], label[train], names[train]),
                    (features[d][rows], labels[rows], ids[rows]),
                    name,
                    search[d],
                    rng,
                )
                for d, name in enumerate(DETECTORS)
            }
            images = Images(sample_id=ids[rows], group=ids[rows], label=labels[rows])
            columns[kind][repeat] = Column(test_on=kind, images=images, models=models, rng_seed=0)
    return {kind: over_repeats(of) for kind, of in columns.items()}


def chosen(setting: Setting, rng: np.random.Generator) -> list[tuple[float, NDArray[np.bool_]]]:
    """Return what a search selects for each detector: a penalty, and the features that it sees."""
    return [
        (float(10 ** rng.uniform(-3, 0)), rng.permutation(setting.features) < setting.features // 2)
        for _ in DETECTORS
    ]


def sums_of(column: Column) -> dict[str, WeightedSum]:
    """Return the number of a detector, and the difference of both."""
    terms = [
        Term(test_on=column.test_on, models=column.models[name], weight=weight)
        for name, weight in zip(DETECTORS, (1.0, -1.0), strict=True)
    ]
    families = alone(column)
    return {
        "cell": WeightedSum(terms=(terms[0],), families=families),
        "difference": WeightedSum(terms=tuple(terms), families=families),
    }


def simple_rules(values: Floats, tested: float) -> dict[str, float]:
    """Return the half widths of rules that need nothing but the repeats' values. tested: test
    images, as a share of training images.
    """
    k, q = len(values), float(student.ppf(0.975, len(values) - 1))
    variance = float(values.var(ddof=1))
    shares = {"t": 1 / k, "nadeau-bengio": 1 / k + tested, "undivided": 1.0}
    return {name: q * math.sqrt(variance * share) for name, share in shares.items()}


def run(setting: Setting, rng: np.random.Generator) -> dict[str, list[float]]:
    """Return what one study finds: number -> value, ends of the interval, half widths of the
    simple rules.
    """
    found = {}
    for kind, column in study_of(setting, rng).items():
        for name, total in sums_of(column).items():
            one = total.finding(kind="auc" if name == "cell" else "difference")
            each = [total._repeat(n) for n in column.repeats]
            values = np.array([sum(t.weight * t.models.auc for t in o.terms) for o in each])
            tested = (1.0 if setting.whole and kind == "cross" else 1 - TEST) / TRAIN
            widths = simple_rules(values, tested).values()
            found[f"{kind} {name}"] = [one.value, one.low, one.high, *widths]
    return found


def table(lines: list[dict[str, Any]]) -> str:
    """Return the table of Markdown: coverage and mean width of each rule."""
    head = (
        "setting",
        "number",
        "studies",
        "sd",
        "rule",
        "its width",
        "t",
        "Nadeau-Bengio",
        "undivided",
    )
    rows = [head, ("---",) * len(head)]
    for name, setting in SETTINGS.items():
        mine = [one for line in lines if line["setting"] == name for one in line["studies"]]
        for number in mine[0] if mine else ():
            held = np.array([one[number] for one in mine])
            value = held[:, 0]
            null = 0.0 if number.endswith("difference") else 0.5
            known = setting.shift == 0 or number.endswith("difference")
            truth = null if known else float(value.mean())
            ours = (held[:, 1] <= truth) & (truth <= held[:, 2])
            others = np.abs(value - truth)[:, None] <= held[:, 3:]
            rows.append(
                (
                    name,
                    number,
                    str(len(mine)),
                    f"{value.std(ddof=1):.3f}",
                    f"{100 * ours.mean():.1f} %",
                    f"{(held[:, 2] - held[:, 1]).mean():.2f}",
                    *(
                        f"{100 * one:.1f} % ({2 * w:.2f})"
                        for one, w in zip(
                            others.mean(axis=0), held[:, 3:].mean(axis=0), strict=True
                        )
                    ),
                )
            )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--only", help="one setting")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    done = {(line["setting"], line["chunk"]) for line in read(options.file)}
    for chunk in range(0 if options.show else options.runs // CHUNK):
        for number, (name, setting) in enumerate(SETTINGS.items()):
            if (name, chunk) in done or options.only not in (None, name):
                continue
            rngs = [np.random.default_rng([number, chunk, one]) for one in range(CHUNK)]
            studies = [run(setting, rng) for rng in rngs]
            kept = [{k: [round(v, 4) for v in of] for k, of in one.items()} for one in studies]
            with options.file.open("a") as file:
                file.write(json.dumps({"setting": name, "chunk": chunk, "studies": kept}) + "\n")
    print(table(read(options.file)))


if __name__ == "__main__":
    main()
