"""The training loop: it learns, it repeats itself, it keeps the best epoch, it says what cannot be
trained.
"""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from study.core.errors import ConfigError, DataError, DivergedError
from study.training.fit import fit, identity_of
from study.training.recipe import OPTIMIZERS
from study.training.score import score
from tests.training.fakes import FakeImages, FakeSession, images, tiny
from tests.training.small_fits import RUNTIME, recipe, run, same, script

# learning


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_learns(optimizer: str) -> None:
    train, val = images(120), images(60, seed=1)
    lr = 0.3 if optimizer == "sgd" else 0.02
    settings = recipe(optimizer=optimizer, lr=lr, batch_size=16, weight_decay=1e-4)
    result = fit(
        tiny(), train, val, settings, epochs=8, seed=0, runtime=RUNTIME, session=FakeSession()
    )
    assert result.val_auc > 0.95
    assert result.history[-1].train_loss < 0.6 * result.history[0].train_loss


def test_labels_without_a_trace_teach_nothing() -> None:
    train, val = images(120, amplitude=0), images(400, seed=1, amplitude=0)
    settings = recipe(batch_size=16, flip=0.0)
    result = fit(
        tiny(), train, val, settings, epochs=3, seed=0, runtime=RUNTIME, session=FakeSession()
    )
    # three standard errors at 160 and 240 images
    assert all(abs(record.val_auc - 0.5) < 0.1 for record in result.history)


def test_the_result_is_the_best_epochs_and_the_detector_holds_it() -> None:
    detector, val = tiny(), images(15, seed=1)
    result = run(detector, epochs=6)
    goodness = [(record.val_auc, -record.val_nll) for record in result.history]
    assert result.best_epoch == goodness.index(max(goodness))
    assert np.array_equal(score(detector, val, runtime=RUNTIME), result.val_logit)
    assert result.val_auc == pytest.approx(roc_auc_score(val.label, result.val_logit))
    assert result.val_nll == pytest.approx(
        log_loss(val.label, 1 / (1 + np.exp(-result.val_logit.astype(float))))
    )
    assert not detector.training


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    pairs = []
    for seed in (0, 0, 1):
        # whatever ran before in this process
        torch.manual_seed(np.random.default_rng().integers(1 << 30))
        detector = tiny()
        torch.manual_seed(np.random.default_rng().integers(1 << 30))
        pairs.append((detector, run(detector, seed=seed, dropout=0.2)))
    assert same(pairs[0], pairs[1]) and not same(pairs[0], pairs[2])


# the best epoch and patience


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
    result = run(
        tiny(),
        schedule=schedule,
        patience=patience,
        epochs=6,
        head_share=0.34,
        last_stage_share=0.33,
    )
    assert len(result.history) == ran and result.val_auc == max(aucs[:ran])


@pytest.mark.parametrize(
    ("patience", "plateau_patience", "aucs", "rates"),
    [
        # four epochs that are no better lower the rate, and three more at the lower one end the fit
        (3, 3, [0.5, 0.9] + [0.5] * 10, [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
        (
            3,
            3,
            [0.5, 0.9] + [0.5] * 5 + [0.95] + [0.5] * 4,
            [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        ),
        (1, 0, [0.9, 0.5, 0.5, 0.5], [1, 1, 0.5]),
        (0, 0, [0.9, 0.5, 0.5, 0.5], [1, 1, 0.5, 0.25]),
    ],
)
def test_patience_gives_a_plateaus_lower_rate_its_epochs(
    patience: int,
    plateau_patience: int,
    aucs: list[float],
    rates: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script(monkeypatch, aucs)
    settings = {
        "lr_schedule": "plateau",
        "plateau_factor": 0.5,
        "plateau_patience": plateau_patience,
        "warmup_share": 0.0,
    }
    result = run(tiny(), patience=patience, lr=0.01, epochs=len(aucs), **settings)
    assert [record.learning_rate for record in result.history] == pytest.approx(
        [0.01 * rate for rate in rates]
    )


@pytest.mark.parametrize(
    ("aucs", "ran"),
    [
        # the head's epoch stays the best: the rate falls when the last phase is no better than
        # itself, and not before
        ([0.95, *[0.80, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89]], 11),
        # lowered after four more, then two
        ([0.95, *[0.90, 0.80, 0.80, 0.80, 0.80, 0.80, 0.80, 0.80, 0.80, 0.80]], 8),
        # a better epoch begins the count anew
        ([0.95, *[0.80, 0.80, 0.96, 0.80, 0.80, 0.80, 0.80, 0.80, 0.80, 0.80]], 10),
    ],
)
def test_patience_waits_for_the_last_phases_own_plateau(
    aucs: list[float], ran: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, aucs)
    settings = {
        "lr_schedule": "plateau",
        "plateau_factor": 0.5,
        "plateau_patience": 3,
        "warmup_share": 0.0,
    }
    result = run(tiny(), schedule="lp_ft", patience=2, epochs=11, head_share=0.09, **settings)
    assert len(result.history) == ran


# what a checkpoint belongs to


def test_a_checkpoint_belongs_to_one_kind_of_device() -> None:
    def identity(device: str) -> str:
        runtime = dataclasses.replace(RUNTIME, device=device)
        return identity_of(
            tiny().spec,
            images(21),
            images(15),
            recipe(),
            epochs=2,
            seed=0,
            runtime=runtime,
            workers=1,
        )

    assert identity("cuda") == identity("cuda:1") != identity("cpu")


# what cannot be trained


def test_a_loss_that_is_not_finite_ends_the_fit() -> None:
    with pytest.raises(
        DivergedError,
        match=r"the loss is (nan|inf) in epoch 0 \(full, learning rate [\d.]+e\+\d+\): lower lr",
    ):
        run(tiny(), lr=1e30, clip_norm=0.0, warmup_share=0.0)
    detector = tiny()
    torch.nn.init.constant_(detector.stem[0].weight, torch.nan)
    with pytest.raises(DivergedError):
        run(detector)


def test_val_logits_that_are_not_finite_end_the_fit() -> None:
    settings = recipe(
        lr=1e38, clip_norm=0.0, batch_size=64, warmup_share=0.0, optimizer="sgd", schedule="head"
    )
    with pytest.raises(DivergedError, match=r"a logit on source val is not finite after epoch \d"):
        fit(
            tiny(),
            images(21),
            images(15),
            settings,
            epochs=2,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )


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
        fit(
            tiny(),
            images(21),
            images(15, size_px=16),
            recipe(),
            epochs=1,
            seed=0,
            runtime=RUNTIME,
            session=FakeSession(),
        )


def test_no_epochs_are_refused() -> None:
    with pytest.raises(ConfigError, match="epochs = 0"):
        run(tiny(), epochs=0)


# precision


def test_bfloat16_trains_and_scores_in_float32() -> None:
    detector = tiny()
    runtime = dataclasses.replace(RUNTIME, precision="bfloat16")
    kinds: list[tuple[bool, torch.dtype]] = []
    detector.block1[0].register_forward_hook(
        lambda m, i, output: kinds.append((detector.training, output.dtype))
    )
    settings = recipe(batch_size=16, weight_decay=1e-4)
    result = fit(
        detector,
        images(120),
        images(60, seed=1),
        settings,
        epochs=8,
        seed=0,
        runtime=runtime,
        session=FakeSession(),
    )
    assert set(kinds) == {(True, torch.bfloat16), (False, torch.float32)}
    assert result.val_auc > 0.9 and {p.dtype for p in detector.parameters()} == {torch.float32}
