"""A phase's optimizer: which parameters it moves, at which share of the rate, which decay."""

from __future__ import annotations

import torch
from torch import nn

from study.detectors.base import Detector
from study.training.lora import adapter_parameters
from study.training.recipe import Recipe

SGD_MOMENTUM = 0.9
ADAM = (0.9, 0.999), 1e-8  # betas and epsilon, torch's defaults


def make_optimizer(detector: Detector, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Return the optimizer of one phase over the trainable parameters; biases, norms and scales are
    not decayed.

    Each group has its `factor` of the phase's rate: layer_decay^k for a stage k steps below the
    head, times lora_lr_ratio for the low-rank matrices in it.
    """
    factors = {
        id(p): recipe.layer_decay**k
        for k, stage in enumerate(detector.stages())
        for p in stage.all_parameters()
    }
    for p in adapter_parameters(detector):
        factors[id(p)] *= recipe.lora_lr_ratio
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for p in detector.parameters():
        if p.requires_grad:
            members.setdefault((factors[id(p)], p.ndim > 1), []).append(p)
    groups = [
        {
            "params": params,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
            "factor": factor,
            "lr": lr * factor,
        }
        for (factor, decayed), params in members.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=SGD_MOMENTUM, nesterov=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    betas, epsilon = ADAM
    return kind(groups, lr=lr, betas=betas, eps=epsilon)
