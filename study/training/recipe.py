"""How a detector is trained: the settings that a search chooses, checked. Without torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from study.core.errors import ConfigError, located
from study.core.identity import LATER
from study.core.records import Learner, Params
from study.core.validation import MustBe, check_keys, validated
from study.detectors.entry import WIDEST_HEAD, FrozenHead, Schedule

LOGISTIC_ONLY = ("C", "head", "neighbours", "layer")

Positive = Annotated[float, MustBe("a number above 0", gt=0)]
NotNegative = Annotated[float, MustBe("a number from 0 on", ge=0)]
Share = Annotated[float, MustBe("a number from 0 to below 1", ge=0, lt=1)]
OpenShare = Annotated[float, MustBe("a number between 0 and 1", gt=0, lt=1)]
Probability = Annotated[float, MustBe("a number from 0 to 1", ge=0, le=1)]
Count = Annotated[int, MustBe("a whole number from 0 on", ge=0)]
AUTO = "auto"
Rate = Annotated[float, MustBe(f'a number above 0, or "{AUTO}"', gt=0)]
# A batch of one has no variance for BatchNorm, so two is the least.
BatchSize = Annotated[int, MustBe("a whole number from 2 on", ge=2)]
Rank = Annotated[int, MustBe("a whole number from 1 on", ge=1)]
Decay = Annotated[float, MustBe("a number above 0, at most 1", gt=0, le=1)]
HeadWidth = Annotated[int, MustBe(f"a whole number from 0 to {WIDEST_HEAD}", ge=0, le=WIDEST_HEAD)]
Neighbours = Annotated[int, MustBe("a whole number of at least 1", ge=1)]
Optimizer = Literal["adamw", "adam", "sgd"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of one training run.

    lr: peak learning rate of the first phase; in `progressive` and `lp_ft` the later phases have
    `lr` x their ratio. As `auto` see AutoRecipe.
    layer_decay: a stage k steps below the head has the phase's rate x layer_decay^k; 1 gives all
    stages the same. As in ELECTRA (Clark et al., ICLR 2020) and BEiT (Bao et al., ICLR 2022), after
    Howard and Ruder (ULMFiT, ACL 2018).
    batch_size: images per step, at least 2; of all workers together where several train one
    detector.
    schedule: which stages are trained when (study/training/schedules.py).
    optimizer: `adamw` (decoupled weight decay), `adam` (decay as an L2 penalty), `sgd` (Nesterov
    momentum 0.9).
    weight_decay: on weights of two and more dimensions; biases and norms are never decayed.
    warmup_share: share of a phase's steps over which its rate rises linearly.
    lr_schedule: after the warm-up, `cosine`: half a cosine down to 0 at the phase's end; `plateau`:
    the rate is multiplied by `plateau_factor` after more than `plateau_patience` epochs without a
    better val AUC (torch's ReduceLROnPlateau), anew in each phase; `constant`: it stays.
    flip: probability of a horizontal flip, per image and epoch.
    crop, colour, blur, jpeg: probabilities of those augmentations (study/training/augment.py), per
    image and epoch.
    mixup: alpha of the Beta distribution by which a batch is mixed with another order of itself
    (Zhang et al., ICLR 2018); 0: none.
    loss: `bce`, the mean over images; `balanced_bce` weights the classes so that each has half of
    the training set's loss (which they have as `bce` where `data.balance` draws them alike often;
    both are then the same).
    label_smoothing: e turns the targets 0, 1 into e / 2, 1 - e / 2.
    clip_norm: greatest L2 norm of the gradient of all trained parameters; 0 for none.
    patience: epochs without a better source val after which the last phase ends; with `plateau` so
    many after the rate was first lowered since the best epoch; 0 for none.
    dropout: on the features before the head.
    head_share, last_stage_share: share of the epochs of those phases (`progressive`; `lp_ft` has
    the first alone). last_stage_lr_ratio, full_lr_ratio: learning rate of those phases relative to
    `lr`.
    lora_rank, lora_alpha: of the low-rank matrices of `lora` (study/training/lora.py): a weight
    learns as W + alpha / rank x B A. lora_blocks: how many stages with attention have them, counted
    from the head; 0, or more than there are: all. lora_lr_ratio: their learning rate relative to
    `lr`, which is the head's.
    head_width: units of the head's hidden layer, 0 for a linear head. head_dropout: on those units.
    Both decide what is built: `registry.with_head` takes them from a configuration, and the
    training loop finds the head as it is.
    C: inverse L2 strength of the logistic regression, on standardised features.
    head: of a frozen body: `logistic`; `cosine`, the same on features of length 1; `knn`, nearest
    neighbours by cosine (study/detectors/frozen_heads.py). neighbours: how many of each class.
    layer: what of a frozen transformer the head reads: 0, what the network gives; k, the output of
    the block k before the last, normed and pooled as the last one's is. These decide what is built
    too.
    """

    lr: Rate = 1e-3
    layer_decay: Decay = 1.0
    batch_size: BatchSize = 32
    schedule: Schedule = "full"
    optimizer: Optimizer = "adamw"
    weight_decay: NotNegative = 0.01
    warmup_share: Share = 0.1
    lr_schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    plateau_factor: OpenShare = 0.1
    plateau_patience: Count = 1
    flip: Probability = 0.5
    crop: Probability = 0.0
    colour: Probability = 0.0
    blur: Probability = 0.0
    jpeg: Probability = 0.0
    mixup: NotNegative = 0.0
    loss: Literal["bce", "balanced_bce"] = "bce"
    label_smoothing: Share = 0.0
    clip_norm: NotNegative = 1.0
    patience: Count = 3
    dropout: Share = 0.0
    head_share: OpenShare = 0.3
    last_stage_share: OpenShare = 0.3
    last_stage_lr_ratio: Positive = 0.3
    full_lr_ratio: Positive = 0.1
    lora_rank: Rank = 8
    lora_alpha: Positive = 16.0
    lora_blocks: Count = 0
    lora_lr_ratio: Positive = 1.0
    head_width: HeadWidth = 0
    head_dropout: Share = 0.0
    C: Positive = 1.0
    head: FrozenHead = field(default="logistic", metadata=LATER)
    neighbours: Neighbours = field(default=5, metadata=LATER)
    layer: Count = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        """Raise ConfigError where the phases before the last one take all epochs."""
        total = self.head_share + self.last_stage_share
        if self.schedule == "progressive" and total >= 1:
            raise ConfigError(
                f"head_share + last_stage_share = {total:g}: must stay below 1, the full phase"
                " needs a share too"
            )

    @property
    def rate(self) -> float:
        """The peak learning rate of the first phase."""
        return self.lr

    @property
    def changes_pixels(self) -> bool:
        """Whether more than a flip changes images: nothing can be computed once for all epochs."""
        return any((self.crop, self.colour, self.blur, self.jpeg, self.mixup))

    @property
    def views(self) -> tuple[bool, ...]:
        """The views of an image that kept features are needed of: straight, and mirrored where it
        is flipped.
        """
        return (False, True) if self.flip else (False,)

    @property
    def trains_head_alone(self) -> bool:
        """Whether nothing but the head is trained, on features that are computed once."""
        return self.schedule == "head" and not self.changes_pixels

    @property
    def draws(self) -> tuple[int, float, float, bool]:
        """What decides the images of a seed's steps, and the steps' kind: heads alone that agree in
        it are trained together (study/training/head_stack.py).
        """
        return self.batch_size, self.flip, self.dropout, self.optimizer == "sgd"

    @classmethod
    def from_params(
        cls, params: Params, *, learner: Learner = "gradient", where: str = ""
    ) -> Recipe:
        """Make a recipe of a configuration's training settings; what is not named has its default.

        Settings that the learner does not have (`C` for `gradient`, all others for `logistic`)
        count as unknown. Raises ConfigError, prefixed with `where`, for an unknown setting, a wrong
        type, a value out of range, or `lr_scale` beside a rate that is a number.
        """
        with located(where):
            check_keys(params, settings(learner), noun="training setting")
            if params.get("head") == "knn" and "C" in params:
                raise ConfigError("C is of a linear head, and head = 'knn' is none: leave C out")
            if params.get("lr") == AUTO:
                return validated(AutoRecipe, _relative(params), verb=": give ")
            if "lr_scale" in params:
                raise ConfigError(f'lr_scale goes with lr = "{AUTO}": give the rate itself as lr')
            return validated(cls, params, verb=": give ")


