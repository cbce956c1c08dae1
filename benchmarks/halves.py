"""Do detectors that are trained on more images vary less by as much as the error model says? On
real images and kept features.

    python benchmarks/halves.py --data-root DATA --weights-root WEIGHTS --cache DIR

Halves of a training set stand for wholes, and quarters for halves. `measured` is the variance of
the AUC over disjoint halves, divided by that over disjoint quarters. `rule` is 1 / (1 + r) of
`study/statistics/error_model.py`, with r of the quarters alone. The detectors and datasets are
those of `null_studies.py`, with their labels and with labels that are permuted group by group.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from null_studies import BODIES, DATASETS, EPOCHS, GRADIENT, STRENGTH, Looked, logits, look
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from study.detectors.base import make_head
from study.statistics.error_model import rank_correlation
from study.training.drawn_heads import Heads, Sample, gradient_heads, logistic_heads
from study.training.head_stack import Head
from study.training.runtime import TorchRuntime

AT_ONCE = 10  # pairs that share permuted labels, and a fit


def disjoint(train: Looked, share: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Two disjoint parts of the training images, each 1 / `share` of the groups of a class."""
    group = np.unique(train.images.group, return_inverse=True)[1]
    parts: list[list[NDArray[np.intp]]] = [[], []]
    for k in (0, 1):
        rows = np.flatnonzero(train.images.label == k)
        names = rng.permutation(np.unique(group[rows]))
        n = len(names) // share
        for part, mine in zip(parts, (names[:n], names[n : 2 * n]), strict=True):
            part.append(rows[np.isin(group[rows], mine)])
    return [np.concatenate(part) for part in parts]


def fit(name: str, train: Looked, val: Looked, samples: list[Sample]) -> Heads:
    """Train one head on each sample."""
    if name in STRENGTH:
        return logistic_heads(train.features, samples, STRENGTH[name], None)
    torch.manual_seed(0)
    weight, bias = (one.detach() for one in make_head(train.features.shape[1], 0).parameters())
    label = samples[0].label
    head = Head(recipe=GRADIENT, seed=0, weight=weight[0], bias=float(bias), label=label)
    runtime = TorchRuntime.resolve(precision="float32")
    features = [train.features, train.mirrored]
    return gradient_heads(features, val.features, samples, head, epochs=EPOCHS, runtime=runtime)


def spread(
    looked: dict[tuple[str, str, str], Looked],
    name: str,
    source: str,
    *,
    share: int,
    permuted: bool,
    pairs: int,
) -> dict[str, tuple[float, float]]:
    """By test set: the variance of the AUC over models of parts, and the mean rank correlation."""
    body, rng = BODIES[name], np.random.default_rng(share)
    train, val = looked[body, source, "train"], looked[body, source, "val"]
    apart: dict[str, list[float]] = {y: [] for y in DATASETS}
    alike: dict[str, list[float]] = {y: [] for y in DATASETS}
    for _ in range(0, pairs, AT_ONCE):
        label = train.images.label
        label = rng.permutation(label) if permuted else label
        parts = [part for _ in range(AT_ONCE) for part in disjoint(train, share, rng)]
        samples = [Sample(rows=p, label=label, val_label=val.images.label) for p in parts]
        heads = fit(name, train, val, samples)
        for y in DATASETS:
            test = looked[body, y, "test"]
            of, truth = logits(heads, test.features), test.images.label
            for first, second in zip(of[::2], of[1::2], strict=True):
                apart[y].append(roc_auc_score(truth, first) - roc_auc_score(truth, second))
                alike[y].append(rank_correlation(truth, first, second))
    return {y: (float(np.mean(np.square(apart[y]))) / 2, float(np.mean(alike[y]))) for y in apart}


def main() -> None:
    """Print a row a detector: geometric means over its nine cells."""
    parser: Any = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("--data-root", "--weights-root", "--cache"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=40, help="of parts, in tens")
    options = parser.parse_args()
    looked = look(options)
    print("| labels | detector | measured | rule | log of their ratio, its standard error |")
    print("|---|---|---|---|---|")
    for permuted in (False, True):
        for name in BODIES:
            measured, rule = [], []
            for source in DATASETS:
                halves, quarters = (
                    spread(
                        looked, name, source, share=share, permuted=permuted, pairs=options.pairs
                    )
                    for share in (2, 4)
                )
                for y in DATASETS:
                    measured.append(math.log(halves[y][0] / quarters[y][0]))
                    rule.append(-math.log1p(max(quarters[y][1], 0.0)))
            error = float(np.std(np.subtract(measured, rule), ddof=1)) / math.sqrt(len(rule))
            means = [math.exp(float(np.mean(of))) for of in (measured, rule)]
            print(
                f"| {'permuted' if permuted else 'true'} | {name} | {means[0]:.2f} | {means[1]:.2f}"
                f" | {math.log(means[0] / means[1]):+.2f}, {error:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
