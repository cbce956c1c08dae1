"""What is claimed of a detector: against chance, and against what sees no picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import logit

from study.analysis.comparisons import Comparisons, compare_detectors
from study.analysis.headline import Standing
from study.analysis.results import ResultRow
from study.analysis.significance import Verdict
from study.core.records import ELSEWHERE, NO_TRAINING, PROCESSING, SHORTCUTS, Estimate, Pairing
from study.render.answer import answer, answer_text
from study.render.closing import closing
from study.statistics.cross_validated import cross_validated_auc
from tests.analysis.score_sets import CellScores, drawn_file, score_set
from tests.analysis.test_comparisons import (
    aucs_of,
    baseline_rows,
    compared,
    halves,
    made,
    study,
    with_cell,
)
from tests.render.synthetic_matrix import results, row

METADATA = SHORTCUTS[0]


def closed(found: Comparisons) -> str:
    """The end of a run on the terminal."""
    text = closing(results([row("good", "aa", "bbb", 0.9)]), found, (), ("auc", ""))
    return " ".join(text.split())  # wrapped at the width of the terminal


def test_marked_test_sets_claim_nothing_at_the_end_of_a_run_either() -> None:
    scores = study({"good": 2.0}, ["aa", "bbb"])
    plain, marked = compared(scores), compared(scores, marked=["aa", "bbb"])
    assert "yes, p < 0.001" in closed(plain) and "yes, p < 0.001" in answer_text(plain)
    assert "is not claimed, as all test sets are marked !" in closed(marked)
    assert "no claim" in closed(marked) and "yes" not in closed(marked)
    assert "no claim: all test sets are marked !" in answer_text(marked)


def test_the_end_of_a_run_claims_what_the_ranked_table_does() -> None:
    scores = study({"good": 2.0, "poor": 0.0}, ["aa", "bbb"])
    bare = compare_detectors(*score_set(scores))
    assert "no claim: the training sample is not counted" in answer_text(bare)
    assert closed(bare).count("no claim") == 2 and "yes" not in closed(bare)
    untested = compared(scores, rows=[of_metadata(y, one_group()) for y in ("aa", "bbb")])
    assert "cannot be tested" in closed(untested) and "cannot be tested" in answer_text(untested)


def of_metadata(test_on: str, number: Estimate) -> ResultRow:
    """The audit's row of a number; where it was computed is said first."""
    note = "; ".join(filter(None, ("cross-validated here", number.note)))
    held = {k: v for k, v in vars(number).items() if k not in ("reason", "note", "value")}
    return row(METADATA, NO_TRAINING, test_on, number.value, note=note, **held)


def one_group() -> Estimate:
    """A number without an interval: all reals come from one group."""
    groups = np.array([f"g{i % 2 * i}" for i in range(40)])
    label = np.arange(40) % 2
    return cross_validated_auc(label, with_cell(0.55, seed=3, n=40), groups, np.zeros(40))


def constant() -> Estimate:
    """The number of a classifier that gives every image the same score."""
    group = np.arange(40).astype(str)
    return cross_validated_auc(np.arange(40) % 2, np.zeros(40), group, np.arange(40) // 2 % 2)


def test_a_baseline_without_an_interval_is_not_taken_as_exact() -> None:
    number = one_group()
    assert 0.5 < number.value < 0.6 and math.isnan(number.low) and "one group" in number.note
    scores = study({"good": 2.0}, ["aa", "bbb"], seeds=3)
    rows = [of_metadata("aa", number), *baseline_rows({"bbb": 0.55})]
    found = compared(scores, rows=rows)
    (one,) = found.headline.standings
    (baseline,) = one.baselines
    assert math.isnan(baseline.p) and one.verdict is Verdict.UNTESTED and not one.generalises
    words = answer(found)
    assert "cannot be tested ((metadata only) on aa: interval undefined: a class comes" in words
    assert "nan" not in words


def test_constant_scores_are_chance_without_an_error() -> None:
    number = constant()
    assert number.value == 0.5 and math.isnan(number.low)
    scores = study({"good": 2.0}, ["aa", "bbb"], seeds=3)
    found = compared(scores, rows=[of_metadata(y, number) for y in ("aa", "bbb")])
    (one,) = found.headline.standings
    (baseline,) = one.baselines
    assert (baseline.value, baseline.low, baseline.high) == (0.5, 0.5, 0.5)
    # against exactly .5, which is what the mean itself is held against
    assert baseline.p == pytest.approx(one.mean.p) and one.generalises


def test_the_error_of_a_baseline_counts_at_its_own_value_on_the_logit_scale() -> None:
    """An AUC of .99 was not told apart from one of .55, whose error was taken as one of .99."""
    scores = study({"good": 3.4}, ["aa", "bbb"], seeds=3)
    rows = baseline_rows({"aa": 0.55, "bbb": 0.55}, half=0.05)
    (one,) = compared(scores, rows=rows).headline.standings
    mean, (baseline,) = one.mean, one.baselines
    assert 0.98 < mean.value < 1 and one.generalises
    own = mean.error / (mean.value * (1 - mean.value))
    error = 0.05 / stats.norm.ppf(0.975) / math.sqrt(2)  # of the mean of two
    theirs = error / (0.55 * 0.45)
    t = (logit(mean.value) - logit(0.55)) / math.hypot(own, theirs)
    degrees = (own**2 + theirs**2) ** 2 / (own**4 / mean.degrees)
    assert baseline.p == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-6)


