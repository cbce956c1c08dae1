"""The steps of an epoch: batches, the loss of a batch, its gradient, the optimizer's move.

* The last batch is what is left, smaller; a single image left over joins the batch before it, since
  BatchNorm has no variance over one value. No image is dropped or seen twice in an epoch, unless
  strata are drawn alike often (study/training/balance.py).
* Several workers (study/training/process_group.py) share out each batch: `batch_size` is that of
  all together, gradients and losses are summed with the same weight for every image, and every
  worker takes the same step. Live BatchNorm normalises over a worker's own share; its running
  statistics are averaged over workers, weighted by images, at the end of each epoch. We do not use
  torch's DistributedDataParallel: phases change what is trained, a share may be empty or cut up by
  its own worker alone, and it gives shares, not images, the same weight.
* Where memory runs out in a step, the step is done again in micro-batches of half the size, and so
  are all after it. The gradient is that of the whole batch, but live BatchNorm then normalises over
  the micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from study.core import stop
from study.core.errors import DivergedError
from study.core.identity import derive_seed
from study.detectors.base import Detector
from study.detectors.crops import random_crops
from study.training.augment import Batch, Draws, mix
from study.training.balance import Strata, epoch_order
from study.training.losses import bce, class_weights, diverged
from study.training.memory import StepSnapshot, free
from study.training.optimizers import make_optimizer
from study.training.process_group import ProcessGroup, even_parts
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import Phase, freeze
from study.training.score import to_input
from study.training.session import Images


def batches(n: int, batch_size: int, order: Tensor) -> list[Tensor]:
    """Cut an order of images (N,) into batches; one image left over joins the batch before."""
    parts = list(torch.split(order, batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    assert sum(map(len, parts)) == n
    return parts


@dataclass
class Steps:
    """Trains a detector, epoch by epoch, on this rank's share of every batch.

    micro_batch: images at a time since memory ran out; 0: the whole share. views: of the training
    images, straight and mirrored, what the frozen part of the network makes of them, where that is
    kept: features, or what `above` makes features of. Else the network computes all.
    """

    detector: Detector
    train: Images
    recipe: Recipe
    _: KW_ONLY
    seed: int
    runtime: TorchRuntime
    processes: ProcessGroup
    strata: Strata | None = None
    micro_batch: int = 0
    views: list[Tensor] = field(default_factory=list)
    above: Callable[[Tensor], Tensor] | None = None
    watch: Callable[[float], None] | None = None  # is told the loss of every batch
    draws: Draws | None = None  # of the epoch under way
    places: Tensor | None = None  # (N, 2), likewise: where a detector of crops takes them
    optimizer: torch.optim.Optimizer | None = None  # None between phases
    # those that are trained in this phase
    norms: list[_BatchNorm] = field(default_factory=list)
    trained: list[nn.Parameter] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put the labels on the device, and the weights of the classes where the loss has some."""
        label = self.train.label.astype(np.float32)
        self.label = torch.from_numpy(label).to(self.runtime.device)
        weighted = self.recipe.loss == "balanced_bce" and self.strata is None
        self.weight = class_weights(self.label) if weighted else None

    def begin(self, phase: Phase) -> None:
        """Freeze what the phase does not train, and make its optimizer."""
        freeze(self.detector, phase.stages, adapters=phase.adapters)
        norms = (m for m in self.detector.modules() if isinstance(m, _BatchNorm))
        self.norms = [norm for norm in norms if norm.training]
        self.trained = [p for p in self.detector.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.detector, self.recipe, phase.lr)

    def end(self) -> None:
        """Drop what the phase needed."""
        self.optimizer, self.views, self.above = None, [], None

    def epoch(
        self, epoch: int, phase: Phase, *, done: int, rate: Callable[[int, int], float]
    ) -> tuple[float, float]:
        """Train one epoch; return (mean loss over images, highest learning rate).

        done: epochs of the phase before this one. rate: the learning rate by a step's number in its
        phase and the phase's steps. Raises DivergedError for a loss that is not finite.
        """
        generator = self.runtime.seed_epoch(self.seed, epoch, self.processes.rank)
        n = len(self.train)
        order = epoch_order(n, self.strata, generator)
        flip = torch.rand(n, generator=generator) < self.recipe.flip
        self.draws = Draws.draw(self.recipe, n, generator)
        if self.detector.cut:
            self.places = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        # Repeats of an image are drawn anew, by their place in the epoch; without repeats what is
        # drawn goes by the image.
        rows = order if self.strata is None else torch.arange(n)
        parts = batches(n, self.recipe.batch_size, torch.arange(n))
        steps = len(parts) * phase.epochs
        total, highest, mine = 0.0, 0.0, 0
        for number, part in enumerate(parts, start=done * len(parts)):
            stop.check()
            now = rate(number, steps)
            row = rows[part]
            batch = Batch(order[part], row, flip[row])
            mixing = derive_seed("mixup", self.seed, epoch, number)
            loss = self._step(mix(self.recipe, batch, mixing), now)
            if self.watch is not None:
                self.watch(loss)
            if not math.isfinite(loss):
                raise DivergedError(diverged(loss, epoch, phase.name, now))
            total += loss * len(part)
            highest = max(highest, now)
            mine += len(self.processes.share(part))
        statistics = [b for b in self._norm_buffers() if b.is_floating_point()]
        self.processes.average(statistics, weight=mine)
        return total / n, highest

    def _norm_buffers(self) -> list[Tensor]:
        return [buffer for norm in self.norms for buffer in norm.buffers()]

    def _step(self, batch: Batch, rate: float) -> float:
        """Train on one batch, by this rank's share, and return the batch's loss before the step."""
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        (share,) = batch.cut(lambda tensor: [self.processes.share(tensor)])
        loss = self.backward(share, of=len(batch))
        self.processes.sum_gradients(self.trained)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip_norm)
        self.optimizer.step()
        return self.processes.sum(float(loss))

    def backward(self, batch: Batch, *, of: int) -> Tensor:
        """Leave the gradient of some images in the parameters; return what they add to the loss of
        a batch of `of` images.

        Where memory runs out it is done again with half the micro-batch, from the same random
        state: dropout is drawn alike.
        """
        assert self.optimizer is not None
        while True:
            before = StepSnapshot(self.runtime.device, self._norm_buffers())
            try:
                return self._accumulate(batch, of)
            except torch.OutOfMemoryError:
                smaller = self._smaller(len(batch))
                if not smaller:
                    raise
            self.micro_batch = smaller
            self.optimizer.zero_grad(set_to_none=True)
            before.restore()
            free(self.runtime.device)

    def _accumulate(self, batch: Batch, of: int) -> Tensor:
        """Do `backward` in the micro-batches of now."""
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.label.device)
        for part in batch.cut(self._pieces):
            with self.runtime.autocast():
                dropout = self.recipe.dropout
                features = F.dropout(self._features(part), dropout, training=dropout > 0)
                logits = self.detector.classify(features)
            mean = part.keep * self._loss(features, logits, part.index)
            if part.partner is not None:
                mean = mean + (1 - part.keep) * self._loss(features, logits, part.partner.index)
            loss = mean * (len(part) / of)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _pieces(self, batch: Tensor) -> list[Tensor]:
        """Cut this rank's share (B,) into micro-batches, of two or more for a trained BatchNorm."""
        count = math.ceil(len(batch) / self.micro_batch) if self.micro_batch else 1
        return even_parts(batch, count, least=2 if self.norms else 1)

    def _smaller(self, images: int) -> int:
        """Return half of what a share was just tried in, or 0 where it cannot be less."""
        tried = len(self._pieces(torch.empty(images))[0])  # no piece is larger than the first
        smaller = max(2 if self.norms else 1, tried // 2)
        return smaller if smaller < (self.micro_batch or tried) else 0

    def _loss(self, features: Tensor, logits: Tensor, index: Tensor) -> Tensor:
        """The mean loss of features (B, D) and logits (B,) if they were those of the images of
        `index` (B,).
        """
        index = index.to(self.label.device)
        weight = None if self.weight is None else self.weight[index]
        loss = bce(logits, self.label[index], self.recipe.label_smoothing, weight)
        added = self.detector.added_loss(features, self.label[index])
        return loss if added is None else loss + added

    def _input(self, batch: Batch) -> Tensor:
        """The network's input for a batch's images (not their partners): cropped, augmented,
        mirrored.
        """
        pixels = self.train.gather(batch.index.numpy())
        if self.detector.cut and self.places is not None:
            pixels = random_crops(pixels, self.places[batch.row], self.detector.cut.size_px)
        if self.draws is not None:
            pixels = self.draws.apply(torch.from_numpy(pixels), batch.row).numpy()
        return to_input(self.detector, pixels, self.runtime.device, batch.flip)

    def _features(self, batch: Batch) -> Tensor:
        """Features (B, D) of a batch."""
        if not self.views:
            x = self._input(batch)
            if batch.partner is not None:
                x = batch.keep * x + (1 - batch.keep) * self._input(batch.partner)
            return self.detector.features(x)
        index = batch.index.to(self.views[0].device)
        kept = self.views[0][index]
        if len(self.views) > 1:
            flip = batch.flip.to(index.device)
            kept[flip] = self.views[1][index[flip]]
        return self.above(kept) if self.above else kept
