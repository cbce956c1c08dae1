"""One error model: how far a number lies from what one more study of the same kind would find
(PROTOCOL section 5).

Numpy and scipy only. The quantity is the expected AUC of *one* model, or a difference or a mean of
such, over training samples and training seeds, with these test sets. The estimate is the mean over
S seeds of single models, each trained on the whole training set. Its error has three parts: which
test images were drawn (V_images), which training sample was drawn (V_draw), and which seeds were
trained (V_seed / S). The first is DeLong's variance with groups as clusters. The other two come
from models that are trained on disjoint halves of the training groups. Those models give variance
only and never move the estimate.

Everything that is called more than noise goes through `infer`: one interval, one p and one sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, nctdtr, ndtr, ndtri, stdtr, stdtrit

from study.statistics.ranking import Floats
from study.statistics.resampling import CONFIDENCE, Clusters

NAN = float("nan")
ALPHA = 1 - CONFIDENCE
POWER = 0.8
NO_VARIANCE = 1e-20  # of an AUC: below it only rounding is left
FLIPPED_BELOW = 50  # groups of the rarer class: below, signs are flipped and no t is looked up
FLIPPED_AT_MOST = 500  # groups of both classes
FLIPS = 20_000
MANY_DEGREES = 1e5  # of freedom: from here on t is normal
LARGEST_LEAD = 0.5  # what separating differs from guessing by
STEPS = 60  # of a bisection
Kind = Literal["auc", "difference"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a variance. doubt: variance^2 / degrees of freedom, which adds up over parts."""

    variance: float = 0.0
    doubt: float = 0.0

    def __add__(self, other: Part) -> Part:
        """Return the part of two independent errors."""
        return Part(variance=self.variance + other.variance, doubt=self.doubt + other.doubt)

    def times(self, factor: float) -> Part:
        """Return the part with its variance times a known factor."""
        return Part(variance=self.variance * factor, doubt=self.doubt * factor**2)

    @property
    def degrees(self) -> float:
        """The degrees of freedom by Welch and Satterthwaite, at least 1; infinite without doubt."""
        return max(self.variance**2 / self.doubt, 1.0) if self.doubt > 0 else math.inf


