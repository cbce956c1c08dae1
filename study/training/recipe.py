"""How a detector is trained: the settings that a search chooses, checked. Without
torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from study.core.errors import ConfigError, unknown_name
from study.core.records import Learner, Params
from study.detectors.registry import SCHEDULES, WIDEST_HEAD

OPTIMIZERS = ("adamw", "adam", "sgd")
LR_SCHEDULES = ("cosine", "plateau", "constant")
LOGISTIC_ONLY = ("C",)

_Range = tuple[Callable[[float], bool], str]
_POSITIVE: _Range = (lambda v: v > 0, "a number above 0")
_NOT_NEGATIVE: _Range = (lambda v: v >= 0, "a number from 0 on")
_SHARE: _Range = (lambda v: 0 <= v < 1, "a number from 0 to below 1")
_OPEN_SHARE: _Range = (lambda v: 0 < v < 1, "a number between 0 and 1")
_PROBABILITY: _Range = (lambda v: 0 <= v <= 1, "a number from 0 to 1")
# A batch of one has no variance for BatchNorm, so two is the least.
_RANGES: dict[str, _Range] = {
    "lr": _POSITIVE,
    "layer_decay": (lambda v: 0 < v <= 1, "a number above 0, at most 1"),
    "batch_size": (lambda v: v >= 2, "a whole number from 2 on"),
    "weight_decay": _NOT_NEGATIVE,
    "warmup_share": _SHARE,
    "flip": _PROBABILITY,
    "label_smoothing": _SHARE,
    "clip_norm": _NOT_NEGATIVE,
    "patience": (lambda v: v >= 0, "a whole number from 0 on"),
    "dropout": _SHARE,
    "head_share": _OPEN_SHARE,
    "crop": _PROBABILITY,
    "colour": _PROBABILITY,
    "blur": _PROBABILITY,
    "jpeg": _PROBABILITY,
    "mixup": _NOT_NEGATIVE,
    "last_stage_share": _OPEN_SHARE,
    "last_stage_lr_ratio": _POSITIVE,
    "full_lr_ratio": _POSITIVE,
    "C": _POSITIVE,
    "lora_rank": (lambda v: v >= 1, "a whole number from 1 on"),
    "lora_alpha": _POSITIVE,
    "lora_blocks": (lambda v: v >= 0, "a whole number from 0 on"),
    "lora_lr_ratio": _POSITIVE,
    "plateau_factor": _OPEN_SHARE,
    "plateau_patience": (lambda v: v >= 0, "a whole number from 0 on"),
    "head_width": (lambda v: 0 <= v <= WIDEST_HEAD, f"a whole number from 0 to {WIDEST_HEAD}"),
    "head_dropout": _SHARE,
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "loss": ("bce", "balanced_bce"),
    "lr_schedule": LR_SCHEDULES,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of one training run.

    lr: peak learning rate of the first phase; in `progressive` and `lp_ft` the later phases have
    `lr` x their ratio.
    layer_decay: a stage k steps below the head has the phase's rate x layer_decay^k; 1 gives all
    stages the same. As in ELECTRA
        (Clark et al., ICLR 2020) and BEiT (Bao et al., ICLR 2022), after Howard and Ruder (ULMFiT,
        ACL 2018).
    batch_size: images per step, at least 2; of all workers together where several train one
    detector.
    schedule: which stages are trained when (study/training/schedules.py).
    optimizer: `adamw` (decoupled weight decay), `adam` (decay as an L2 penalty), `sgd` (Nesterov
    momentum 0.9).
    weight_decay: on weights of two and more dimensions; biases and norms are never decayed.
    warmup_share: share of a phase's steps over which its rate rises linearly.
    lr_schedule: after the warm-up, `cosine`: half a cosine down to 0 at the phase's end; `plateau`:
    the rate is multiplied by
        `plateau_factor` after more than `plateau_patience` epochs without a better val AUC (torch's
        ReduceLROnPlateau), anew in each phase; `constant`: it stays.
    flip: probability of a horizontal flip, per image and epoch.
    crop, colour, blur, jpeg: probabilities of those augmentations (study/training/augment.py), per
    image and epoch.
    mixup: alpha of the Beta distribution by which a batch is mixed with another order of itself
    (Zhang et al., ICLR 2018); 0: none.
    loss: `bce`, the mean over images; `balanced_bce` weights the classes so that each has half of
    the training set's loss
        (which they have as `bce` where `data.balance` draws them alike often; both are then the
        same).
    label_smoothing: e turns the targets 0, 1 into e / 2, 1 - e / 2.
    clip_norm: greatest L2 norm of the gradient of all trained parameters; 0 for none.
    patience: epochs without a better source val after which the last phase ends; with `plateau` so
    many after the rate was first
        lowered since the best epoch; 0 for none.
    dropout: on the features before the head.
    head_share, last_stage_share: share of the epochs of those phases (`progressive`; `lp_ft` has
    the first alone). last_stage_lr_ratio, full_lr_ratio: learning rate of those phases relative to
    `lr`.
    lora_rank, lora_alpha: of the low-rank matrices of `lora` (study/training/lora.py): a weight
    learns as W + alpha / rank x B A.
    lora_blocks: how many stages with attention have them, counted from the head; 0, or more than
    there are: all.
    lora_lr_ratio: their learning rate relative to `lr`, which is the head's.
    head_width: units of the head's hidden layer, 0 for a linear head. head_dropout: on those units.
    Both decide what is built:
        `registry.with_head` takes them from a configuration, and the training loop finds the head
        as it is.
    C: inverse L2 strength of the logistic regression, on standardised features.
    """

    lr: float = 1e-3
    layer_decay: float = 1.0
    batch_size: int = 32
    schedule: Literal["head", "last_stage", "full", "progressive", "lp_ft", "lora"] = "full"
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    lr_schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    plateau_factor: float = 0.1
    plateau_patience: int = 1
    flip: float = 0.5
    crop: float = 0.0
    colour: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    mixup: float = 0.0
    loss: Literal["bce", "balanced_bce"] = "bce"
    label_smoothing: float = 0.0
    clip_norm: float = 1.0
    patience: int = 3
    dropout: float = 0.0
    head_share: float = 0.3
    last_stage_share: float = 0.3
    last_stage_lr_ratio: float = 0.3
    full_lr_ratio: float = 0.1
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_blocks: int = 0
    lora_lr_ratio: float = 1.0
    head_width: int = 0
    head_dropout: float = 0.0
    C: float = 1.0

    def __post_init__(self) -> None:
        """Hold every value to its type and range. Raises ConfigError naming the setting, its value
        and what is valid.
        """
        for setting in dataclasses.fields(self):
            _check(setting.name, getattr(self, setting.name), type(setting.default))
        if self.schedule == "progressive" and self.head_share + self.last_stage_share >= 1:
            total = self.head_share + self.last_stage_share
            raise ConfigError(
                f"head_share + last_stage_share = {total:g}: must stay below 1, the full phase"
                " needs a share too"
            )

    @classmethod
    def from_params(
        cls, params: Params, *, learner: Learner = "gradient", where: str = ""
    ) -> Recipe:
        """Make a recipe of a configuration's training settings; what is not named has its default.

        Settings that the learner does not have (`C` for `gradient`, all others for `logistic`)
        count as unknown. Raises ConfigError, prefixed with `where`, for an unknown setting, a wrong
        type, or a value out of range.
        """
        valid = settings(learner)
        for name in params:
            if name not in valid:
                raise ConfigError(unknown_name("training setting", name, valid, where=where))
        real = {f.name for f in dataclasses.fields(cls) if isinstance(f.default, float)}
        values: dict[str, Any] = {
            k: float(v) if k in real and type(v) is int else v for k, v in params.items()
        }
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}" if where else str(error)) from None


def _check(name: str, value: object, kind: type) -> None:
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ConfigError(unknown_name(name, str(value), _CHOICES[name]))
        return
    fits, text = _RANGES[name]
    number = isinstance(value, kind) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not fits(value):  # type: ignore[arg-type]
        raise ConfigError(f"{name} = {value!r}: give {text}")


def settings(learner: Learner) -> tuple[str, ...]:
    """Return the names of the settings that a learner has."""
    if learner == "logistic":
        return LOGISTIC_ONLY
    return tuple(f.name for f in dataclasses.fields(Recipe) if f.name not in LOGISTIC_ONLY)
