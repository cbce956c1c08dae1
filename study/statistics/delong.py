"""DeLong's interval of an AUC, for samples in which every image is its own group; what each image
adds to its error, for samples with groups of several.

Numpy and scipy only. DeLong, DeLong and Clarke-Pearson (1988), by sorting as in Sun and Xu (2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from study.statistics.ranking import Floats, checked
from study.statistics.resampling import Z


def placements(label: ArrayLike, logit: ArrayLike) -> tuple[Floats, Floats]:
    """Return for each fake the share of reals below it, and for each real the share of fakes above
    it, ties counting half.

    label (N,), 1 = fake; logit (N,), finite; both classes present. Both results are in the sample's
    order and have the AUC as mean.
    """
    fake, score = checked(label, logit)
    order = np.argsort(score)
    ranked, is_fake = score[order], fake[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each level of equal scores
    level = np.cumsum(last) - last
    fakes, reals = (np.cumsum(of)[last] for of in (is_fake, ~is_fake))
    # images below a level and up to it, twice their mean
    under_fakes, under_reals = (
        (np.append(0, until[:-1]) + until)[level] for until in (fakes, reals)
    )
    share = np.empty(len(score))
    n_fake, n_real = int(fakes[-1]), int(reals[-1])
    share[order] = np.where(
        is_fake, under_reals / (2 * n_real), (2 * n_fake - under_fakes) / (2 * n_fake)
    )
    return share[fake], share[~fake]


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
    return auc_and_influence(label, logit)[1]


def auc_and_influence(label: ArrayLike, logit: ArrayLike) -> tuple[float, Floats]:
    """Return the AUC, too."""
    fake = np.asarray(label).astype(bool)
    found, placed = np.empty(len(fake)), placements(label, logit)
    for of_class, one in zip((fake, ~fake), placed, strict=True):
        found[of_class] = (one - one.mean()) / len(one)
    return float(placed[0].mean()), found
