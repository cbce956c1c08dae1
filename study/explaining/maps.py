"""Where in an image a detector looks: Grad-CAM, and attention rollout for transformers.

And the only file that knows the package grad-cam. A map says which places the logit follows, or
which places attention reaches. It does not say why, and not that the detector is right.

Memory is bounded for large networks: gradients are kept from the layer on that Grad-CAM reads, and
of no weight; rollout multiplies each block's attention as it comes; large images come in smaller
batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget
from scipy.stats import spearmanr
from torch import Tensor, nn

from study.core.errors import ConfigError
from study.detectors.base import Detector
from study.detectors.entry import LAYER, LAYERS

GRAD_CAM, ROLLOUT = "Grad-CAM", "attention rollout"
BATCH = 16  # images of 224 x 224 pixels; fewer larger ones
PIXELS = BATCH * 224 * 224
ATTENTION = 256 * 2**20  # bytes of a block's attention at once, all heads of a batch
NORMS = ("norm1", "ln_1")  # of a transformer's blocks, before attention
Maps = NDArray[np.float32]  # (N, S, S) in [0, 1]


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """What Grad-CAM reads. tokens: its output is (B, tokens, channels), not (B, channels, H, W).
    last: channels come last.
    """

    module: nn.Module
    tokens: bool = False
    last: bool = False


def explain(detector: Detector, squares: NDArray[np.uint8]) -> dict[str, Maps]:
    """Return by method the maps of images as the detector sees them, (N, S, S, 3) uint8: each from
    0 to 1, or 0 everywhere where no place speaks for the side that the detector takes.

    Raises ConfigError for a detector that has no places: nothing of it is a map or a token. So for
    one that looks at crops.
    """
    if detector.cut is not None:
        raise ConfigError(
            f"{detector.spec.name} looks at crops of {detector.cut.size_px} px (square_px): no map"
            " of its square can be drawn"
        )
    own = _cut_short(copy.deepcopy(detector).cpu().eval().requires_grad_(False))
    own.frozen_precision = "float32"  # gradients of a map have few digits to lose
    layer = _layer(own)
    most = max(1, min(BATCH, PIXELS // detector.spec.geometry.size_px**2))
    found = {GRAD_CAM: _in_batches(own, squares, most, lambda x: _grad_cam(own, layer, x))}
    if layer.tokens and (bytes_each := _attention_bytes(own, squares[:1])):
        most = max(1, min(most, ATTENTION // bytes_each))
        found[ROLLOUT] = _in_batches(own, squares, most, lambda x: _rollout(own, x))
    return found


def _cut_short(detector: Detector) -> Detector:
    """Take the blocks out of a network, in place, whose outputs its head does not read."""
    options = dict(detector.spec.options)
    if options.pop(LAYERS, None):
        body, left = cast(Any, detector.backbone), int(options.pop(LAYER, 0))
        owner, name = (
            (body, "blocks") if hasattr(body, "blocks") else (body.transformer, "resblocks")
        )
        blocks = getattr(owner, name)
        setattr(owner, name, blocks[: len(blocks) - left])
        detector.spec = replace(detector.spec, options=options)
        detector.head.reading = replace(detector.head.reading, layer=0)
    return detector


def randomised(detector: Detector, seed: int = 0) -> Detector:
    """Return a copy whose weights stand in random order, each matrix's and kernel's within
    itself: what it has learned is gone (Adebayo et al., NeurIPS 2018).
    """
    other = copy.deepcopy(detector)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.ndim > 1:
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other


def rank_correlations(maps: Maps, others: Maps) -> NDArray[np.float64]:
    """Return Spearman's correlation of each map with its other, (N,); NaN where one is constant."""
    return np.array(
        [
            np.nan
            if np.ptp(one) == 0 or np.ptp(other) == 0
            else spearmanr(one.ravel(), other.ravel()).statistic
            for one, other in zip(maps, others, strict=True)
        ]
    )


def _in_batches(detector: Detector, squares: NDArray[np.uint8], most: int, compute: Any) -> Maps:
    parts = [
        compute(detector.prepare(torch.from_numpy(squares[start : start + most])))
        for start in range(0, len(squares), most)
    ]
    return np.concatenate(parts).astype(np.float32)


def _layer(detector: Detector) -> _Layer:
    """The last norm before attention; of a network without, the last feature map."""
    seen: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen.append((name, module, tuple(output.shape)))

        return hook

    size = detector.spec.geometry.size_px
    hooks = [module.register_forward_hook(look(name)) for name, module in _leaves(detector)]
    try:
        with torch.no_grad():
            detector(torch.zeros(2, 3, size, size))
    finally:
        for one in hooks:
            one.remove()
    for name, module, shape in reversed(seen):
        if name.endswith(NORMS) and len(shape) == 3:
            return _Layer(module=module, tokens=True)
    for _, module, shape in reversed(seen):
        if len(shape) == 4:
            last = shape[1] == shape[2] != shape[3]
            if min(shape[1:3] if last else shape[2:]) > 1:
                return _Layer(module=module, last=last)
    raise ConfigError(
        f"{detector.spec.name} cannot be explained by a map: it has no features of places in an"
        " image"
    )


