"""Maps of small networks whose answer is known: of what decides the logit, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from scipy.stats import rankdata
from torch import Tensor, nn

from study.core.records import DetectorSpec, Geometry
from study.detectors import registry
from study.detectors.base import Detector, Stage
from study.explaining import maps
from tests.contract.stand_ins import make_case

SIZE = 32


class Bright(Detector):
    """One convolution that passes brightness on; the logit is its mean."""

    def __init__(self) -> None:
        geometry = Geometry(size_px=SIZE, mode="squash")
        super().__init__(
            DetectorSpec(
                name="bright",
                family="bright",
                geometry=geometry,
                mean=(0.0, 0.0, 0.0),
                std=(1.0, 1.0, 1.0),
                learner="gradient",
            ),
            1,
        )
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 3)
            self.head.weight.fill_(1.0)

    def features(self, x: Tensor) -> Tensor:
        return self.conv(x).mean(dim=(2, 3))

    def body_stages(self) -> tuple[Stage, ...]:
        return (Stage("conv", (self.conv,)),)


def test_the_map_is_where_the_logit_comes_from() -> None:
    """A bright square on black: the map is it, to the pixel."""
    squares = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    squares[0, 4:12, 16:28] = 200
    squares[1, 20:30, 2:8] = 90
    found = maps.explain(Bright().eval(), squares)
    assert list(found) == [maps.GRAD_CAM]
    np.testing.assert_allclose(found[maps.GRAD_CAM], squares[..., 0] > 0, atol=1e-5)


def test_random_order_keeps_the_values_and_their_spread(tmp_path: Path) -> None:
    detector = Bright()
    other = maps.randomised(detector)
    for one, changed in zip(detector.parameters(), other.parameters(), strict=True):
        assert sorted(one.flatten().tolist()) == sorted(changed.flatten().tolist())


def test_rank_correlation_is_that_of_ranks() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 3, 8, 8)).astype(np.float32)
    other[2] = 0.5
    found = maps.rank_correlations(one, other)
    expected = [
        np.corrcoef(rankdata(a), rankdata(b))[0, 1] for a, b in zip(one[:2], other[:2], strict=True)
    ]
    np.testing.assert_allclose(found[:2], expected)
    assert np.isnan(found[2])


@pytest.mark.parametrize("name", ["clip_linear", "dinov2_linear", "mobilenetv2_035_linear", "npr"])
def test_detectors_of_each_kind_have_maps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of transformers both; where the head reads nothing of a place, its map would be empty."""
    detector = make_case(name, tmp_path, monkeypatch).build()
    detector.frozen_precision = "bfloat16"  # as of a winner whose body is frozen
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in detector.head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    size = detector.spec.geometry.size_px
    squares = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    found = maps.explain(detector, squares)
    is_transformer = name in ("clip_linear", "dinov2_linear")
    expected = [maps.GRAD_CAM, maps.ROLLOUT] if is_transformer else [maps.GRAD_CAM]
    assert list(found) == expected
    for of in found.values():
        assert of.shape == (2, size, size) and of.min() >= 0 and of.max() <= 1
        assert np.isfinite(of).all()
    if is_transformer:
        assert np.ptp(found[maps.ROLLOUT]) > 0.9


def test_rollout_is_the_product_of_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the attention that torch gives when it is asked directly."""
    detector = make_case("clip_linear", tmp_path, monkeypatch).build()
    size = detector.spec.geometry.size_px
    squares = np.random.default_rng(1).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    reach = np.eye(50)
    tokens: list[Tensor] = []
    blocks = detector.backbone.transformer.resblocks
    hooks = [b.ln_1.register_forward_hook(lambda *a: tokens.append(a[2])) for b in blocks]
    with torch.no_grad():
        detector(detector.prepare(torch.from_numpy(squares)))
        for hook in hooks:
            hook.remove()
        for block, given in zip(blocks, tokens, strict=True):
            _, weights = block.attn(given, given, given, need_weights=True)
            reach = (weights[0].double().numpy() + np.eye(50)) / 2 @ reach
    patches = reach[0, 1:].reshape(7, 7)
    patches = (patches - patches.min()) / np.ptp(patches)
    found = maps.explain(detector, squares)[maps.ROLLOUT][0]
    step = size // 7
    # at a patch's middle, interpolation gives the mean of the four pixels around it
    middle = found.reshape(7, step, 7, step)[:, step // 2 - 1 : step // 2 + 1]
    middle = middle[..., step // 2 - 1 : step // 2 + 1].mean(axis=(1, 3))
    np.testing.assert_allclose(middle, patches, atol=4e-2)


NETWORK = "timm:vit_tiny_patch16_224.augreg_in21k"


@pytest.fixture
def vision_transformer(tmp_path: Path) -> Detector:
    """The smallest ViT of the usual design that timm has, whole, with random weights."""
    network = timm.create_model("vit_tiny_patch16_224")
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.05, generator=generator)
    path = tmp_path / f"{NETWORK.removeprefix('timm:')}.safetensors"
    save_file(network.state_dict(), path)
    spec = registry.resolve(NETWORK, options={}, weights_root=tmp_path)
    return registry.build(spec, weights_root=tmp_path, seed=0)


@pytest.mark.slow
def test_a_real_transformer_has_both_maps_in_little_memory(
    vision_transformer: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weight gets a gradient, no block before the last keeps what it computed, and attention is
    there for one block of one batch at a time. One batch or several give the same.
    """
    size = vision_transformer.spec.geometry.size_px
    squares = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.nbytes) or tensor, lambda tensor: tensor
    ):
        whole = maps.explain(vision_transformer, squares)
    block = 5 * 197 * 192 * 4  # bytes of the tokens of five images
    assert 0 < sum(kept) < 24 * block  # of all twelve blocks it is 238 times that
    assert list(whole) == [maps.GRAD_CAM, maps.ROLLOUT]
    for of in whole.values():
        assert of.shape == (5, size, size) and np.ptp(of, axis=(1, 2)).min() > 0.5
    batches: list[int] = []
    rollout = maps._rollout

    def counted(detector: Detector, x: Tensor) -> maps.Maps:
        batches.append(len(x))
        return rollout(detector, x)

    monkeypatch.setattr(maps, "_rollout", counted)
    monkeypatch.setattr(maps, "ATTENTION", 2 * 3 * 197**2 * 4)  # of two images, 3 heads each
    apart = maps.explain(vision_transformer, squares)
    assert batches == [2, 2, 1]
    for method, of in whole.items():
        np.testing.assert_allclose(of, apart[method], atol=1e-4)


def test_a_network_is_as_it_was_afterwards() -> None:
    """Its own attention counts again: neither switch nor wrapper stays."""
    network = torch.nn.MultiheadAttention(4, 1, batch_first=True)
    with_switch = torch.nn.Module()
    with_switch.attn_drop = torch.nn.Identity()
    with_switch.fused_attn = True
    both = torch.nn.ModuleList([network, with_switch])
    before = [dict(vars(one)) for one in (network, with_switch)]
    seen: list[tuple[int, ...]] = []
    with maps._attention(both, lambda mean, heads: seen.append((*mean.shape, heads))):
        assert with_switch.fused_attn is False
        x = torch.randn(1, 3, 4)
        network(x, x, x, need_weights=False)
    assert seen == [(1, 3, 3, 1)]
    for one, held in zip((network, with_switch), before, strict=True):
        assert {k: v for k, v in vars(one).items() if not k.startswith("_")} == {
            k: v for k, v in held.items() if not k.startswith("_")
        }
