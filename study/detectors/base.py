"""What every detector is: preprocessing it owns, features, a linear head, and stages ordered from
head to stem.

torch only. A family's file (`study/detectors/FAMILY.py`) holds a subclass and
`create(spec, **arguments)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors import weights
from study.detectors.entry import LAYERS
from study.detectors.frozen_heads import LinearOn, Neighbours, Reading
from study.detectors.geometries import Cut, crops_of
from study.detectors.weights import Source, load_backbone

# near-zero first logits: the first loss is ln 2, whatever the scale of the features
HEAD_INIT_STD = 0.01


class Stage(NamedTuple):
    """A part of a detector that is frozen or trained as one.

    modules: whole modules, every parameter of which belongs to this stage.
    parameters: parameters that belong to the stage and to none of its modules (a ViT's class
    token).
    """

    name: str
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...] = ()

    def all_parameters(self) -> tuple[nn.Parameter, ...]:
        """Every parameter of the stage, once."""
        return tuple(
            dict.fromkeys(
                [p for module in self.modules for p in module.parameters()] + list(self.parameters)
            )
        )


def near_zero_(layer: nn.Linear) -> nn.Linear:
    """Give a layer near-zero weights and no bias, in place; return it."""
    nn.init.normal_(layer.weight, std=HEAD_INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer


def make_head(n_features: int, width: int, dropout: float = 0.0) -> nn.Module:
    """Return the head on features (B, D) to (B, 1): linear, or with one hidden layer of `width`
    where that is above 0.

    dropout: on the hidden units.
    """
    if not width:
        return near_zero_(nn.Linear(n_features, 1))
    hidden = nn.Sequential(nn.GELU(), nn.Dropout(dropout))
    return nn.Sequential(nn.Linear(n_features, width), hidden, near_zero_(nn.Linear(width, 1)))


def head_of(spec: DetectorSpec, n_features: int) -> nn.Module:
    """Return the head that the options of a spec ask for, on features (B, D), or (B, layers D) of a
    body that gives several.
    """
    reading = Reading.of(spec.options, n_features)
    if spec.options.get("head") == "knn":
        return Neighbours(reading, int(spec.options["neighbours"]))
    if reading.is_needed or LAYERS in spec.options:
        return near_zero_(LinearOn(reading))
    width, dropout = spec.options.get("head_width", 0), spec.options.get("head_dropout", 0.0)
    return make_head(n_features, int(width), float(dropout))


class Head(nn.Module):
    """The trained head of a detector without its body: `head_of`'s, features (B, W) to logits (B,).

    width: W, of the features of all crops and layers. Raises RuntimeError where tensors of `state`
    (names below the head) are missing, foreign, or of another shape.
    """

    def __init__(self, spec: DetectorSpec, width: int, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.crops = crops_of(spec)
        layers = int(spec.options.get(LAYERS, 1))
        self.head = head_of(spec, width // (self.crops * layers))
        aligned = {name: weights.aligned(tensor) for name, tensor in state.items()}
        self.head.load_state_dict(aligned, strict=True, assign=True)

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, W) to logits (B,), the mean over crops."""
        each = features.reshape(features.shape[0] * self.crops, -1)
        return cast(Tensor, self.head(each)).view(features.shape[0], -1).mean(dim=1)


class Detector(nn.Module):
    """An image in, one logit out: higher is more fake.

    A subclass sets its layers and gives `features` and `body_stages`. `channels_last` says whether
    convolutions dominate it, so that the memory format of the same name pays. The head is linear,
    or what the options `head_width` and `head_dropout` of its spec say, or what the subclass gives.
    `side_by_side` says that several threads may ask it for features or logits at a time: a forward
    changes nothing of it. `keeps_below`: what lies below the stages that are trained is worth being
    kept for all epochs. `frozen_precision`: what its body computes in where no fit touches it,
    `float32` or `bfloat16`. `cut`: the crops of its square that it takes (crops.py), if it does.
    """

    channels_last: bool = True
    side_by_side: bool = False
    keeps_below: bool = True
    cut: Cut | None = None
    frozen_precision: str = "float32"
    head: Any  # whoever fits it by logistic regression knows that it is linear

    def __init__(self, spec: DetectorSpec, n_features: int, head: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.n_features = n_features  # D, the width of what the head reads
        self.head = head if head is not None else head_of(spec, n_features)
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        # Not saved: both follow from the spec.
        self.register_buffer("_scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """Turn uint8 RGB (B, S, S, 3) into float32 input (B, 3, S, S): (x / 255 - mean) / std."""
        batch, height, width, channels = images.shape
        # Whole rows of pixels are multiplied at a time: the same products, twice as fast.
        scale, shift = (
            cast(Tensor, one).flatten().repeat(width) for one in (self._scale, self._shift)
        )
        x = images.reshape(-1, width * channels).to(torch.float32).mul_(scale).add_(shift)
        # this is the channels_last format
        return x.view(batch, height, width, channels).permute(0, 3, 1, 2)

    @property
    def feature_width(self) -> int:
        """Numbers that `features` gives of a square: those of all layers, beside each other."""
        return self.n_features * self.layers

    @property
    def layers(self) -> int:
        """How many outputs of its blocks a frozen body gives, the last one first."""
        return int(self.spec.options.get(LAYERS, 1))

    def features(self, x: Tensor) -> Tensor:
        """Everything below the head: prepared images (B, 3, S, S) float32 to features (B, D)."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Tensor:
        """The head: features (B, D) to logits (B,)."""
        return cast(Tensor, self.head(features)).squeeze(1)

    def frozen_features(self, x: Tensor) -> Tensor:
        """What `features` gives, (B, D) float32, computed in `frozen_precision`."""
        if self.frozen_precision == "float32":
            return self.features(x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.features(x).float()

    def forward(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) float32 to logits (B,)."""
        return self.classify(self.frozen_features(x))

    def added_loss(self, features: Tensor, label: Tensor) -> Tensor | None:
        """Return what training by gradient adds to the loss of the logits: a mean over images, from
        features (B, D) and labels (B,) float32 in {0, 1}. None for nothing.

        B is what a worker computes at a time, so what depends on pairs of images sees no others.
        """
        return None

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the backbone. Raises WeightsError, changing nothing, where a file does not fit."""
        load_backbone(cast(nn.Module, self.backbone), path, source)

    def load_head(self, path: Path, source: Source) -> None:
        """Fill the head of a published detector whose head is a file of its own."""
        raise NotImplementedError

    def body_stages(self) -> tuple[Stage, ...]:
        """The stages below the head, from the last one down to the stem."""
        raise NotImplementedError

    def stages(self) -> tuple[Stage, ...]:
        """All stages, the head first, the stem last; every parameter is in exactly one of them."""
        return (Stage("head", (self.head,)), *self.body_stages())
