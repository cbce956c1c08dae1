"""The training loop: it learns, it repeats itself, it goes on where it stopped, it freezes what is frozen."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from study.detectors.registry import SCHEDULES
from study.errors import ConfigError, DataError, DivergedError, TrialStopped
from study.records import EpochRecord
from study.training import features
from study.training import fit as module
from study.training.fit import FitResult, batches, bce, fit, make_optimizer
from study.training.recipe import OPTIMIZERS, Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import freeze, phases
from study.training.score import score
from tests.training.fakes import FakeImages, FakeSession, InterruptedError, Tiny, images, plain, tiny

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
BASE: dict[str, Any] = {"batch_size": 5, "lr": 0.02, "patience": 0, "weight_decay": 0.3}


def recipe(**settings: Any) -> Recipe:
    return Recipe.from_params({**BASE, **settings})


def run(detector: Tiny, session: FakeSession | None = None, *, epochs: int = 4, seed: int = 0, **settings: Any) -> FitResult:
    train, val = images(21), images(15, seed=1)
    session = session or FakeSession()
    return fit(detector, train, val, recipe(**settings), epochs=epochs, seed=seed, runtime=RUNTIME, session=session)


def snapshot(detector: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in detector.state_dict().items()}


def without_seconds(history: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [dataclasses.replace(record, seconds=0.0) for record in history]


def same(one: tuple[Tiny, FitResult], two: tuple[Tiny, FitResult]) -> bool:
    """Bit for bit: weights, statistics, logits and history."""
    (a, x), (b, y) = one, two
    weights = all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())
    return weights and np.array_equal(x.val_logit, y.val_logit) and without_seconds(x.history) == without_seconds(y.history)


# learning


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_learns(optimizer: str) -> None:
    train, val = images(120), images(60, seed=1)
    lr = 0.3 if optimizer == "sgd" else 0.02
    settings = recipe(optimizer=optimizer, lr=lr, batch_size=16, weight_decay=1e-4)
    result = fit(tiny(), train, val, settings, epochs=8, seed=0, runtime=RUNTIME, session=FakeSession())
    assert result.val_auc > 0.95
    assert result.history[-1].train_loss < 0.6 * result.history[0].train_loss


def test_labels_without_a_trace_teach_nothing() -> None:
    train, val = images(120, amplitude=0), images(400, seed=1, amplitude=0)
    settings = recipe(batch_size=16, flip=0.0)
    result = fit(tiny(), train, val, settings, epochs=3, seed=0, runtime=RUNTIME, session=FakeSession())
    assert all(abs(record.val_auc - 0.5) < 0.1 for record in result.history)  # three standard errors at 160 and 240 images


def test_the_result_is_the_best_epochs_and_the_detector_holds_it() -> None:
    detector, val = tiny(), images(15, seed=1)
    result = run(detector, epochs=6)
    goodness = [(record.val_auc, -record.val_nll) for record in result.history]
    assert result.best_epoch == goodness.index(max(goodness))
    assert np.array_equal(score(detector, val, runtime=RUNTIME), result.val_logit)
    assert result.val_auc == pytest.approx(roc_auc_score(val.label, result.val_logit))
    assert result.val_nll == pytest.approx(log_loss(val.label, 1 / (1 + np.exp(-result.val_logit.astype(float)))))
    assert not detector.training


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    pairs = []
    for seed in (0, 0, 1):
        torch.manual_seed(np.random.default_rng().integers(1 << 30))  # whatever ran before in this process
        detector = tiny()
        torch.manual_seed(np.random.default_rng().integers(1 << 30))
        pairs.append((detector, run(detector, seed=seed, dropout=0.2)))
    assert same(pairs[0], pairs[1]) and not same(pairs[0], pairs[2])


# resuming


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resuming_after_any_epoch_is_bit_for_bit(schedule: str) -> None:
    """Stopped right after the checkpoint of every epoch in turn; the process that goes on has kept nothing."""
    whole = tiny()
    settings = {"schedule": schedule, "dropout": 0.2, "epochs": 6}
    expected = run(whole, **settings)
    for stop in range(1, 7):
        session = FakeSession(stop_after=stop)
        with pytest.raises(InterruptedError):
            run(tiny(), session, **settings)
        features.SHARED.clear()
        session.stop_after = None
        detector = tiny()
        assert same((detector, run(detector, session, **settings)), (whole, expected)), stop
        assert [record.epoch for record in session.records] == [*range(stop - 1), *range(6)], "the whole history, again"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resuming_at_every_epoch_of_one_run(optimizer: str) -> None:
    whole = tiny()
    expected = run(whole, optimizer=optimizer)
    session, detector = FakeSession(), tiny()
    for stop in range(1, 5):
        session.stop_after = stop
        detector = tiny()
        with pytest.raises(InterruptedError):
            run(detector, session, optimizer=optimizer)
    detector = tiny()
    assert same((detector, run(detector, session, optimizer=optimizer)), (whole, expected))


def test_a_run_that_ended_early_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5])
    session = FakeSession()
    assert len(run(tiny(), session, epochs=6, patience=2).history) == 3
    assert len(run(tiny(), session, epochs=6, patience=2).history) == 3 and session.saves == 3


@pytest.mark.parametrize("change", [{"lr": 0.01}, {"seed": 1}, {"epochs": 5}, {"weight_decay": 0.1}])
def test_another_fits_checkpoint_is_none(change: dict[str, Any]) -> None:
    session, fresh, detector = FakeSession(), tiny(), tiny()
    run(tiny(), session)
    expected = run(fresh, **change)
    session.records.clear()
    assert same((detector, run(detector, session, **change)), (fresh, expected))
    assert [record.epoch for record in session.records] == list(range(len(expected.history)))
    state = session.load()
    assert state is not None and len(state["history"]) == len(expected.history), "it was saved over"


def test_another_versions_checkpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    session, fresh, detector = FakeSession(), tiny(), tiny()
    with monkeypatch.context() as patch:
        patch.setattr(module, "CHECKPOINT_SCHEMA", module.CHECKPOINT_SCHEMA - 1)
        run(tiny(), session)
    assert same((detector, run(detector, session)), (fresh, run(fresh))) and session.saves == 8


def test_a_report_stops_the_fit_and_the_next_one_hears_the_history_first() -> None:
    """A scheduler that stops at the second epoch's end stops again at the replayed one, before anything is trained."""

    class Stopping(FakeSession):
        def report(self, record: EpochRecord) -> None:
            super().report(record)
            if record.epoch == 1:
                raise TrialStopped("at the first rung")

    session = Stopping()
    for heard in ([0, 1], [0, 1, 0, 1]):
        with pytest.raises(TrialStopped, match="at the first rung"):
            run(tiny(), session)
        assert [record.epoch for record in session.records] == heard and session.saves == 2
    assert without_seconds(tuple(session.records[:2])) == without_seconds(tuple(session.records[2:]))


