"""The ROC of a cell with a band: where the true positive rate at each false positive rate would lie
with other images of the same kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from study.statistics import ranking
from study.statistics.ranking import Floats
from study.statistics.resampling import CONFIDENCE, Clusters, clusters, draws

REPLICATES = 100  # the band needs their spread alone, not their tails
FEWEST = 2  # groups with reals that a false positive rate must stand for: below, no band covers


def tpr_at(c: ranking.Curves, fpr: Floats) -> Floats:
    """(R, F) the highest true positive rate at no more than each false positive rate `fpr` (F,)."""
    reached = (c.called - c.tp) / c.n_real[:, None]
    # Rows in one array: each has its own stretch of numbers, and one search serves all.
    apart = 2.0 * np.arange(len(reached))[:, None]
    found = np.searchsorted((reached + apart).ravel(), (fpr + apart).ravel(), side="right") - 1
    return c.tp.ravel()[found].reshape(len(reached), -1) / c.n_fake[:, None]


def roc_band(
    label: ArrayLike, logits: Floats, group: ArrayLike, fpr: Floats, *, rng_seed: int
) -> tuple[Floats, Floats, Floats]:
    """Return the true positive rate at each false positive rate, mean over scorings, and the ends
    of its 95 % interval: (F,) each, in [0, 1].

    label (N,), 1 = fake, with both classes; logits (S, N), finite; group (N,) str; fpr (F,), in [0,
    1]. The interval is for each rate by itself, of other groups of images scored by the same
    models; NaN at rates of fewer than `FEWEST` groups with reals. It is that of Agresti and Coull
    (1998) with the larger of two variances: the binomial one of as many fakes as there are groups
    with fakes, and that of the cluster bootstrap (Zhou and Qin, 2005), which also knows how the
    threshold moves with the reals. So it has a width where all replicates agree. Its quantile is
    Student's, of the groups of the rarer class. Its lower end is that of one group of reals fewer:
    the highest threshold that lets k of n reals pass lets k to k + 1 of n pass elsewhere.
    """
    groups = clusters(label, group)
    ranked = [ranking.rank(label, logit) for logit in logits]
    reals, fakes = groups.by_class
    both = np.concatenate([fpr, np.maximum(fpr - 1 / reals, 0)])
    value = np.mean([tpr_at(ranking.curves(one), both)[0] for one in ranked], axis=0)
    spread = _replicates(ranked, groups, both, rng_seed).std(axis=0, ddof=1)
    z = float(stdtrit(max(min(reals, fakes) - 1, 1), (1 + CONFIDENCE) / 2))
    shrink = fakes / (fakes + z**2)
    middle = shrink * value + (1 - shrink) / 2
    binomial = middle * (1 - middle) / (fakes + z**2)
    reach = z * np.sqrt(np.maximum(binomial, (shrink * spread) ** 2))
    high, low = (middle + reach)[: len(fpr)], (middle - reach)[len(fpr) :]
    known = np.where(fpr * reals >= FEWEST, 1.0, np.nan)
    return value[: len(fpr)], known * np.clip(low, 0, 1), known * np.clip(high, 0, 1)


def _replicates(
    ranked: list[ranking.Ranking], groups: Clusters, fpr: Floats, rng_seed: int
) -> Floats:
    """(R, F) the mean over scorings in each replicate: the same groups are drawn for all."""
    found = []
    for count in draws(groups, replicates=REPLICATES, rng_seed=rng_seed):
        each = [
            tpr_at(ranking.curves(one, count.take(groups.member[one.order], axis=1)), fpr)
            for one in ranked
        ]
        found.append(np.mean(each, axis=0))
    return np.concatenate(found)