def test_a_baseline_that_lacks_a_test_set_is_compared_over_the_others() -> None:
    """It is better than the detector where it has a number."""
    scores = study({"good": 1.2}, ["aa", "bbb", "cccc"], seeds=2)
    drawn = halves(scores)
    for value, generalises in ((0.99, False), (0.55, True)):
        rows = [
            *baseline_rows({"aa": value, "bbb": value}, half=0.005),
            row(METADATA, NO_TRAINING, "cccc", math.nan),
        ]
        found = compare_detectors(*score_set(scores, drawn=drawn), rows=rows)
        (one,) = found.headline.standings
        (baseline,) = one.baselines
        assert baseline.missing == ("cccc",) and baseline.value == pytest.approx(value)
        assert one.generalises == generalises
        said = f"a classifier of file metadata has {value:.3f} ["
        assert said in closed(found)
        assert " without cccc, where it has no number." in " ".join(closed(found).split())
    # the mean over the cells of aa and bbb, tested alone
    places = [(x, y) for x, y in found.cells if y != "cccc"]
    part = [s for s in scores if s[0] != "cccc"]
    rows = baseline_rows({"aa": 0.55, "bbb": 0.55}, half=0.005)
    own = compare_detectors(*score_set(part, drawn=drawn), rows=rows)
    assert sorted(own.cells) == sorted(places)
    assert baseline.p == pytest.approx(own.headline.standings[0].baselines[0].p, abs=0)


def test_the_processing_row_stands_beside_and_decides_nothing() -> None:
    """It cannot tell processing from a generator's trace, so no detector is tested against it."""
    scores = study({"good": 1.2}, ["aa", "bbb"], seeds=2)
    rows = baseline_rows({"aa": 0.55, "bbb": 0.55}, half=0.005)
    alone = compared(scores, rows=rows).headline
    beside = [
        row(PROCESSING, NO_TRAINING, y, value, low=value - 0.03, high=value + 0.03)
        for y, value in (("aa", 0.99), ("bbb", 0.97))
    ]
    found = compared(scores, rows=[*rows, *beside]).headline
    assert repr(found.standings) == repr(alone.standings) and alone.references == ()
    (one,) = found.references
    assert (one.name, one.value) == (PROCESSING, pytest.approx(0.98))
    reach = math.hypot(0.03, 0.03) / 2  # of the mean of two independent test sets
    assert (one.low, one.high) == (pytest.approx(0.98 - reach), pytest.approx(0.98 + reach))


def test_a_cell_without_a_baseline_brings_no_lead_on_it() -> None:
    """The mean of all cells lies above the baseline, that of the shared cells does not."""
    sets = {"aa": 0.60, "bbb": 0.95}
    scores: list[CellScores] = [
        (y, Pairing(detector="d", train_on="x"), made(y, with_cell(v, seed=i)), 0)
        for i, (y, v) in enumerate(sets.items())
    ]
    rows = [*baseline_rows({"aa": 0.7}), row(METADATA, NO_TRAINING, "bbb", math.nan)]
    (one,) = compared(scores, rows=rows).headline.standings
    assert one.mean.value > 0.7 and one.baselines[0].p == 1.0 and not one.generalises


