"""What published files hold, in their authors' names, and what their authors' networks make of it:
plain torch, from the papers and READMEs, with nothing of this project. Numbers are random.

`FILES`: name of a detector -> the content of its file.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import resnet50

State = dict[str, Tensor]


class Draw:
    """Random arrays by the layer they belong to."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def normal(self, *shape: int, by: float = 1.0) -> Tensor:
        return by * torch.randn(*shape, generator=self.generator)

    def weight(self, *shape: int) -> Tensor:
        return self.normal(*shape, by=math.prod(shape[1:]) ** -0.5)

    def linear(self, name: str, out: int, width: int) -> State:
        return {f"{name}.weight": self.weight(out, width), f"{name}.bias": self.normal(out, by=0.1)}

    def norm(self, name: str, width: int) -> State:
        return {
            f"{name}.weight": 1 + self.normal(width, by=0.1),
            f"{name}.bias": self.normal(width, by=0.1),
        }

    def batch_norm(self, name: str, width: int) -> State:
        return {
            **self.norm(name, width),
            f"{name}.running_mean": self.normal(width, by=0.1),
            f"{name}.running_var": torch.rand(width, generator=self.generator) + 0.5,
            f"{name}.num_batches_tracked": torch.tensor(7),
        }


def _half_resnet_50(outputs: int) -> State:
    """Stem, two layers of bottlenecks, and fc1."""
    draw = Draw()
    state = {"conv1.weight": draw.weight(64, 3, 3, 3), **draw.batch_norm("bn1", 64)}
    for layer, width_in, width, blocks in (("layer1", 64, 64, 3), ("layer2", 256, 128, 4)):
        for number in range(blocks):
            name, before = f"{layer}.{number}", width_in if number == 0 else 4 * width
            state[f"{name}.conv1.weight"] = draw.weight(width, before, 1, 1)
            state[f"{name}.conv2.weight"] = draw.weight(width, width, 3, 3)
            state[f"{name}.conv3.weight"] = draw.weight(4 * width, width, 1, 1)
            for norm, channels in (("bn1", width), ("bn2", width), ("bn3", 4 * width)):
                state |= draw.batch_norm(f"{name}.{norm}", channels)
            if number == 0:
                state[f"{name}.downsample.0.weight"] = draw.weight(4 * width, before, 1, 1)
                state |= draw.batch_norm(f"{name}.downsample.1", 4 * width)
    return {**state, **draw.linear("fc1", outputs, 512)}


def half_resnet_50(state: Mapping[str, Tensor], traces: Tensor) -> Tensor:
    """Traces (B, 3, S, S) to logits (B, outputs), by torchvision's layers."""
    whole = resnet50()
    whole.conv1 = torch.nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
    parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")
    half = torch.nn.Sequential()
    for part in parts:
        half.add_module(part, getattr(whole, part))
    half.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc1.")}, strict=True)
    with torch.no_grad():
        features = half.eval()(traces).mean(dim=(2, 3))
        return F.linear(features, state["fc1.weight"], state["fc1.bias"])


def safe_checkpoint() -> dict[str, Any]:
    """What `save_model` of its training code writes."""
    return {
        "model": _half_resnet_50(2),
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]},
        "epoch": "best",
        "scaler": {"scale": 65536.0},
        "args": Namespace(model="SAFE", input_size=256, lr=1e-4, opt_betas=None),
    }


# of the transformers: blocks, heads, and the width of one
BLOCKS, HEADS, WIDTH = 2, 2, 32
THEIRS = "feature_extractor."


def _layer_norm(x: Tensor, state: Mapping[str, Tensor], name: str, eps: float) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight + bias


