"""One rule for what is more than noise: every outcome by a table that a person has written down."""

from __future__ import annotations

from itertools import product

import pytest

from study.analysis.comparisons import Pair
from study.analysis.diff import SAME, Change
from study.analysis.significance import Verdict, judge
from study.analysis.tuning import Contrast
from study.core.records import Pairing
from study.statistics.error_model import Finding
from study.statistics.seeds import SeedDifference

NAN = float("nan")
RULES = [  # p, p after Holm, whether the training sample is counted
    (0.01, 0.049, True, Verdict.MORE_THAN_NOISE),
    (0.01, 0.051, True, Verdict.NOT_MORE),
    (0.9, 1.0, True, Verdict.NOT_MORE),
    (0.001, 0.001, False, Verdict.NOT_COUNTED),
    (0.9, 1.0, False, Verdict.NOT_COUNTED),
    (NAN, NAN, True, Verdict.UNTESTED),
    (NAN, NAN, False, Verdict.UNTESTED),
]


@pytest.mark.parametrize(("p", "p_holm", "counted", "expected"), RULES)
def test_pairs_changes_and_contrasts_are_judged_alike(
    p: float, p_holm: float, counted: bool, expected: Verdict
) -> None:
    finding = Finding(value=0.1, p=p, counted=counted)
    pair = Pair(
        train_on="x",
        test_on="y",
        first="a",
        second="b",
        auc_first=0.9,
        auc_second=0.8,
        finding=finding,
        p_holm=p_holm,
        n_real=9,
        n_fake=9,
        n_groups=18,
    )
    change = Change(
        place=("a", "x", "y", "none"), first=0.8, second=0.9, finding=finding, p_holm=p_holm
    )
    contrast = Contrast(
        pairing=Pairing(detector="a", train_on="x"),
        source="default",
        test_on="y",
        domain="cross",
        tuned=0.9,
        other=0.8,
        seeds=SeedDifference(mean=0.1, low=NAN, high=NAN, sd=0.1, seeds=3),
        finding=finding,
        p_holm=p_holm,
    )
    assert pair.verdict is change.verdict is contrast.verdict is expected


def test_the_same_scores_are_the_same_whatever_p_says() -> None:
    for p, counted in product((NAN, 0.01, 1.0), (True, False)):
        finding = Finding(value=0.0, p=p, counted=counted)
        assert judge(finding, p, same=True) is Verdict.SAME
    change = Change(
        place=("a", "x", "y", "none"),
        first=0.8,
        second=0.8,
        finding=Finding(value=0.0, p=1.0, how=SAME),
    )
    assert change.verdict is Verdict.SAME
