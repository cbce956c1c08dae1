"""Which winner `study.predict` takes, and what it says of videos; made-up rows and scores."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from study.analysis.predictions import Prediction, Rule, of_frames
from study.analysis.results import DatasetRow, PairRow, ResultRow
from study.analysis.winners import NO_SKILL, best_winner
from study.core.errors import StoreError
from tests.render.synthetic_matrix import results, row

NAMED = ("npr @ a", "npr @ b")


def cells(**aucs: tuple[float, float]) -> list[ResultRow]:
    """AUC of the winner of `a` and of that of `b` by test set; NaN is a cell without a number."""
    return [
        row(train_on=train_on, test_on=test_on, value=value)
        for test_on, pair in aucs.items()
        for train_on, value in zip("ab", pair, strict=True)
    ]


def test_a_test_set_without_an_auc_does_not_count_against_anybody() -> None:
    """One class alone has no AUC: the other test sets decide."""
    found = best_winner(results(cells(reals=(math.nan, math.nan), c=(0.7, 0.8))), NAMED)
    assert found[0] == "npr @ b"
    assert "of 2 winners on their own" in found[1] and ": 0.800, on " in found[1]


def test_winners_are_compared_over_the_test_sets_that_all_of_them_have() -> None:
    """Over c alone b is the best: a was scored on the easy d, where b failed."""
    name, how = best_winner(results(cells(c=(0.7, 0.8), d=(0.99, math.nan))), NAMED)
    assert name == "npr @ b" and "without a mark: 0.800, on c." in how
    with pytest.raises(StoreError, match="no test set has an AUC of every winner"):
        best_winner(results(cells(c=(0.7, math.nan), d=(math.nan, 0.9))), NAMED)


def test_a_winner_without_any_number_is_left_out_and_that_is_said() -> None:
    name, how = best_winner(results(cells(c=(0.7, math.nan), d=(0.8, math.nan))), NAMED)
    assert name == "npr @ a" and "of 1 winner on " in how
    assert ": 0.750, on c, d (1 of all 2 have no such test set)" in how


def test_a_best_that_is_nowhere_more_than_chance_says_so() -> None:
    """Intervals of these rows reach .05 to both sides."""
    _, how = best_winner(results(cells(c=(0.53, 0.5), d=(0.54, 0.5))), NAMED)
    assert how.endswith(NO_SKILL)
    _, how = best_winner(results(cells(c=(0.53, 0.5), d=(0.56, 0.5))), NAMED)
    assert NO_SKILL not in how


def test_a_best_that_was_trained_on_a_marked_set_says_so() -> None:
    """What the audit marks is kept out of the tests that choose a winner, not out of training."""
    marked = (DatasetRow(name="b", warnings="the files give the class away"),)
    _, how = best_winner(results(cells(c=(0.7, 0.8)), datasets=marked), NAMED)
    assert "It was trained on b, and the audit marks it (!)" in how
    _, how = best_winner(results(cells(c=(0.8, 0.7)), datasets=marked), NAMED)
    assert "audit marks" not in how


def test_cross_domain_cells_decide_and_what_the_audit_marks_does_not() -> None:
    """Cross-domain `npr @ a` has b and c, `npr @ b` has a and c. The audit marks d, and b leaks
    into e.
    """
    rows = cells(a=(0.99, 0.6), b=(0.7, 0.95), c=(0.7, 0.78), d=(0.99, 0.5), e=(0.99, 0.5))
    marked = {
        "datasets": (DatasetRow(name="d", warnings="the files give the class away"),),
        "pairs": (PairRow(train_on="b", test_on="e", domain="cross", warnings="it leaks"),),
    }
    # (0.7 + 0.7 + 0.99) / 3 against (0.6 + 0.78) / 2: the leak is of one winner alone
    name, how = best_winner(results(rows, **marked), NAMED)
    assert name == "npr @ a" and "of 2 winners on their own cross-domain" in how
    assert ": 0.797, on b, c, e." in how
    without = [r for r in rows if r.test_on not in "e"]
    name, how = best_winner(results(without, **marked), NAMED)
    assert name == "npr @ a" and "0.700" in how  # in-domain 0.95 is none of b's mean
    # in-domain cells alone, the same for both: a union's
    inside = [replace(r, domain="in") for r in without]
    name, how = best_winner(results(inside, **marked), NAMED)
    assert name == "npr @ a" and "0.797" in how and "on the test sets without a mark: " in how
    # nothing but marked ones
    name, how = best_winner(results([r for r in rows if r.test_on == "d"], **marked), NAMED)
    assert name == "npr @ a" and "on all test sets: 0.990, on d." in how


def frames(video: str, *logits: float, verdict: str = "real") -> list[Prediction]:
    return [
        Prediction(
            name=f"{video}#frame={number:06d}", logit=logit, probability=math.nan, verdict=verdict
        )
        for number, logit in enumerate(logits)
    ]


def test_a_video_is_the_mean_probability_of_its_frames_and_has_a_rule_of_its_own() -> None:
    """One frame in four that is surely fake makes no fake video: (1 + 3 sigmoid(-2)) / 4 = 0.339.
    At a cut of -0.8 it is one, on which three of its frames disagree.
    """
    rule = Rule(cut=-0.5, temperature=2.0, rates=())
    seen = [*frames("z.mp4", 30, -2, -2, -2), *frames("a.mp4", 0.5)]
    z, a = of_frames(seen, rule)
    mean = (1 + 3 / (1 + math.exp(2))) / 4  # sigmoid(30) is 1
    assert z.name == "z.mp4" and z.verdict == "real"
    assert z.logit == pytest.approx(math.log(mean / (1 - mean)), abs=1e-6)
    assert z.logit == pytest.approx(-0.666, abs=1e-3)
    assert z.probability == pytest.approx(1 / (1 + math.exp(-z.logit / 2)))
    assert (a.name, a.logit) == ("a.mp4", 0.5)  # a single frame keeps its logit
    lower = Rule(cut=-0.8, temperature=2.0, rates=())
    assert [one.verdict for one in of_frames(seen, lower)] == ["unsure", "unsure"]


def test_a_video_is_unsure_where_more_than_half_of_its_frames_say_otherwise() -> None:
    rule = Rule(cut=0.0, temperature=1.0, rates=())
    half = [*frames("v.mp4", 5, 5, verdict="fake"), *frames("v.mp4", -1, -1)]
    assert of_frames(half, rule)[0].verdict == "fake"
    more = [*frames("v.mp4", 5, verdict="fake"), *frames("v.mp4", 5, verdict="unsure")]
    assert of_frames(more, rule)[0].verdict == "fake"
    more += frames("v.mp4", -1)
    assert of_frames(more, rule)[0].verdict == "unsure"
