"""`study.evaluate` against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

import study
from study.core.errors import DataError


def test_values_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 300)
    score = rng.normal(label, 1.0).round(1)  # ties
    table = study.evaluate(label, score).set_index(["metric", "threshold"])
    assert table.loc[("auc", ""), "value"] == pytest.approx(
        metrics.roc_auc_score(label, score), abs=1e-12
    )
    assert table.loc[("ap", ""), "value"] == pytest.approx(
        metrics.average_precision_score(label, score), abs=1e-12
    )
    accuracy = table.loc[("accuracy", "fixed")]
    right = int(((score >= 0) == label).sum())
    assert accuracy["value"] == pytest.approx(right / 300)
    exact = binomtest(right, 300).proportion_ci(0.95, method="exact")
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert {*table["n_real"]} == {300 - label.sum()}


def test_groups_widen_intervals() -> None:
    rng = np.random.default_rng(5)
    label = np.repeat(rng.integers(0, 2, 40), 10)
    score = np.repeat(rng.normal(label[::10], 1.0), 10) + rng.normal(0, 0.1, 400)
    alone = study.evaluate(label, score).set_index(["metric", "threshold"])
    grouped = study.evaluate(label, score, groups=np.repeat(np.arange(40), 10))
    grouped = grouped.set_index(["metric", "threshold"])

    def width(table: object) -> float:
        row = table.loc[("auc", "")]  # type: ignore[attr-defined]
        return float(row["high"] - row["low"])

    assert width(grouped) > 2 * width(alone)


@pytest.mark.parametrize(
    ("label", "score", "groups", "words"),
    [
        ([0, 1], [0.1], None, r"shape \(2,\) and scores \(1,\)"),
        ([0, 2], [0.1, 0.2], None, "label 2 at 1 must be 0"),
        ([0, 1], [0.1, np.nan], None, "score nan at 1 is not finite"),
        ([0, 1], [0.1, 0.2], ["a"], "1 groups for 2 images"),
    ],
)
def test_what_does_not_fit_is_refused(
    label: list[int], score: list[float], groups: list[str] | None, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        study.evaluate(label, score, groups=groups)


def test_one_class_is_undefined_with_a_reason() -> None:
    table = study.evaluate([1, 1, 1], [0.1, 0.2, 0.3]).set_index(["metric", "threshold"])
    row = table.loc[("auc", "")]
    assert np.isnan(row["value"])
    assert row["undefined"] == "no real images"
