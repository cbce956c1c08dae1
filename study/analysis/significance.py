"""More than noise? One rule, and one set of words for what comes out of it (PROTOCOL section 5).

A difference between two AUCs has two kinds of noise: which images were drawn, and which seeds were
trained. It is more than noise only where it is more than both. The answer, the comparisons, what
moved between two studies, and what tuning has gained are all judged here.
"""

from __future__ import annotations

import math
from enum import Enum

from study.statistics.differences import ALPHA


class Verdict(Enum):
    """What a difference is, in words. In the order in which they are listed."""

    MORE_THAN_NOISE = "more than noise, of images and of training seeds"
    SEEDS_EXPLAIN = "more than noise of the images, but no more than training seeds could explain"
    SEEDS_UNKNOWN = "more than noise of the images; whether of training seeds too is unknown"
    NOT_MORE = "over the images, not more than noise"
    UNTESTED = "cannot be tested"
    SAME = "the same"

    @property
    def is_beyond_images(self) -> bool:
        """Whether it is more than the sampling of images."""
        return self in (Verdict.MORE_THAN_NOISE, Verdict.SEEDS_EXPLAIN, Verdict.SEEDS_UNKNOWN)


def judge(p_images: float, beyond_seeds: bool | None, *, same: bool = False) -> Verdict:
    """Return the verdict on a difference.

    p_images: of the sampling of images, after Holm, in [0, 1]; NaN where nothing can be tested.
    beyond_seeds: whether it is more than training seeds explain, None where that is unknown (see
    `by_p`, `by_interval`). same: whether both sides are the very same.
    """
    if same:
        return Verdict.SAME
    if math.isnan(p_images):
        return Verdict.UNTESTED
    if not p_images < ALPHA:
        return Verdict.NOT_MORE
    if beyond_seeds is None:
        return Verdict.SEEDS_UNKNOWN
    return Verdict.MORE_THAN_NOISE if beyond_seeds else Verdict.SEEDS_EXPLAIN


def by_p(p: float) -> bool | None:
    """Say whether seeds that are no pairs leave a difference: p, after Holm, in [0, 1], is the
    largest of the images', of Welch's t between the seeds' means, and of both errors at once; NaN
    where the seeds' share is unknown.
    """
    return None if math.isnan(p) else p < ALPHA


def by_interval(value: float, low: float, high: float) -> bool | None:
    """Say whether seeds that are pairs leave a difference: its 95 % interval over seeds, (low,
    high), lies on the side of 0 that its `value` over images is on. NaN where there is none.
    """
    return None if math.isnan(low) else low > 0 if value > 0 else high < 0