def test_a_checkpoint_holds_what_the_schedule_moves() -> None:
    sizes = {}
    for schedule in SCHEDULES:
        session = FakeSession()
        run(tiny(), session, schedule=schedule)
        state = session.load()
        assert state is not None
        sizes[schedule] = set(state["state"])
    assert sizes["head"] == {"head.weight", "head.bias"}
    assert {key.split(".")[0] for key in sizes["last_stage"]} == {"head", "block2"}
    assert sizes["full"] == sizes["progressive"] == sizes["lp_ft"] == set(tiny().state_dict())


# freezing


class Watcher(FakeSession):
    """Sees the detector at the end of every epoch; it is told of an epoch before the next one begins."""

    def __init__(self, detector: Tiny) -> None:
        super().__init__()
        self.detector = detector
        self.seen = [snapshot(detector)]

    def report(self, record: EpochRecord) -> None:
        super().report(record)
        self.seen.append(snapshot(self.detector))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_frozen_means_frozen(schedule: str, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and BatchNorm statistics of frozen stages keep every bit, under weight decay; the others move in every epoch."""
    if not cached:
        monkeypatch.setattr(features.FeatureCache, "fits", lambda *_: False)
    detector = tiny()
    watcher = Watcher(detector)
    run(detector, watcher, schedule=schedule, epochs=6)
    plan = [phase for phase in phases(recipe(schedule=schedule), n_stages=4, epochs=6) for _ in range(phase.epochs)]
    stage_of = {"head": 0, "block2": 1, "block1": 2, "stem": 3}
    for epoch, phase in enumerate(plan):
        before, after = watcher.seen[epoch], watcher.seen[epoch + 1]
        for key in before:
            trained = stage_of[key.split(".")[0]] < phase.stages
            assert torch.equal(before[key], after[key]) != trained, (schedule, epoch, key)


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
    assert [session.records[i].learning_rate for i in (0, 2, 4)] == pytest.approx([0.02, 0.01, 0.001])
    assert all(session.records[i + 1].learning_rate < session.records[i].learning_rate for i in (0, 2, 4))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizer_holds_trainable_parameters_and_decays_no_bias(optimizer: str) -> None:
    detector = tiny()
    freeze(detector, 2)
    groups = make_optimizer(detector, recipe(optimizer=optimizer), 0.1).param_groups
    names = {id(p): name for name, p in detector.named_parameters()}
    held = [sorted(names[id(p)] for p in group["params"]) for group in groups]
    assert held == [["block2.0.weight", "head.weight"], ["block2.0.bias", "block2.1.bias", "block2.1.weight", "head.bias"]]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


def test_layer_decay_gives_each_stage_its_rate() -> None:
    detector = tiny()
    freeze(detector, 4)
    optimizer = make_optimizer(detector, recipe(layer_decay=0.5), 0.1)
    names = {id(p): name.split(".")[0] for name, p in detector.named_parameters()}
    rates = {names[id(p)]: (group["factor"], group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    assert rates == {"head": (1.0, 0.1), "block2": (0.5, 0.05), "block1": (0.25, 0.025), "stem": (0.125, 0.0125)}
    decayed = {names[id(p)] for g in optimizer.param_groups for p in g["params"] if g["weight_decay"] and p.ndim > 1}
    assert decayed == set(rates)
    assert all(p.ndim > 1 for g in optimizer.param_groups for p in g["params"] if g["weight_decay"])
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(detector.parameters()))


def test_layer_decay_scales_every_step_of_its_stage() -> None:
    """One step of SGD from the same gradient: what each stage moves is 0.5^k of what it moves without decay."""
    moved: dict[float, dict[str, torch.Tensor]] = {}
    for decay in (1.0, 0.5):
        detector = plain()
        before = {name: p.detach().clone() for name, p in detector.named_parameters()}
        settings = recipe(
            optimizer="sgd", lr=0.1, layer_decay=decay, clip_norm=0.0, batch_size=64, weight_decay=0.0, warmup_share=0.0
        )
        fit(detector, images(21), images(15, seed=1), settings, epochs=1, seed=0, runtime=RUNTIME, session=FakeSession())
        moved[decay] = {name: p.detach() - before[name] for name, p in detector.named_parameters()}
    below = {"head": 0, "block2": 1, "block1": 2, "stem": 3}
    for name, step in moved[0.5].items():
        assert step.abs().max() > 1e-7
        expected = moved[1.0][name] * 0.5 ** below[name.split(".")[0]]
        torch.testing.assert_close(step, expected, rtol=0, atol=5e-8)  # a few roundings of weights below 1


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
        fit(tiny(), train, val, recipe(schedule="head", flip=flip), epochs=5, seed=0, runtime=RUNTIME, session=FakeSession())
        assert (train.read, val.read) == (views * 21, 15)
    fit(tiny(), train, val, recipe(schedule="head", lr=0.3), epochs=5, seed=1, runtime=RUNTIME, session=FakeSession())
    assert (train.read, val.read) == (2 * 21, 15), "another trial on the same frozen body reads the mirror images alone"


def test_kept_features_give_what_computing_them_anew_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, anew = tiny(), tiny()
    one = run(kept, schedule="head", dropout=0.3, epochs=5)
    monkeypatch.setattr(features.FeatureCache, "fits", lambda *_: False)
    two = run(anew, schedule="head", dropout=0.3, epochs=5)
    np.testing.assert_allclose(one.val_logit, two.val_logit, rtol=0, atol=1e-5)
    assert [r.train_loss for r in one.history] == pytest.approx([r.train_loss for r in two.history], abs=1e-5)


def test_features_of_another_body_are_never_served() -> None:
    fresh = run(tiny(seed=7), schedule="head")
    features.SHARED.clear()
    run(tiny(seed=3), schedule="head")
    assert np.array_equal(run(tiny(seed=7), schedule="head").val_logit, fresh.val_logit)


# batches, loss, images


@given(st.integers(1, 70), st.integers(2, 16))
def test_batches_hold_every_image_once_and_none_is_alone(n: int, batch_size: int) -> None:
    order = torch.randperm(n)
    parts = batches(n, batch_size, order)
    assert torch.equal(torch.cat(parts), order)
    assert all(len(part) == batch_size for part in parts[:-2])
    assert all(2 <= len(part) <= batch_size + 1 for part in parts) or n == 1


def test_a_single_image_left_over_does_not_break_batchnorm() -> None:
    for size_px in (8, 1):  # at 1 px BatchNorm sees one value a channel where a batch has one image
        train, val = images(11, size_px=size_px), images(10, size_px=size_px)
        settings = recipe(schedule="full", batch_size=5)
        result = fit(tiny(size_px=size_px), train, val, settings, epochs=2, seed=0, runtime=RUNTIME, session=FakeSession())
        assert train.read == 2 * 11 and len(result.val_logit) == 10


def test_flips_are_of_the_probability_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = module.to_input

    def spy(detector: Any, pixels: Any, device: str, flip: torch.Tensor | None = None) -> torch.Tensor:
        if flip is not None:
            seen.append(flip)
        return original(detector, pixels, device, flip)

    monkeypatch.setattr(module, "to_input", spy)
    shares = {}
    for flip in (0.0, 0.3, 1.0):
        seen.clear()
        settings = recipe(schedule="full", flip=flip, batch_size=64)
        fit(tiny(), images(300), images(10), settings, epochs=2, seed=0, runtime=RUNTIME, session=FakeSession())
        shares[flip] = torch.cat(seen).float().mean().item()
    assert shares[0.0] == 0.0 and shares[1.0] == 1.0 and shares[0.3] == pytest.approx(0.3, abs=0.08)


def test_loss_is_the_cross_entropy_of_smoothed_targets() -> None:
    logits, label = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    p, y = 1 / (1 + np.exp(-logits.numpy().astype(float))), np.array([0.95, 0.05, 0.05])
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert bce(logits, label, 0.1).item() == pytest.approx(expected, abs=1e-6)
    assert bce(logits, label, 0.0).item() == pytest.approx(log_loss(label, p), abs=1e-6)


def test_clipping_bounds_the_step() -> None:
    """Plain SGD on one batch: the step is no longer than learning rate x clip_norm x (1 + momentum), Nesterov's first step."""
    moved = {}
    for clip_norm in (0.0, 0.001):
        detector = tiny()
        before = {name: p.detach().clone() for name, p in detector.named_parameters()}
        settings = recipe(
            optimizer="sgd", schedule="full", lr=0.1, clip_norm=clip_norm, batch_size=64, weight_decay=0.0, warmup_share=0.0
        )
        fit(detector, images(21), images(15, seed=1), settings, epochs=1, seed=0, runtime=RUNTIME, session=FakeSession())
        moved[clip_norm] = sum((p.detach() - before[name]).square().sum().item() for name, p in detector.named_parameters()) ** 0.5
    assert moved[0.001] == pytest.approx(0.1 * 0.001 * 1.9, rel=1e-3)
    assert moved[0.0] > 10 * moved[0.001]


# the best epoch and patience


def script(monkeypatch: pytest.MonkeyPatch, aucs: list[float], nlls: list[float] | None = None) -> None:
    """Let val AUC and NLL be these, epoch by epoch."""
    answers, losses = iter(aucs), iter(nlls or [0.5] * len(aucs))
    monkeypatch.setattr(module, "auc", lambda label, logit: next(answers))
    monkeypatch.setattr(module, "nll", lambda label, logit: next(losses))


@pytest.mark.parametrize(
    ("aucs", "nlls", "best"),
    [
        ([0.6, 0.8, 0.7], [0.1, 0.9, 0.1], 1),
        ([0.8, 0.8, 0.8], [0.3, 0.2, 0.4], 1),
        ([0.8, 0.8, 0.8], [0.3, 0.3, 0.3], 0),
        ([0.0, 0.0, 0.0], [0.5, 0.5, 0.4], 2),
    ],
)
def test_best_is_by_auc_then_nll_then_the_earlier(
    aucs: list[float], nlls: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, aucs, nlls)
    result = run(tiny(), epochs=3)
    assert (result.best_epoch, result.val_auc, result.val_nll) == (best, aucs[best], nlls[best])


@pytest.mark.parametrize(
    ("schedule", "patience", "aucs", "ran"),
    [
        ("full", 2, [0.5, 0.6, 0.5, 0.5, 0.9, 0.9], 4),
        ("full", 2, [0.5, 0.6, 0.5, 0.7, 0.6, 0.6], 6),
        ("full", 0, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5], 6),
        # head 2, last_stage 2, full 2: what happens before the last phase does not count
        ("progressive", 1, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5], 5),
        ("progressive", 2, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5], 6),
        ("progressive", 1, [0.9, 0.5, 0.5, 0.5, 0.95, 0.5], 6),
    ],
)
def test_patience_counts_in_the_last_phase(
    schedule: str, patience: int, aucs: list[float], ran: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, aucs)
    result = run(tiny(), schedule=schedule, patience=patience, epochs=6, head_share=0.34, last_stage_share=0.33)
    assert len(result.history) == ran and result.val_auc == max(aucs[:ran])


