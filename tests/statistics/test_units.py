"""Unit level: the mean probability of a unit's images, as a logit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from study.core.errors import ScoreError
from study.statistics import metrics
from study.statistics.units import has_units, to_units

VIDEOS = {
    "label": [0, 1, 0, 1, 1],
    "unit": ["b", "a", "b", "a", "c"],
    "group": ["y", "x", "y", "x", "x"],
}


def test_a_unit_has_the_mean_probability_of_its_images(make_scores):
    logit = [0.5, 2.0, -1.5, -3.0, 0.7]
    scores = make_scores(logit=logit, method=["r", "m", "r", "m", "m"], **VIDEOS)
    units = to_units(scores)
    assert has_units(scores) and not has_units(units)
    assert units.sample_id.tolist() == units.unit.tolist() == ["a", "b", "c"]
    assert units.label.tolist() == [1, 0, 1]
    assert units.group.tolist() == ["x", "y", "x"] and units.method.tolist() == ["m", "r", "m"]
    p = metrics.sigmoid(scores.logit)
    expected = [(p[1] + p[3]) / 2, (p[0] + p[2]) / 2, p[4]]
    np.testing.assert_allclose(metrics.sigmoid(units.logit), expected, rtol=1e-6)
    assert units.logit.dtype == np.float32 and units.label.dtype == np.uint8
    assert units.listed == 3 and units.coverage == 1


def test_saturated_scores_stay_finite_and_keep_their_order(make_scores):
    label = [1] * 8
    unit = ["a", "a", "b", "b", "c", "c", "d", "d"]
    units = to_units(
        make_scores(label, [90, 100, 200, 210, -90, -100, 3e38, 3e38], group=unit, unit=unit)
    )
    assert np.isfinite(units.logit).all()
    a, b, c, d = units.logit
    assert c < a < b < d
    assert a == pytest.approx(90 + np.log(2), rel=1e-6) and c == pytest.approx(
        -90 - np.log(2), rel=1e-6
    )


def test_scores_that_float32_cannot_hold_stay_finite(make_scores):
    """A detector that was run elsewhere may give any finite float64."""
    unit = ["a", "a", "b", "b", "c"]
    scores = replace(
        make_scores([1, 1, 0, 0, 1], np.zeros(5), group=unit, unit=unit),
        logit=np.array([1e39, 1e200, 1.0, 1.0, 7e38]),
    )
    units = to_units(scores)
    assert units.logit.dtype == np.float64
    # p(real) of the mean is half of the larger one's
    assert units.logit.tolist() == pytest.approx([1e39, 1.0, 7e38])


def test_single_images_keep_their_logit_to_the_bit(make_scores):
    logit = np.random.default_rng(0).normal(size=50).astype(np.float32) * 1e-12
    scores = make_scores([0, 1] * 25, logit)
    assert not has_units(scores)
    assert (to_units(scores).logit == scores.logit).all()


def test_nothing_gives_nothing(make_scores):
    assert len(to_units(make_scores([], [])).logit) == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [("label", [0, 1, 0, 1, 1]), ("group", list("xxyyz")), ("method", list("mmnmm"))],
)
def test_a_unit_of_two_kinds_is_an_error(make_scores, name, values):
    columns = {
        "label": [1] * 5,
        "group": ["x"] * 5,
        "method": ["m"] * 5,
        "unit": ["a", "b", "b", "a", "c"],
    } | {name: values}
    with pytest.raises(ScoreError, match=f"unit '[ab]' holds images that differ in {name}"):
        to_units(make_scores(logit=np.zeros(5), **columns))


def test_a_score_that_is_not_finite_names_its_image(make_scores):
    with pytest.raises(ScoreError, match=r"set/00001\.png"):
        to_units(make_scores([1, 1], [0, np.inf], group=["a", "a"], unit=["a", "a"]))
