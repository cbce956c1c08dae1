"""The band of a ROC: scikit-learn's curves of the same draws, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_curve

from study.statistics.ranking import Floats
from study.statistics.resampling import clusters, draws
from study.statistics.roc_band import FEWEST, REPLICATES, roc_band

FPR = np.array([0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0])
SEED = 5


def tpr_of(
    label: Floats, logit: Floats, weight: Floats | None = None, at: Floats = FPR
) -> list[float]:
    fpr, tpr, _ = roc_curve(label, logit, sample_weight=weight, drop_intermediate=False)
    return [max(tpr[fpr <= one + 1e-12]) for one in at]


def grouped(
    rng: np.random.Generator, reals: int, fakes: int, size: int, shift: float, sd: float = 1.0
) -> tuple[Floats, ...]:
    """Labels, one scoring and groups: `size` images to a group that are alike by half. Fakes are
    `shift` above reals and spread `sd` times as far.
    """
    label = np.repeat([0.0, 1.0], [reals, fakes])
    group = np.concatenate([np.arange(reals) // size, reals + np.arange(fakes) // size])
    apart, alike = rng.normal(size=(2, reals + fakes))
    noise = apart if size == 1 else np.sqrt(0.5) * (apart + alike[group])
    return label, np.where(label == 1, shift + sd * noise, noise), group.astype(str)


def test_the_middle_is_that_of_scikit_learn_and_its_spread_that_of_its_replicates() -> None:
    rng = np.random.default_rng(1)
    label, first, group = grouped(rng, 60, 60, 3, 1.0)
    logits = np.round(np.stack([first, first + rng.normal(size=len(first))]), 1)  # with ties
    value, low, high = roc_band(label, logits, group, FPR, rng_seed=SEED)
    assert value == pytest.approx(np.mean([tpr_of(label, one) for one in logits], axis=0))
    groups = clusters(label, group)
    counts = np.concatenate([*draws(groups, replicates=REPLICATES, rng_seed=SEED)])
    known = FPR * 20 >= FEWEST
    assert np.isnan(low[~known]).all() and np.isnan(high[~known]).all() and known.sum() == 5
    fakes, t = 20, student.ppf(0.975, 19)
    for end, sign, fewer in ((low, -1, 1 / 20), (high, 1, 0)):
        at = FPR[known] - fewer
        middle = np.mean([tpr_of(label, one, at=at) for one in logits], axis=0)
        each = [
            np.mean([tpr_of(label, one, count[groups.member], at) for one in logits], axis=0)
            for count in counts
        ]
        middle = (fakes * middle + t**2 / 2) / (fakes + t**2)
        variance = np.maximum(
            middle * (1 - middle) / (fakes + t**2),
            (np.std(each, axis=0, ddof=1) * fakes / (fakes + t**2)) ** 2,
        )
        assert end[known] == pytest.approx(np.clip(middle + sign * t * variance**0.5, 0, 1))


def test_classes_that_never_mix_still_have_a_width() -> None:
    label = np.repeat([0.0, 1.0], 30)
    names = np.arange(60).astype(str)
    value, low, high = roc_band(label, (4 * label - 2)[None], names, FPR, rng_seed=SEED)
    known = FPR * 30 >= FEWEST
    assert (value == 1).all() and (high[known] == 1).all()
    assert (low[known] < 0.95).all() and (low[known] > 0.8).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reals", "fakes", "size", "shift", "sd"),
    [
        (20, 20, 1, 1.0, 1.0),
        (40, 400, 1, 1.0, 1.0),
        (40, 200, 1, 1.0, 0.3),
        (100, 1000, 1, 2.0, 1.0),
        (56, 56, 1, 3.0, 1.0),
        (67, 67, 1, 0.0, 1.0),
        (400, 400, 1, 1.0, 1.0),
        (200, 200, 4, 1.0, 1.0),
    ],
)
def test_it_holds_the_true_rate(reals: int, fakes: int, size: int, shift: float, sd: float) -> None:
    """Of two normal distributions, in 400 studies: under the null too (shift 0). It is made for 95
    of 100, and held 93 or more. The standard error of a share of .93 is .013.
    """
    rng, studies, rates = np.random.default_rng(0), 400, FPR[:-1]
    truth = norm.sf((norm.isf(rates) - shift) / sd)
    held = np.zeros(len(rates))
    for at in range(studies):
        label, logit, group = grouped(rng, reals, fakes, size, shift, sd)
        _, low, high = roc_band(label, logit[None], group, rates, rng_seed=at)
        held += (low <= truth) & (truth <= high)
    shares = (held / studies)[rates * reals / size >= FEWEST]
    assert len(shares) >= 4 and shares.min() > 0.91, shares
