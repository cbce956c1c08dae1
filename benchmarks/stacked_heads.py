"""A thousand heads on the same features at once, beside the loops that train them one by one.

    python -m benchmarks.stacked_heads [--heads N] [--features FILE.npy]

The labels of 2,000 images of 1,280 features are permuted a thousand times. Each permutation is
fitted by gradient (10 epochs, batches of 32, AdamW, float32) and as a logistic regression, to its
minimum. The loops beside it are torch.optim on the same kept features, and scikit-learn's
LogisticRegression as it was used before. They fit a few heads before and after each stack. What a
thousand would take them is extrapolated. A second table fits one logistic regression at a time,
also of 400 images. Everything runs on one thread of this process.

Without a file the features are drawn: normal, their principal axes fall as those of a network's
features do, and the classes differ. FILE.npy has features of your own, (N, D). Takes two minutes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row, Way, in_turn
from study.statistics.metrics import auc, nll
from study.training.head_stack import Head, train_heads
from study.training.logistic_solver import solve
from study.training.losses import bce
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import learning_rate

GOAL = 20
EPOCHS, BATCH, SLICE = 10, 32, 4
STRENGTHS = (3e-3, 1.0)
RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
Array = NDArray[np.float64]


@dataclass
class Clock:
    """Seconds of the wall and of this process's processors, and how many heads they were for."""

    wall: float = 0.0
    cpu: float = 0.0
    heads: int = 0

    def time(self, run: Callable[[], Any], heads: int) -> Any:
        """Run something that fits so many heads."""
        wall, cpu = time.perf_counter(), time.process_time()
        found = run()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.heads += heads
        return found