@dataclass(frozen=True, kw_only=True)
class AutoRecipe(Recipe):
    """A recipe whose learning rate a range test finds on source train (`lr = "auto"`).

    lr: the setting `lr_scale`, by which the rate that is found is multiplied.
    """

    auto: bool = True

    @property
    def rate(self) -> float:
        """NaN: nothing can be trained before the rate is found."""
        return math.nan

    def with_rate(self, found: float) -> Recipe:
        """Return the recipe with the rate that the range test found."""
        names = (field.name for field in dataclasses.fields(Recipe))
        return Recipe(**{**{n: getattr(self, n) for n in names}, "lr": found * self.lr})


def _relative(params: Params) -> Params:
    """Return settings with `lr_scale` in the place of `lr`."""
    scale = params.get("lr_scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not scale > 0:
        raise ConfigError(f"lr_scale = {scale!r}: give a number above 0")
    return {name: value for name, value in params.items() if name != "lr_scale"} | {"lr": scale}


def settings(learner: Learner) -> tuple[str, ...]:
    """Return the names of the settings that a learner has."""
    if learner == "logistic":
        return LOGISTIC_ONLY
    names = [f.name for f in dataclasses.fields(Recipe) if f.name not in LOGISTIC_ONLY]
    return (*names, "lr_scale")
