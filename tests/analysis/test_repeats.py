"""Means over repeats of a study and their error, by hand and against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.analysis.comparisons import compare_detectors
from study.analysis.score_set import ScoreSet
from study.analysis.single_models import column
from study.analysis.weighted_sums import WeightedSum, cell_sum
from study.core.records import Cell
from study.statistics.error_model import repeat_part
from tests.analysis.score_sets import score_set
from tests.analysis.test_comparisons import halves, study


def repeated(seeds: int = 2, *, rename: bool, copies: int = 3) -> tuple[ScoreSet, list[Cell]]:
    """One study `copies` times: with the same images, or with other images of other groups."""
    opened, cells = [], list[Cell]()
    given = study({"one": 1.0, "two": 0.8}, ["aa", "bbb"], seeds=seeds)
    for number in range(copies):
        mine = given
        if rename:
            mine = [
                (
                    y,
                    p,
                    replace(
                        s,
                        sample_id=np.char.add(s.sample_id, f" {number}"),
                        group=np.char.add(s.group, f" {number}"),
                        unit=np.char.add(s.unit, f" {number}"),
                    ),
                    seed,
                )
                for y, p, s, seed in given
            ]
        scores, found = score_set(mine, drawn=halves(mine, sd=0.6))
        opened.append(scores)
        cells += [replace(cell, repeat=number) for cell in found]
    opened[0].repeats = opened[1:]
    return opened[0], cells


def one_cell(scores: ScoreSet, cells: list[Cell]) -> WeightedSum:
    first = cells[0]
    return cell_sum(scores, [c for c in cells if (c.pairing, c.test_on) == (first.pairing, "aa")])


def test_repeats_that_are_the_same_say_what_one_says() -> None:
    """The same images, models and halves three times are no more than once."""
    scores, cells = repeated(rename=False)
    three = one_cell(scores, cells).finding(kind="auc")
    once = one_cell(scores, [cell for cell in cells if not cell.repeat]).finding(kind="auc")
    assert three.value == pytest.approx(once.value)
    assert three.images == pytest.approx(once.images)
    assert three.training == pytest.approx(once.training, rel=1e-6)
    pair, alone = (
        compare_detectors(scores, of).mean_pairs[0]
        for of in (cells, [cell for cell in cells if not cell.repeat])
    )
    assert (pair.n_real, pair.n_fake, pair.n_groups) == (alone.n_real, alone.n_fake, alone.n_groups)
    assert pair.finding.error == pytest.approx(alone.finding.error, rel=1e-6)


def test_images_that_no_repeats_share_count_as_so_many_more() -> None:
    scores, cells = repeated(seeds=1, rename=True)
    three = one_cell(scores, cells).finding(kind="auc")
    first = [cell for cell in cells if not cell.repeat]
    once = one_cell(scores, first).finding(kind="auc")
    # the sample variance of three times as many groups has another divisor
    assert three.images == pytest.approx(once.images / 3, rel=0.02)
    # the same halves everywhere, so that the training sample is as uncertain as in one: but a
    # third of what the images alone make two halves differ by is in their mean
    pairs = column(scores, first[:1]).models[first[0].pairing].halves
    assert pairs is not None
    raw = float(np.mean(pairs.apart**2)) / 2
    assert three.training == pytest.approx(raw - (raw - once.training) / 3, rel=0.02)


def test_the_number_is_the_mean_of_every_single_model() -> None:
    """By scikit-learn."""
    scores, cells = repeated(rename=True)
    mine = [c for c in cells if c.pairing == cells[0].pairing and c.test_on == "bbb"]
    held = [scores.of_repeat(c.repeat).of(c) for c in mine]
    expected = np.mean([roc_auc_score(one.label, one.logit) for one in held])
    models = column(scores, mine).models[cells[0].pairing]
    assert len(held) == 6
    assert models.auc == pytest.approx(expected)
    stands = compare_detectors(scores, cells).headline.standings
    assert {one.detector for one in stands} == {"one", "two"}


def test_a_detector_that_one_repeat_lacks_has_no_mean() -> None:
    scores, cells = repeated(rename=True)
    lacking = [c for c in cells if not (c.repeat == 1 and c.pairing.detector == "two")]
    assert {p.detector for p in column(scores, lacking[:1] + lacking[-1:]).models} <= {"one"}
    found = compare_detectors(scores, lacking)
    assert [*found.by_cell] == ["one"] and found.left_out == ("two",)


def test_what_another_search_selects_is_what_nothing_else_explains() -> None:
    """By hand: values .5, .6, .7 vary by .01."""
    alone = repeat_part([0.5, 0.6, 0.7])
    assert alone.variance == pytest.approx(0.01 / 3)
    assert alone.degrees == pytest.approx(2)
    # three repeats differ by 3/2 of what they do not share
    less = repeat_part([0.5, 0.6, 0.7], noise=0.004, within=0.002)
    assert less.variance == pytest.approx((0.01 - 0.004 - 0.003) / 3)
    assert less.doubt == pytest.approx(alone.doubt)
    assert repeat_part([0.5, 0.6, 0.7], noise=0.02).variance == 0


def test_repeats_without_halves_claim_nothing() -> None:
    scores, cells = repeated(rename=True)
    for one in (scores, *scores.repeats):
        one._drawn = {}
    assert not one_cell(scores, cells).finding(kind="auc").counted
