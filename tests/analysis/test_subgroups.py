"""Levels of a manifest's subgroups, compared in a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from study.analysis.significance import Verdict
from study.analysis.subgroups import OTHERS, SubgroupRow, subgroup_rows
from study.core.records import Pairing
from study.render.subgroups import subgroups_markdown
from tests.analysis.score_sets import drawn_file, score_set
from tests.analysis.test_comparisons import made

PAIRING = Pairing(detector="d", train_on="x")
N = 400


def compared(
    logits: Sequence[np.ndarray], level: np.ndarray, halves: np.ndarray | None = None
) -> tuple[SubgroupRow, ...]:
    """The rows of one cell. logits: of each seed. level: (N,) "" for none. halves: (R, 2, N)."""
    scored = [made("y", logit) for logit in logits]
    drawn = {} if halves is None else {(PAIRING, "y"): [drawn_file("half", scored[0], halves)]}
    levels = {s: v for s, v in zip(scored[0].sample_id.tolist(), level.tolist(), strict=True) if v}
    given = [("y", PAIRING, one, seed) for seed, one in enumerate(scored)]
    return subgroup_rows(*score_set(given, drawn=drawn, subgroups={"y": {"tone": levels}}))


def delong_variance(label: np.ndarray, logit: np.ndarray) -> float:
    fake, real = logit[label == 1], logit[label == 0]
    above = (fake[:, None] > real).astype(float)
    return float(
        above.mean(axis=1).var(ddof=1) / len(fake) + above.mean(axis=0).var(ddof=1) / len(real)
    )


def skilled(seed: int, skill: np.ndarray | float) -> np.ndarray:
    """Logits of `made`'s images, every second of which is a fake; float32, as scores are."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=N) + skill * (np.arange(N) % 2)).astype(np.float32)


def test_two_levels_are_compared_once_by_the_variance_of_both() -> None:
    level = np.where(np.arange(N) // 2 % 2, "dark", "light")
    logit, label = skilled(0, np.where(level == "dark", 0.6, 1.6)), np.arange(N) % 2
    nothing = np.repeat(logit[None, None], 2, axis=1).repeat(4, axis=0)  # halves that are alike
    (row,) = compared([logit], level, nothing)
    assert (row.level, row.against, row.n_real, row.n_fake) == ("dark", "light", 100, 100)
    sides = [level == "dark", level == "light"]
    aucs = [roc_auc_score(label[side], logit[side]) for side in sides]
    assert (row.auc, row.auc_against) == pytest.approx(aucs)
    assert row.finding.value == pytest.approx(aucs[0] - aucs[1])
    variance = sum(delong_variance(label[side], logit[side]) for side in sides)
    # the groups of both sides are one stratum of 200, so that it is 200 / 199 and not 100 / 99
    assert row.finding.images == pytest.approx(variance * 200 / 199 * 99 / 100, rel=1e-6)
    assert row.finding.training == 0 and row.finding.counted
    expected = 2 * stats.norm.sf(abs(row.finding.value) / math.sqrt(variance))
    assert row.finding.p == pytest.approx(expected, rel=0.3) and row.p_holm == row.finding.p
    assert row.verdict is Verdict.MORE_THAN_NOISE
    assert "| d | x | y | tone=dark | light | 100 / 100 |" in subgroups_markdown([row])


def test_of_more_levels_each_is_held_against_the_others_with_holms_step() -> None:
    place = np.arange(N) // 2 % 4
    level = np.array(["a", "b", "c", ""])[place]  # a quarter has none
    logit, label = skilled(1, 1.0), np.arange(N) % 2
    rows = compared([logit], level)
    assert [(row.level, row.against) for row in rows] == [(x, OTHERS) for x in "abc"]
    for row in rows:
        rest = (level != row.level) & (level != "")
        assert row.auc_against == pytest.approx(roc_auc_score(label[rest], logit[rest]))
    p = sorted((row.finding.p, row.p_holm) for row in rows)
    steps = np.maximum.accumulate([min(1.0, (3 - i) * one) for i, (one, _) in enumerate(p)])
    assert [step for _, step in p] == pytest.approx(steps)
    assert {row.verdict for row in rows} == {Verdict.NOT_COUNTED}  # no halves


def test_a_level_of_one_class_is_not_compared() -> None:
    level = np.where(np.arange(N) % 2, "fakes alone", "reals alone")
    assert compared([skilled(2, 1.0)], level) == ()


def test_what_halves_differ_by_alike_on_both_sides_is_no_error() -> None:
    """The models are the same on both sides: what another training sample moves on both does not
    move the difference.
    """
    level = np.where(np.arange(N) // 2 % 2, "dark", "light")
    other = np.where(level == "dark", 1, -1)
    found = {}
    for name, side in (("alike", 1), ("apart", other)):
        moved = np.random.default_rng(3).normal(size=(10, 2, 1)) * side * (np.arange(N) % 2)
        (row,) = compared([skilled(4, 1.0)], level, skilled(4, 1.0) + moved)
        found[name] = row.finding.training
    assert found["apart"] > 20 * found["alike"]


def test_scores_without_subgroups_have_no_rows() -> None:
    assert subgroup_rows(*score_set([("y", PAIRING, made("y", skilled(5, 1.0)), 0)])) == ()
    assert subgroups_markdown(()) == ""