NOTHING = Part()


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What the images of one family of test sets say of a weighted sum of AUCs.

    value: what they add to it. part: of their sampling. contributions: (G,) of each group to the
    value. shares: (G,) of a shift of the value that falls on each group, 1 in all for a whole
    estimate. fewest: groups of the rarer class. pairs: disjoint pairs of a real and a fake of
    different groups. scale: the largest value possible, 1 for a difference of two AUCs. alike:
    whether every pair of a real and a fake adds the same.
    """

    value: float
    part: Part
    contributions: Floats
    shares: Floats
    fewest: int
    pairs: int
    scale: float = 1.0
    alike: bool = False

    @property
    def varies(self) -> bool:
        """Whether its variance is more than rounding."""
        return self.part.variance > NO_VARIANCE


def sampled(
    influences: ArrayLike,
    halves: ArrayLike,
    shares: ArrayLike,
    groups: Clusters,
    *,
    scale: float = 1.0,
    alike: bool = False,
) -> Sampled:
    """Return what images say, from what each adds to the error and to the value.

    influences (N,): each image's weight times its `influence`, a mean over seeds. halves (N,): what
    each image adds to the value beside that: value / (2 n) of the n images of its class. shares
    (N,): of a shift, 1 / (2 n) times the test set's weight.
    """
    stacked = np.stack([np.asarray(one, dtype=np.float64) for one in (influences, halves, shares)])
    error, half, share = groups.totals(stacked.T).T
    part = NOTHING
    for stratum in groups.strata:
        if len(stratum):
            part += _of_stratum(error[stratum])
    return Sampled(
        value=float(half.sum()),
        part=part,
        contributions=error + half,
        shares=share,
        fewest=min(groups.by_class),
        pairs=groups.pairs,
        scale=scale,
        alike=alike,
    )


def _of_stratum(total: Floats) -> Part:
    n = len(total)
    if n < 2:
        return Part(variance=float((total**2).sum()), doubt=float((total**2).sum()) ** 2)
    variance = float(total.var(ddof=1)) * n
    return Part(variance=variance, doubt=variance**2 / (n - 1))


def own_noise(influences: ArrayLike, groups: Clusters) -> float:
    """Return how far M models would lie apart because of the test images alone: what is to be
    taken from the sample variance of their values. influences: (M, N).
    """
    each = np.asarray(influences, dtype=np.float64)
    total = groups.totals((each - each.mean(axis=0)).T)
    found = sum(
        float(total[stratum].var(axis=0, ddof=1).sum()) * len(stratum)
        for stratum in groups.strata
        if len(stratum) > 1
    )
    return found / max(len(each) - 1, 1)


def seed_part(values: ArrayLike, noise: float = 0.0) -> Part:
    """Return V_seed, of one model: values (S,), one a seed, and their `own_noise`. Of one seed it
    is 0 without degrees of freedom.
    """
    each = np.asarray(values, dtype=np.float64)
    if len(each) < 2:
        return NOTHING
    raw = float(each.var(ddof=1))
    return Part(variance=max(raw - noise, 0.0), doubt=raw**2 / (len(each) - 1))


def draw_part(differences: ArrayLike, noise: float = 0.0) -> Part:
    """Return V_draw + V_seed from R pairs of models that were trained on disjoint halves.

    differences (R,): of the two halves' values. noise: the mean of their image variance. Halves
    vary more than wholes: twice as much where both learn the same, and not at all where nothing is
    learned, or nothing but a shortcut that divides a class into modes. That is not taken out,
    because claims must hold there, too.
    """
    each = np.asarray(differences, dtype=np.float64)
    raw = float((each**2).mean()) / 2
    return Part(variance=max(raw - noise / 2, 0.0), doubt=raw**2 / len(each))


def training_part(draw: Part, seed: Part, seeds: int) -> Part:
    """Return V_draw + V_seed / S, where `draw` is V_draw + V_seed.

    The seeds' share is taken out as far as it is known to be there, and never more than leaves
    what S seeds would leave if nothing but seeds varied. It takes its share of the degrees of
    freedom with it. Then at most 6 % of equal detectors have p < .05 in simulations, whatever
    training samples and seeds vary by.
    """
    if not draw.variance:
        return draw
    left = max(draw.variance / seeds, draw.variance - (1 - 1 / seeds) * seed.variance)
    return Part(variance=left, doubt=draw.doubt * left / draw.variance)


def repeat_part(values: ArrayLike, noise: float = 0.0, within: float = 0.0) -> Part:
    """Return what the mean over k repeats of a study varies by besides images, training sample and
    seeds: what another search selects.

    values (k,): of the repeats. noise: their `own_noise`. within: by how much training sample and
    seeds vary one repeat more than their mean. Both explain why repeats differ.
    """
    each = np.asarray(values, dtype=np.float64)
    k, raw = len(each), float(each.var(ddof=1))
    left = max(raw - noise - max(within, 0.0) * k / (k - 1), 0.0)
    return Part(variance=left / k, doubt=(raw / k) ** 2 / (k - 1))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A number with its 95 % interval and two-sided p against `null`; they agree in sign and at
    .05. Undefined is NaN with a reason.

    counted: whether the training sample is in the error; where not, nothing is claimed. error: the
    standard error. images, training: the variances. degrees: of freedom. smallest: the lead over
    `null` that would show 4 times in 5, NaN where none up to .5 would. how: what the p rests on.
    """

    value: float
    null: float = 0.0
    low: float = NAN
    high: float = NAN
    p: float = NAN
    counted: bool = True
    error: float = NAN
    images: float = NAN
    training: float = NAN
    degrees: float = NAN
    smallest: float = NAN
    how: str = ""
    reason: str = ""


