"""Unfreezing: which stages a phase trains, for how many epochs, at which rate; and the freezing
itself.

Schedules, over a detector's stages ordered from head to stem:
  head          the head alone.
  last_stage    the head and the stage below it.
  full          every stage.
  progressive   head, then last_stage, then full, each with its share of the epochs and its own
                learning rate.
  lp_ft         linear probe, then fine-tune (Kumar et al., ICLR 2022): head, then full.
  lora          the head, and low-rank matrices beside the frozen weights of the attention below it
                (study/training/lora.py).
In the schedules of one phase `lr` is that phase's rate; in the others it is the head phase's, and
the later ones have their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.core.records import EpochRecord
from study.training.lora import adapter_parameters, adapter_size
from study.training.recipe import Recipe

if TYPE_CHECKING:
    from study.detectors.base import Detector


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training. `stages`: how many, from the head on, are trained; `lr`: peak learning
    rate.

    adapters: whether the low-rank matrices of the stages below those are trained too.
    """

    name: str
    stages: int
    epochs: int
    lr: float
    adapters: bool = False

    @property
    def head_alone(self) -> bool:
        """Whether all that is below the head stays as it is."""
        return self.stages == 1 and not self.adapters


def phases(recipe: Recipe, *, n_stages: int, epochs: int) -> tuple[Phase, ...]:
    """Return the phases of a recipe's schedule, in order; their epochs add up to `epochs`.

    A phase has its share rounded, and at least one epoch. With fewer epochs than phases the later
    phases fall away, as if the schedule had been stopped there: one epoch of `progressive` is one
    epoch of `head`.

    n_stages, epochs: at least 1. A detector of one stage has the same stages in every phase.
    """
    assert n_stages >= 1 and epochs >= 1, (n_stages, epochs)
    head, last, full = ("head", 1), ("last_stage", min(2, n_stages)), ("full", n_stages)
    rest = 1 - recipe.head_share
    plan = {
        "head": [(*head, 1.0, 1.0)],
        "last_stage": [(*last, 1.0, 1.0)],
        "full": [(*full, 1.0, 1.0)],
        "progressive": [
            (*head, recipe.head_share, 1.0),
            (*last, recipe.last_stage_share, recipe.last_stage_lr_ratio),
            (*full, rest - recipe.last_stage_share, recipe.full_lr_ratio),
        ],
        "lp_ft": [(*head, recipe.head_share, 1.0), (*full, rest, recipe.full_lr_ratio)],
        "lora": [("lora", 1, 1.0, 1.0)],
    }[recipe.schedule][:epochs]
    lengths = _apportion([share for _, _, share, _ in plan], epochs)
    return tuple(
        Phase(
            name=name, stages=stages, epochs=length, lr=recipe.rate * ratio, adapters=name == "lora"
        )
        for (name, stages, _, ratio), length in zip(plan, lengths, strict=True)
    )


def _apportion(shares: list[float], epochs: int) -> list[int]:
    """Share out whole epochs, at least one each; what rounding leaves goes where most is owed."""
    owed = [share / sum(shares) * epochs for share in shares]
    lengths = [max(1, math.floor(o)) for o in owed]
    places = range(len(shares))
    while sum(lengths) < epochs:
        lengths[max(places, key=lambda i: (owed[i] - lengths[i], -i))] += 1
    while sum(lengths) > epochs:
        lengths[
            max((i for i in places if lengths[i] > 1), key=lambda i: (lengths[i] - owed[i], i))
        ] -= 1
    return lengths


def learning_rate(peak: float, step: int, steps: int, warmup_share: float) -> float:
    """Return the rate of one step of a phase: a linear rise to `peak`, then a half cosine that
    would reach 0 after the last step.

    step: from 0; steps: of the whole phase. The first step's rate is above 0, and the rise takes
    `warmup_share` of the steps.
    """
    rise = round(warmup_share * steps)
    if step < rise:
        return warmed_up(peak, step, steps, warmup_share)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def warmed_up(peak: float, step: int, steps: int, warmup_share: float) -> float:
    """Return the rate of one step of a phase that rises as in `learning_rate` and then stays."""
    rise = round(warmup_share * steps)
    return peak * (step + 1) / (rise + 1) if step < rise else peak


