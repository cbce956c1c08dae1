"""Low-rank adaptation of attention (LoRA; Hu et al., ICLR 2022): frozen weights W learn as W +
alpha / rank x B A.

A: (rank, columns), uniform as torch draws a linear layer's; B: (rows, rank), 0: training starts
from the pretrained network. A matrix that projects queries, keys and values together (timm's `qkv`,
torch's `in_proj_weight`) has one pair, so they share A.

Through torch's own parametrizations rather than the library `peft` (looked at: 0.21). That wraps
modules, and a wrapped linear layer adapts what passes through its `forward`: where an attention
reads `weight` itself, as timm's BEiT does, it goes on untouched without a word. It also renames the
parameters, and needs transformers and accelerate: 150 MB, and 2.5 seconds at each worker's start,
for what are these lines. A parametrization gives the sum to whoever reads the weight.

The matrices live while a detector is trained. `merge` adds them to the weights and leaves a network
as it was built, name by name: a trained detector is saved, loaded and scored without knowing of any
of this. The sum is the same float32 operation before and after, and so are the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from study.core.errors import ConfigError
from study.core.identity import derive_seed
from study.detectors.attention import Projection, projections, unknown_attention
from study.detectors.base import Detector


class LowRank(nn.Module):
    """The change of one weight. down: (rank, columns), up: (rows, rank); float32 like it."""

    def __init__(
        self, weight: Tensor, *, rank: int, alpha: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        rows, columns = weight.shape
        bound = columns**-0.5
        # on the CPU: alike on every device
        down = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight (rows, columns), float32 under autocast too, as it will be scored."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down)


def adapted_projections(detector: Detector, blocks: int) -> list[Projection]:
    """Return the projections of the attention in the last `blocks` stages that have some (0: in
    all), the last stage's first.

    Raises ConfigError for a detector without attention, and for one with attention that is not
    known.
    """
    found = projections(detector)
    unknown = unknown_attention(detector)
    if found and unknown:
        raise ConfigError(
            f"schedule = 'lora' adapts attention of linear layers, and {', '.join(unknown)} of"
            f" {detector.spec.name} is none: choose another schedule"
        )
    stages: list[list[Projection]] = []
    for stage in detector.body_stages():
        inside = {id(p) for p in stage.all_parameters()}
        stages.append([f for f in found if id(getattr(f.module, f.parameter)) in inside])
    if not any(stages):
        name = detector.spec.name
        raise ConfigError(
            f"schedule = 'lora' adapts attention, and {name} has none of linear layers: choose"
            " another schedule"
        )
    return [f for stage in [stage for stage in stages if stage][: blocks or None] for f in stage]


def adapt(detector: Detector, *, rank: int, alpha: float, blocks: int, seed: int) -> None:
    """Give the attention of the last `blocks` stages that have some (0: of all) low-rank matrices,
    in place.

    What is random follows from `seed` alone. Raises ConfigError for a detector without attention.
    """
    generator = torch.Generator().manual_seed(derive_seed("lora", seed))
    for module, name in adapted_projections(detector, blocks):
        weight = getattr(module, name).detach()
        change = LowRank(weight, rank=rank, alpha=alpha, generator=generator)
        parametrize.register_parametrization(module, name, change)


def adapter_parameters(detector: Detector) -> list[nn.Parameter]:
    """Return the low-rank matrices of a detector; [] of one that has none."""
    return [
        p
        for module in detector.modules()
        if isinstance(module, LowRank)
        for p in (module.down, module.up)
    ]


def adapter_size(detector: Detector, *, rank: int, blocks: int) -> int:
    """Return how many numbers `adapt` would add. Raises ConfigError without attention."""
    found = adapted_projections(detector, blocks)
    return rank * sum(sum(getattr(module, name).shape) for module, name in found)


def merge(detector: Detector) -> None:
    """Add the low-rank matrices to the weights they change, and drop them, in place."""
    for module in list(detector.modules()):
        if not parametrize.is_parametrized(module):
            continue
        for name, chain in list(module.parametrizations.items()):  # type: ignore[union-attr, operator]
            if any(isinstance(change, LowRank) for change in chain):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