def _linear(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    found = x @ state[f"{name}.weight"].T
    return found + state[f"{name}.bias"] if f"{name}.bias" in state else found


def _by_head(x: Tensor) -> Tensor:
    """Tokens (B, N, D) to (B, heads, N, D / heads)."""
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Of heads (B, heads, N, d) to tokens (B, N, heads d)."""
    near = queries @ keys.transpose(2, 3) / queries.shape[3] ** 0.5
    return (near.softmax(dim=3) @ values).transpose(1, 2).flatten(2)


def _patches(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    weight = state[f"{name}.weight"]
    found = F.conv2d(x, weight, state.get(f"{name}.bias"), stride=weight.shape[-1])
    return found.flatten(2).transpose(1, 2)


def _two_logits(features: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """The head `LinearNorm`: features (B, D), made of length 1, to logits (B, 2)."""
    unit = features / features.square().sum(dim=1, keepdim=True).sqrt()
    return _linear(unit, state, "model.linear")


def gend_clip_file() -> State:
    """Of `CLIPModel` of Hugging Face, its vision half, the way to texts, and the linear layer."""
    draw, vision = Draw(), f"{THEIRS}vision_model"
    state = {
        f"{vision}.embeddings.class_embedding": draw.normal(WIDTH),
        f"{vision}.embeddings.patch_embedding.weight": draw.weight(WIDTH, 3, 14, 14),
        f"{vision}.embeddings.position_embedding.weight": draw.normal(257, WIDTH, by=0.3),
        **draw.norm(f"{vision}.pre_layrnorm", WIDTH),
        **draw.norm(f"{vision}.post_layernorm", WIDTH),
        f"{THEIRS}visual_projection.weight": draw.weight(24, WIDTH),
        **draw.linear("model.linear", 2, WIDTH),
    }
    for number in range(BLOCKS):
        block = f"{vision}.encoder.layers.{number}"
        state |= draw.norm(f"{block}.layer_norm1", WIDTH) | draw.norm(f"{block}.layer_norm2", WIDTH)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= draw.linear(f"{block}.self_attn.{name}", WIDTH, WIDTH)
        state |= draw.linear(f"{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        state |= draw.linear(f"{block}.mlp.fc2", WIDTH, 4 * WIDTH)
    return state


def gend_clip(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Prepared images (B, 3, 224, 224) to logits (B, 2): real, fake."""
    vision = f"{THEIRS}vision_model"
    patches = _patches(x, state, f"{vision}.embeddings.patch_embedding")
    first = state[f"{vision}.embeddings.class_embedding"].expand(len(x), 1, -1)
    tokens = torch.cat([first, patches], dim=1)
    tokens = tokens + state[f"{vision}.embeddings.position_embedding.weight"]
    tokens = _layer_norm(tokens, state, f"{vision}.pre_layrnorm", 1e-5)
    for number in range(BLOCKS):
        block = f"{vision}.encoder.layers.{number}"
        seen = _layer_norm(tokens, state, f"{block}.layer_norm1", 1e-5)
        three = [_by_head(_linear(seen, state, f"{block}.self_attn.{k}_proj")) for k in "qkv"]
        tokens = tokens + _linear(_attend(*three), state, f"{block}.self_attn.out_proj")
        seen = _layer_norm(tokens, state, f"{block}.layer_norm2", 1e-5)
        hidden = _linear(seen, state, f"{block}.mlp.fc1")
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        tokens = tokens + _linear(hidden, state, f"{block}.mlp.fc2")
    pooled = _layer_norm(tokens[:, 0], state, f"{vision}.post_layernorm", 1e-5)
    return _two_logits(pooled, state)


def gend_dinov3_file() -> State:
    """Of `DINOv3ViTModel` of Hugging Face, and the linear layer. Heads of 32, for the angles."""
    draw, body, width = Draw(), f"{THEIRS}backbone", 2 * WIDTH
    state = {
        f"{body}.embeddings.cls_token": draw.normal(1, 1, width),
        f"{body}.embeddings.mask_token": torch.zeros(1, 1, width),
        f"{body}.embeddings.register_tokens": draw.normal(1, 4, width),
        f"{body}.embeddings.patch_embeddings.weight": draw.weight(width, 3, 16, 16),
        f"{body}.embeddings.patch_embeddings.bias": draw.normal(width, by=0.1),
        **draw.norm(f"{body}.norm", width),
        **draw.linear("model.linear", 2, width),
    }
    for number in range(BLOCKS):
        block = f"{body}.layer.{number}"
        state |= draw.norm(f"{block}.norm1", width) | draw.norm(f"{block}.norm2", width)
        for name in ("q_proj", "v_proj", "o_proj"):
            state |= draw.linear(f"{block}.attention.{name}", width, width)
        state[f"{block}.attention.k_proj.weight"] = draw.weight(width, width)
        for place in (1, 2):
            state[f"{block}.layer_scale{place}.lambda1"] = draw.normal(width, by=0.5)
        state |= draw.linear(f"{block}.mlp.up_proj", 4 * width, width)
        state |= draw.linear(f"{block}.mlp.down_proj", width, 4 * width)
    return state


def gend_dinov3(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Prepared images (B, 3, S, S), S a multiple of 16, to logits (B, 2): real, fake."""
    body, grid = f"{THEIRS}backbone", x.shape[2] // 16
    patches = _patches(x, state, f"{body}.embeddings.patch_embeddings")
    before = [state[f"{body}.embeddings.{name}"] for name in ("cls_token", "register_tokens")]
    tokens = torch.cat([*(one.expand(len(x), -1, -1) for one in before), patches], dim=1)
    for number in range(BLOCKS):
        block = f"{body}.layer.{number}"
        seen = _layer_norm(tokens, state, f"{block}.norm1", 1e-5)
        three = [_by_head(_linear(seen, state, f"{block}.attention.{k}_proj")) for k in "qkv"]
        turned = [_turned(one, grid) for one in three[:2]]
        found = _linear(_attend(*turned, three[2]), state, f"{block}.attention.o_proj")
        tokens = tokens + found * state[f"{block}.layer_scale1.lambda1"]
        seen = _layer_norm(tokens, state, f"{block}.norm2", 1e-5)
        hidden = F.gelu(_linear(seen, state, f"{block}.mlp.up_proj"))
        found = _linear(hidden, state, f"{block}.mlp.down_proj")
        tokens = tokens + found * state[f"{block}.layer_scale2.lambda1"]
    return _two_logits(_layer_norm(tokens[:, 0], state, f"{body}.norm", 1e-5), state)


def _turned(x: Tensor, grid: int) -> Tensor:
    """Heads (B, heads, 5 + grid grid, d), those of patches turned by angles: 2 pi times the place
    of a patch's centre in [-1, 1], down and then right, over 100 ** (4 k / d).
    """
    d = x.shape[3]
    place = (2 * torch.arange(grid) + 1) / grid - 1
    down, right = torch.meshgrid(place, place, indexing="ij")
    slower = 100.0 ** -(torch.arange(d // 4) * 4 / d)
    angles = [2 * torch.pi * one.flatten()[:, None] * slower for one in (down, right)]
    angle = torch.cat(angles * 2, dim=1)
    first, patches = x[:, :, :5], x[:, :, 5:]
    half = torch.cat([-patches[..., d // 2 :], patches[..., : d // 2]], dim=3)
    return torch.cat([first, patches * angle.cos() + half * angle.sin()], dim=2)


def gend_pe_file() -> State:
    """Of timm's network, which its authors use, and the linear layer."""
    draw = Draw()
    named = {f"{THEIRS}backbone.{k}": v for k, v in _perception().state_dict().items()}
    state = {k: v + draw.normal(*v.shape, by=0.05) for k, v in named.items()}
    return {**state, **draw.linear("model.linear", 2, WIDTH)}


def gend_pe(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Prepared images (B, 3, S, S) to logits (B, 2): real, fake."""
    encoder = _perception()
    inside = {k.removeprefix(f"{THEIRS}backbone."): v for k, v in state.items()}
    encoder.load_state_dict({k: v for k, v in inside.items() if not k.startswith("model.")})
    with torch.no_grad():
        return _two_logits(encoder.eval()(x), state)


def _perception() -> Any:
    small = {"depth": BLOCKS, "embed_dim": WIDTH, "num_heads": HEADS, "dynamic_img_size": True}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("vit_pe_core_large_patch14_336", **small)
    network.head = torch.nn.Identity()
    return network


def _dinov2_blocks(draw: Draw, prefix: str, linear: Callable[[str, int, int], State]) -> State:
    """The parts of DINOv2 that have no places, in its own names, which are timm's. linear: arrays
    of a layer by its name, outputs and inputs.
    """
    state = {
        f"{prefix}cls_token": draw.normal(1, 1, WIDTH),
        f"{prefix}patch_embed.proj.weight": draw.weight(WIDTH, 3, 14, 14),
        f"{prefix}patch_embed.proj.bias": draw.normal(WIDTH, by=0.1),
        **draw.norm(f"{prefix}norm", WIDTH),
    }
    for number in range(BLOCKS):
        block = f"{prefix}blocks.{number}"
        state |= draw.norm(f"{block}.norm1", WIDTH) | draw.norm(f"{block}.norm2", WIDTH)
        state |= linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        state |= linear(f"{block}.attn.proj", WIDTH, WIDTH)
        state |= linear(f"{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        state |= linear(f"{block}.mlp.fc2", WIDTH, 4 * WIDTH)
        for place in (1, 2):
            state[f"{block}.ls{place}.gamma"] = draw.normal(WIDTH, by=0.5)
    return state


def _dinov2(
    tokens: Tensor, state: Mapping[str, Tensor], prefix: str, linear: Callable[..., Tensor]
) -> Tensor:
    """Tokens (B, N, D) with their places to the class token after the last norm, (B, D)."""
    for number in range(BLOCKS):
        block = f"{prefix}blocks.{number}"
        seen = _layer_norm(tokens, state, f"{block}.norm1", 1e-6)
        three = linear(seen, state, f"{block}.attn.qkv").chunk(3, dim=2)
        found = linear(_attend(*map(_by_head, three)), state, f"{block}.attn.proj")
        tokens = tokens + found * state[f"{block}.ls1.gamma"]
        seen = _layer_norm(tokens, state, f"{block}.norm2", 1e-6)
        hidden = F.gelu(linear(seen, state, f"{block}.mlp.fc1"))
        tokens = tokens + linear(hidden, state, f"{block}.mlp.fc2") * state[f"{block}.ls2.gamma"]
    return _layer_norm(tokens[:, 0], state, f"{prefix}norm", 1e-6)


def dda_checkpoint() -> dict[str, Any]:
    """What `save_networks` of its training code writes: DINOv2 at 518 px, rank 8."""
    draw, prefix = Draw(), "base_model.model."

    def adapted(name: str, out: int, width: int) -> State:
        beside = {
            f"{name}.lora.lora_A": draw.weight(8, width),
            f"{name}.lora.lora_B": draw.normal(out, 8),
        }
        return {**draw.linear(f"{name}.original_layer", out, width), **beside}

    state = {
        **_dinov2_blocks(draw, prefix, adapted),
        f"{prefix}pos_embed": draw.normal(1, 1 + 37 * 37, WIDTH),
        f"{prefix}mask_token": torch.zeros(1, WIDTH),
        **draw.linear("base_model.fc", 1, WIDTH),
    }
    return {"model": state, "optimizer": {"state": {}, "param_groups": []}, "total_steps": 9}


def dda(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Prepared images (B, 3, S, S), S a multiple of 14, to logits (B, 1), the matrices beside their
    layers.
    """
    prefix, grid = "base_model.model.", x.shape[2] // 14

    def adapted(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
        low = x @ state[f"{name}.lora.lora_A"].T @ state[f"{name}.lora.lora_B"].T
        return _linear(x, state, f"{name}.original_layer") + low / 8

    held = state[f"{prefix}pos_embed"][0]
    square = held[1:].unflatten(0, (37, 37))
    for axis in (0, 1):
        square = _cubic(square.transpose(0, axis), grid).transpose(0, axis)
    places = torch.cat([held[:1], square.flatten(0, 1)])
    patches = _patches(x, state, f"{prefix}patch_embed.proj")
    first = state[f"{prefix}cls_token"].expand(len(x), -1, -1)
    tokens = torch.cat([first, patches], dim=1) + places
    return _linear(_dinov2(tokens, state, prefix, adapted), state, "base_model.fc")


def _cubic(x: Tensor, size: int) -> Tensor:
    """Cubic convolution (Keys, 1981; a = -.75) along the first axis between centres of cells, the
    border repeated, scaled by (size + .1) / held.
    """
    held, a = len(x), -0.75
    place = (torch.arange(size) + 0.5) * held / (size + 0.1) - 0.5
    low = place.floor().long()
    found = torch.zeros(size, *x.shape[1:])
    for step in range(-1, 3):
        t = (place - (low + step)).abs()
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * (t**3 - 5 * t**2 + 8 * t - 4)
        weight = torch.where(t <= 1, near, far).view(-1, *(1 for _ in x.shape[1:]))
        found += weight * x[(low + step).clamp(0, held - 1)]
    return found


def b_free_checkpoint() -> dict[str, Any]:
    """Of timm's DINOv2 with four registers, whose places are those of 36 x 36 patches."""
    draw = Draw()
    state = {
        **_dinov2_blocks(draw, "", draw.linear),
        "reg_token": draw.normal(1, 4, WIDTH),
        "pos_embed": draw.normal(1, 36 * 36, WIDTH),
        **draw.linear("head", 1, WIDTH),
    }
    return {"model": state}


def b_free(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Prepared crops (B, 3, 504, 504) to logits (B, 1)."""
    patches = _patches(x, state, "patch_embed.proj") + state["pos_embed"]
    before = [state[name].expand(len(x), -1, -1) for name in ("cls_token", "reg_token")]
    return _linear(_dinov2(torch.cat([*before, patches], 1), state, "", _linear), state, "head")


FILES: Mapping[str, Callable[[], Any]] = {
    "b_free": b_free_checkpoint,
    "dda": dda_checkpoint,
    "gend_clip": gend_clip_file,
    "gend_dinov3": gend_dinov3_file,
    "gend_pe": gend_pe_file,
    "safe_published": safe_checkpoint,
}
