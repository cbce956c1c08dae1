"""Heads as rows of a matrix, against torch.optim one by one, written out here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from study.core.identity import derive_seed
from study.training import head_stack
from study.training.balance import epoch_order
from study.training.head_stack import Head, train_heads
from study.training.outcomes import Trained
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import learning_rate, warmed_up

N, D, M, EPOCHS = 150, 37, 60, 4
RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
DRAW = np.random.default_rng(0)
LABEL = (DRAW.random(N) < 0.4).astype(np.uint8)
VAL_LABEL = (DRAW.random(M) < 0.5).astype(np.uint8)


def features(n: int, label: NDArray[np.uint8], seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    signal = label[:, None] * np.random.default_rng(7).normal(size=D)
    return torch.from_numpy((rng.normal(size=(n, D)) + 0.4 * signal).astype(np.float32))


STRAIGHT = features(N, LABEL, 1)
VIEWS = [STRAIGHT, STRAIGHT + 0.3 * features(N, LABEL, 2)]
VAL = features(M, VAL_LABEL, 3)


def head(seed: int = 0, *, shuffled: int | None = None, strata: Any = None, **recipe: Any) -> Head:
    """A head as built; its labels permuted where `shuffled` is given."""
    settings = {"schedule": "head", "lr": 0.02, "batch_size": 16, "patience": 0, **recipe}
    draw = torch.Generator().manual_seed(shuffled or 0)
    label = LABEL if shuffled is None else np.random.default_rng(shuffled).permutation(LABEL)
    return Head(
        recipe=Recipe.from_params(settings),
        seed=seed,
        weight=0.01 * torch.randn(D, generator=draw),
        bias=0.0,
        label=label,
        strata=strata,
    )


def train(heads: Sequence[Head], *, epochs: int = EPOCHS, **runtime: Any) -> list[Trained]:
    return train_heads(
        VIEWS, VAL, VAL_LABEL, heads, epochs=epochs, runtime=replace(RUNTIME, **runtime)
    )


def one_by_one(head: Head, precision: str = "float32") -> list[tuple[float, float, Any, Tensor]]:
    """Train a head by torch.optim; each epoch's loss, rate, val logits and parameters."""
    recipe, linear = head.recipe, torch.nn.Linear(D, 1)
    with torch.no_grad():
        linear.weight.copy_(head.weight[None])
        linear.bias.fill_(head.bias)
    groups = [
        {"params": [linear.weight], "weight_decay": recipe.weight_decay},
        {"params": [linear.bias], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=recipe.lr),
        "adam": lambda: torch.optim.Adam(groups, lr=recipe.lr),
        "sgd": lambda: torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True),
    }[recipe.optimizer]()
    watched = ReduceLROnPlateau(
        torch.optim.SGD([torch.zeros(1)], lr=1.0),
        mode="max",
        factor=recipe.plateau_factor,
        patience=recipe.plateau_patience,
        threshold=0,
    )
    label = torch.from_numpy(head.label.astype(np.float32))
    of_class = torch.where(label > 0, 0.5 / label.mean(), 0.5 / (1 - label.mean()))
    weight = of_class if recipe.loss == "balanced_bce" else torch.ones_like(label)
    found = []
    for epoch in range(EPOCHS):
        torch.manual_seed(derive_seed("layers", head.seed, epoch))
        draw = torch.Generator().manual_seed(derive_seed("images", head.seed, epoch))
        order = epoch_order(N, head.strata, draw)
        flip = torch.rand(N, generator=draw) < recipe.flip
        cuts = [torch.arange(N)[i : i + recipe.batch_size] for i in range(0, N, recipe.batch_size)]
        total, highest = 0.0, 0.0
        for number, cut in enumerate(cuts, start=epoch * len(cuts)):
            steps = (recipe.lr, number, len(cuts) * EPOCHS, recipe.warmup_share)
            rate = learning_rate(*steps) if recipe.lr_schedule == "cosine" else warmed_up(*steps)
            rate *= watched.get_last_lr()[0] if recipe.lr_schedule == "plateau" else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate
            image = order[cut]
            turned = flip[image if head.strata is None else cut]
            x = torch.where(turned[:, None], VIEWS[1][image], VIEWS[0][image])
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                logit = linear(F.dropout(x, recipe.dropout)).squeeze(1)
            target = label[image] * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
            loss = F.binary_cross_entropy_with_logits(logit.float(), target, weight[image])
            loss.backward()
            if recipe.clip_norm:
                torch.nn.utils.clip_grad_norm_(linear.parameters(), recipe.clip_norm)
            optimizer.step()
            total += loss.item() * len(cut)
            highest = max(highest, rate)
        with torch.no_grad():
            scores = linear(VAL).squeeze(1).numpy()
        watched.step(roc_auc_score(VAL_LABEL, scores))
        found.append((total / N, highest, scores, linear.weight.detach().clone()[0]))
    return found


