"""Heads of many draws at once, against scikit-learn and against heads trained alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from study.core.identity import derive_seed
from study.detectors.base import make_head
from study.training.drawn_heads import Sample, gradient_heads, logistic_heads
from study.training.head_stack import train_heads
from tests.training.test_head_stack import (
    EPOCHS,
    LABEL,
    RUNTIME,
    STRAIGHT,
    VAL,
    VAL_LABEL,
    VIEWS,
    N,
    head,
)

DRAWN = np.random.default_rng(5)
HALVES = [np.flatnonzero(DRAWN.random(N) < 0.5) for _ in range(3)]
PERMUTED = [DRAWN.permutation(LABEL) for _ in range(3)]
SAMPLES = [Sample(rows=rows, label=LABEL, val_label=VAL_LABEL) for rows in HALVES]
NULLS = [
    Sample(rows=np.arange(N), label=label, val_label=DRAWN.permutation(VAL_LABEL))
    for label in PERMUTED
]


def on_rows(x: Tensor, rows: Any) -> Tensor:
    return x[torch.from_numpy(rows)]


@pytest.mark.parametrize("samples", [SAMPLES, NULLS])
def test_logistic_heads_are_those_of_scikit_learn(samples: list[Sample]) -> None:
    scaler = StandardScaler().fit(STRAIGHT.numpy().astype(np.float64))
    x = scaler.transform(STRAIGHT.numpy().astype(np.float64))
    found = logistic_heads(STRAIGHT, samples, 0.3, None)
    for k, sample in enumerate(samples):
        model = LogisticRegression(C=0.3, tol=1e-10, max_iter=5000)
        model.fit(x[sample.rows], sample.label[sample.rows])
        ours = STRAIGHT.numpy() @ found.weights[k] + found.biases[k]
        assert ours == pytest.approx(model.decision_function(x), abs=2e-4)


def test_strata_weigh_alike_within_a_sample() -> None:
    strata = LABEL.astype(np.int64)
    sample = replace(SAMPLES[0], strata=strata)
    scaler = StandardScaler().fit(
        STRAIGHT.numpy().astype(np.float64),
        sample_weight=np.where(LABEL == 1, 0.5 / LABEL.mean(), 0.5 / (1 - LABEL.mean())),
    )
    x = scaler.transform(STRAIGHT.numpy().astype(np.float64))
    rows = sample.rows
    model = LogisticRegression(C=0.3, tol=1e-10, max_iter=5000, class_weight="balanced")
    model.fit(x[rows], LABEL[rows])
    found = logistic_heads(STRAIGHT, [sample], 0.3, strata)
    ours = STRAIGHT.numpy() @ found.weights[0] + found.biases[0]
    assert ours == pytest.approx(model.decision_function(x), abs=2e-4)


def test_gradient_heads_are_those_that_are_trained_alone() -> None:
    one = head(flip=0.5)
    samples = [SAMPLES[0], NULLS[0], SAMPLES[1], NULLS[1]]
    found = gradient_heads(VIEWS, VAL, samples, one, epochs=EPOCHS, runtime=RUNTIME)
    for k, sample in enumerate(samples):
        seed = one.seed if k % 2 else derive_seed(one.seed, "half", k)
        torch.manual_seed(derive_seed(one.seed, "start", k))
        begun = make_head(VIEWS[0].shape[1], 0)
        weight, bias = (of.detach() for of in begun.parameters())
        (alone,) = train_heads(
            [on_rows(view, sample.rows) for view in VIEWS],
            VAL,
            sample.val_label,
            [
                replace(
                    one,
                    seed=seed,
                    weight=weight[0],
                    bias=float(bias),
                    label=sample.label[sample.rows],
                )
            ],
            epochs=EPOCHS,
            runtime=RUNTIME,
        )
        assert np.array_equal(found.weights[k], alone.weights[alone.best_epoch])
        assert found.biases[k] == alone.biases[alone.best_epoch]
    assert found.errors == ("",) * 4


def test_heads_of_draws_begin_apart() -> None:
    """So that what the starting weights decide is in the difference of two halves."""
    still = head(lr=1e-12)
    found = gradient_heads(VIEWS, VAL, [SAMPLES[0], *NULLS], still, epochs=1, runtime=RUNTIME)
    begun = [*found.weights, still.weight.numpy()]
    for k, one in enumerate(begun):
        assert all(np.abs(one - other).max() > 1e-3 for other in begun[:k])
    state = torch.get_rng_state()
    gradient_heads(VIEWS, VAL, SAMPLES[:1], still, epochs=1, runtime=RUNTIME)
    assert torch.equal(state, torch.get_rng_state())


def test_a_head_that_diverges_leaves_the_others_theirs() -> None:
    wild = head(lr=1e30, optimizer="sgd", clip_norm=0.0)
    found = gradient_heads(VIEWS, VAL, SAMPLES[:1], wild, epochs=EPOCHS, runtime=RUNTIME)
    assert np.isnan(found.weights).all()
    assert np.isnan(found.biases).all()
    assert found.errors[0]
