"""Linear heads on the same kept features, trained by gradient as one computation.

What a step of one head is, is what study/training/steps.py does where the body is frozen and its
features are kept: the same order, flips and dropout, the same optimizers written out for a matrix
whose rows are heads. What differs is the order in which some numbers are added up.

Heads that draw the same images in the same order (one seed, batch size, probability of a flip,
dropout, balance) are rows of one matrix; so a step gathers its images once, and multiplies twice.
A row's bits do not depend on the other rows: rows come in multiples of `ROWS`, features and batches
are as wide as a multiple of `TILE`, and then a row of a product, and of a function of each element,
has the same bits however many there are (tests/training/test_head_stack.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from study.core.records import EpochRecord
from study.statistics.metrics import auc, nll
from study.training.balance import Strata, epoch_order, strata_key
from study.training.losses import class_weights, diverged, not_finite
from study.training.optimizers import ADAM, SGD_MOMENTUM
from study.training.outcomes import Trained, linear_logits
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import is_better, is_over, phase_rate
from study.training.steps import batches

TILE, ROWS = 16, 4
AT_ONCE = 128  # heads: with what their optimizer keeps they stay in a processor's cache
PHASE = "head"
_NO_LOGIT = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head to train: all that decides it beside features, epochs and runtime.

    weight, bias: (D,) and () as built. label: (N,) of the training images. strata: of them, or
    None.
    """

    recipe: Recipe
    seed: int
    weight: Tensor
    bias: float
    label: NDArray[np.uint8]
    strata: Strata | None = None

    @property
    def draws(self) -> tuple[object, ...]:
        """What decides the images of its steps: heads with the same are trained in one matrix."""
        return self.seed, *self.recipe.draws, *strata_key(self.strata)


def train_heads(
    views: Sequence[Tensor],
    val: Tensor,
    val_label: NDArray[np.uint8],
    heads: Sequence[Head],
    *,
    epochs: int,
    runtime: TorchRuntime,
) -> list[Trained]:
    """Train heads on features; return how each came out, in their order.

    views: features (N, D) float32 of the training images, and of their mirror images where a
    recipe flips. val: (M, D) of source val. val_label: (M,), or (K, M) where each head has its own.
    Recipes are stackable.
    """
    found: dict[int, Trained] = {}
    val_labels = np.broadcast_to(val_label, (len(heads), len(val)))
    # a product in bfloat16 rounds its factors: that is done once, where no dropout comes before it
    rounds = runtime.precision == "bfloat16"
    wide, rounded = [], []
    for view in map(_with_ones, views):
        if not rounds or any(head.recipe.dropout for head in heads):
            wide.append(view)
        if not all(head.recipe.dropout for head in heads):
            rounded.append(view.bfloat16() if rounds else view)
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, head in enumerate(heads):
        groups.setdefault(head.draws, []).append(number)
    for numbers in groups.values():
        for start in range(0, len(numbers), AT_ONCE):
            chunk = numbers[start : start + AT_ONCE]
            mine = [heads[n] for n in chunk]
            looked = wide if mine[0].recipe.dropout else rounded
            stack = _Stack(looked, val, val_labels[chunk], mine, epochs, runtime)
            found |= {chunk[row]: trained for row, trained in stack.run()}
    return [found[number] for number in range(len(heads))]


def _with_ones(x: Tensor) -> Tensor:
    """Features (N, D), then a column of ones for the bias, then zeros to a full width."""
    n, width = x.shape
    full = x.new_zeros(n, width + 1 + (-width - 1) % TILE)
    full[:, :width], full[:, width] = x, 1.0
    return full


