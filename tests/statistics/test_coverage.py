"""Do 95 % intervals hold the truth 95 % of the time? Simulations of a binormal population whose AUC
is known in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.special import ndtr

from study.statistics.delong import delong_interval
from study.statistics.resampling import bootstrap_auc, percentile_interval

Interval = Callable[[np.ndarray, np.ndarray, np.ndarray, int], tuple[float, float]]
SHIFT = 1.2  # of the fakes


def delong(
    label: np.ndarray, logit: np.ndarray, group: np.ndarray, trial: int
) -> tuple[float, float]:
    return delong_interval(label, [logit])


def bootstrap(
    label: np.ndarray, logit: np.ndarray, group: np.ndarray, trial: int
) -> tuple[float, float]:
    low, high, _ = percentile_interval(
        bootstrap_auc(label, logit, group, replicates=400, rng_seed=trial)
    )
    return float(low), float(high)


def samples(
    groups: int, frames: int, trials: int, between: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Groups of `frames` images of one class; a group's images share a part of variance `between`,
    each has 1 of its own.
    """
    label = np.repeat(np.arange(groups) % 2, frames)
    member = np.repeat(np.arange(groups), frames)
    for trial in range(trials):
        rng = np.random.default_rng([7, groups, frames, trial])
        shared = math.sqrt(between) * rng.normal(size=groups)
        yield (
            label,
            shared[member] + rng.normal(size=len(label)) + SHIFT * label,
            member.astype(str),
            trial,
        )


def coverage(interval: Interval, *, groups: int, frames: int, trials: int, between: float) -> float:
    truth = float(ndtr(SHIFT / math.sqrt(2 * (1 + between))))
    held = [
        low <= truth <= high
        for low, high in (interval(*s) for s in samples(groups, frames, trials, between))
    ]
    return float(np.mean(held))


@pytest.mark.parametrize(("interval", "trials"), [(delong, 4000), (bootstrap, 600)])
def test_without_groups_the_truth_is_held_95_times_in_100(interval: Interval, trials: int) -> None:
    assert 0.93 <= coverage(interval, groups=200, frames=1, trials=trials, between=0.0) <= 0.97


def test_near_separation_the_truth_is_held_too() -> None:
    """AUC .985 of 30 and 30 images, where DeLong's symmetric interval holds it 84 times in 100."""
    rng, shift, held = np.random.default_rng(9), 3.07, []
    label = np.repeat([0, 1], 30)
    truth = float(ndtr(shift / math.sqrt(2)))
    for _ in range(2000):
        logit = rng.normal(size=60) + shift * label
        low, high = delong_interval(label, [logit])
        held.append((low if low < high else 0.025 ** (1 / 30)) <= truth <= high)
    assert 0.93 <= np.mean(held) <= 0.99


def test_with_twenty_frames_a_group_ours_holds_it_and_ignoring_groups_does_not() -> None:
    """Half of the variance is the group's: 1,600 images are worth far fewer, and DeLong over images
    claims far too much.
    """
    assert 0.93 <= coverage(bootstrap, groups=80, frames=20, trials=600, between=1.0) <= 0.97
    assert coverage(delong, groups=80, frames=20, trials=600, between=1.0) < 0.6