def _leaves(detector: Detector) -> Iterator[tuple[str, nn.Module]]:
    """Modules without others inside, and the norms. An activation that works in place would hand
    its gradient to nobody.
    """
    for name, module in detector.named_modules():
        if name.endswith(NORMS) or not any(True for _ in module.children()):
            if hasattr(module, "inplace"):
                module.inplace = False
            yield name, module


def _grad_cam(detector: Detector, layer: _Layer, x: Tensor) -> Maps:
    """What raises the logit of an image that is above 0, what lowers one below: the places that
    speak for the side it lies on.
    """
    with torch.no_grad():
        sides = (detector(x) > 0).long().tolist()

    def places(activations: Tensor) -> Tensor:
        if layer.last:
            return activations.permute(0, 3, 1, 2)
        return _grid(activations.transpose(1, 2)) if layer.tokens else activations

    # before the package's own hooks, which see what this one returns; a copy, because what comes
    # after may work in place
    hook = layer.module.register_forward_hook(
        lambda *given: given[-1].detach().requires_grad_().clone()
    )
    try:
        with GradCAM(detector, [layer.module], reshape_transform=places) as cam:
            targets = [BinaryClassifierOutputTarget(side) for side in sides]
            return cast(Maps, cam(input_tensor=x, targets=targets))
    finally:
        hook.remove()


def _grid(values: Tensor) -> Tensor:
    """Values (..., tokens) on the square of patches (..., G, G). Tokens before it (a class token,
    registers) are left out.
    """
    side = int(values.shape[-1] ** 0.5)
    patches = values[..., values.shape[-1] - side * side :]
    return patches.reshape(*values.shape[:-1], side, side)


def _attention_bytes(detector: Detector, square: NDArray[np.uint8]) -> int:
    """How many bytes a block's attention has for one image; 0 without any that can be read."""
    sizes = [0]

    def take(mean: Tensor, heads: int) -> None:
        sizes.append(heads * mean.nbytes)

    with _attention(detector, take), torch.no_grad():
        detector(detector.prepare(torch.from_numpy(square)))
    return max(sizes)


def _rollout(detector: Detector, x: Tensor) -> Maps:
    """Attention, averaged over heads and multiplied through the blocks with half of each token
    staying (Abnar and Zuidema, ACL 2020): what reaches the class token, or, where there is none,
    all tokens.
    """
    reach: Tensor | None = None

    def take(mean: Tensor, _: int) -> None:
        nonlocal reach
        stays = (mean + torch.eye(mean.shape[-1])) / 2
        reach = stays if reach is None else stays @ reach

    with _attention(detector, take), torch.no_grad():
        detector(x)
    reach = cast(Tensor, reach)
    tokens = reach.shape[-1]
    has_class = tokens > int(tokens**0.5) ** 2
    rows = reach[:, 0] if has_class else reach.mean(dim=1)
    grid = _grid(rows)
    flat = grid.flatten(1)
    low, high = (end[:, None, None] for end in (flat.amin(1), flat.amax(1)))
    scaled = (grid - low) / (high - low).clamp_min(1e-12)
    full = F.interpolate(scaled[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False)
    return full[:, 0].clamp(0, 1).numpy()


@contextmanager
def _attention(detector: nn.Module, take: Callable[[Tensor, int], None]) -> Iterator[None]:
    """Hand on the square attention matrices of every block, in their order, of timm's attention and
    of torch's: the mean over heads (B, tokens, tokens), and how many heads these were.
    """
    undo: list[Any] = []

    def hand_on(weights: Tensor, heads: int) -> None:
        weights = weights.detach()
        if weights.shape[-1] == weights.shape[-2]:
            take(weights.mean(dim=1) if weights.ndim == 4 else weights, heads)

    for module in detector.modules():
        if isinstance(module, nn.MultiheadAttention):
            undo.append(_with_weights(module, hand_on))
        elif hasattr(module, "fused_attn") and isinstance(
            getattr(module, "attn_drop", None), nn.Module
        ):
            undo.append(_set(module, "fused_attn", False))
            drop = cast(nn.Module, module.attn_drop)
            hook = drop.register_forward_pre_hook(
                lambda _, given: hand_on(given[0], given[0].shape[1] if given[0].ndim == 4 else 1)
            )
            undo.append(hook.remove)
    try:
        yield
    finally:
        for one in undo:
            one()


def _with_weights(module: nn.MultiheadAttention, take: Any) -> Any:
    """Have torch's attention hand out its weights; return what ends that."""
    forward = module.forward

    def asked(*given: Any, **options: Any) -> Any:
        found, weights = forward(*given, **{**options, "need_weights": True})
        take(weights, module.num_heads)
        return found, None

    return _set(module, "forward", asked)


def _set(module: nn.Module, name: str, value: Any) -> Callable[[], None]:
    """Set an attribute of one module; return what makes it as it was."""
    missing = object()
    before = vars(module).get(name, missing)
    setattr(module, name, value)

    def undo() -> None:
        if before is missing:
            delattr(module, name)
        else:
            setattr(module, name, before)

    return undo
