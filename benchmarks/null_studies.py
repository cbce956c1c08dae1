"""Does the rule claim anything where there is nothing to learn? Studies of real images whose
training labels are dealt out at random, through the product's own halves, null bands and verdicts.

    python benchmarks/null_studies.py --data-root DATA --weights-root WEIGHTS \\
        --cache DIR

Three detectors on kept features, each trained on each dataset and tested on all: two logistic
regressions, and a linear head by gradient. `shuffled` studies have the labels of `shuffle_labels`,
`permuted` ones a plain permutation over the images of a group and class. Test sets keep their
labels. Each line of `null_studies.jsonl` is one study. What stands there is not done again.

    python benchmarks/null_studies.py --networks 40 --data-root DATA --weights-root WEIGHTS \\
        --cache DIR

runs 40 null studies with a network that is trained end to end beside a linear one, by the commands
themselves: 32 pixels, 200 images a class, 3 epochs, labels by `shuffle_labels`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.analysis.comparisons import compare_detectors
from study.analysis.score_set import DrawnFile, ScoreSet
from study.analysis.significance import Verdict
from study.analysis.weighted_sums import cell_sum
from study.core.identity import derive_seed
from study.core.records import Cell, Draw, DrawScores, Pairing
from study.data.catalog import Catalog, DataConfig
from study.data.draws import drawn_labels, drawn_rows
from study.data.images.packs import ImageSet
from study.data.shuffled import dealt
from study.detectors import registry
from study.detectors.base import make_head
from study.jobs.cell import image_scores
from study.planning.study import NULL_MODELS, REPLICATES
from study.training.drawn_heads import Heads, Sample, gradient_heads, logistic_heads
from study.training.features import FrozenBody, features_in
from study.training.head_stack import Head
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime

DATASETS = ("faces_140k", "dfdc_faces224", "shoes_midjourney")
# detector -> the one whose features it has
BODIES = {
    "spectrum": "spectrum",
    "mobilenet, logistic": "mobilenetv2_035_linear",
    "mobilenet, gradient": "mobilenetv2_035_linear",
}
STRENGTH = {"spectrum": 1.0, "mobilenet, logistic": 3e-3}  # defaults of the search spaces
GRADIENT = Recipe(schedule="head", patience=5, weight_decay=1e-5)
SEEDS, EPOCHS, CHANCE, ALPHA = 3, 6, 0.5, 0.05
WAYS = ("shuffled", "permuted")
NETWORKS = "networks"  # the way of studies by the commands
STUDY = """
name = "null_{k}"
detectors = ["npr", "spectrum"]
train_on = ["faces_140k", "dfdc_faces224"]
test_on = ["faces_140k", "dfdc_faces224", "shoes_midjourney"]
seed = {k}
[budget]
trials = 1
epochs = 3
[data]
root = "{data}"
max_per_class = 200
shuffle_labels = true
[detector.npr]
size_px = 32
"""
# 1: before the null models counted in leads; 2: before heads on halves had starting weights of
# their own; 3: before seeds that are taken out took degrees of freedom with them
RULE = 4
Labels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A split as a body sees it: its images, and their features, straight and mirrored."""

    images: ImageSet
    features: Tensor
    mirrored: Tensor


def look(options: argparse.Namespace) -> dict[tuple[str, str, str], Looked]:
    """Every body, dataset and split; computed once, and kept in the cache."""
    catalog = Catalog(DataConfig(root=options.data_root, cache=options.cache), firewall=False)
    runtime, found = TorchRuntime.resolve(precision="float32"), {}
    runtime.apply()
    for name in dict.fromkeys(BODIES.values()):
        spec = registry.resolve(name, weights_root=options.weights_root, options={})
        detector = registry.build(spec, weights_root=options.weights_root, seed=0)
        body = replace(FrozenBody.of(detector), store=features_in(options.cache))
        for dataset in DATASETS:
            for split in ("train", "val", "test"):
                images = catalog.open(dataset, split, spec.geometry)
                straight, mirrored = (
                    body.of_images(images, flip=flip, runtime=runtime)
                    if not flip or (split == "train" and name != "spectrum")
                    else torch.empty(0)
                    for flip in (False, True)
                )
                found[name, dataset, split] = Looked(
                    images=images, features=straight, mirrored=mirrored
                )
    return found


def relabelled(images: ImageSet, split: str, way: str, study: int) -> ImageSet:
    """The images with the labels of a null study, whole groups alike."""
    group = np.unique(images.group, return_inverse=True)[1]
    seed = derive_seed(study, "shuffle", split)
    if way == "shuffled":
        return images.relabelled(dealt(group, images.label, seed))
    blocks, block = np.unique(group * 2 + images.label, return_inverse=True)
    new = np.random.default_rng(seed).permutation(blocks % 2).astype(np.uint8)
    return images.relabelled(new[block])


