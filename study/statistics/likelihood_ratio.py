"""Likelihood ratios: what a score is worth as evidence, and whether it says what it is worth
(PROTOCOL section 4).

Numpy and scipy only. A likelihood ratio (LR) is how much more probable a score is of a fake than of
a real. Here ln LR = slope * logit + offset, fitted on source val at equal priors. An LR of 1 says
nothing. `log_lr` is (N,), the natural logarithm; what is shown has base 10. The functions of a
sample give NaN where a class is missing. `lir` of the Netherlands Forensic Institute is the
reference that tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, fdtrc, xlog1py, xlogy

from study.statistics.ranking import Curves, Floats, Ints, checked, curves, rank
from study.statistics.resampling import clusters

LN10 = float(np.log(10))
ELUB_STEP = 0.01  # of log10 LR
ELUB_EXTREMES = 9.0  # of log10 LR: what lies beyond counts as this


@dataclass(frozen=True)
class Evidence:
    """How a logit becomes a likelihood ratio: ln LR = slope * logit + offset. NaN where there is no
    source that could say it; both 0 where scores say nothing.
    """

    slope: float = float("nan")
    offset: float = float("nan")

    @property
    def is_known(self) -> bool:
        """Whether there is a source that says it."""
        return not np.isnan(self.slope)

    @property
    def says_nothing(self) -> bool:
        """Whether every image has the LR 1."""
        return self.slope == 0

    def log_lr(self, logit: ArrayLike) -> Floats:
        """(N,) ln LR of logits (N,)."""
        return self.slope * np.asarray(logit, dtype=np.float64) + self.offset


UNKNOWN = Evidence()


def fit_evidence(label: ArrayLike, logit: ArrayLike) -> Evidence:
    """Fit the LR to a sample by logistic regression in which both classes weigh alike (equal
    priors), after Bruemmer & du Preez (2006).

    The targets are Platt's (1999), (n + 1) / (n + 2) for the n fakes and 1 / (n + 2) for the n
    reals: they keep the LR of separated samples finite, and differ from 1 and 0 by less than the
    sample can show. Scores that are equal, or point the wrong way, say nothing: the LR is 1. NaN
    where a class is missing.
    """
    from scipy.optimize import minimize  # a quarter of a second, and many commands need it not

    fake, score = checked(label, logit)
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    if not n_fake or not n_real:
        return UNKNOWN
    centre, spread = float(score.mean()), float(score.std())
    if spread <= 1e-12 * max(abs(centre), 1e-300):
        return Evidence(0.0, 0.0)
    z = np.stack([(score - centre) / spread, np.ones(len(score))], axis=1)
    target = np.where(fake, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    weight = 0.5 / np.where(fake, n_fake, n_real)

    def loss(theta: Floats) -> tuple[float, Floats]:
        s = z @ theta
        value = weight @ (np.logaddexp(0, s) - target * s)
        return float(value), z.T @ (weight * (expit(s) - target))

    def curvature(theta: Floats) -> Floats:
        p = expit(z @ theta)
        return np.asarray((z * (weight * p * (1 - p))[:, None]).T @ z)

    found = minimize(
        loss, np.zeros(2), jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-11}
    ).x
    if found[0] <= 0:
        return Evidence(0.0, 0.0)
    slope = float(found[0] / spread)
    return Evidence(slope, float(found[1] - slope * centre))


def bits(label: ArrayLike, log_lr: ArrayLike) -> Floats:
    """(N,) what each image costs in bits, of which Cllr is the mean over both classes: log2(1 +
    1/LR) of a fake, log2(1 + LR) of a real (Bruemmer & du Preez, 2006).
    """
    fake, s = checked(label, log_lr)
    return np.asarray(np.logaddexp(0.0, np.where(fake, -s, s)) / np.log(2))


def cllr(label: ArrayLike, log_lr: ArrayLike) -> float:
    """Return Cllr in bits, >= 0: the mean cost of LRs, both classes weighing alike; 1 where every
    LR is 1, above 1 where LRs mislead (Bruemmer & du Preez, 2006, equation 12).
    """
    fake, cost = np.asarray(label).astype(bool), bits(label, log_lr)
    return float((_mean(cost[fake]) + _mean(cost[~fake])) / 2)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def cllr_min(label: ArrayLike, score: ArrayLike) -> float:
    """Return the Cllr of the best LRs that rise with the score, in [0, 1]: what is left when
    calibration is perfect. By pooling adjacent violators (Bruemmer & du Preez, 2006, section 5).
    """
    return float(least_cllr(curves(rank(label, score)))[0])


def least_cllr(c: Curves) -> Floats:
    """(R,) the Cllr_min of each replicate; NaN without both classes."""
    from scipy.optimize import isotonic_regression

    found = np.full(len(c.fakes), np.nan)
    for row, (fakes, images) in enumerate(zip(c.fakes, c.images, strict=True)):
        reals = images - fakes
        if fakes.sum() and reals.sum():
            fake_share, real_share = fakes / fakes.sum(), reals / reals.sum()
            weight = fake_share + real_share
            held = weight > 0
            p = isotonic_regression(
                fake_share[held] / weight[held], weights=weight[held], increasing=False
            ).x
            p = np.clip(p, 0, 1)
            cost = xlogy(fake_share[held], p) + xlog1py(real_share[held], -p)
            found[row] = -cost.sum() / np.log(2) / 2
    return found + 0.0  # no negative zero


def elub(label: ArrayLike, log_lr: ArrayLike) -> tuple[float, float]:
    """Return the empirical lower and upper bound of log10 LR, within which LRs rest on data and on
    no extrapolation (Vergeer et al., 2016); (0, 0) where no LR does, NaN where a class is missing.

    An LR is used as a threshold: it may be reported where deciding by it costs less than deciding
    without it, with one misleading LR more in each class than were seen.
    """
    fake, s = checked(label, log_lr)
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    if not n_fake or not n_real:
        return float("nan"), float("nan")
    log10 = np.clip(s / LN10, -ELUB_EXTREMES, ELUB_EXTREMES)
    least = max(log10.min(), -np.log10(n_fake + 1))
    most = min(log10.max(), np.log10(n_real + 1))
    first = min(0, int(np.floor_divide(least, ELUB_STEP)))
    last = max(0, int(np.floor_divide(most, ELUB_STEP)) + 1)
    grid = np.linspace(first * ELUB_STEP, last * ELUB_STEP, last - first + 1)
    odds, lr = 10**grid, 10**log10

    def above(of: Floats) -> Ints:
        return len(of) - np.searchsorted(np.sort(of), odds, side="right")

    system = 1 - above(lr[fake]) / (n_fake + 1) + odds * (above(lr[~fake]) + 1) / (n_real + 1)
    neutral = np.where(odds < 1, odds, 1.0)  # of LRs that are all 1
    costs_more = neutral / system < 1
    low = max(grid[(grid <= 0) & costs_more] + ELUB_STEP, default=grid[0])
    high = min(grid[(grid >= 0) & costs_more] - ELUB_STEP, default=grid[-1])
    return min(float(low), 0.0), max(float(high), 0.0)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One scoring with its labels and groups, (N,) each: what a test of LRs is given."""

    label: ArrayLike
    logit: ArrayLike
    group: ArrayLike