class _Stack:
    """Heads of equal `draws`, under way. Rows are heads; the last ones may repeat the first, to
    fill up.
    """

    def __init__(
        self,
        views: Sequence[Tensor],
        val: Tensor,
        val_labels: NDArray[np.uint8],
        heads: Sequence[Head],
        epochs: int,
        runtime: TorchRuntime,
    ) -> None:
        self.views, self.val, self.val_labels = views, val, val_labels
        self.epochs, self.runtime = epochs, runtime
        self.heads, self.width = heads, val.shape[1]
        self.histories: list[list[EpochRecord]] = [[] for _ in heads]
        self.best = [(-1, _NO_LOGIT)] * len(heads)  # epoch and logits
        self.after: list[list[NDArray[np.float32]]] = [[] for _ in heads]  # each epoch, rows of w
        self.rows = list(range(len(heads)))  # the heads that are still trained
        w = val.new_zeros(len(heads), views[0].shape[1])
        w[:, : self.width] = torch.stack([head.weight for head in heads])
        w[:, self.width] = torch.tensor([head.bias for head in heads])
        self.steps_done = 0
        self.state = [w, torch.zeros_like(w), torch.zeros_like(w)]  # weights, two of the optimizer
        self._fill(self.rows)

    def run(self) -> Iterator[tuple[int, Trained]]:
        """Train; give each head's place and how it came out, as it ends."""
        for epoch in range(self.epochs):
            began = time.perf_counter()
            losses, rates, sizes = self._epoch(epoch)
            logits = self._val_logits()
            spent = (time.perf_counter() - began) / len(self.rows)
            kept = []
            for place, row in enumerate(self.rows):
                steps = list(zip(losses[:, place].tolist(), rates[:, place].tolist(), strict=True))
                error = _error(steps, logits[place], epoch)
                if not error:
                    loss = math.fsum(a * b for (a, _), b in zip(steps, sizes, strict=True))
                    mean, rate = loss / sum(sizes), max(rate for _, rate in steps)
                    self._note(place, epoch, mean, rate, logits[place], spent)
                if error or self._is_over(row):
                    yield row, self._ended(row, error)
                else:
                    kept.append(place)
            if len(kept) < len(self.rows):
                self._keep(kept)
            if not self.rows:
                return

    def _is_over(self, row: int) -> bool:
        history, recipe = self.histories[row], self.heads[row].recipe
        return is_over(recipe, history, self.best[row][0], 0, self.epochs)

    def _ended(self, row: int, error: str) -> Trained:
        best_epoch, logit = self.best[row]
        after = np.array(self.after[row], dtype=np.float32).reshape(-1, self.width + 1)
        return Trained(
            history=tuple(self.histories[row]),
            best_epoch=best_epoch,
            logit=logit,
            weights=after[:, :-1],
            biases=after[:, -1],
            error=error,
        )

    def _keep(self, places: list[int]) -> None:
        """Go on with these of the present rows alone."""
        self.rows = [self.rows[place] for place in places]
        if self.rows:
            self.state = [tensor[places] for tensor in self.state]
            self._fill(self.rows)

    def _fill(self, rows: list[int]) -> None:
        """Fill up with the first row, and set out what is asked of each row at each step."""
        index = [*range(len(rows)), *[0] * (-len(rows) % ROWS)]
        heads = [self.heads[rows[n]] for n in index]
        w, *others = [tensor[index].contiguous() for tensor in self.state]
        self.state = [w, *others]
        label = np.stack([head.label for head in heads]).astype(np.float32)
        self.label = torch.from_numpy(label).to(w.device)
        self.weight = None
        if any(map(_is_weighted, heads)):
            self.weight = torch.ones_like(self.label)
            for n, head in enumerate(heads):
                if _is_weighted(head):
                    self.weight[n] = class_weights(self.label[n])
        recipes = [head.recipe for head in heads]

        def column(value: Callable[[Recipe], float]) -> Tensor:
            return torch.tensor([[value(r)] for r in recipes], dtype=w.dtype, device=w.device)

        smoothing = column(lambda r: r.label_smoothing)
        self.smooth_label = self.label * (1 - smoothing) + smoothing / 2
        self.clip = column(lambda r: r.clip_norm or math.inf)
        self.clips = any(recipe.clip_norm for recipe in recipes)
        # a multiple of the rate (decoupled), or added to the gradient
        self.decay = column(lambda r: r.weight_decay if r.optimizer == "adamw" else 0.0)
        self.penalty = column(lambda r: 0.0 if r.optimizer == "adamw" else r.weight_decay)
        self.penalizes = bool(self.penalty.any())
        self.padded_heads = heads

    def _epoch(self, epoch: int) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
        """Train an epoch. Return the losses and rates of its steps (S, K), and their batches'
        sizes.
        """
        first = self.heads[self.rows[0]]
        n, recipe = len(self.views[0]), first.recipe
        generator = self.runtime.seed_epoch(first.seed, epoch)
        order = epoch_order(n, first.strata, generator)
        flip = torch.rand(n, generator=generator) < recipe.flip
        parts = batches(n, recipe.batch_size, torch.arange(n))
        rates = self._rates(epoch, len(parts))
        factors = torch.from_numpy(rates.astype(np.float32))[:, :, None].to(self.label.device)
        losses = []
        for number, part in enumerate(parts):
            image = order[part]
            mirrored = flip[image if first.strata is None else part]
            losses.append(self._step(image, mirrored, recipe.dropout, factors[number]))
        return (
            torch.stack(losses).double().cpu().numpy()[:, : len(self.rows)],
            rates[:, : len(self.rows)],
            [len(part) for part in parts],
        )

    def _rates(self, epoch: int, steps: int) -> NDArray[np.float64]:
        """The rates of an epoch's steps, (S, K) in float64."""

        @cache
        def column(recipe: Recipe, aucs: tuple[float, ...]) -> list[float]:
            rate = partial(phase_rate, recipe, recipe.rate, aucs)
            return [rate(epoch * steps + n, steps * self.epochs) for n in range(steps)]

        columns = []
        for head, row in zip(self.padded_heads, self._filled_rows(), strict=True):
            on_plateau = head.recipe.lr_schedule == "plateau"
            aucs = tuple(r.val_auc for r in self.histories[row]) if on_plateau else ()
            columns.append(column(head.recipe, aucs))
        return np.array(columns, dtype=np.float64).T

    def _filled_rows(self) -> list[int]:
        return [*self.rows, *[self.rows[0]] * (-len(self.rows) % ROWS)]

    def _step(self, image: Tensor, flip: Tensor, dropout: float, rate: Tensor) -> Tensor:
        """Train on one batch; return each head's loss (K,) before the step."""
        w, size = self.state[0], len(image)
        x = self._inputs(image.to(w.device), flip.to(w.device), dropout)
        rest = -size % TILE  # a function of an element is another at the end of an odd row
        of_image = (F.pad(image, (0, rest)) if rest else image).to(w.device)
        label = self.smooth_label[:, of_image]
        weight = None if self.weight is None else self.weight[:, of_image]
        logit = self._product(w, x.T)
        logit = F.pad(logit, (0, rest)) if rest else logit
        loss = F.binary_cross_entropy_with_logits(logit, label, weight, reduction="none")
        error = torch.sigmoid(logit) - label
        error = error if weight is None else error * weight
        gradient = self._product(error[:, :size] / size, x)
        if self.clips:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient *= (self.clip / (norm + 1e-6)).clamp(max=1.0)
        self._move(gradient, rate)
        return loss[:, :size].mean(dim=1)

    def _product(self, one: Tensor, other: Tensor) -> Tensor:
        """A product of matrices in the runtime's precision, float32: autocast's, without its cost
        for each of the other operations.
        """
        if self.runtime.precision == "float32":
            return one @ other
        return (one.bfloat16() @ other.bfloat16()).float()

    def _inputs(self, image: Tensor, flip: Tensor, dropout: float) -> Tensor:
        """Features (B, D') of a batch, as Steps draws them."""
        x = self.views[0][image]
        if len(self.views) > 1 and bool(flip.any()):
            x = torch.where(flip[:, None], self.views[1][image], x)
        if dropout:
            x[:, : self.width] = F.dropout(x[:, : self.width].contiguous(), dropout)
        return x

    def _move(self, gradient: Tensor, rate: Tensor) -> None:
        """What torch.optim's AdamW, Adam and SGD do with (K, D') weights, one rate a row. The bias
        is not decayed.
        """
        self.steps_done += 1
        w, mean, square = self.state
        decayed = w[:, : self.width]
        if self.penalizes:
            gradient[:, : self.width] += self.penalty * decayed
        if self.heads[self.rows[0]].recipe.optimizer == "sgd":
            mean.mul_(SGD_MOMENTUM).add_(gradient)
            w.sub_(gradient.add_(mean, alpha=SGD_MOMENTUM).mul_(rate))
            return
        (first, second), epsilon = ADAM
        decayed.mul_(1 - rate * self.decay)
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = torch.sqrt(square, out=gradient).div_(math.sqrt(1 - second**self.steps_done))
        move = torch.div(mean, root.add_(epsilon), out=root)
        w.sub_(move.mul_(rate / (1 - first**self.steps_done)))

    def _val_logits(self) -> list[NDArray[np.float32]]:
        """The logits (M,) of source val by each head."""
        heads = self.state[0][: len(self.rows)]
        return [
            linear_logits(self.val, head[None, : self.width], head[self.width, None])
            for head in heads
        ]

    def _note(
        self,
        place: int,
        epoch: int,
        loss: float,
        rate: float,
        logit: NDArray[np.float32],
        seconds: float,
    ) -> None:
        """Take in an epoch of a head."""
        row = self.rows[place]
        history, (best, _), label = self.histories[row], self.best[row], self.val_labels[row]
        record = EpochRecord(
            epoch=epoch,
            phase=PHASE,
            train_loss=loss,
            val_auc=auc(label, logit),
            val_nll=nll(label, logit),
            learning_rate=rate,
            seconds=seconds,
        )
        history.append(record)
        self.after[row].append(self.state[0][place, : self.width + 1].cpu().numpy().copy())
        if best < 0 or is_better(record, history[best]):
            self.best[row] = epoch, logit


def _is_weighted(head: Head) -> bool:
    return head.recipe.loss == "balanced_bce" and head.strata is None


def _error(steps: Sequence[tuple[float, float]], logit: NDArray[np.float32], epoch: int) -> str:
    """What is wrong with an epoch's steps (loss, rate), or the logits after it; "" for nothing."""
    for loss, rate in steps:
        if not math.isfinite(loss):
            return diverged(loss, epoch, PHASE, rate)
    return "" if np.isfinite(logit).all() else not_finite(epoch)
