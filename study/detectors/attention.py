"""The attention of a network from its own structure: the matrices that project queries, keys, values and the output. Floor 2.

In what timm and open_clip build they are a linear layer each (`q`, `k`, `v`, `proj`), one of several together (`qkv`, `kv`), or, in
torch's own MultiheadAttention and open_clip's, parameters of the module itself (`in_proj_weight`). A convolution is none of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

# Whatever has one of the first is an attention; of it all are taken.
_QUERIES = ("qkv", "q", "qk", "wq", "q_proj", "in_proj_weight", "q_proj_weight")
_OTHERS = ("k", "v", "kv", "wk", "wv", "k_proj", "v_proj", "k_proj_weight", "v_proj_weight", "proj", "out_proj", "c_proj")
MATRIX_NDIM = 2


class Projection(NamedTuple):
    """A weight matrix: the module that owns it, and the parameter's name in it."""

    module: nn.Module
    parameter: str


def projections(network: nn.Module) -> list[Projection]:
    """Return the projections of every attention in a network, in the order of its modules; [] where it has none."""
    return [found for module in network.modules() for found in _projections_of(module)]


def _projections_of(module: nn.Module) -> list[Projection]:
    named = dict(_named(module))
    return list(named.values()) if any(name in named for name in _QUERIES) else []


def _named(module: nn.Module) -> Iterator[tuple[str, Projection]]:
    for name in (*_QUERIES, *_OTHERS):
        child = getattr(module, name, None)
        if isinstance(child, nn.Linear):
            yield name, Projection(child, "weight")
        elif isinstance(child, nn.Parameter) and child.ndim == MATRIX_NDIM:
            yield name, Projection(module, name)