def invalid_p(source: Sequence[Judged], target: Sequence[Judged]) -> float:
    """Return the p of LRs that are fitted on a source sample being valid on a target sample: small
    where they are not. Both have S seeds of the same images; NaN where it cannot be tested.

    A score test, at the fitted LRs, of a logistic regression on the target at equal priors: were
    the LRs valid there, it would change neither slope nor offset (Cox, 1958). The variance holds
    the images of both samples, with groups as clusters, as the slope and the offset are estimates
    too. An F distribution with the groups of the rarer class less 2 as degrees of freedom.
    """
    fitted = [fit_evidence(one.label, one.logit) for one in source]
    if not all(one.is_known and not one.says_nothing for one in fitted):
        return float("nan")
    parts = [
        _gradient(one, evidence)
        for sample in (source, target)
        for one, evidence in zip(sample, fitted, strict=True)
    ]
    at_source, at_target = parts[: len(fitted)], parts[len(fitted) :]
    # of the target's gradient: its own images, and those by which slope and offset were fitted
    moved = [
        t.curvature @ np.linalg.solve(s.curvature, s.by_image.T)
        for s, t in zip(at_source, at_target, strict=True)
    ]
    value = np.mean([one.by_image.sum(axis=0) for one in at_target], axis=0)
    by_image = np.mean([one.by_image for one in at_target], axis=0), np.mean(moved, axis=0).T
    variance, fewest = np.zeros((2, 2)), np.inf
    for values, sample in zip(by_image, (target[0], source[0]), strict=True):
        groups = clusters(sample.label, sample.group)
        fake = np.asarray(sample.label).astype(bool)
        centred = values.copy()
        for of in (fake, ~fake):
            centred[of] -= values[of].mean(axis=0)
        summed = groups.totals(centred)
        variance += summed.T @ summed * len(groups) / max(len(groups) - 1, 1)
        fewest = min(fewest, *groups.by_class)
    if fewest < 4 or np.linalg.cond(variance) > 1e12:
        return float("nan")
    wald = float(value @ np.linalg.solve(variance, value))
    degrees = fewest - 2
    return float(fdtrc(2, degrees, wald / 2 * degrees / (degrees + 1)))


@dataclass(frozen=True, kw_only=True)
class _Gradient:
    """The gradient of the loss at given LRs by (slope, offset): (N, 2) of each image, and the
    expected curvature (2, 2).
    """

    by_image: Floats
    curvature: Floats


def _gradient(sample: Judged, evidence: Evidence) -> _Gradient:
    fake, s = checked(sample.label, evidence.log_lr(sample.logit))
    design = np.stack([s, np.ones(len(s))], axis=1)
    p, weight = expit(s), 0.5 / np.where(fake, fake.sum(), (~fake).sum())
    return _Gradient(
        by_image=design * (weight * (fake - p))[:, None],
        curvature=(design * (weight * p * (1 - p))[:, None]).T @ design,
    )


def calls_by_certainty(label: ArrayLike, log_lr: ArrayLike) -> tuple[Ints, NDArray[np.bool_], Ints]:
    """Return the order (N,) of images from the LR farthest from 1 to the nearest, whether each is
    called wrongly in that order (fake where LR >= 1), and the last place (K,) of each |ln LR|.
    """
    fake, s = np.asarray(label).astype(bool), np.asarray(log_lr, dtype=np.float64)
    order = np.argsort(-np.abs(s), kind="stable")
    size = np.abs(s)[order]
    last = np.flatnonzero(np.append(size[1:] != size[:-1], True)[: len(s)])
    return order, ((s >= 0) != fake)[order], last


def risk_by_coverage(label: ArrayLike, log_lr: ArrayLike) -> tuple[Floats, Floats]:
    """Return coverage (K,), rising to 1, and the risk (K,) there: the share of wrong calls among
    the images whose LRs are farthest from 1 (Geifman & El-Yaniv, 2017). Images of one |ln LR| are
    taken together. Empty without images.
    """
    _, wrong, last = calls_by_certainty(label, log_lr)
    return (last + 1) / max(len(wrong), 1), np.cumsum(wrong)[last] / (last + 1)