def drawn(n: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features (N, D) and labels (N,), half of them fake."""
    rng = np.random.default_rng(0)
    label = (np.arange(n) % 2).astype(np.uint8)
    x = rng.normal(size=(n, width)) * np.arange(1, width + 1) ** -0.5
    x += 0.1 * np.outer(label, rng.normal(size=width) * np.arange(1, width + 1) ** -0.5)
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return (x @ turn).astype(np.float32), label


def permuted(label: NDArray[np.uint8], heads: int) -> NDArray[np.uint8]:
    """Labels (K, N), each row in an order of its own."""
    rng = np.random.default_rng(1)
    return np.stack([rng.permutation(label) for _ in range(heads)])


def one_logistic(x: Array, label: NDArray[np.uint8], strength: float) -> Array:
    """The way before: scikit-learn's L-BFGS, its tolerance 1e-10."""
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(x, label)
    return np.append(model.coef_[0], model.intercept_)


def stacked_logistic(x: Array, labels: NDArray[np.uint8], strength: float) -> Array:
    """All at once; (K, D + 1)."""
    weight, bias = solve(
        torch.from_numpy(x),
        torch.from_numpy(labels.astype(np.float64)),
        torch.full((len(labels),), strength, dtype=torch.float64),
    )
    return torch.cat([weight, bias[:, None]], dim=1).numpy()


def steepness(x: Array, label: NDArray[np.uint8], strength: float, head: Array) -> float:
    """The largest entry of the gradient of the mean loss."""
    error = (1 / (1 + np.exp(-(x @ head[:-1] + head[-1]))) - label) / len(x)
    gradient = np.append(error @ x + head[:-1] / strength / len(x), error.sum())
    return float(np.abs(gradient).max())


def one_by_gradient(
    views: Sequence[Tensor], val: Tensor, val_label: NDArray[np.uint8], head: Head
) -> NDArray[np.float32]:
    """The tensor loop: torch.optim on kept features, source val scored after each epoch."""
    recipe, linear = head.recipe, torch.nn.Linear(val.shape[1], 1)
    with torch.no_grad():
        linear.weight.copy_(head.weight[None])
        linear.bias.fill_(head.bias)
    groups = [
        {"params": [linear.weight], "weight_decay": recipe.weight_decay},
        {"params": [linear.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    label, n = torch.from_numpy(head.label.astype(np.float32)), len(head.label)
    best = (-1.0, -1.0, np.empty(0, dtype=np.float32))
    for epoch in range(EPOCHS):
        generator = RUNTIME.seed_epoch(head.seed, epoch)
        order = torch.randperm(n, generator=generator)
        flip = torch.rand(n, generator=generator) < recipe.flip
        parts = torch.split(order, BATCH)
        for number, part in enumerate(parts, start=epoch * len(parts)):
            rate = learning_rate(recipe.lr, number, len(parts) * EPOCHS, recipe.warmup_share)
            for group in optimizer.param_groups:
                group["lr"] = rate
            x = torch.where(flip[part][:, None], views[1][part], views[0][part])
            optimizer.zero_grad()
            loss = bce(linear(x).squeeze(1), label[part], recipe.label_smoothing)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(linear.parameters(), recipe.clip_norm)
            optimizer.step()
        with torch.no_grad():
            logit = linear(val).squeeze(1).numpy()
        best = max(
            best, (auc(val_label, logit), -nll(val_label, logit), logit), key=lambda b: b[:2]
        )
    return best[2]


def report(name: str, loop: Clock, stack: Clock, what: str) -> None:
    """Print a row: seconds for as many heads as the stack had."""
    share = stack.heads / loop.heads
    ratio = loop.cpu / stack.cpu * share
    met = "met" if ratio >= GOAL else "missed"
    print(
        f"{name:<24}{loop.cpu * share:>9.0f}{loop.wall * share:>9.0f}{stack.cpu:>9.1f}"
        f"{stack.wall:>9.1f}{1000 * stack.cpu / stack.heads:>9.2f}{ratio:>8.1f} x  {met}; {what}",
        flush=True,
    )


def thousand(features: NDArray[np.float32], label: NDArray[np.uint8], heads: int) -> None:
    """Print the first table."""
    labels = permuted(label, heads)
    x = StandardScaler().fit_transform(features.astype(np.float64))
    print(f"{heads} heads; the loop's seconds extrapolated from {2 * SLICE} heads")
    print(f"{'':<24}{'loop CPU':>9}{'wall':>9}{'at once':>9}{'wall':>9}{'ms each':>9}{'ratio':>10}")
    for strength in STRENGTHS:
        by_regression(x, labels, strength)
    by_gradient(features, label, labels)


def by_regression(x: Array, labels: NDArray[np.uint8], strength: float) -> None:
    """Print the row of logistic heads."""
    loop, stack = Clock(), Clock()

    def some(rows: NDArray[np.uint8]) -> list[Array]:
        return [one_logistic(x, y, strength) for y in rows]

    some(labels[:1])
    ones = loop.time(lambda: some(labels[:SLICE]), SLICE)
    heads = stack.time(lambda: stacked_logistic(x, labels, strength), len(labels))
    ones += loop.time(lambda: some(labels[SLICE : 2 * SLICE]), SLICE)
    apart = max(np.abs(a - b).max() for a, b in zip(ones, heads, strict=False))
    left = [
        max(steepness(x, y, strength, h) for y, h in zip(labels, found, strict=False))
        for found in (ones, heads)
    ]
    what = f"weights {apart:.0e} apart, gradients {left[0]:.0e} and {left[1]:.0e}"
    report(f"logistic, C = {strength:g}", loop, stack, what)


def to_train(
    features: NDArray[np.float32], label: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[list[Tensor], Tensor, NDArray[np.uint8], list[Head]]:
    """Return both views of the images, source val (a fifth of them), its labels, and the heads."""
    n = len(label) // 5
    rng = np.random.default_rng(2)
    x = torch.from_numpy(features)
    views = [x, x + 0.1 * torch.from_numpy(rng.normal(size=features.shape).astype(np.float32))]
    recipe = Recipe(schedule="head", lr=1e-3, batch_size=BATCH, patience=0, weight_decay=1e-5)
    weight = torch.from_numpy(rng.normal(scale=0.01, size=features.shape[1]).astype(np.float32))
    heads = [Head(recipe=recipe, seed=1, weight=weight, bias=0.0, label=y) for y in labels]
    return views, x[:n].clone(), label[:n], heads


def by_gradient(
    features: NDArray[np.float32], label: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> None:
    """Print the row of gradient heads."""
    views, val, val_label, heads = to_train(features, label, labels)
    loop, stack = Clock(), Clock()

    def some(heads: Sequence[Head]) -> list[NDArray[np.float32]]:
        return [one_by_gradient(views, val, val_label, head) for head in heads]

    ones = loop.time(lambda: some(heads[:SLICE]), SLICE)
    how: dict[str, Any] = {"epochs": EPOCHS, "runtime": RUNTIME}
    found = stack.time(lambda: train_heads(views, val, val_label, heads, **how), len(heads))
    ones += loop.time(lambda: some(heads[SLICE : 2 * SLICE]), SLICE)
    apart = max(np.abs(a - b.logit).max() for a, b in zip(ones, found, strict=False))
    report("gradient", loop, stack, f"val logits {apart:.0e} apart")


def alone(features: NDArray[np.float32], label: NDArray[np.uint8]) -> None:
    """Print the second table: one regression at a time, medians of three, interleaved."""
    print(f"\n{'one at a time, ms CPU':<24}{'before':>9}{'now':>9}{'ratio':>10}")
    for n in (400, len(label)):
        x = StandardScaler().fit_transform(features[:n].astype(np.float64))
        y = label[:n]
        for strength in (1e-5, *STRENGTHS, 100.0):
            times: list[list[float]] = [[], []]
            for _ in range(3):
                for kept, run in zip(
                    times,
                    (
                        partial(one_logistic, x, y, strength),
                        partial(stacked_logistic, x, y[None], strength),
                    ),
                    strict=True,
                ):
                    clock = Clock()
                    clock.time(run, 1)
                    kept.append(1000 * clock.cpu)
            before, now = (float(np.median(kept)) for kept in times)
            name = f"{n} images, C = {strength:g}"
            print(f"{name:<24}{before:>9.0f}{now:>9.0f}{before / now:>8.1f} x", flush=True)


def goal(options: Options) -> Goal:
    """G2: heads by gradient, 10 epochs on kept features."""
    found = Goal("G2", "heads by gradient at once, 10 epochs on 2,000 x 1,280 kept features")
    RUNTIME.apply()
    with threadpool_limits(limits=1):
        found.rows += [
            _goal_row(20, options.rounds, by_loader=False),
            _goal_row(100, options.rounds, by_loader=True),
        ]
    return found


def _goal_row(k: int, rounds: int, *, by_loader: bool) -> Row:
    """K heads against a loop of tensors, or of a DataLoader."""
    features, label = drawn(2000, 1280)
    views, val, val_label, heads = to_train(features, label, permuted(label, k))
    how: dict[str, Any] = {"epochs": EPOCHS, "runtime": RUNTIME}
    one = partial(one_by_gradient, views, val, val_label, heads[0])
    ways = {
        PROJECT: Way(lambda: train_heads(views, val, val_label, heads, **how)),
        PEER: Way(lambda: loader(views[0], label), k * EPOCHS) if by_loader else Way(one, k),
        LIMIT: Way(lambda: products(views[0], k)),
    }
    return Row(
        name=f"{k} heads, {'a DataLoader of rows' if by_loader else 'a loop of tensors'}",
        taken=in_turn(ways, rounds),
        peer_goal=40 if by_loader else 20,
        limit_goal=0.4 if k >= 100 else None,
        note=f"of the peer {'an epoch of one head' if by_loader else 'one head'}, multiplied",
    )


def loader(x: Tensor, label: NDArray[np.uint8]) -> None:
    """An epoch of one head as notebooks have it: a DataLoader that collects single rows."""
    rows = torch.utils.data.TensorDataset(x, torch.from_numpy(label.astype(np.float32)))
    linear = torch.nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-3)
    for some, target in torch.utils.data.DataLoader(rows, batch_size=BATCH, shuffle=True):
        optimizer.zero_grad()
        bce(linear(some).squeeze(1), target, 0.0).backward()
        optimizer.step()


def products(x: Tensor, k: int) -> None:
    """The multiplications that k heads cannot do without: logits and gradients of every batch."""
    weight = torch.zeros(x.shape[1], k)
    for _ in range(EPOCHS):
        for part in torch.split(x, BATCH):
            part.T @ (part @ weight)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=1000, help="label permutations (1000)")
    parser.add_argument(
        "--features", type=Path, metavar="FILE.npy", help="(N, D); by default drawn"
    )
    options = parser.parse_args()
    RUNTIME.apply()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    if options.features:
        features = np.load(options.features).astype(np.float32)
        label = (np.arange(len(features)) % 2).astype(np.uint8)
    else:
        features, label = drawn(2000, 1280)
    print(f"{features.shape[0]} x {features.shape[1]} features; load average before: {load}")
    with threadpool_limits(limits=1):
        thousand(features, label, options.heads)
        alone(features, label)


if __name__ == "__main__":
    main()
