"""Low-rank adaptation: what is added to which weights, what of it is trained at which rate, and
what is left of it afterwards.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
import torch

from study.core.errors import ConfigError
from study.detectors import registry
from study.detectors.base import Detector, Stage
from study.detectors.meta_device import empty
from study.detectors.timm_network import TimmNetwork
from study.search.spaces import parse_space
from study.training import features
from study.training.fit import fit
from study.training.lora import LowRank, adapt, adapter_parameters, adapter_size, merge
from study.training.optimizers import make_optimizer
from study.training.schedules import freeze, trained_size
from study.training.score import score
from tests.training.fakes import Attentive, FakeSession, InterruptedError, attentive, images, tiny
from tests.training.small_fits import RUNTIME, recipe, run, same, snapshot

LORA = {"schedule": "lora", "lora_rank": 2, "lora_alpha": 6.0}


def changes(detector: Detector) -> dict[str, LowRank]:
    return {
        name.split(".parametrizations")[0]: m
        for name, m in detector.named_modules()
        if isinstance(m, LowRank)
    }


def adapted(rank: int = 2, blocks: int = 0, seed: int = 0) -> Attentive:
    detector = attentive()
    adapt(detector, rank=rank, alpha=6.0, blocks=blocks, seed=seed)
    return detector


# what is added


def test_a_weight_is_the_frozen_one_plus_the_scaled_product() -> None:
    detector, plain = adapted(), attentive()
    change = changes(detector)["block1"]
    assert torch.equal(detector.block1.in_proj_weight, plain.block1.in_proj_weight), (
        "it starts at the pretrained weight"
    )
    with torch.no_grad():
        change.up.normal_()
    up, down = (t.detach().numpy().astype(float) for t in (change.up, change.down))
    assert up.shape == (24, 2) and down.shape == (2, 8)
    expected = plain.block1.in_proj_weight.detach().numpy() + 6.0 / 2 * up @ down
    np.testing.assert_allclose(
        detector.block1.in_proj_weight.detach().numpy(), expected, rtol=0, atol=1e-6
    )


def test_every_projection_of_the_attention_is_adapted_and_nothing_else() -> None:
    detector = adapted(rank=3)
    assert set(changes(detector)) == {"block1", "block1.out_proj", "block2", "block2.out_proj"}
    assert (
        sum(p.numel() for p in adapter_parameters(detector))
        == 2 * 3 * ((24 + 8) + (8 + 8))
        == adapter_size(attentive(), rank=3, blocks=0)
    )
    assert trained_size(attentive(), recipe(**LORA)) == 2 * 2 * ((24 + 8) + (8 + 8)) + 9


def test_the_size_for_a_vit_b_is_counted_without_its_weights() -> None:
    """Twelve blocks: rank 8 x (rows + columns) of the joint projection and of the output's; a head
    on 512 features.
    """
    skeleton = registry.create(registry.spec_of("clip_finetune"), 0)
    assert (
        trained_size(skeleton, recipe(schedule="lora", lora_rank=8))
        == 12 * 8 * ((3 * 768 + 768) + (768 + 768)) + 513
    )


def test_under_autocast_the_weight_is_that_of_float32() -> None:
    detector = adapted()
    with torch.no_grad():
        changes(detector)["block1"].up.normal_()
    expected = detector.block1.in_proj_weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = detector.block1.in_proj_weight
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_blocks_are_counted_from_the_head() -> None:
    assert set(changes(adapted(blocks=1))) == {"block2", "block2.out_proj"}
    assert (
        set(changes(adapted(blocks=2)))
        == set(changes(adapted(blocks=9)))
        == set(changes(adapted()))
    )


def test_the_first_matrices_follow_from_the_seed_alone() -> None:
    one = attentive()
    before = torch.get_rng_state()
    adapt(one, rank=2, alpha=6.0, blocks=0, seed=4)
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator is left alone"
    again, other = adapted(seed=4), adapted(seed=5)
    for name, change in changes(one).items():
        assert torch.equal(change.down, changes(again)[name].down) and not torch.equal(
            change.down, changes(other)[name].down
        )
        assert change.down.abs().max() <= 8**-0.5 and not change.up.any()


def test_an_attention_that_reads_its_weight_itself_is_adapted() -> None:
    """Timm's BEiT multiplies by `qkv.weight` without calling `qkv`: what wraps the layer would
    change nothing.
    """
    torch.manual_seed(0)
    network = timm.create_model(
        "beit_base_patch16_224", img_size=32, depth=1, embed_dim=16, num_heads=2, num_classes=0
    ).eval()
    detector = Backbone(network)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
    adapt(detector, rank=2, alpha=4.0, blocks=0, seed=0)
    with torch.no_grad():
        assert torch.equal(network(x), before)
        for change in changes(detector).values():
            change.up.normal_()
        adapted_features = network(x)
        assert (adapted_features - before).abs().max() > 1e-3
        merge(detector)
        assert torch.equal(network(x), adapted_features)


class Backbone(Detector):
    """A network as it is, all of it one stage."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__(tiny().spec, 16)
        self.network = network

    def body_stages(self) -> tuple[Stage, ...]:
        return (Stage("network", (self.network,)),)


