"""The attention of a network from its own structure: the matrices that project queries, keys,
values and the output.

In what timm and open_clip build they are a linear layer each (`q`, `k`, `v`, `proj`), one of
several together (`qkv`, `kv`), or, in torch's own MultiheadAttention and open_clip's, parameters of
the module itself (`in_proj_weight`). A linear layer may be wrapped with its norm or its activation,
as LeViT's are; VOLO's outlook attention computes its weights by `attn`.

A convolution is none of these: the attention of, say, CoAtNet, MobileNetV4 and Next-ViT's first
blocks is not known here. Where a network has some of that kind, adapting the others alone would be
a part of what was asked for, so `unknown_attention` names them and low-rank adaptation is not
offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

# Whatever has one of the first is an attention; of it all are taken.
_QUERIES = ("qkv", "q", "qk", "attn", "wq", "q_proj", "in_proj_weight", "q_proj_weight")
_OTHERS = (
    "k",
    "v",
    "kv",
    "wk",
    "wv",
    "k_proj",
    "v_proj",
    "k_proj_weight",
    "v_proj_weight",
    "proj",
    "out_proj",
    "c_proj",
)
_BARE = ("attn",)  # a block, too, calls its attention that: here it must be the linear layer itself
# the classes of attention: Attention, HaloAttn, SelfAttnBlock
_NAMED = re.compile("atte?n", re.IGNORECASE)
MATRIX_NDIM = 2


class Projection(NamedTuple):
    """A weight matrix: the module that owns it, and the parameter's name in it."""

    module: nn.Module
    parameter: str


def projections(network: nn.Module) -> list[Projection]:
    """Return the projections of every attention of a network, in the order of its modules."""
    return [found for module in network.modules() for found in _projections_of(module)]


def unknown_attention(network: nn.Module) -> list[str]:
    """Return the classes of attentions that have weights and no projection known here, sorted."""
    owners = {id(found.module) for found in projections(network)}
    unknown = {
        type(module).__name__
        for module in network.modules()
        if _NAMED.search(type(module).__name__)
        and any(p.ndim >= MATRIX_NDIM for p in module.parameters())
        and not any(id(inside) in owners for inside in module.modules())
    }
    return sorted(unknown)


def _projections_of(module: nn.Module) -> list[Projection]:
    named = dict(_named(module))
    return list(named.values()) if any(name in named for name in _QUERIES) else []


def _named(module: nn.Module) -> Iterator[tuple[str, Projection]]:
    for name in (*_QUERIES, *_OTHERS):
        child = getattr(module, name, None)
        linear = _linear(child, bare=name in _BARE)
        if linear is not None:
            yield name, Projection(linear, "weight")
        elif isinstance(child, nn.Parameter) and child.ndim == MATRIX_NDIM:
            yield name, Projection(module, name)


def _linear(child: Any, *, bare: bool) -> nn.Linear | None:
    """The linear layer that a child is, or wraps as its only one with a norm and an activation."""
    if isinstance(child, nn.Linear):
        return child
    if bare or not isinstance(child, nn.Module):
        return None
    layers = [module for module in child.modules() if not any(True for _ in module.children())]
    weighty = [layer for layer in layers if any(p.ndim >= MATRIX_NDIM for p in layer.parameters())]
    return weighty[0] if len(weighty) == 1 and isinstance(weighty[0], nn.Linear) else None