def plateau_factor(values: Sequence[float], *, factor: float, patience: int) -> float:
    """Return what the rate is multiplied by after these val AUCs: `factor` for each fall."""
    return math.prod([factor] * len(plateau_falls(values, patience=patience)))


def plateau_falls(values: Sequence[float], *, patience: int) -> list[int]:
    """Return after how many epochs with these val AUCs the rate falls: each time when more than
    `patience` were no better.

    As torch's ReduceLROnPlateau with mode "max" and threshold 0: they are in a row, and counted
    anew after each fall. NaN is no better than anything.
    """
    falls, best, worse = [], -math.inf, 0
    for done, value in enumerate(values, start=1):
        worse = 0 if value > best else worse + 1
        best = best if math.isnan(value) else max(best, value)
        if worse > patience:
            falls.append(done)
            worse = 0
    return falls


def phase_rate(recipe: Recipe, peak: float, aucs: Sequence[float], step: int, steps: int) -> float:
    """Return the rate of a phase's step; on a plateau by the val AUCs of its epochs so far."""
    if recipe.lr_schedule == "cosine":
        return learning_rate(peak, step, steps, recipe.warmup_share)
    rate = warmed_up(peak, step, steps, recipe.warmup_share)
    if recipe.lr_schedule == "constant":
        return rate
    return rate * plateau_factor(
        aucs, factor=recipe.plateau_factor, patience=recipe.plateau_patience
    )


def is_better(record: EpochRecord, best: EpochRecord) -> bool:
    """Tell whether an epoch is better than the best before it. A tie is not: the earlier stays."""
    return (record.val_auc, -record.val_nll) > (best.val_auc, -best.val_nll)


def is_over(
    recipe: Recipe, history: Sequence[EpochRecord], best: int, last_start: int, epochs: int
) -> bool:
    """Tell whether a fit ends after these epochs: all ran, or patience ran out in the last phase.

    best: the number of the best epoch. last_start: that of the last phase's first.
    """
    done = len(history)
    if done == epochs:
        return True
    if not recipe.patience or done <= last_start:
        return False
    if recipe.lr_schedule != "plateau":
        return done - max(best + 1, last_start) >= recipe.patience
    aucs = [record.val_auc for record in history[last_start:]]
    falls = plateau_falls(aucs, patience=recipe.plateau_patience)
    since = [last_start + fall for fall in falls if last_start + fall > best]
    return bool(since) and done - since[0] >= recipe.patience


def freeze(detector: Detector, n_trainable_stages: int, *, adapters: bool = False) -> None:
    """Put a detector into training with its first `n_trainable_stages` stages (from the head on)
    trainable.

    The others get no gradient and stand in evaluation mode: BatchNorm uses and keeps its stored
    statistics, dropout is off. So does all that is in no stage (a network's root, which may drop
    features out itself, and layers without parameters): it is trained where every stage is, and
    only then is a network's own dropout on. Whoever makes the optimizer gives it the trainable
    parameters only, so that weight decay cannot move the others.
    adapters: the low-rank matrices in those others are trainable nonetheless.
    """
    stages = detector.stages()
    detector.train(n_trainable_stages >= len(stages))
    for number, stage in enumerate(stages):
        trainable = number < n_trainable_stages
        for parameter in stage.all_parameters():
            parameter.requires_grad_(trainable)
        for module in stage.modules:
            module.train(trainable)
    if adapters:
        for parameter in adapter_parameters(detector):
            parameter.requires_grad_(True)


def trained_size(detector: Detector, recipe: Recipe) -> int:
    """Return how many parameters a recipe's schedule trains in its last phase; the detector may be
    empty (on the meta device).
    """
    sizes = [sum(p.numel() for p in stage.all_parameters()) for stage in detector.stages()]
    # epochs enough for every phase
    last = phases(recipe, n_stages=len(sizes), epochs=len(sizes) + 2)[-1]
    added = (
        adapter_size(detector, rank=recipe.lora_rank, blocks=recipe.lora_blocks)
        if last.adapters
        else 0
    )
    return sum(sizes[: last.stages]) + added
