"""The band of a ROC: scikit-learn's curves of the same draws, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_curve

from study.statistics.ranking import Floats
from study.statistics.resampling import clusters, draws
from study.statistics.roc_band import FEWEST, REPLICATES, roc_band

FPR = np.array([0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0])
SEED = 5


def tpr_of(label: Floats, logit: Floats, weight: Floats | None = None) -> list[float]:
    fpr, tpr, _ = roc_curve(label, logit, sample_weight=weight, drop_intermediate=False)
    return [max(tpr[fpr <= at + 1e-12]) for at in FPR]


def grouped(rng: np.random.Generator, n: int, size: int, shift: float) -> tuple[Floats, ...]:
    """Labels, one scoring and groups: n images a class, `size` alike to a group, d' = shift."""
    label = np.repeat([0.0, 1.0], n)
    group = np.concatenate([np.arange(n) // size, n + np.arange(n) // size])
    apart, alike = rng.normal(size=2 * n), rng.normal(size=2 * n)[group]
    noise = apart if size == 1 else np.sqrt(0.5) * (apart + alike)
    return label, noise + shift * label, group.astype(str)


def test_the_middle_is_that_of_scikit_learn_and_its_spread_that_of_its_replicates() -> None:
    rng = np.random.default_rng(1)
    label, first, group = grouped(rng, 60, 3, 1.0)
    logits = np.round(np.stack([first, first + rng.normal(size=len(first))]), 1)  # with ties
    value, low, high = roc_band(label, logits, group, FPR, rng_seed=SEED)
    assert value == pytest.approx(np.mean([tpr_of(label, one) for one in logits], axis=0))
    groups = clusters(label, group)
    counts = np.concatenate([*draws(groups, replicates=REPLICATES, rng_seed=SEED)])
    each = [
        np.mean([tpr_of(label, one, count[groups.member]) for one in logits], axis=0)
        for count in counts
    ]
    fakes, z = 20, norm.ppf(0.975)
    middle = (fakes * value + z**2 / 2) / (fakes + z**2)
    variance = np.maximum(
        middle * (1 - middle) / (fakes + z**2),
        (np.std(each, axis=0, ddof=1) * fakes / (fakes + z**2)) ** 2,
    )
    known = FPR * 20 >= FEWEST
    assert np.isnan(low[~known]).all() and np.isnan(high[~known]).all() and known.sum() == 5
    assert low[known] == pytest.approx(np.clip(middle - z * variance**0.5, 0, 1)[known])
    assert high[known] == pytest.approx(np.clip(middle + z * variance**0.5, 0, 1)[known])


def test_classes_that_never_mix_still_have_a_width() -> None:
    label = np.repeat([0.0, 1.0], 30)
    names = np.arange(60).astype(str)
    value, low, high = roc_band(label, (4 * label - 2)[None], names, FPR, rng_seed=SEED)
    known = FPR * 30 >= FEWEST
    assert (value == 1).all() and (high[known] == 1).all()
    assert (low[known] < 0.95).all() and (low[known] > 0.8).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "size", "shift"), [(56, 1, 1.5), (56, 1, 3.0), (67, 1, 0.0), (400, 1, 1.0), (200, 4, 1.0)]
)
def test_it_holds_the_true_rate_95_times_of_100(n: int, size: int, shift: float) -> None:
    """Of two normal distributions, in 400 studies: under the null too (shift 0). The standard error
    of a share of .95 is .011.
    """
    rng, studies = np.random.default_rng(0), 400
    truth = norm.sf(norm.isf(FPR) - shift)
    held = np.zeros(len(FPR))
    for at in range(studies):
        label, logit, group = grouped(rng, n, size, shift)
        _, low, high = roc_band(label, logit[None], group, FPR, rng_seed=at)
        held += (low <= truth) & (truth <= high)
    shares = (held / studies)[FPR * n / size >= FEWEST]
    assert len(shares) >= 5 and shares.min() > 0.90, shares
