"""A difference of AUCs with its interval and p: normal, but never claiming more than an exact bound
(PROTOCOL section 5).

Numpy and scipy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from study.statistics.resampling import CONFIDENCE, Z

NAN = float("nan")
ALPHA = 1 - CONFIDENCE
POWER = 0.8
NO_VARIANCE = 1e-20  # of an AUC: below it only rounding is left
ROUNDING = 1e-12
# what separating differs from guessing by: the smallest lead that every pair of a real and a fake
# can show alike
TIE = 0.5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of AUCs, first minus second, in [-1, 1], with its 95 % interval and two-sided p.
    Undefined is NaN with a reason.

    smallest: what a true difference must be to be found with 80 % power at alpha .05, see
    `smallest_difference`; NaN where even the
        largest would not be found. error: the interval's reach towards 0, as a standard error.
    how: what the interval rests on. note: a flag that does not make the numbers undefined.
    """

    value: float
    low: float = NAN
    high: float = NAN
    p: float = NAN
    smallest: float = NAN
    error: float = NAN
    how: str = ""
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one sample adds to a difference of AUCs: its value, in [-scale, scale], and the sampling
    variance of that.

    pairs: disjoint pairs of a real and a fake in it, >= 1. alike: whether every pair of a real and
    a fake adds the very same.
    """

    value: float
    variance: float
    pairs: int
    scale: float = 1.0
    alike: bool = False

    @property
    def varies(self) -> bool:
        """Whether its variance is more than rounding."""
        return self.variance > NO_VARIANCE * self.scale**2


def normal_difference(
    value: float, variance: float, *, how: str, reason: str = "", note: str = ""
) -> Difference:
    """Return a difference with the interval and p of a normal distribution of that variance, so
    that the two always agree.

    The interval is cut to [-1, 1]. value NaN, or variance NaN or not above `NO_VARIANCE`: no
    interval and no p, with a reason.
    """
    if not reason and not variance > NO_VARIANCE:
        reason = "the sample shows no variance"
    if reason:
        return Difference(value=value, how=how, reason=reason, note=note)
    error = math.sqrt(variance)
    reach = Z * error
    return Difference(
        value=value,
        low=max(value - reach, -1.0),
        high=min(value + reach, 1.0),
        p=float(2 * ndtr(-abs(value) / error)),
        smallest=smallest_difference(error),
        error=error,
        how=how,
        note=note,
    )


def total_difference(parts: Sequence[Part], *, how: str, note: str = "") -> Difference:
    """Return the sum of the parts, whose scales sum to 1 and whose errors are independent, with its
    interval and p.

    Both are normal, from the sum of the variances; but a sample of m disjoint pairs cannot show
    more than if all of them agreed. So towards 0, no part and no sum reaches less far than
    `constant_difference` does for as large a lead, or for one of `TIE` where it is smaller, and p
    is no less than its p. A part of which every pair is alike has that bound on both sides. Reaches
    that differ are combined by MOVER (Zou and Donner, 2008). Undefined, with a reason, where a part
    does not vary but is not alike.
    """
    value, pairs = sum(part.value for part in parts), sum(part.pairs for part in parts)
    if any(not part.varies and not part.alike for part in parts):
        return Difference(
            value=value,
            how=how,
            note=note,
            reason="the sample shows no variance and no exact bound is known",
        )
    if len(parts) == 1 and not parts[0].varies:
        return constant_difference(value, pairs)
    normal = Z * math.sqrt(sum(part.variance for part in parts))
    down, up = (math.hypot(*reaches) for reaches in zip(*map(_reaches, parts), strict=True))
    down, up = max(down, _least_reach(value, pairs)), max(up, _least_reach(-value, pairs))
    error = (down if value > 0 else up if value < 0 else max(down, up)) / Z
    bound = (
        f"widened to the exact bound of {pairs} disjoint pairs"
        if len(parts) == 1
        else "widened by exact bounds of test sets"
    )
    widened = bound if max(down, up) > normal * (1 + ROUNDING) else ""
    return Difference(
        value=value,
        low=max(value - down, -1.0),
        high=min(value + up, 1.0),
        p=max(float(2 * ndtr(-abs(value) / error)), _exact_p(max(abs(value), TIE), pairs)),
        smallest=_smallest_shown(parts, pairs),
        error=error,
        how=how,
        note="; ".join(text for text in (note, widened) if text),
    )


def _reaches(part: Part) -> tuple[float, float]:
    """How far the interval of a part must reach down and up from its value."""
    lead = part.value / part.scale
    if not part.varies:
        return part.scale * (lead - _exact_low(lead, part.pairs)), part.scale * (
            -lead - _exact_low(-lead, part.pairs)
        )
    normal = Z * math.sqrt(part.variance)
    return max(normal, part.scale * _least_reach(lead, part.pairs)), max(
        normal, part.scale * _least_reach(-lead, part.pairs)
    )


def _least_reach(lead: float, pairs: int) -> float:
    """How far down an interval reaches from a lead at least; below 0 where that is no demand."""
    return lead - _exact_low(max(lead, TIE), pairs)


def _smallest_shown(parts: Sequence[Part], pairs: int) -> float:
    """The smallest difference that is found, which m pairs show only where all of them agreeing
    would have a p below alpha.

    It rests on the parts' errors and on how many pairs they have, not on the lead that happened to
    be observed: reaches are those from a lead of 0, the normal one or that of a part that does not
    vary.
    """
    reaches = [
        max(
            (
                Z * math.sqrt(part.variance)
                if part.varies
                else -part.scale * _exact_low(0, part.pairs)
            ),
            part.scale * _least_reach(0, part.pairs),
        )
        for part in parts
    ]
    error = max(math.hypot(*reaches), _least_reach(0, pairs)) / Z
    agreeing = (2 / ALPHA) ** (1 / pairs) - 1
    found = max(smallest_difference(error), agreeing if agreeing > TIE else 0.0)
    return found if found <= 1 else NAN


def constant_difference(value: float, pairs: int) -> Difference:
    """Return exact bounds where all of `pairs` >= 1 independent pairs of a real and a fake give the
    same difference, `value`.

    A pair's difference lies in [-1, 1]. If its expectation is c < v, it equals v with probability
    at most (1 + c) / (1 + v), so all m pairs do with at most that to the power m; the lower bound
    is the c at which this is 2.5 %, the upper one follows by symmetry. p is twice that probability
    at c = 0, and 1 where v is 0.
    """
    low, high = _exact_low(value, pairs), -_exact_low(-value, pairs)
    return Difference(
        value=value,
        low=low,
        high=high,
        p=_exact_p(value, pairs),
        error=(value - low if value > 0 else high - value) / Z,
        how=f"exact bound ({pairs} disjoint pairs)",
        note="every pair of a real and a fake differs alike",
    )


def _exact_low(value: float, pairs: int) -> float:
    share: float = ((1 - CONFIDENCE) / 2) ** (1 / pairs)
    return max((1 + value) * share - 1, -1.0)


def _exact_p(value: float, pairs: int) -> float:
    return min(1.0, 2 * math.pow(1 + abs(value), -pairs))


def smallest_difference(error: float) -> float:
    """Return the smallest true difference that a two-sided test at alpha .05 finds with 80 % power:
    2.80 standard errors.

    (z(1 - alpha / 2) + z(power)) times the standard error of the difference, the minimum detectable
    effect of Bloom (1995).
    """
    return float((ndtri(1 - ALPHA / 2) + ndtri(POWER)) * error)
