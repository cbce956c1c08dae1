"""More than noise? One rule, and one set of words for what comes out of it (PROTOCOL section 5).

A number differs from what another study would find because of its test images, its training sample
and its seeds. One error model counts all three (statistics/error_model.py). The answer, the
comparisons, what moved between two studies, and what tuning has gained are all judged here.
"""

from __future__ import annotations

import math
from enum import Enum

from study.statistics.error_model import ALPHA, Finding


class Verdict(Enum):
    """What a difference is, in words. In the order in which they are listed."""

    MORE_THAN_NOISE = "more than noise, of images, training sample and seeds"
    NOT_MORE = "not more than noise"
    NOT_COUNTED = "no claim: the training sample is not counted"
    UNTESTED = "cannot be tested"
    SAME = "the same"


def judge(found: Finding, p_holm: float, *, same: bool = False) -> Verdict:
    """Return the verdict on a finding. p_holm: its p after Holm, NaN where there is none. same:
    whether both sides are the very same.
    """
    if same:
        return Verdict.SAME
    if math.isnan(found.p) or math.isnan(p_holm):
        return Verdict.UNTESTED
    if not found.counted:
        return Verdict.NOT_COUNTED
    return Verdict.MORE_THAN_NOISE if p_holm < ALPHA else Verdict.NOT_MORE