def samples(
    train: ImageSet, val: ImageSet, draws: Sequence[Draw | None], study: int
) -> list[Sample]:
    """What each draw trains on; None: everything, as a winner does."""
    everything = np.arange(len(train))
    return [
        Sample(rows=everything, label=train.label, val_label=val.label)
        if draw is None
        else Sample(
            rows=drawn_rows(train, draw, study),
            label=drawn_labels(train, "train", draw, study),
            val_label=drawn_labels(val, "val", draw, study),
        )
        for draw in draws
    ]


def train_all(
    name: str, looked: tuple[Looked, Looked], labelled: tuple[ImageSet, ImageSet], study: int
) -> tuple[Heads, Heads, tuple[Draw, ...]]:
    """The heads of a detector's seeds, those of its draws, and these."""
    learner = "logistic" if name in STRENGTH else "gradient"
    halves = [
        Draw(kind="half", number=r, half=h) for r in range(REPLICATES[learner]) for h in (0, 1)
    ]
    draws = (*halves, *(Draw(kind="permuted", number=p, half=0) for p in range(NULL_MODELS)))
    train, val = looked
    if learner == "logistic":
        every = samples(*labelled, [None, *draws], study)
        heads = logistic_heads(train.features, every, STRENGTH[name], None)
        winners = Heads(
            weights=heads.weights[[0] * SEEDS], biases=heads.biases[[0] * SEEDS], errors=("",) * 3
        )
        return winners, Heads(weights=heads.weights[1:], biases=heads.biases[1:], errors=()), draws

    def fit(seed: int, of: Sequence[Draw | None]) -> Heads:
        torch.manual_seed(seed % 2**63)
        weight, bias = (one.detach() for one in make_head(train.features.shape[1], 0).parameters())
        head = Head(
            recipe=GRADIENT,
            seed=seed,
            weight=weight[0],
            bias=float(bias),
            label=labelled[0].label,
        )
        return gradient_heads(
            [train.features, train.mirrored],
            val.features,
            samples(*labelled, of, study),
            head,
            epochs=EPOCHS,
            runtime=TorchRuntime.resolve(precision="float32"),
        )

    each = [fit(derive_seed(study, f"winner {seed}"), [None]) for seed in range(SEEDS)]
    winners = Heads(
        weights=np.concatenate([one.weights for one in each]),
        biases=np.concatenate([one.biases for one in each]),
        errors=(),
    )
    return winners, fit(derive_seed(study, "draws"), draws), draws


def logits(heads: Heads, features: Tensor) -> NDArray[np.float32]:
    """(K, N) of K heads."""
    of = features.numpy() @ heads.weights.T + heads.biases
    return np.ascontiguousarray(of.T.astype(np.float32))


def run(looked: Mapping[tuple[str, str, str], Looked], way: str, study: int) -> dict[str, Any]:
    """One null study: what its cells, leads and first sentence say."""
    files, cells, drawn = [], [], dict[tuple[Pairing, str], list[DrawnFile]]()
    for name, body in BODIES.items():
        for source in DATASETS:
            pairing = Pairing(detector=name, train_on=source)
            own = looked[body, source, "train"], looked[body, source, "val"]
            labelled = (
                relabelled(own[0].images, "train", way, study),
                relabelled(own[1].images, "val", way, study),
            )
            winners, others, draws = train_all(name, own, labelled, study)
            for target in DATASETS:
                test = looked[body, target, "test"]
                for seed, logit in enumerate(logits(winners, test.features)):
                    cell = Cell(
                        pairing=pairing,
                        winner_seed=seed,
                        test_on=target,
                        degradation="none",
                        state="done",
                        scores_key=f"{pairing.name} {target} {seed}",
                    )
                    cells.append(cell)
                    files.append((cell.scores_key, image_scores(test.images, logit)))
                of = logits(others, test.features)
                held = [
                    (
                        tuple(draws[n] for n in rows),
                        DrawScores(sample_id=test.images.sample_id, logits=of[rows]),
                    )
                    for kind in ("half", "permuted")
                    if (rows := [n for n, draw in enumerate(draws) if draw.kind == kind])
                ]
                drawn[pairing, target] = held
    scores = ScoreSet(files, rng_seed=lambda y: derive_seed(study, "bootstrap", y), drawn=drawn)
    return {"way": way, "study": study, "rule": RULE, **said(scores, cells)}


