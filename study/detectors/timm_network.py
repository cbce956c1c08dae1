"""Networks of timm with pretrained weights and stages from their own structure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import timm
import torch
from torch import Tensor, nn

from study.core.errors import ConfigError
from study.core.records import DetectorSpec
from study.detectors import weights
from study.detectors.base import Detector, Stage
from study.detectors.entry import LAYERS
from study.detectors.meta_device import empty, is_convolutional
from study.detectors.stages import stages_by_depth, timm_depths
from study.detectors.weights import Source

if TYPE_CHECKING:
    from study.detectors.weights import State

POOLED_NDIM = 2


class TimmNetwork(Detector):
    """A timm network without classifier; features are its last activations, pooled and normed."""

    side_by_side = True

    def __init__(self, spec: DetectorSpec, backbone: nn.Module) -> None:
        super().__init__(spec, int(cast(int, backbone.head_hidden_size)))
        self.backbone = backbone
        self.channels_last = is_convolutional(backbone)

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to pooled (B, D), or (B, layers D) where all blocks are
        asked for. Raises ConfigError where none pools.
        """
        if LAYERS in self.spec.options:
            return self._all_layers(x)
        features = cast(Tensor, self.backbone(x))
        # while the network is traced (study/training/boundary.py) they are no tensor
        if isinstance(features, Tensor) and features.ndim != POOLED_NDIM:
            raise ConfigError(
                f"{self.spec.name} gives no pooled features (B, D) but {tuple(features.shape)}:"
                " choose another model"
            )
        return features

    def _all_layers(self, x: Tensor) -> Tensor:
        """The output of every block, the last one first, normed and pooled as the last one is."""
        body = cast(Any, self.backbone)
        prefixed = body.num_prefix_tokens > 0
        _, found = body.forward_intermediates(
            x, norm=True, output_fmt="NLC", return_prefix_tokens=prefixed
        )
        tokens = [torch.cat(one[::-1], dim=1) for one in found] if prefixed else found
        pooled = [body.forward_head(one, pre_logits=True) for one in reversed(tokens)]
        return torch.cat(pooled, dim=1)

    def body_stages(self) -> tuple[Stage, ...]:
        """The network's blocks by its own structure, the last one first."""
        return stages_by_depth(self.backbone, timm_depths(self.backbone))

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the network from a file in timm's names, or in an older form that timm converts."""
        weights.load_backbone(self.backbone, path, source, convert=_converted)


def _converted(state: State, network: nn.Module) -> State:
    """The state by timm's own filter for checkpoints of other forms, where the class has one."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return state if convert is None else cast("State", convert(dict(state), network))


def create(spec: DetectorSpec, **arguments: Any) -> TimmNetwork:
    """Build the detector of `spec`, its backbone empty; `arguments` go to `timm.create_model`."""
    return TimmNetwork(
        spec,
        empty(
            lambda: timm.create_model(spec.backbone, pretrained=False, num_classes=0, **arguments)
        ),
    )
