"""What is frozen stays, bit by bit; what is trained has its rate; features of a frozen body are
computed once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from study.core.records import EpochRecord
from study.detectors.entry import UNFREEZING
from study.training import features
from study.training.fit import fit
from study.training.optimizers import make_optimizer
from study.training.recipe import OPTIMIZERS
from study.training.schedules import freeze, phases
from study.training.score import score
from tests.contract.stand_ins import make_case
from tests.training.fakes import FakeSession, InterruptedError, Tiny, images, plain, tiny
from tests.training.small_fits import RUNTIME, recipe, run, same, snapshot

# freezing


class Watcher(FakeSession):
    """Sees the detector at the end of every epoch; it is told of an epoch before the next one
    begins.
    """

    def __init__(self, detector: Tiny) -> None:
        super().__init__()
        self.detector = detector
        self.seen = [snapshot(detector)]

    def report(self, record: EpochRecord) -> None:
        super().report(record)
        self.seen.append(snapshot(self.detector))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("schedule", UNFREEZING)
def test_frozen_means_frozen(schedule: str, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and BatchNorm statistics of frozen stages keep every bit, under weight decay; the
    others move in every epoch.
    """
    if not cached:
        monkeypatch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)
    detector = tiny()
    watcher = Watcher(detector)
    run(detector, watcher, schedule=schedule, epochs=6)
    plan = [
        phase
        for phase in phases(recipe(schedule=schedule), n_stages=4, epochs=6)
        for _ in range(phase.epochs)
    ]
    stage_of = {"head": 0, "block2": 1, "block1": 2, "stem": 3}
    for epoch, phase in enumerate(plan):
        before, after = watcher.seen[epoch], watcher.seen[epoch + 1]
        for key in before:
            trained = stage_of[key.split(".")[0]] < phase.stages
            assert torch.equal(before[key], after[key]) != trained, (schedule, epoch, key)


