"""What a detector would reach on other test sets: from 8 families on, else why not."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from study.analysis.other_test_sets import other_test_sets
from study.core.records import Pairing, Scores
from study.render.other_test_sets import other_test_sets_markdown
from study.statistics.random_effects import random_effects
from tests.analysis.score_sets import drawn_file, score_set

N = 200


def scored(name: str, lift: float, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    label = (np.arange(N) % 2).astype(np.uint8)
    ids = np.array([f"{name}/{i:03d}" for i in range(N)])
    logit = (rng.normal(size=N) + lift * label).astype(np.float32)
    method = np.array(["real", "fake"])[label]
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=method, label=label, logit=logit, listed=N
    )


def of_sets(names: list[str]) -> list[tuple[str, Pairing, Scores, int]]:
    pairing = Pairing(detector="npr", train_on="x")
    lifts = np.linspace(0.2, 1.6, len(names))
    return [
        (name, pairing, scored(name, float(lift), i), 0)
        for i, (name, lift) in enumerate(zip(names, lifts, strict=True))
    ]


def test_nine_test_sets_are_a_sample() -> None:
    given = of_sets([f"y{i}" for i in range(9)])
    (row,) = other_test_sets(*score_set([*given, ("x", given[0][1], scored("x", 9.0, 99), 0)]))
    assert row.found is not None and row.families == 9  # in-domain is not among them
    aucs = [roc_auc_score(one.label, one.logit) for _, _, one, _ in given]
    assert row.found.mean == pytest.approx(fmean(aucs), abs=0.02)  # better known ones weigh more
    assert row.found.between == pytest.approx(np.std(aucs, ddof=1), abs=0.03)
    assert row.found.one_low < row.found.low < row.found.mean < row.found.high < row.found.one_high
    text = other_test_sets_markdown([row])
    assert "| npr" in text and "not said" not in text
    # there are no models of halves
    assert not row.counted and "The training sample is not counted" in text and ": npr. " in text


def test_few_test_sets_say_nothing_of_others() -> None:
    (row,) = other_test_sets(*score_set(of_sets(["a", "b", "c"])))
    assert row.found is None and row.reason.startswith("3 families of test sets")
    assert "not said: 3 families of test sets; of others" in other_test_sets_markdown([row])
    pairing = Pairing(detector="npr", train_on="x")
    assert other_test_sets(*score_set([("x", pairing, scored("x", 1.0, 0), 0)])) == ()
    assert other_test_sets_markdown(()) == ""


def test_a_training_sample_that_all_test_sets_share_is_in_the_interval() -> None:
    """Each run draws 8 test sets, one training sample that moves the fakes of all of them, and the
    samples of 10 pairs of halves. Of a normal shift the mean AUC is known.
    """
    rng, lift, between, sd, runs, held = np.random.default_rng(5), 1.0, 0.1, 0.2, 60, 0
    truth = norm.cdf(lift / np.sqrt(2 + between**2 + sd**2))
    pairing, names = Pairing(detector="npr", train_on="x"), [f"y{i}" for i in range(8)]
    for run in range(runs):
        learned, shift = lift + sd * rng.normal(), sd * rng.normal(size=(10, 2, 1))
        given, drawn = [], {}
        for i, name in enumerate(names):
            own = between * rng.normal()
            one = scored(name, learned + own, 1000 * run + i)
            given.append((name, pairing, one, 0))
            plain = one.logit - learned * one.label
            halves = plain + (lift + shift) * one.label
            drawn[pairing, name] = [drawn_file("half", one, halves)]
        (row,) = other_test_sets(*score_set(given, drawn=drawn))
        assert row.found is not None and row.counted
        held += row.found.low <= truth <= row.found.high
    assert held >= 0.88 * runs


def test_what_the_audit_warns_of_is_left_out_by_name() -> None:
    given = of_sets([f"y{i}" for i in range(9)])
    (row,) = other_test_sets(*score_set(given), marked=["y3", "elsewhere"])
    assert row.found is not None and row.families == 8 and row.marked == ("y3",)
    assert [row.found] == [one.found for one in other_test_sets(*score_set(given[:3] + given[4:]))]
    assert "Left out as marked ! (a confound or a leak): y3." in other_test_sets_markdown([row])


def test_a_test_set_without_a_known_error_is_left_out_by_name() -> None:
    """One whose fakes are of one group."""
    given = of_sets([f"y{i}" for i in range(8)])
    alone = scored("z", 1.0, 50)
    alone = replace(alone, group=np.where(alone.label == 1, "z", alone.group))
    (row,) = other_test_sets(*score_set([*given, ("z", given[0][1], alone, 0)]))
    assert row.families == 8 and row.without_error == ("z",)
    assert "as its AUC has no known error: z." in other_test_sets_markdown([row])


def test_perfect_separation_has_no_more_weight_than_its_exact_bound_gives() -> None:
    """By hand: 100 pairs of a real and a fake, all in order, beside 7 families that are alike."""
    given = of_sets(["y"])[0]
    same = [(f"y{i}", given[1], replace_ids(given[2], f"y{i}"), 0) for i in range(7)]
    perfect = scored("z", 50.0, 60)
    (row,) = other_test_sets(*score_set([*same, ("z", given[1], perfect, 0)]))
    auc = roc_auc_score(given[2].label, given[2].logit)
    one = given[2]
    placed = [
        np.array([(one.logit[one.label == k] > z).mean() for z in one.logit[one.label != k]])
        for k in (0, 1)
    ]
    variance = sum(each.var(ddof=1) / len(each) for each in placed)
    bound = 1 - 0.025 ** (1 / 100)  # P(a pair in order) at which 100 of 100 have 2.5 %
    expected = random_effects([auc] * 7 + [1.0], [variance] * 7 + [(bound / norm.ppf(0.975)) ** 2])
    assert row.found is not None
    assert row.found.mean == pytest.approx(expected.mean, abs=1e-6)
    assert row.found.between == pytest.approx(expected.between, abs=1e-6)


def replace_ids(one: Scores, name: str) -> Scores:
    ids = np.array([f"{name}/{i:03d}" for i in range(N)])
    return replace(one, sample_id=ids, group=ids, unit=ids)
