"""One rule for what is more than noise: every outcome by a table that a person has written down."""

from __future__ import annotations

import math
from itertools import product

import pytest

from study.analysis.comparisons import Pair
from study.analysis.diff import SAME, Change
from study.analysis.significance import Verdict, by_interval, by_p, judge
from study.analysis.tuning import Contrast
from study.core.records import Pairing
from study.statistics.differences import Difference
from study.statistics.seeds import SeedDifference, SeedLead

NAN = math.nan
WELCH = [  # p of the images, p of the seeds: both after Holm
    (NAN, NAN, Verdict.UNTESTED),
    (NAN, 0.01, Verdict.UNTESTED),
    (0.06, 0.01, Verdict.NOT_MORE),
    (0.051, NAN, Verdict.NOT_MORE),
    (0.04, NAN, Verdict.SEEDS_UNKNOWN),
    (0.04, 0.051, Verdict.SEEDS_EXPLAIN),
    (0.04, 0.04, Verdict.MORE_THAN_NOISE),
]
PAIRED = [  # p of the images, value, interval over seeds, whether no seed changes anything
    (NAN, 0.1, 0.05, 0.2, False, Verdict.UNTESTED),
    (0.06, 0.1, 0.05, 0.2, False, Verdict.NOT_MORE),
    (0.04, 0.1, 0.05, 0.2, False, Verdict.MORE_THAN_NOISE),
    (0.04, 0.1, -0.05, 0.2, False, Verdict.SEEDS_EXPLAIN),
    (0.04, -0.1, 0.05, 0.2, False, Verdict.SEEDS_EXPLAIN),  # the seeds say the opposite
    (0.04, -0.1, -0.2, -0.05, False, Verdict.MORE_THAN_NOISE),
    (0.04, -0.1, -0.2, 0.05, False, Verdict.SEEDS_EXPLAIN),
    (0.04, 0.1, NAN, NAN, False, Verdict.SEEDS_UNKNOWN),
    (0.04, 0.1, NAN, NAN, True, Verdict.MORE_THAN_NOISE),
    (0.06, 0.1, NAN, NAN, True, Verdict.NOT_MORE),
]


@pytest.mark.parametrize(("images", "seeds", "expected"), WELCH)
def test_seeds_that_are_no_pairs(images: float, seeds: float, expected: Verdict) -> None:
    assert judge(images, by_p(seeds)) is expected
    difference = Difference(value=0.1, p=images)
    pair = Pair(
        train_on="",
        test_on="",
        first="a",
        second="b",
        auc_first=0.9,
        auc_second=0.8,
        difference=difference,
        p_holm=images,
        n_real=1,
        n_fake=1,
        n_groups=1,
        p_noise=seeds,
    )
    change = Change(
        place=("a", "x", "y", "none"),
        first=0.8,
        second=0.9,
        difference=difference,
        seeds=SeedLead(mean=0.1),
        p_holm=images,
        p_noise=seeds,
    )
    assert pair.verdict is change.verdict is expected


@pytest.mark.parametrize(("images", "value", "low", "high", "seedless", "expected"), PAIRED)
def test_seeds_that_are_pairs(
    images: float, value: float, low: float, high: float, seedless: bool, expected: Verdict
) -> None:
    contrast = Contrast(
        pairing=Pairing(detector="a", train_on="x"),
        source="default",
        test_on="y",
        domain="cross",
        tuned=0.9,
        other=0.8,
        seeds=SeedDifference(mean=0.1, low=low, high=high, sd=0.1, seeds=3),
        images=Difference(value=value, p=images),
        p_holm=images,
        seedless=seedless,
    )
    assert contrast.verdict is expected
    assert expected.is_beyond_images == (images < 0.05)


def test_the_same_scores_are_the_same_whatever_p_says() -> None:
    for images, seeds in product((NAN, 0.01, 1.0), (None, True, False)):
        assert judge(images, seeds, same=True) is Verdict.SAME
    same = Difference(value=0.0, p=1.0, how=SAME)
    change = Change(
        place=("a", "x", "y", "none"),
        first=0.8,
        second=0.8,
        difference=same,
        seeds=SeedLead(mean=0.0),
    )
    assert change.verdict is Verdict.SAME and not change.verdict.is_beyond_images


def test_an_interval_that_touches_zero_is_not_beyond_it() -> None:
    assert by_interval(0.1, 0.0, 0.2) is False and by_interval(-0.1, -0.2, 0.0) is False
