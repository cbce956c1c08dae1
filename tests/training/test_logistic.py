"""The logistic learner: scikit-learn's pipeline, folded into the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.core.errors import DivergedError
from study.detectors import registry
from study.detectors.base import Detector
from study.search.spaces import load_space
from study.training.features import compute_features
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import score
from tests.contract.stand_ins import make_case
from tests.training.fakes import FakeSession, images


def spectrum() -> Detector:
    return registry.build(
        registry.resolve("spectrum", options={"size_px": 16}, weights_root=None),
        weights_root=None,
        seed=0,
    )


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_equals_the_pipelines_decision_function(strength: float, runtime: TorchRuntime) -> None:
    train, val, detector, session = (
        images(60, size_px=16),
        images(31, seed=1, size_px=16),
        spectrum(),
        FakeSession(),
    )
    recipe = Recipe.from_params({"C": strength}, learner="logistic")
    result = fit(detector, train, val, recipe, epochs=5, seed=0, runtime=runtime, session=session)

    x, y = (compute_features(detector, s, runtime=runtime).double().numpy() for s in (train, val))
    # another way to the same minimum
    by_newton = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12)
    pipeline = make_pipeline(StandardScaler(), by_newton).fit(x, train.label)
    expected = pipeline.decision_function(y)
    np.testing.assert_allclose(result.val_logit, expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(score(detector, val, runtime=runtime), result.val_logit), (
        "the head is folded in, bit for bit"
    )
    assert result.val_auc == pytest.approx(roc_auc_score(val.label, result.val_logit))
    assert result.val_nll == pytest.approx(
        log_loss(val.label, 1 / (1 + np.exp(-expected))), abs=1e-3
    )
    assert result.val_auc > 0.95 and result.val_logit.dtype == np.float32
    assert (result.best_epoch, len(result.history), session.records) == (0, 1, list(result.history))
    assert result.history[0].phase == "logistic"


def test_it_is_the_same_whatever_the_seed(runtime: TorchRuntime) -> None:
    logits = []
    for seed in (0, 1):
        spec = registry.resolve("spectrum", options={"size_px": 16}, weights_root=None)
        detector = registry.build(spec, weights_root=None, seed=seed)
        train, val = images(40, size_px=16), images(20, seed=1, size_px=16)
        logits.append(
            fit(
                detector,
                train,
                val,
                Recipe(),
                epochs=1,
                seed=seed,
                runtime=runtime,
                session=FakeSession(),
            ).val_logit
        )
    assert np.array_equal(*logits)


def test_images_without_variation_are_no_obstacle(runtime: TorchRuntime) -> None:
    train, val = images(20, size_px=16), images(20, seed=1, size_px=16)
    train.pixels[:] = 128
    result = fit(
        spectrum(), train, val, Recipe(), epochs=1, seed=0, runtime=runtime, session=FakeSession()
    )
    assert np.isfinite(result.val_logit).all()


def test_features_that_are_not_finite_name_their_image(runtime: TorchRuntime) -> None:
    train, val, detector = images(20, size_px=16), images(20, seed=1, size_px=16), spectrum()
    detector.get_buffer("_weight")[3] = torch.nan
    with pytest.raises(DivergedError, match=r"features of set/0000\.png are not finite"):
        fit(
            detector, train, val, Recipe(), epochs=1, seed=0, runtime=runtime, session=FakeSession()
        )


def test_a_frozen_baseline_reaches_its_minimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: TorchRuntime
) -> None:
    """The default configuration of a linear probe: no other head has a lower penalised loss, found
    by another solver.
    """
    case = make_case("dinov2_linear", tmp_path, monkeypatch)
    detector = case.build()
    params = load_space("dinov2_linear").default()
    train, val = (images(n, seed=n, size_px=detector.spec.geometry.size_px) for n in (24, 8))
    fit(
        detector,
        train,
        val,
        Recipe.from_params(params, learner="logistic"),
        epochs=6,
        seed=0,
        runtime=runtime,
        session=FakeSession(),
    )
    features = compute_features(detector, train, runtime=runtime).double().numpy()
    scaler = StandardScaler().fit(features)
    x, sign = scaler.transform(features), np.where(train.label > 0, 1.0, -1.0)

    def loss(head: NDArray[np.float64]) -> float:
        penalty = 0.5 * float(head[:-1] @ head[:-1])
        return (
            float(params["C"]) * float(np.logaddexp(0, -sign * (x @ head[:-1] + head[-1])).sum())
            + penalty
        )

    weight, bias = detector.head.weight.detach().double().numpy()[0], detector.head.bias.item()
    found = np.append(weight * scaler.scale_, bias + weight @ scaler.mean_)
    best = minimize(loss, np.zeros(len(found)), method="BFGS", options={"gtol": 1e-8})
    assert loss(found) == pytest.approx(best.fun, rel=1e-4)
    assert best.fun < 0.99 * loss(np.zeros(len(found)))
