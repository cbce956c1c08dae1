"""The ROC of a cell with a band: where the true positive rate at each false positive rate would lie
with other images of the same kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from study.statistics import ranking
from study.statistics.ranking import Floats
from study.statistics.resampling import Clusters, Z, clusters, draws

REPLICATES = 200  # the band needs their spread alone, not their tails
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
    threshold moves with the reals. So it has a width where all replicates agree.
    """
    groups = clusters(label, group)
    ranked = [ranking.rank(label, logit) for logit in logits]
    value = np.mean([tpr_at(ranking.curves(one), fpr)[0] for one in ranked], axis=0)
    spread = _replicates(ranked, groups, fpr, rng_seed).std(axis=0, ddof=1)
    fakes = groups.by_class[1]
    shrink = fakes / (fakes + Z**2)
    middle = shrink * value + (1 - shrink) / 2
    binomial = middle * (1 - middle) / (fakes + Z**2)
    reach = Z * np.sqrt(np.maximum(binomial, (shrink * spread) ** 2))
    reach[fpr * groups.by_class[0] < FEWEST] = np.nan
    return value, np.clip(middle - reach, 0, 1), np.clip(middle + reach, 0, 1)


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
