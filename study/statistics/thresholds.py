"""The named thresholds and the temperature, from a sample of labels and logits (PROTOCOL section
4).

Numpy and scipy only. An image is called fake when logit >= threshold. A threshold is a logit in
float64, and may be -inf (every image is fake) or +inf (none is). Compare it with scores as float64:
in float32 it can round onto a score. Raises ScoreError where a score is not finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from study.statistics.metrics import sigmoid
from study.statistics.ranking import (
    best_balanced_threshold,
    checked,
    curves,
    last_cut_within,
    midpoint,
    rank,
)

THRESHOLDS = ("fixed", "source", "source_fpr1", "source_fpr5", "oracle")
FIXED = 0.0  # p(fake) = 0.5
FLATTEST = 1e-3  # a temperature never shrinks the largest |logit| below this


def best_balanced_accuracy(label: ArrayLike, logit: ArrayLike) -> float:
    """Return the threshold that maximises balanced accuracy: the midpoint of the lowest plateau;
    NaN without both classes.

    A plateau is a maximal interval of thresholds with that value. One without a lower end has -inf
    as its midpoint, otherwise one without an upper end has +inf.
    """
    ranked = rank(label, logit)
    return float(best_balanced_threshold(curves(ranked), ranked.level)[0])


def at_fpr(label: ArrayLike, logit: ArrayLike, fpr: float) -> float:
    """Return the threshold whose FPR comes closest to `fpr`, in [0, 1], from below; NaN without
    both classes.

    It lies midway between the score that would break the limit and the next higher one: -inf where
    no score breaks it, +inf where the highest one does.
    """
    ranked = rank(label, logit)
    c = curves(ranked)
    cut = last_cut_within(c, fpr)
    return float(c.with_both_classes(midpoint(ranked.level, cut, cut))[0])


def source_thresholds(label: ArrayLike, logit: ArrayLike) -> dict[str, float]:
    """Return the thresholds that the source's val decides: `fixed`, `source` and `source_fpr5`."""
    return {
        "fixed": FIXED,
        "source": best_balanced_accuracy(label, logit),
        "source_fpr5": at_fpr(label, logit, 0.05),
    }


def fit_temperature(label: ArrayLike, logit: ArrayLike) -> float:
    """Return the temperature T > 0, always finite, for which logit / T has the least negative
    log-likelihood.

    Temperature scaling after Guo et al. (2017), against the smoothed targets of Platt (1999),
    (n_fake + 1) / (n_fake + 2) for a fake and 1 / (n_real + 2) for a real: they keep T away from 0
    where the sample is perfectly separated, and differ from 1 and 0 by less than the sample can
    show. Where the scores point the wrong way, T is the largest allowed: it leaves
    |logit / T| <= 0.001, so that every probability is about one half. T is 1 where all logits are
    0, or there are none.
    """
    from scipy.optimize import brentq

    fake, score = checked(label, logit)
    size = np.abs(score[score != 0])
    if not size.size:
        return 1.0
    target = np.where(fake, (fake.sum() + 1) / (fake.sum() + 2), 1 / ((~fake).sum() + 2))

    def slope(log_scale: float) -> float:
        """The loss's derivative by the scale 1 / T, in which it is convex: rising."""
        return float(score @ (sigmoid(score * np.exp(log_scale)) - target))

    flattest = float(np.log(FLATTEST / size.max()))
    if slope(flattest) >= 0:
        return float(np.exp(-flattest))
    # At this scale every logit lies beyond its own target's, on one side or the other, so that the
    # slope cannot be negative.
    steepest = float(np.log(np.log(len(score) + 2) / size.min()))
    return float(np.exp(-brentq(slope, flattest, steepest, xtol=1e-10)))