# what cannot be trained


def test_a_loss_that_is_not_finite_ends_the_fit() -> None:
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) in epoch 0 \(full, learning rate [\d.]+e\+\d+\): lower lr"):
        run(tiny(), lr=1e30, clip_norm=0.0, warmup_share=0.0)
    detector = tiny()
    torch.nn.init.constant_(detector.stem[0].weight, torch.nan)
    with pytest.raises(DivergedError):
        run(detector)


def test_val_logits_that_are_not_finite_end_the_fit() -> None:
    settings = recipe(lr=1e38, clip_norm=0.0, batch_size=64, warmup_share=0.0, optimizer="sgd", schedule="head")
    with pytest.raises(DivergedError, match=r"a logit on source val is not finite after epoch \d"):
        fit(tiny(), images(21), images(15), settings, epochs=2, seed=0, runtime=RUNTIME, session=FakeSession())


def one_class(pictures: FakeImages, label: int) -> FakeImages:
    pictures = copy.copy(pictures)
    pictures.label = np.full_like(pictures.label, label)
    return pictures


def test_a_split_without_both_classes_is_refused() -> None:
    for split, sets in (
        ("train", (one_class(images(21), 0), images(15))),
        ("val", (images(21), one_class(images(15), 1))),
    ):
        with pytest.raises(DataError, match=f"split {split} has"):
            fit(tiny(), *sets, recipe(), epochs=1, seed=0, runtime=RUNTIME, session=FakeSession())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="tiny sees 8 px, the val images have 16"):
        fit(tiny(), images(21), images(15, size_px=16), recipe(), epochs=1, seed=0, runtime=RUNTIME, session=FakeSession())


def test_no_epochs_are_refused() -> None:
    with pytest.raises(ConfigError, match="epochs = 0"):
        run(tiny(), epochs=0)


# precision


def test_bfloat16_trains_and_scores_in_float32() -> None:
    detector = tiny()
    runtime = dataclasses.replace(RUNTIME, precision="bfloat16")
    kinds: list[tuple[bool, torch.dtype]] = []
    detector.block1[0].register_forward_hook(lambda m, i, output: kinds.append((detector.training, output.dtype)))
    settings = recipe(batch_size=16, weight_decay=1e-4)
    result = fit(detector, images(120), images(60, seed=1), settings, epochs=8, seed=0, runtime=runtime, session=FakeSession())
    assert set(kinds) == {(True, torch.bfloat16), (False, torch.float32)}
    assert result.val_auc > 0.9 and {p.dtype for p in detector.parameters()} == {torch.float32}