@pytest.mark.parametrize("name", ["xcit_nano_12_p8_224", "coat_tiny", "davit_tiny"])
def test_a_network_keeps_its_stages_while_it_is_adapted_and_its_names_afterwards(name: str) -> None:
    """Memory without numbers in it. Stages follow from the names of parameters, which an adapted
    weight does not have.
    """
    detector = TimmNetwork(
        tiny().spec, empty(lambda: timm.create_model(name, num_classes=0))
    ).to_empty(device="cpu")
    names = {id(p): n for n, p in detector.named_parameters()}
    before = [
        (stage.name, {names[id(p)] for p in stage.all_parameters()}) for stage in detector.stages()
    ]
    keys = set(detector.state_dict())
    adapt(detector, rank=2, alpha=4.0, blocks=0, seed=0)
    found = [id(p) for stage in detector.stages() for p in stage.all_parameters()]
    assert sorted(found) == sorted(id(p) for p in detector.parameters()), (
        "each parameter once, the matrices among them"
    )
    names = {
        id(p): re.sub(r"parametrizations\.(\w+)\.original", r"\1", n)
        for n, p in detector.named_parameters()
    }
    adapters = {id(p) for p in adapter_parameters(detector)}
    after = [
        (s.name, {names[id(p)] for p in s.all_parameters() if id(p) not in adapters})
        for s in detector.stages()
    ]
    assert after == before
    merge(detector)
    assert set(detector.state_dict()) == keys


# what is trained


def test_rates_are_those_of_the_stage_times_the_ratio_and_matrices_are_decayed() -> None:
    detector = adapted()
    freeze(detector, 1, adapters=True)
    optimizer = make_optimizer(detector, recipe(**LORA, layer_decay=0.5, lora_lr_ratio=0.2), 0.1)
    names = {id(p): name for name, p in detector.named_parameters()}
    found = {
        names[id(p)]: (g["lr"], g["weight_decay"])
        for g in optimizer.param_groups
        for p in g["params"]
    }
    assert found.pop("head.weight") == (0.1, 0.3) and found.pop("head.bias") == (0.1, 0.0)
    assert len(found) == 8 and all(name.endswith((".down", ".up")) for name in found)
    for name, values in found.items():
        below = 1 if name.startswith("block2") else 2
        assert values == (pytest.approx(0.1 * 0.5**below * 0.2), 0.3)


def test_what_is_frozen_keeps_every_bit_and_the_attention_moves() -> None:
    detector = attentive()
    before = snapshot(detector)
    result = run(detector, **LORA, lora_blocks=1)
    after = snapshot(detector)
    assert before.keys() == after.keys()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"head.weight", "head.bias", "block2.in_proj_weight", "block2.out_proj.weight"}
    rank = np.linalg.matrix_rank(
        (after["block2.in_proj_weight"] - before["block2.in_proj_weight"]).double().numpy(),
        tol=1e-6,
    )
    assert rank == 2
    assert [record.phase for record in result.history] == ["lora"] * 4


