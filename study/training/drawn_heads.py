"""Linear heads on the same kept features, each trained on a draw of the training images: a part of
them, or all with other labels (study/data/draws.py says of which).

One configuration and many draws. Logistic regressions are one call of the solver, in which an image
outside a draw weighs nothing. The features are standardised on all training images. Heads by
gradient that have all images are one matrix (head_stack.py); those of parts see other images in
each step, and are trained one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.identity import derive_seed
from study.detectors.base import make_head
from study.training.balance import Strata, even_weights
from study.training.head_stack import Head, train_heads
from study.training.logistic_solver import solve
from study.training.outcomes import Trained
from study.training.runtime import TorchRuntime
from study.training.standard import Standard


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A draw of the training images. rows: (n,) of them. label, strata: (N,) of all, or None.
    val_label: (M,).
    """

    rows: NDArray[np.intp]
    label: NDArray[np.uint8]
    val_label: NDArray[np.uint8]
    strata: Strata | None = None


@dataclass(frozen=True, kw_only=True)
class Heads:
    """K linear heads: weights (K, D) and biases (K,) float32; NaN where training failed, and why in
    `errors`, "" for the others.
    """

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    errors: tuple[str, ...]


def logistic_heads(
    features: Tensor, samples: Sequence[Sample], strength: float, strata: Strata | None
) -> Heads:
    """Fit a logistic regression on each sample of features (N, D). strength: C. strata: of all
    images as they are, by which the features are standardised.
    """
    values = features.cpu().numpy().astype(np.float64)
    even = None if strata is None else even_weights(strata)
    scaler = Standard.of(values, even)
    weight = np.zeros((len(samples), len(values)))
    for row, sample in zip(weight, samples, strict=True):
        strata = sample.strata
        row[sample.rows] = 1.0 if strata is None else even_weights(strata[sample.rows])
    label = np.stack([sample.label for sample in samples]).astype(np.float64)
    standard, intercept = (
        one.numpy()
        for one in solve(
            torch.from_numpy(scaler(values)),
            torch.from_numpy(label),
            torch.full((len(samples),), strength, dtype=torch.float64),
            torch.from_numpy(weight),
        )
    )
    weights = standard / scaler.scale
    return Heads(
        weights=weights.astype(np.float32),
        biases=(intercept - weights @ scaler.mean).astype(np.float32),
        errors=("",) * len(samples),
    )


def gradient_heads(
    views: Sequence[Tensor],
    val: Tensor,
    samples: Sequence[Sample],
    head: Head,
    *,
    epochs: int,
    runtime: TorchRuntime,
) -> Heads:
    """Train `head`, with the labels and strata of each sample. Each has its own starting weights,
    as another seed gives them, and on parts of the images its own order of them: where all began
    alike, two halves would err alike, and hide what a seed decides. views, val: as `train_heads`
    takes them.
    """
    whole = [n for n, sample in enumerate(samples) if len(sample.rows) == len(views[0])]
    found: dict[int, Trained] = {}
    if whole:
        heads = [
            replace(_started(head, n), label=samples[n].label, strata=samples[n].strata)
            for n in whole
        ]
        val_label = np.stack([samples[n].val_label for n in whole])
        trained = train_heads(views, val, val_label, heads, epochs=epochs, runtime=runtime)
        found |= dict(zip(whole, trained, strict=True))
    for n, sample in enumerate(samples):
        if n not in found:
            rows = torch.from_numpy(sample.rows).to(views[0].device)
            strata = None if sample.strata is None else sample.strata[sample.rows]
            seed = derive_seed(head.seed, "half", n)
            mine = replace(
                _started(head, n), seed=seed, label=sample.label[sample.rows], strata=strata
            )
            (found[n],) = train_heads(
                [view[rows] for view in views],
                val,
                sample.val_label,
                [mine],
                epochs=epochs,
                runtime=runtime,
            )
    return _best([found[n] for n in range(len(samples))], len(head.weight))


def _started(head: Head, number: int) -> Head:
    """The head with other starting weights, of the same kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(head.seed, "start", number))
        weight, bias = (one.detach() for one in make_head(len(head.weight), 0).parameters())
    return replace(head, weight=weight[0], bias=float(bias))


def _best(trained: Sequence[Trained], width: int) -> Heads:
    """The best epoch of each."""
    nothing = np.full(width, np.nan, dtype=np.float32), np.float32(np.nan)
    pairs = [
        nothing if one.error else (one.weights[one.best_epoch], one.biases[one.best_epoch])
        for one in trained
    ]
    return Heads(
        weights=np.stack([weight for weight, _ in pairs]),
        biases=np.array([bias for _, bias in pairs], dtype=np.float32),
        errors=tuple(one.error for one in trained),
    )
