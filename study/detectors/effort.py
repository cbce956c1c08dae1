"""CLIP's image encoder of which the smallest singular components of the attention's weights alone
are trained (Effort; Yan et al., ICML 2025, arXiv 2411.15633).

A weight W = U S V' is cut into what its largest singular values make, which stays frozen, and the
residual u s v' of the smallest one. Two losses keep u and v orthogonal to the rest, and the norm of
W as it was. LoRA (study/training/lora.py) adds a matrix of low rank instead, whatever W spans. As
there, a parametrization of torch gives the sum to whoever reads a weight.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from study.core.records import DetectorSpec
from study.detectors.attention import projections
from study.detectors.base import Stage
from study.detectors.clip import ClipDetector, empty_tower
from study.detectors.meta_device import META
from study.detectors.stages import part_alone
from study.detectors.weights import Source, load_backbone

RANK = 1  # singular components that are trained
MOST_FOUND = 512  # weights of which they are kept: several encoders
_FOUND: OrderedDict[bytes, tuple[Tensor, ...]] = OrderedDict()


def smallest(cut: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the RANK smallest singular components of matrices (parts, rows, columns): up (parts,
    rows, RANK), size (parts, RANK), down (parts, RANK, columns).

    They are kept by the matrices' content, so that a process decomposes a file once, however many
    fits it does: CLIP ViT-L/14 takes about a minute, and what is kept of it is 1 MB.
    """
    held = np.ascontiguousarray(cut.detach().cpu().numpy())
    key = hashlib.sha256(f"{held.shape} {held.dtype}".encode() + held.tobytes()).digest()
    if key not in _FOUND:
        up, size, down = torch.linalg.svd(cut, full_matrices=False)
        found = up[:, :, -RANK:], size[:, -RANK:], down[:, -RANK:]
        _FOUND[key] = tuple(one.clone() for one in found)
        while len(_FOUND) > MOST_FOUND:
            _FOUND.popitem(last=False)
    _FOUND.move_to_end(key)
    up, size, down = (one.to(cut.device) for one in _FOUND[key])
    return up, size, down


class Residual(nn.Module):
    """The trained part of a weight (rows, columns), which is cut into `parts` along its rows: of a
    matrix that projects queries, keys and values together each has its own.

    up: (parts, rows / parts, RANK), size: (parts, RANK), down: (parts, RANK, columns). first_up,
    first_down, squared: up, down and the squared norm as they were, for the losses: not saved.
    """

    first_up: Tensor
    first_down: Tensor
    squared: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.parts = max(1, rows // columns)
        up, down = (self.parts, rows // self.parts, RANK), (self.parts, RANK, columns)
        self.up, self.size, self.down = (
            nn.Parameter(torch.empty(shape, device=weight.device, dtype=weight.dtype))
            for shape in (up, (self.parts, RANK), down)
        )
        self.register_buffer("first_up", torch.zeros(up), persistent=False)
        self.register_buffer("first_down", torch.zeros(down), persistent=False)
        self.register_buffer("squared", torch.zeros(self.parts), persistent=False)

    def take(self, weight: Tensor) -> Tensor:
        """Take the smallest components out of a weight (rows, columns); return what is left."""
        with torch.no_grad():
            cut = weight.view(self.parts, -1, weight.shape[1])
            up, size, down = smallest(cut)
            for own, found in ((self.up, up), (self.size, size), (self.down, down)):
                own.copy_(found)
            self.first_up, self.first_down = up.clone(), down.clone()
            self.squared = cut.square().sum(dim=(1, 2))
            return weight - self.product().view_as(weight)

    def product(self) -> Tensor:
        """Return u s v', (parts, rows / parts, columns)."""
        return self.up * self.size[:, None] @ self.down

    def forward(self, weight: Tensor) -> Tensor:
        """The frozen part (rows, columns) to the weight, float32 under autocast too."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.product().view_as(weight)

    def losses(self, weight: Tensor) -> Tensor:
        """Return how far u and v have left orthogonality, and a weight (rows, columns) its norm:
        half of |U'U - I|^2 and half of |V V' - I|^2, and | |W|^2 - |W before|^2 |, mean over parts.

        U is what is frozen of it beside u. Since that is orthonormal with the first u, the square
        is |u'u|^2 + RANK - 2 |u'(first u)|^2, and needs no U.
        """
        pairs = ((self.up.mT, self.first_up), (self.down, self.first_down.mT))
        turned = [
            (one @ one.mT).square().sum(dim=(1, 2)) + RANK - 2 * (one @ first).square().sum((1, 2))
            for one, first in pairs
        ]
        squared = weight.view(self.parts, -1).square().sum(dim=1)
        return (0.5 * (turned[0] + turned[1]) + (squared - self.squared).abs()).mean()


def decomposed(tower: nn.Module) -> nn.Module:
    """Give the weights of a tower's attention their residuals, in place; of an empty one they are
    empty.
    """
    for module, name in projections(tower):
        weight = cast(nn.Parameter, getattr(module, name))
        residual = Residual(weight)
        if weight.device != META:
            weight.data = residual.take(weight.data)
        parametrize.register_parametrization(module, name, residual, unsafe=True)
    return tower


class Effort(ClipDetector):
    """The residuals are one stage, all else is the stem."""

    keeps_below = False  # the first residual is in the first block

    def __init__(self, spec: DetectorSpec, *, force_quick_gelu: bool) -> None:
        self._gelu = {"force_quick_gelu": force_quick_gelu}
        super().__init__(spec, decomposed(empty_tower(spec.backbone, **self._gelu)))

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the encoder and decompose it. Raises WeightsError, changing nothing."""
        tower = empty_tower(self.spec.backbone, **self._gelu)
        load_backbone(tower, path, source)
        self.backbone = decomposed(tower)

    def added_loss(self, features: Tensor, label: Tensor) -> Tensor:
        """Return the losses of the residuals, mean over weights, whatever the batch."""
        chains = [
            m for m in self.backbone.modules() if isinstance(m, parametrize.ParametrizationList)
        ]
        losses = [cast(Residual, chain[0]).losses(chain()) for chain in chains]
        return torch.stack(losses).mean()

    def body_stages(self) -> tuple[Stage, ...]:
        """The residuals, then all that is never trained."""
        return part_alone(self.backbone, "residuals", Residual)


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> Effort:
    """Build the detector of `spec` with an empty encoder, to be filled from a file."""
    return Effort(spec, force_quick_gelu=force_quick_gelu)