def infer(
    images: Sequence[Sampled],
    training: Part | None,
    *,
    kind: Kind = "difference",
    null: float = 0.0,
    tests: int = 1,
    rng_seed: int = 0,
) -> Finding:
    """Return the sum of what families of test sets say, with one interval, p and sign.

    training: the part of training sample and seeds; None where the sample is not counted, which is
    said. kind: a `difference` in [-1, 1], or an `auc`, or mean of AUCs, in [0, 1], whose interval
    is normal on the logit scale. tests: how many are made, for `smallest`.
    """
    value, given = float(sum(one.value for one in images)), training or NOTHING
    if any(not one.varies and not one.alike for one in images):
        why = "the sample shows no variance and no exact bound is known"
        return Finding(value=value, null=null, counted=training is not None, reason=why)
    reach = _reach(value, images, given, kind, rng_seed)
    low, high = reach.ends(ALPHA)
    variance = float(sum(one.part.variance for one in images))
    return Finding(
        value=value,
        null=null,
        low=low,
        high=high,
        p=reach.p(null),
        counted=training is not None,
        error=math.sqrt(variance + given.variance),
        images=variance,
        training=given.variance,
        degrees=reach.total.degrees,
        smallest=reach.smallest_lead(tests),
        how=reach.how,
    )


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """How far the interval of a value reaches at any level. total: all that is normal. exact: the
    (lead, scale, pairs) of families that do not vary. flipped: what signs that are flipped allow,
    both ends sorted outwards, instead of the images' normal part.
    """

    value: float
    kind: Kind
    total: Part
    training: Part
    exact: tuple[tuple[float, float, int], ...] = ()
    flipped: tuple[Floats, Floats] | None = None

    @property
    def how(self) -> str:
        """What the interval and p rest on."""
        names = (
            ["signs of groups flipped"] if self.flipped else ["t"] * bool(self.total.variance > 0)
        )
        return " and ".join([*names, *["exact bound"] * bool(self.exact)])

    @property
    def _logit(self) -> bool:
        return self.kind == "auc" and 0 < self.value < 1 and not self.exact

    def ends(self, alpha: float) -> tuple[float, float]:
        """Return the interval at level 1 - alpha."""
        q = -_quantile(self.total.degrees, alpha / 2)
        if self._logit:
            reach = q * math.sqrt(self.total.variance) / (self.value * (1 - self.value))
            middle = float(logit(self.value))
            return float(expit(middle - reach)), float(expit(middle + reach))
        down, up = self._linear(q, alpha)
        return max(self.value - down, -1.0 if self.kind == "difference" else 0.0), min(
            self.value + up, 1.0
        )

    def _linear(self, q: float, alpha: float) -> tuple[float, float]:
        """How far down and up it reaches: independent reaches by MOVER (Zou and Donner, 2008)."""
        down, up = [], []
        if self.flipped is None:
            down, up = [q * math.sqrt(self.total.variance)], [q * math.sqrt(self.total.variance)]
        else:
            lows, highs = self.flipped
            at = math.ceil(alpha * len(lows)) - 1
            down, up = [-float(lows[at])], [float(highs[at])]
            down, up = ([*side, q * math.sqrt(self.training.variance)] for side in (down, up))
        for lead, scale, pairs in self.exact:
            down.append(scale * (lead - exact_low(lead, pairs, alpha)))
            up.append(scale * (-lead - exact_low(-lead, pairs, alpha)))
        return math.hypot(*down), math.hypot(*up)

    def p(self, null: float) -> float:
        """Return the least level at which the interval leaves `null` out."""
        if self.value == null:
            return 1.0
        if not self.exact and self.flipped is None:
            if self._logit:
                slope = self.value * (1 - self.value)
                lead = abs(float(logit(self.value)) - float(logit(null))) * slope
            else:
                lead = abs(self.value - null)
            return 2 * _below(self.total.degrees, -lead / math.sqrt(self.total.variance))
        low, high, middle = 0.0, 1.0, ALPHA
        for _ in range(STEPS):
            ends = self.ends(middle)
            if ends[0] <= null <= ends[1]:
                low = middle
            else:
                high = middle
            middle = (low + high) / 2
        return middle

    def smallest_lead(self, tests: int) -> float:
        """Return the least true lead that would show in 4 of 5 repetitions, by noncentral t, after
        Holm's first step of so many tests; NaN where none up to `LARGEST_LEAD` would.
        """
        alpha, degrees = ALPHA / tests, self.total.degrees
        q = -_quantile(degrees, alpha / 2)
        reach = sum(self._linear(q, alpha)) / 2
        error = math.hypot(*self._linear(1.0, 2 * _below(math.inf, -1.0))) / math.sqrt(2)
        if not math.isfinite(reach) or not error > 0:
            return NAN
        lead = _noncentrality(degrees, reach / error) * error
        return lead if lead <= LARGEST_LEAD else NAN