def run_networks(options: argparse.Namespace, k: int) -> dict[str, Any]:
    """Run a null study of networks by the commands; return what it says."""
    from study import cross_eval, sweep
    from study.analysis.leakage import leakage_of
    from study.analysis.score_set import blends_of, open_scores
    from study.planning.cells import plan_cells
    from study.planning.open_study import open_study
    from study.planning.searches import replay
    from study.planning.study_file import load_study
    from study.planning.variants import draw_cells

    results = options.cache / "results"
    file = options.cache / f"null_{k}.toml"
    file.write_text(STUDY.format(k=k, data=options.data_root.absolute()), encoding="utf-8")
    words = [str(file), "--results", str(results), "--weights-root", str(options.weights_root)]
    assert sweep.main([*words, "--local"]) == cross_eval.main([*words, "--local"]) == 0
    setup = open_study(
        load_study(str(file)), results=results, weights_root=options.weights_root, firewall=False
    )
    planned, drawn = plan_cells(setup), draw_cells(setup.jobs, replay(setup))
    cells = [one.cell for one in planned]
    keys = [cell.scores_key for cell in cells]
    scores = open_scores(setup, keys, leakage_of(setup), drawn, blends_of(planned))
    found = {"way": NETWORKS, "study": k, "rule": RULE, **said(scores, cells)}
    shutil.rmtree(setup.store.folder)
    return found


def said(scores: ScoreSet, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the product's rule says of a study. excluded: of each detector, how many cross-domain
    and in-domain cells have an interval without .5. cross: how many cross-domain cells it has.
    """
    found = compare_detectors(scores, cells)
    places: dict[tuple[Pairing, str], list[Cell]] = {}
    for cell in cells:
        places.setdefault((cell.pairing, cell.test_on), []).append(cell)
    names = dict.fromkeys(cell.pairing.detector for cell in cells)
    excluded = {name: [0, 0] for name in names}
    widths: dict[str, list[float]] = {name: [] for name in names}
    for (pairing, test_on), seeds in places.items():
        one = cell_sum(scores, seeds).finding(kind="auc", null=CHANCE)
        inside = pairing.train_on == test_on
        excluded[pairing.detector][inside] += not one.low <= CHANCE <= one.high
        if not inside:
            widths[pairing.detector].append(one.high - one.low)
    more = Verdict.MORE_THAN_NOISE
    return {
        "excluded": excluded,
        "cross": len(widths[next(iter(names))]),
        "width": {name: round(float(np.mean(of)), 4) for name, of in widths.items()},
        "leads": {
            " - ".join(sorted((p.first, p.second))): round(p.finding.p, 4) for p in found.mean_pairs
        },
        "best": any(pair.verdict is more for pair in found.mean_pairs),
        "cells": any(pair.verdict is more for pair in found.pairs),
        "generalises": [one.detector for one in found.headline.standings if one.generalises],
    }


def report(rows: Sequence[dict[str, Any]]) -> None:
    """Print what the lines say, way by way."""
    for way in (*WAYS, NETWORKS):
        both = sorted((row for row in rows if row["way"] == way), key=lambda row: row["rule"])
        mine = [*{row["study"]: row for row in both}.values()]  # each once, by the last rule
        if not mine:
            continue
        n = len(mine)
        print(f"{way}: {n} null studies")
        for what in ("cells", "generalises"):
            print(f"  {sum(bool(row[what]) for row in mine):4} claim: {what}")
        for rule in sorted({row["rule"] for row in both}):
            of = [row for row in both if row["rule"] == rule]
            better = sum(bool(row["best"]) for row in of)
            print(f"  {better:4} of {len(of)} claim a better mean, by rule {rule}")
            for pair in of[0]["leads"]:
                shown = sum(row["leads"][pair] < ALPHA for row in of)
                print(f"  {shown:8} have p < .05, alone, in {pair}")
            for name in of[0]["excluded"]:
                cross, inside = (sum(row["excluded"][name][k] for row in of) for k in (0, 1))
                width = np.mean([row["width"][name] for row in of])
                every = sum(row.get("cross", 6) for row in of)
                print(
                    f"  {name:20} intervals without .5: {cross} of {every} cross-domain"
                    f" ({cross / every:.1%}, mean width {width:.3f}), {inside} in-domain"
                )


def main() -> None:
    """Run the studies that the file lacks, and print all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--weights-root", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="for packs and features")
    default = Path(__file__).with_suffix(".jsonl")
    parser.add_argument("--out", type=Path, default=default, help="where results are appended")
    parser.add_argument("--studies", type=int, default=200, help="of each way")
    parser.add_argument("--networks", type=int, default=0, help="studies of networks, no others")
    options = parser.parse_args()
    rows = []
    if options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text("utf-8").splitlines()]
    done = {(row["way"], row["study"]) for row in rows if row["rule"] == RULE}
    asked = [(way, k) for k in range(options.studies) for way in WAYS]
    if options.networks:
        asked = [(NETWORKS, k) for k in range(options.networks)]
    missing = [one for one in asked if one not in done]
    looked = look(options) if missing and not options.networks else {}
    for way, k in missing:
        rows.append(run_networks(options, k) if way == NETWORKS else run(looked, way, k))
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    report(rows)


if __name__ == "__main__":
    main()