STRATA = np.arange(N) % 7 // 5 + 2 * LABEL.astype(np.int64)
RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {"weight_decay": 0.3},
    "adam": {"optimizer": "adam", "weight_decay": 0.3},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.1, "lr": 0.1},
    "flip": {"flip": 0.0},
    "always mirrored": {"flip": 1.0},
    "dropout": {"dropout": 0.4},
    "smoothed": {"label_smoothing": 0.2},
    "balanced": {"loss": "balanced_bce"},
    "clipped": {"clip_norm": 0.05},
    "not clipped": {"clip_norm": 0.0},
    "warm-up": {"warmup_share": 0.5, "lr_schedule": "constant"},
    "plateau": {"lr_schedule": "plateau", "plateau_patience": 0, "lr": 0.5},
    "batches of 50": {"batch_size": 50},
    "one left over": {"batch_size": 149},
}


def test_each_is_what_torch_optim_makes_of_it() -> None:
    """All recipes in one call, two label permutations and two seeds of each, and balanced draws."""
    heads = [
        head(seed, shuffled=shuffled, **recipe)
        for recipe in RECIPES.values()
        if recipe.get("batch_size") != 149
        for seed in (0, 1)
        for shuffled in (None, 5)
    ] + [head(strata=STRATA), head(strata=STRATA, loss="balanced_bce", flip=0.5)]
    heads[-1] = replace(heads[-1], recipe=replace(heads[-1].recipe, loss="bce"))
    for one, trained in zip(heads, train(heads), strict=True):
        expected = one_by_one(one)
        best = trained.best_epoch
        assert not trained.error and len(trained.history) == EPOCHS
        for record, weight, (loss, rate, scores, found) in zip(
            trained.history, trained.weights, expected, strict=True
        ):
            assert record.train_loss == pytest.approx(loss, abs=1e-5)
            assert record.learning_rate == pytest.approx(rate, rel=1e-12)
            assert record.val_auc == pytest.approx(roc_auc_score(VAL_LABEL, scores), abs=2e-3)
            nll = log_loss(VAL_LABEL, 1 / (1 + np.exp(-scores.astype(np.float64))))
            assert record.val_nll == pytest.approx(nll, abs=1e-5)
            np.testing.assert_allclose(weight, found.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(trained.logit, expected[best][2], rtol=0, atol=1e-5)
        order = [(r.val_auc, -r.val_nll) for r in trained.history]
        assert best == order.index(max(order))


def test_a_single_image_left_over_joins_the_batch_before() -> None:
    """150 images in batches of 149 are one batch, and so one step an epoch."""
    (trained,) = train([head(batch_size=149, warmup_share=0.0)], epochs=1)
    assert trained.history[0].learning_rate == 0.02
    (whole,) = train([head(batch_size=150, warmup_share=0.0)], epochs=1)
    np.testing.assert_array_equal(trained.weights, whole.weights)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_head_does_not_see_the_others(
    precision: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits alone, with six others and with 39, in another place, in other chunks."""
    torch.set_num_threads(threads)
    recipe = {"flip": 0.5, "dropout": 0.2, "clip_norm": 0.5}
    heads = [head(shuffled=n, lr=0.01 * (1 + n % 3), **recipe) for n in range(1, 41)]
    monkeypatch.setattr(head_stack, "AT_ONCE", 24)
    whole = train(heads, precision=precision)
    for some in ([4], [39], [7, 8, 9, 10, 4, 39, 0], list(range(40))[::-1]):
        for n, found in zip(
            some, train([heads[n] for n in some], precision=precision), strict=True
        ):
            assert np.array_equal(found.weights, whole[n].weights)
            assert np.array_equal(found.biases, whole[n].biases)
            assert np.array_equal(found.logit, whole[n].logit)
            assert [replace(r, seconds=0) for r in found.history] == [
                replace(r, seconds=0) for r in whole[n].history
            ]


def test_in_bfloat16_it_is_the_loops_up_to_rounding() -> None:
    (trained,) = train([head(flip=0.5)], precision="bfloat16")
    expected = one_by_one(head(flip=0.5), "bfloat16")
    plain = one_by_one(head(flip=0.5))
    np.testing.assert_allclose(trained.weights[-1], expected[-1][3].numpy(), rtol=0, atol=2e-3)
    assert not np.allclose(trained.weights[-1], plain[-1][3].numpy(), rtol=0, atol=1e-6)


def test_patience_ends_one_and_not_the_others() -> None:
    heads = [head(lr=3.0, patience=1), head(shuffled=3), head(shuffled=4, lr=5.0, patience=2)]
    for one, trained in zip(heads, train(heads, epochs=8), strict=True):
        order = [(r.val_auc, -r.val_nll) for r in trained.history]
        since = len(order) - 1 - order.index(max(order))
        if one.recipe.patience:
            assert since == one.recipe.patience or len(order) == 8
        else:
            assert len(order) == 8
    assert any(len(trained.history) < 8 for trained in train(heads, epochs=8))


def test_one_that_diverges_leaves_the_others_as_they_are() -> None:
    wild = head(lr=1e30, optimizer="adamw", weight_decay=1e10, clip_norm=0)
    calm = head(shuffled=2)
    broken, beside = train([wild, calm])
    (alone,) = train([calm])
    assert "the loss is" in broken.error and "lower lr or clip_norm" in broken.error
    assert broken.best_epoch < len(broken.history) or not broken.history
    assert np.array_equal(alone.weights, beside.weights) and not beside.error
