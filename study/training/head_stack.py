"""Linear heads on the same kept features, trained by gradient as one computation.

What a step of one head is, is what study/training/steps.py does where the body is frozen and its
features are kept: the same order, flips and dropout, the same optimizers written out for a matrix
whose rows are heads. What differs is the order in which some numbers are added up.

Heads that draw the same images in the same order (one seed, batch size, probability of a flip,
dropout, balance) are rows of one matrix; so a step gathers its images once, and multiplies twice.
A row's bits do not hang on the other rows: rows come in multiples of `ROWS` and the features' width
in multiples of `TILE`, with which a row of a product has the same bits however many there are
(tests/training/test_head_stack.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from study.core.errors import DivergedError
from study.core.records import EpochRecord
from study.statistics.metrics import auc, nll
from study.training.augment import changes_pixels
from study.training.balance import Strata, epoch_order, strata_key
from study.training.losses import class_weights
from study.training.optimizers import ADAM, SGD_MOMENTUM
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import is_better, is_over, phase_rate
from study.training.score import BATCH_SIZE
from study.training.steps import batches

TILE, ROWS = 16, 4
AT_ONCE = 64  # heads: with what their optimizer keeps they stay in a processor's cache
PHASE = "head"


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
        """What decides the images of its steps, and the steps' kind: heads with the same are
        trained in one matrix.
        """
        recipe = self.recipe
        drawn = (self.seed, recipe.batch_size, recipe.flip, recipe.dropout)
        return *drawn, recipe.optimizer == "sgd", *strata_key(self.strata)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a head came out. logit: of source val, by the best epoch's weight and bias.

    error: why its training ended before its time; it has no best epoch then.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    logit: NDArray[np.float32]
    weight: Tensor
    bias: float
    error: DivergedError | None = None


def is_stackable(recipe: Recipe) -> bool:
    """Say whether a recipe trains a linear head alone, on features that are computed once."""
    return recipe.schedule == "head" and not recipe.head_width and not changes_pixels(recipe)


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
    recipe flips. val: (M, D) of source val. Recipes are stackable.
    """
    found: dict[int, Trained] = {}
    wide = [_with_ones(view) for view in views]
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, head in enumerate(heads):
        groups.setdefault(head.draws, []).append(number)
    for numbers in groups.values():
        for start in range(0, len(numbers), AT_ONCE):
            chunk = numbers[start : start + AT_ONCE]
            stack = _Stack(wide, val, val_label, [heads[n] for n in chunk], epochs, runtime)
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
        val_label: NDArray[np.uint8],
        heads: Sequence[Head],
        epochs: int,
        runtime: TorchRuntime,
    ) -> None:
        self.views, self.val_label, self.epochs, self.runtime = views, val_label, epochs, runtime
        self.val = val.split(BATCH_SIZE)
        self.heads, self.width = heads, val.shape[1]
        self.histories: list[list[EpochRecord]] = [[] for _ in heads]
        self.best: list[Trained | None] = [None for _ in heads]
        self.rows = list(range(len(heads)))  # the heads that are still trained
        w = views[0].new_zeros(len(heads), views[0].shape[1])
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
            reached = [self._look(epoch, n) for n in range(len(self.rows))]
            seconds = (time.perf_counter() - began) / len(self.rows)
            kept = []
            for n, row in enumerate(list(self.rows)):
                loss = losses[:, n].tolist()
                error = _diverged(loss, rates[:, n].tolist(), epoch) or reached[n][3]
                if error is not None:
                    yield row, self._ended(row, error)
                    continue
                value, cost, logit, _ = reached[n]
                self._note(
                    n,
                    EpochRecord(
                        epoch=epoch,
                        phase=PHASE,
                        train_loss=math.fsum(map(lambda a, b: a * b, loss, sizes)) / sum(sizes),
                        val_auc=value,
                        val_nll=cost,
                        learning_rate=float(rates[:, n].max()),
                        seconds=seconds,
                    ),
                    logit,
                )
                history = self.histories[row]
                best = self.best[row]
                assert best is not None
                if is_over(self.heads[row].recipe, history, best.best_epoch, 0, self.epochs):
                    yield row, self._ended(row)
                else:
                    kept.append(n)
            if len(kept) < len(self.rows):
                self._keep(kept)
            if not self.rows:
                return

    def _ended(self, row: int, error: DivergedError | None = None) -> Trained:
        best, history = self.best[row], tuple(self.histories[row])
        if best is None:
            nothing = np.empty(0, dtype=np.float32)
            head = self.heads[row]
            best = Trained(
                history=(), best_epoch=-1, logit=nothing, weight=head.weight, bias=head.bias
            )
        return replace(best, history=history, error=error)

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

        self.smoothing = column(lambda r: r.label_smoothing)
        self.clip = column(lambda r: r.clip_norm or math.inf)
        self.clips = any(recipe.clip_norm for recipe in recipes)
        # a multiple of the rate (decoupled), or added to the gradient
        self.decay = column(lambda r: r.weight_decay if r.optimizer == "adamw" else 0.0)
        self.penalty = column(lambda r: 0.0 if r.optimizer == "adamw" else r.weight_decay)
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
            rate = partial(phase_rate, recipe, recipe.lr, aucs)
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
        w = self.state[0]
        x = self._inputs(image.to(w.device), flip.to(w.device), dropout)
        label = self.label[:, image] * (1 - self.smoothing) + self.smoothing / 2
        weight = None if self.weight is None else self.weight[:, image]
        with self.runtime.autocast():
            logit = (w @ x.T).float()
            loss = F.binary_cross_entropy_with_logits(logit, label, weight, reduction="none")
            error = torch.sigmoid(logit) - label
            error = error if weight is None else error * weight
            gradient = ((error / len(image)) @ x).float()
        if self.clips:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient *= (self.clip / (norm + 1e-6)).clamp(max=1.0)
        self._move(gradient, rate)
        return loss.mean(dim=1)

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

    def _look(
        self, epoch: int, place: int
    ) -> tuple[float, float, NDArray[np.float32], DivergedError | None]:
        """Score source val by one head, in the batches and by the operation of scoring."""
        w = self.state[0][place]
        weight, bias = w[None, : self.width].clone(), w[self.width : self.width + 1].clone()
        logits = [F.linear(part, weight, bias).squeeze(1) for part in self.val]
        logit: NDArray[np.float32] = torch.cat(logits).cpu().numpy()
        if not np.isfinite(logit).all():
            return math.nan, math.nan, logit, DivergedError(not_finite(epoch))
        return auc(self.val_label, logit), nll(self.val_label, logit), logit, None

    def _note(self, place: int, record: EpochRecord, logit: NDArray[np.float32]) -> None:
        """Take in an epoch of a head; keep its weights if it is the best so far."""
        row = self.rows[place]
        history, best = self.histories[row], self.best[row]
        history.append(record)
        if best is None or is_better(record, history[best.best_epoch]):
            w = self.state[0][place].cpu()
            self.best[row] = Trained(
                history=(),
                best_epoch=record.epoch,
                logit=logit,
                weight=w[: self.width].clone(),
                bias=float(w[self.width]),
            )


def _is_weighted(head: Head) -> bool:
    return head.recipe.loss == "balanced_bce" and head.strata is None


def not_finite(epoch: int) -> str:
    """Say that source val has a logit which is no number."""
    return f"a logit on source val is not finite after epoch {epoch}: lower lr or clip_norm"


def diverged(loss: float, epoch: int, phase: str, rate: float) -> DivergedError:
    """Say that the loss is no number."""
    return DivergedError(
        f"the loss is {loss} in epoch {epoch} ({phase}, learning rate {rate:.2g}):"
        " lower lr or clip_norm"
    )


def _diverged(losses: list[float], rates: list[float], epoch: int) -> DivergedError | None:
    for loss, rate in zip(losses, rates, strict=True):
        if not math.isfinite(loss):
            return diverged(loss, epoch, PHASE, rate)
    return None
