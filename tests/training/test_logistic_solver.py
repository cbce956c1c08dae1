"""Logistic regressions by the stack, against scikit-learn's and against the gradient itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from study.training.logistic_solver import MANY, TOLERANCE, solve

Array = NDArray[np.float64]


def problem(n: int, width: int, *, seed: int = 0) -> tuple[Array, Array]:
    """Standardised features that share a few directions, as those of a network do, and labels."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    x = rng.normal(size=(n, width)) * np.arange(1, width + 1) ** -0.5
    x = x @ np.linalg.qr(rng.normal(size=(width, width)))[0]
    x += np.outer(label, rng.normal(size=width) * x.std() / 2)
    return StandardScaler().fit_transform(x), label.astype(np.float64)


def solved(x: Array, label: Array, strength: Array, weight: Array | None = None) -> Any:
    given = (torch.from_numpy(np.asarray(a)) for a in (x, label, strength))
    found = solve(*given, None if weight is None else torch.from_numpy(weight))
    return tuple(one.numpy() for one in found)


def gradient(
    x: Array, label: Array, strength: float, of_image: Array | float, head: Array, bias: float
) -> Array:
    """That of the mean loss, written out."""
    error = (expit(x @ head + bias) - label) * of_image
    total = float(np.sum(np.broadcast_to(of_image, len(x))))
    return np.append((x.T @ error + head / strength) / total, error.sum() / total)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("shape", [(300, 80), (90, 200)], ids=["more images", "more features"])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e4, 1e7])
def test_the_gradient_is_zero(
    strength: float, shape: tuple[int, int], count: int, weighted: bool
) -> None:
    """Also where nothing but the penalty keeps the weights finite: scikit-learn's own tolerance
    stops far from the minimum there.
    """
    x, label = problem(*shape)
    of_image = np.random.default_rng(1).uniform(0.5, 1.5, len(x)) if weighted else None
    heads, biases = solved(x, np.tile(label, (count, 1)), np.full(count, strength), of_image)
    for head, bias in zip(heads, biases, strict=True):
        left = gradient(x, label, strength, 1.0 if of_image is None else of_image, head, bias)
        assert np.abs(left).max() < 1.1 * TOLERANCE


@pytest.mark.parametrize("count", [3, 70])
def test_each_is_scikit_learns(count: int) -> None:
    """Of several strengths, labels and weights at once; 70 are more than one chunk."""
    x, label = problem(200, 30)
    rng = np.random.default_rng(2)
    labels = np.stack([rng.permutation(label) for _ in range(count)])
    weights = rng.integers(0, 3, (count, len(x))).astype(np.float64)
    strengths = 10.0 ** rng.uniform(-3, 2, count)
    heads, biases = solved(x, labels, strengths, weights)
    for n in range(count):
        model = LogisticRegression(C=strengths[n], solver="newton-cholesky", tol=1e-12)
        model.fit(x, labels[n], weights[n])
        np.testing.assert_allclose(heads[n], model.coef_[0], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(biases[n], model.intercept_[0], rtol=1e-5, atol=1e-7)


def test_those_of_few_and_of_many_agree() -> None:
    x, label = problem(300, 80)
    rng = np.random.default_rng(3)
    labels = np.stack([rng.permutation(label) for _ in range(MANY)])
    many, biases = solved(x, labels, np.full(MANY, 10.0))
    alone, bias = solved(x, labels[:1], np.array([10.0]))
    np.testing.assert_allclose(many[0], alone[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(biases[0], bias[0], rtol=1e-6, atol=1e-8)


def test_features_that_do_not_vary_have_no_weight() -> None:
    """Their columns are 0 once they are standardised."""
    x, label = problem(100, 10)
    x[:, 4] = 0
    for count in (1, MANY):
        heads, _ = solved(x, np.tile(label, (count, 1)), np.full(count, 1.0))
        np.testing.assert_allclose(heads[:, 4], 0, atol=1e-12)
    heads, biases = solved(0 * x, label[None], np.ones(1))
    assert np.array_equal(heads, np.zeros((1, 10))) and abs(biases[0]) < 1e-9


def test_the_same_call_has_the_same_bits() -> None:
    x, label = problem(300, 80)
    for count in (1, 5, MANY):
        first, again = (solved(x, np.tile(label, (count, 1)), np.ones(count)) for _ in range(2))
        assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