def test_it_learns_what_a_head_on_frozen_features_does_not() -> None:
    train, val = images(120), images(60, seed=1)
    reached = {}
    for schedule in ("head", "lora"):
        settings = recipe(
            **{**LORA, "schedule": schedule}, lr=0.05, batch_size=16, weight_decay=0.0
        )
        result = fit(
            attentive(),
            train,
            val,
            settings,
            epochs=8,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        reached[schedule] = result.val_nll
    assert reached["lora"] < reached["head"] - 0.02


def test_features_are_not_kept_while_the_attention_learns() -> None:
    features.SHARED.clear()
    train, val = images(21), images(15, seed=1)
    fit(
        attentive(),
        train,
        val,
        recipe(**LORA),
        epochs=3,
        seed=0,
        runtime=RUNTIME,
        session=FakeSession(),
    )
    assert (train.read, val.read) == (3 * 21, 3 * 15)


# what is left


def test_the_merged_detector_gives_the_logits_that_were_reported() -> None:
    detector, plain = attentive(), attentive(seed=9)
    result = run(detector, **LORA)
    assert not changes(detector) and type(detector.block1) is torch.nn.MultiheadAttention
    plain.load_state_dict(detector.state_dict())
    assert np.array_equal(
        score(plain.eval(), images(15, seed=1), runtime=RUNTIME), result.val_logit
    )


def test_resuming_after_any_epoch_is_bit_for_bit() -> None:
    whole, settings = (
        attentive(),
        {
            **LORA,
            "epochs": 4,
            "dropout": 0.2,
            "layer_decay": 0.7,
            "lora_lr_ratio": 0.5,
        },
    )
    expected = run(whole, **settings)
    for stop in range(1, 5):
        session = FakeSession(stop_after=stop)
        with pytest.raises(InterruptedError):
            run(attentive(), session, **settings)
        session.stop_after = None
        detector = attentive()
        assert same((detector, run(detector, session, **settings)), (whole, expected)), stop
        state = session.load()
        assert state is not None and len(state["state"]) == 2 + 8, (
            "the head and four pairs of matrices, no frozen weight"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"lora_rank": 3},
        {"lora_alpha": 2.0},
        {"lora_blocks": 1},
        {"lora_lr_ratio": 0.5},
        {"seed": 1},
    ],
)
def test_each_setting_makes_another_fit(change: dict[str, int | float]) -> None:
    base = run(attentive(), **LORA)
    assert not np.array_equal(base.val_logit, run(attentive(), **{**LORA, **change}).val_logit)  # type: ignore[arg-type]


# what cannot be


def test_a_detector_without_attention_is_refused_before_it_is_trained() -> None:
    train = images(21)
    with pytest.raises(ConfigError, match="schedule = 'lora' adapts attention, and tiny has none"):
        fit(
            tiny(),
            train,
            images(15, seed=1),
            recipe(**LORA),
            epochs=1,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
    assert train.read == 0
    with pytest.raises(ConfigError, match=r"x\.toml: resnet18: unknown schedule 'lora'"):
        parse_space(
            {"schema": 1, "constants": {"schedule": "lora"}}, detector="resnet18", where="x.toml"
        )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lora_rank": 0}, "lora_rank = 0: give a whole number from 1 on"),
        ({"lora_rank": 4.0}, "lora_rank = 4.0"),
        ({"lora_alpha": 0.0}, "lora_alpha = 0.0: give a number above 0"),
        ({"lora_blocks": -1}, "lora_blocks = -1: give a whole number from 0 on"),
        ({"lora_lr_ratio": 0.0}, "lora_lr_ratio = 0.0"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**setting)
