"""DeLong's interval of an AUC, for samples in which every image is its own group; what each image
adds to its error, for samples with groups of several.

Numpy and scipy only. DeLong, DeLong and Clarke-Pearson (1988), by sorting as in Sun and Xu (2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from study.statistics.ranking import Floats, checked, placed_below
from study.statistics.resampling import Z


def placements(label: ArrayLike, logit: ArrayLike) -> tuple[Floats, Floats]:
    """Return for each fake the share of reals below it, and for each real the share of fakes above
    it, ties counting half.

    label (N,), 1 = fake; logit (N,), finite; both classes present. Both results are in the sample's
    order and have the AUC as mean.
    """
    fake, score = checked(label, logit)
    return _share_below(score[fake], score[~fake]), _share_below(-score[~fake], -score[fake])


def _share_below(of: Floats, among: Floats) -> Floats:
    below, not_above = placed_below(of, among)
    return np.asarray((below + not_above) / (2 * len(among)))


def auc_variance(label: ArrayLike, logits: Sequence[ArrayLike]) -> tuple[float, float]:
    """Return the mean over S scorings of the same images of their AUC, and that mean's variance; S
    = 1 is the plain case.

    The placements are averaged over scorings first, which counts the covariance between them. NaN
    below two images a class.
    """
    pairs = [placements(label, logit) for logit in logits]
    fakes, reals = (np.mean(values, axis=0) for values in zip(*pairs, strict=True))
    if min(len(fakes), len(reals)) < 2:
        return float(fakes.mean()), float("nan")
    return float(fakes.mean()), float(
        fakes.var(ddof=1) / len(fakes) + reals.var(ddof=1) / len(reals)
    )


def delong_interval(label: ArrayLike, logits: Sequence[ArrayLike]) -> tuple[float, float]:
    """Return the 95 % interval of the mean AUC of `logits` over the same images, normal on the
    logit scale (Pepe, 2003).

    Near 1 an AUC's distribution is skewed, and a symmetric interval too high; away from it the two
    hardly differ.
    """
    value, variance = auc_variance(label, logits)
    if np.isnan(variance) or variance <= 0 or not 0 < value < 1:
        return (value, value) if variance == 0 else (float("nan"), float("nan"))
    reach = Z * np.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def influence(label: ArrayLike, logit: ArrayLike) -> Floats:
    """Return what each image adds to the AUC's error, (N,): its placement less the AUC, over its
    class' size; a class sums to 0.

    label (N,), 1 = fake; logit (N,), finite; both classes present.
    """
    fake = np.asarray(label).astype(bool)
    found = np.empty(len(fake))
    for of_class, placed in zip((fake, ~fake), placements(label, logit), strict=True):
        found[of_class] = (placed - placed.mean()) / len(placed)
    return found