def test_a_baseline_without_any_number_is_named() -> None:
    scores = study({"good": 2.0}, ["aa", "bbb"], seeds=3)
    rows = [row(METADATA, NO_TRAINING, y, math.nan) for y in ("aa", "bbb")]
    found = compared(scores, rows=rows)
    first = " ".join(closed(found).partition("\n\n")[0].split())
    assert "a classifier of file metadata has no number on any of these test sets" in first
    assert "No shortcut baseline" in answer(found)
    assert found.headline.standings[0].generalises  # of chance alone, as is said


def banded(mean: float, middle: float, spread: float, *, moved: float = 0.1) -> Standing:
    """A detector with that AUC, and permuted models about `middle`. spread: of their shift. moved:
    how much the models of halves differ.
    """
    logit = with_cell(mean, seed=1, n=400)
    scores = [("y", Pairing(detector="d", train_on="x"), made("y", logit), 0)]
    drawn = halves(scores, sd=moved)
    one = scores[0][2]
    base = with_cell(middle, seed=2, n=400)
    shifts = spread * np.random.default_rng(5).normal(size=(40, 1, 1))
    files = drawn[scores[0][1], "y"]
    files.append(drawn_file("permuted", one, base + shifts * (one.label == 1)))
    (found,) = compare_detectors(*score_set(scores, drawn=drawn)).headline.standings
    assert found.mean.value == pytest.approx(np.mean(aucs_of(scores, "d", "x", "y")))
    assert found.chance.models == 40
    return found


def test_below_one_half_is_never_more_than_chance() -> None:
    """A mean of .47 beside a band about .42 was said to generalise."""
    one = banded(0.47, 0.42, 0.01)
    assert one.mean.value > one.chance.high and one.mean.value < 0.5
    assert one.chance.p == 1.0 and not one.generalises and one.above == 0


def test_a_narrow_band_does_not_hide_images_and_training_sample() -> None:
    """The mean leaves the band far behind, and its own interval holds .5."""
    one = banded(0.56, 0.5, 0.01, moved=1.0)
    assert one.mean.value > one.chance.high and one.mean.low < 0.5
    assert one.chance.p == pytest.approx(one.mean.p) and one.chance.p > 0.05
    assert not one.generalises and one.above == 0
    sure = banded(0.9, 0.5, 0.01)
    assert sure.generalises and sure.above == 1


def test_the_lead_that_would_show_in_a_cell_is_that_after_holms_first_step() -> None:
    """Of one pair and of many: the same cell, where the others only add to the family."""
    few = study({"one": 1.0, "two": 1.0}, ["aa", "bbb"])
    alone = [s for s in few if s[0] == "aa" and s[1].train_on == "bbb"]
    drawn = halves(few)
    (single,) = compare_detectors(*score_set(alone, drawn=drawn)).pairs
    many = compare_detectors(*score_set(few, drawn=drawn)).pairs
    assert len(many) == 4 and single.finding.smallest > 0
    same = next(p for p in many if (p.train_on, p.test_on) == ("bbb", "aa"))
    degrees, error = single.finding.degrees, single.finding.error
    assert same.finding.error == pytest.approx(error)

    def power(lead: float, tests: int) -> float:
        return float(stats.nct.sf(stats.t.isf(0.025 / tests, degrees), degrees, lead / error))

    assert power(single.finding.smallest, 1) == pytest.approx(0.8, abs=1e-3)
    assert power(same.finding.smallest, 4) == pytest.approx(0.8, abs=1e-3)


def test_detectors_run_elsewhere_add_to_the_family_of_cells() -> None:
    scores = study({"one": 1.0, "two": 1.0}, ["aa", "bbb"])
    logit = with_cell(0.7, seed=9)
    added: CellScores = ("aa", Pairing(detector="theirs", train_on=ELSEWHERE), made("aa", logit), 0)
    plain, more = compared(scores).pairs, compared([*scores, added]).pairs
    assert len(more) > len(plain)
    for pair in plain:
        same = next(
            p for p in more if (p.first, p.second, p.train_on, p.test_on)
            == (pair.first, pair.second, pair.train_on, pair.test_on)
        )  # fmt: skip
        assert same.finding.smallest > pair.finding.smallest


def test_the_gap_compares_the_same_test_sets() -> None:
    scores = study({"good": 2.0}, ["aa", "bbb"])
    rows = [row("good", "aa", "aa", 0.9), row("good", "bbb", "bbb", 0.7)]
    for marked, expected in (([], 0.8), (["aa"], 0.7)):
        (good,) = compared(scores, rows=rows, marked=marked).headline.standings
        assert good.in_domain == pytest.approx(expected)
        assert good.gap == pytest.approx(expected - good.mean.value)