def _noncentrality(degrees: float, threshold: float) -> float:
    """The noncentrality at which a t exceeds `threshold` with probability `POWER`."""
    if degrees > MANY_DEGREES:
        return threshold + float(ndtri(POWER))
    low, high = 0.0, 4 * threshold + 10
    for _ in range(STEPS):
        middle = (low + high) / 2
        shown = 1 - float(nctdtr(degrees, middle, threshold))
        low, high = (middle, high) if shown < POWER else (low, middle)
    return high


def _quantile(degrees: float, share: float) -> float:
    return float(ndtri(share) if degrees > MANY_DEGREES else stdtrit(degrees, share))


def _below(degrees: float, t: float) -> float:
    return float(ndtr(t) if degrees > MANY_DEGREES else stdtr(degrees, t))


def exact_low(lead: float, pairs: int, alpha: float = ALPHA) -> float:
    """Return the lower bound where all of `pairs` independent pairs of a real and a fake give the
    same lead, in [-1, 1].

    If its expectation is c < lead, a pair gives it with probability at most (1 + c) / (1 + lead),
    and all of them with at most that to the power of `pairs`. The bound is the c at which this is
    alpha / 2.
    """
    return max((1 + lead) * float((alpha / 2) ** (1 / pairs)) - 1, -1.0)


def _reach(
    value: float, images: Sequence[Sampled], training: Part, kind: Kind, rng_seed: int
) -> _Reach:
    varying = [one for one in images if one.varies]
    total = sum((one.part for one in varying), training)
    groups = sum(len(one.contributions) for one in varying)
    few = varying and min(one.fewest for one in varying) < FLIPPED_BELOW
    return _Reach(
        value=value,
        kind=kind,
        total=total,
        training=training,
        exact=tuple(_exact(one, kind) for one in images if not one.varies),
        flipped=_flipped(varying, rng_seed)
        if few and kind == "difference" and groups <= FLIPPED_AT_MOST
        else None,
    )


def _exact(one: Sampled, kind: Kind) -> tuple[float, float, int]:
    """The lead of every pair, in [-1, 1], the scale of that, and how many pairs there are."""
    lead = one.value / one.scale
    if kind == "auc":
        return 2 * lead - 1, one.scale / 2, one.pairs
    return lead, one.scale, one.pairs


def _flipped(images: Sequence[Sampled], rng_seed: int) -> tuple[Floats, Floats]:
    """How far a shift of the value may go, less the value, by each flip of the groups' signs.

    A shift is no surprise at level alpha where at least that share of flips of the groups that are
    left after it gives as much. Each flip allows it between two ends, so that sorted ends are the
    interval at every level, and the share of those beyond 0 is the p of the sign flip test. The
    sample itself is one of the flips, and allows everything.
    """
    given = np.concatenate([one.contributions for one in images])
    share = np.concatenate([one.shares for one in images])
    value, share = float(given.sum()), share / share.sum()
    signs = _signs(len(given), rng_seed)
    flip, shift = signs @ given, signs @ share
    whole = 1 - np.abs(shift) < 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(value - flip) / (1 - shift), (value + flip) / (1 + shift)])
    low = np.where(whole, -np.inf, ends.min(axis=0))
    high = np.where(whole, np.inf, ends.max(axis=0))
    return np.sort(low) - value, np.sort(high)[::-1] - value


@lru_cache(maxsize=4)
def _signs(groups: int, rng_seed: int) -> Floats:
    """(FLIPS, groups) signs, +1 or -1; the first row is the sample itself."""
    drawn = np.random.default_rng([rng_seed, groups]).integers(0, 2, (FLIPS, groups))
    drawn[0] = 1
    return np.asarray(drawn * 2.0 - 1.0)