@pytest.mark.parametrize("name", ["timm:ghostnet_100.in1k", "timm:rexnet_100.nav_in1k"])
def test_a_frozen_body_has_no_dropout_of_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have 0.2 of it in a place that is in no stage: the network's root, and a layer without
    parameters.
    """
    detector, x = make_case(name, tmp_path, monkeypatch).build(), torch.randn(2, 3, 64, 64)
    expected = detector.features(x)
    freeze(detector, 1)
    assert torch.equal(detector.features(x), expected) and torch.equal(
        detector.features(x), expected
    )
    assert [module for module in detector.modules() if module.training] == [detector.head]
    freeze(detector, len(detector.stages()))
    assert all(module.training for module in detector.modules())


class Rooted(Tiny):
    """A BatchNorm without weights above the stages, in none of them."""

    def __init__(self) -> None:
        super().__init__(tiny().spec)
        self.norm = torch.nn.BatchNorm1d(8, affine=False)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(super().features(x))


def test_statistics_that_are_in_no_stage_move_with_the_whole_alone() -> None:
    frozen, trained, session = Rooted(), Rooted(), FakeSession()
    run(frozen, schedule="last_stage", epochs=2)
    assert torch.equal(frozen.norm.running_mean, torch.zeros(8))
    result = run(trained, session, epochs=4)
    assert not torch.equal(trained.norm.running_mean, torch.zeros(8))
    assert np.array_equal(score(trained, images(15, seed=1), runtime=RUNTIME), result.val_logit), (
        "they are the best epoch's"
    )
    state = session.load()
    assert state is not None and "norm.running_mean" in state["state"]


def test_each_phase_has_its_own_learning_rate() -> None:
    session = FakeSession()
    settings = {
        "head_share": 0.34,
        "last_stage_share": 0.33,
        "last_stage_lr_ratio": 0.5,
        "full_lr_ratio": 0.05,
        "warmup_share": 0.0,
    }
    run(tiny(), session, schedule="progressive", epochs=6, **settings)
    assert [(r.phase, r.epoch) for r in session.records] == list(
        zip(["head"] * 2 + ["last_stage"] * 2 + ["full"] * 2, range(6), strict=True)
    )
    assert [session.records[i].learning_rate for i in (0, 2, 4)] == pytest.approx(
        [0.02, 0.01, 0.001]
    )
    assert all(
        session.records[i + 1].learning_rate < session.records[i].learning_rate for i in (0, 2, 4)
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizer_holds_trainable_parameters_and_decays_no_bias(optimizer: str) -> None:
    detector = tiny()
    freeze(detector, 2)
    groups = make_optimizer(detector, recipe(optimizer=optimizer), 0.1).param_groups
    names = {id(p): name for name, p in detector.named_parameters()}
    held = [sorted(names[id(p)] for p in group["params"]) for group in groups]
    assert held == [
        ["block2.0.weight", "head.weight"],
        ["block2.0.bias", "block2.1.bias", "block2.1.weight", "head.bias"],
    ]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


def test_layer_decay_gives_each_stage_its_rate() -> None:
    detector = tiny()
    freeze(detector, 4)
    optimizer = make_optimizer(detector, recipe(layer_decay=0.5), 0.1)
    names = {id(p): name.split(".")[0] for name, p in detector.named_parameters()}
    rates = {
        names[id(p)]: (group["factor"], group["lr"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert rates == {
        "head": (1.0, 0.1),
        "block2": (0.5, 0.05),
        "block1": (0.25, 0.025),
        "stem": (0.125, 0.0125),
    }
    decayed = {
        names[id(p)]
        for g in optimizer.param_groups
        for p in g["params"]
        if g["weight_decay"] and p.ndim > 1
    }
    assert decayed == set(rates)
    assert all(p.ndim > 1 for g in optimizer.param_groups for p in g["params"] if g["weight_decay"])
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(detector.parameters()))


def test_layer_decay_scales_every_step_of_its_stage() -> None:
    """One step of SGD from the same gradient: what each stage moves is 0.5^k of what it moves
    without decay.
    """
    moved: dict[float, dict[str, torch.Tensor]] = {}
    for decay in (1.0, 0.5):
        detector = plain()
        before = {name: p.detach().clone() for name, p in detector.named_parameters()}
        settings = recipe(
            optimizer="sgd",
            lr=0.1,
            layer_decay=decay,
            clip_norm=0.0,
            batch_size=64,
            weight_decay=0.0,
            warmup_share=0.0,
        )
        fit(
            detector,
            images(21),
            images(15, seed=1),
            settings,
            epochs=1,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        moved[decay] = {name: p.detach() - before[name] for name, p in detector.named_parameters()}
    below = {"head": 0, "block2": 1, "block1": 2, "stem": 3}
    for name, step in moved[0.5].items():
        assert step.abs().max() > 1e-7
        expected = moved[1.0][name] * 0.5 ** below[name.split(".")[0]]
        # a few roundings of weights below 1
        torch.testing.assert_close(step, expected, rtol=0, atol=5e-8)


def test_resuming_with_layer_decay_is_bit_for_bit() -> None:
    whole, detector, session = tiny(), tiny(), FakeSession(stop_after=2)
    expected = run(whole, layer_decay=0.6)
    with pytest.raises(InterruptedError):
        run(tiny(), session, layer_decay=0.6)
    assert same((detector, run(detector, session, layer_decay=0.6)), (whole, expected))
    assert not np.array_equal(expected.val_logit, run(tiny()).val_logit)


# features kept while the head alone is trained


def test_head_epochs_read_each_image_and_view_once() -> None:
    train, val = images(21), images(15, seed=1)
    for flip, views in ((0.5, 2), (0.0, 1)):
        features.SHARED.clear()
        train.read = val.read = 0
        fit(
            tiny(),
            train,
            val,
            recipe(schedule="head", flip=flip),
            epochs=5,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )
        assert (train.read, val.read) == (views * 21, 15)
    fit(
        tiny(),
        train,
        val,
        recipe(schedule="head", lr=0.3),
        epochs=5,
        seed=1,
        runtime=RUNTIME,
        session=FakeSession(),
    )
    assert (train.read, val.read) == (
        2 * 21,
        15,
    ), "another trial on the same frozen body reads the mirror images alone"


def test_kept_features_give_what_computing_them_anew_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, anew = tiny(), tiny()
    one = run(kept, schedule="head", dropout=0.3, epochs=5)
    monkeypatch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)
    two = run(anew, schedule="head", dropout=0.3, epochs=5)
    np.testing.assert_allclose(one.val_logit, two.val_logit, rtol=0, atol=1e-5)
    assert [r.train_loss for r in one.history] == pytest.approx(
        [r.train_loss for r in two.history], abs=1e-5
    )


def test_features_of_another_body_are_never_served() -> None:
    fresh = run(tiny(seed=7), schedule="head")
    features.SHARED.clear()
    run(tiny(seed=3), schedule="head")
    assert np.array_equal(run(tiny(seed=7), schedule="head").val_logit, fresh.val_logit)
