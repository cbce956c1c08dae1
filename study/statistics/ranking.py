"""Ranked scores and the counts under every threshold: the one place where scores are compared with
each other.

Numpy only. The metrics of a sample and of every bootstrap replicate are computed by the same
functions here, over an array of R replicates at once: a sample is one replicate in which each image
weighs 1, a bootstrap replicate gives an image the number of times its group was drawn. Two count
pairs instead, because it is faster: `metrics.auc` of one sample, and `resampling.ResampledAuc`.
Images are sorted once per sample; ties are exact because a step of the ROC is a distinct score. A
rate that a replicate does not define (a class missing) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.core.errors import ScoreError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
ROUNDING = 1e-12  # of weights that cancel


def checked(label: ArrayLike, logit: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Return which images are fake, (N,) bool, and the scores, (N,) float64, so that thresholds
    compare exactly.

    Raises ScoreError where a score is not finite, or where the two differ in shape.
    """
    fake, score = np.asarray(label).astype(bool), np.asarray(logit, dtype=np.float64)
    if fake.shape != score.shape or fake.ndim != 1:
        raise ScoreError(
            f"labels of shape {fake.shape} with scores of shape {score.shape}: need one of each per"
            " image"
        )
    if not np.isfinite(score).all():
        bad = int(np.flatnonzero(~np.isfinite(score))[0])
        raise ScoreError(
            f"score of image {bad} of {len(score)} is {score[bad]}: scores must be finite"
        )
    return fake, score


def missing_class(fake: NDArray[np.bool_]) -> str:
    """Return why a sample has no AUC, by its images' being fake (N,); "" where it has one."""
    if not len(fake):
        return "no images"
    return "no real images" if fake.all() else "" if fake.any() else "no fake images"


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """N images from the highest score to the lowest, in K levels of equal score.

    order: (N,) index into the sample. fake: (N,) uint8 in ranked order.
    level: (K,) the distinct scores, falling. end: (K,) how many images score at least `level`; None
    where K = N.
    """

    order: Ints
    fake: NDArray[np.uint8]
    level: Floats
    end: Ints | None


def rank(label: ArrayLike, logit: ArrayLike) -> Ranking:
    """Sort a sample: label (N,), 1 = fake; logit (N,). Raises ScoreError where not finite."""
    fake, score = checked(label, logit)
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = (
        np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        if len(score)
        else np.empty(0, np.intp)
    )
    end = None if len(last) == len(score) else last + 1
    return Ranking(order=order, fake=fake[order].astype(np.uint8), level=falling[last], end=end)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What is called fake at each of the K + 1 cuts of a ranking, in R replicates; cut k calls the
    k highest levels fake.

    fakes, images: (R, K) how much each level weighs. tp, called: (R, K + 1) their sums over the
    levels called fake. All are float64 holding whole numbers, so that sums and comparisons are
    exact. The points (fp / n_real, tp / n_fake), where fp = called - tp, are the full ROC, from (0,
    0) to (1, 1).
    """

    fakes: Floats
    images: Floats
    tp: Floats
    called: Floats

    @property
    def n_fake(self) -> Floats:
        """(R,) fakes, as weighted."""
        return self.tp[:, -1]

    @property
    def n_real(self) -> Floats:
        """(R,) reals, as weighted."""
        return self.called[:, -1] - self.tp[:, -1]

    def with_both_classes(self, value: Floats) -> Floats:
        """Return `value` (R,), NaN where a replicate lacks one of the classes."""
        return np.where((self.n_fake > 0) & (self.n_real > 0), value, np.nan)

    def at(self, cut: Ints) -> tuple[Floats, Floats]:
        """Return tp and fp at the given cuts: one a replicate, (R,), or several, (R, B)."""
        tp = pick(self.tp, cut)
        return tp, pick(self.called, cut) - tp

    def first_cut(self, reached: Callable[[Ints], NDArray[np.bool_]], columns: int = 1) -> Ints:
        """(R, columns) the first cut that is `reached`, by bisection: it holds from some cut on, at
        the last one in any case.
        """
        low = np.zeros((len(self.tp), columns), np.intp)
        high = np.full_like(low, self.tp.shape[1] - 1)
        while (low < high).any():
            middle = (low + high) // 2
            hit = reached(middle)
            low, high = np.where(hit | (low == high), low, middle + 1), np.where(hit, middle, high)
        return high


def curves(ranking: Ranking, weight: NDArray[np.uint8] | None = None) -> Curves:
    """Cumulate weights (R, N) in ranked order; None is the sample itself, each image weighing 1."""
    weight = np.ones((1, len(ranking.order)), np.uint8) if weight is None else weight
    fakes, images = (weight * ranking.fake).astype(np.float64), weight.astype(np.float64)
    tp, called = _cumulated(fakes), _cumulated(images)
    if ranking.end is not None:
        ends = np.append(0, ranking.end)
        tp, called = tp.take(ends, axis=1), called.take(ends, axis=1)
        fakes, images = np.diff(tp, axis=1), np.diff(called, axis=1)
    return Curves(fakes=fakes, images=images, tp=tp, called=called)


def _cumulated(weight: Floats) -> Floats:
    """(R, K) weights -> (R, K + 1) their sums over the first k."""
    total = np.zeros((weight.shape[0], weight.shape[1] + 1))
    np.cumsum(weight, axis=1, out=total[:, 1:])
    return total


def placed_below(of: Floats, among: Floats) -> tuple[Ints, Ints]:
    """Return for each score `of` (n,) how many `among` (m,) lie below it, and how many not above
    it, (n,) each. Ties count half wherever a share is made of the two.
    """
    ordered = np.sort(among)
    return np.searchsorted(ordered, of, "left"), np.searchsorted(ordered, of, "right")


def every_pair_alike(label: ArrayLike, weighted: Sequence[tuple[float, Floats]]) -> bool:
    """Whether every pair of a real and a fake adds the same to a weighted sum of AUCs. weighted: a
    weight and scores (N,) each; label (N,), 1 = fake.

    So it is where each scoring separates the classes or is constant, but for those of one order
    whose weights cancel.
    """
    fake = np.asarray(label).astype(bool)
    left: dict[bytes, float] = {}
    for weight, score in weighted:
        separates = score[fake].min() > score[~fake].max() or score[fake].max() < score[~fake].min()
        if weight and not separates and np.ptp(score) > 0:
            order = b"".join(counts.tobytes() for counts in _cross_counts(fake, score))
            left[order] = left.get(order, 0.0) + weight
    return all(abs(weight) <= ROUNDING for weight in left.values())


def _cross_counts(fake: NDArray[np.bool_], score: Floats) -> tuple[Ints, ...]:
    """For each fake, how many reals lie below it, and how many not above it; for each real the same
    of fakes.

    "Lies below" between reals and fakes is nested, and a nested relation is the only one with its
    counts (Ryser, 1957): scorings with equal counts order every pair of a real and a fake alike.
    """
    fakes, reals = score[fake], score[~fake]
    return *placed_below(fakes, reals), *placed_below(reals, fakes)


def pick(values: Floats, cut: Ints) -> Floats:
    """Return the values (R, K + 1) at one cut a replicate, (R,), or at several, (R, B)."""
    rows = np.arange(len(values))
    return np.asarray(values[rows if cut.ndim == 1 else rows[:, None], cut])


def ratio(numerator: Any, denominator: Any) -> Floats:
    """Divide, elementwise in float64; an empty denominator gives NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            np.equal(denominator, 0), np.nan, np.divide(numerator, denominator, dtype=np.float64)
        )


def auc(c: Curves) -> Floats:
    """(R,) how often a fake scores above a real, ties counting half: the area under the ROC."""
    # Per level, reals times the fakes above it and half of those tied with it; a level's reals are
    # images - fakes.
    above = np.einsum("rk,rk->r", c.images, c.tp[:, 1:]) - np.einsum(
        "rk,rk->r", c.fakes, c.tp[:, 1:]
    )
    tied = np.einsum("rk,rk->r", c.images, c.fakes) - np.einsum("rk,rk->r", c.fakes, c.fakes)
    return ratio(above - tied / 2, c.n_fake * c.n_real)


def average_precision(c: Curves) -> Floats:
    """(R,) average precision: the sum over levels of the rise in recall times the precision."""
    gained = np.einsum("rk,rk->r", c.fakes, c.tp[:, 1:] / np.maximum(c.called[:, 1:], 1))
    return c.with_both_classes(ratio(gained, c.n_fake))


def equal_error(c: Curves) -> tuple[Floats, Ints, Floats]:
    """Find where FPR = FNR on the linearly interpolated ROC.

    Returns the rate (R,), the cut (R,) that ends the segment it lies on, and how far along that
    segment, (R,) in (0, 1].
    """
    n_fake, n_real = c.n_fake[:, None], c.n_real[:, None]

    def excess(cut: Ints) -> Floats:
        """FNR - FPR, times both class sizes: whole numbers, falling along the cuts from above 0."""
        tp, fp = c.at(cut)
        return (n_fake - tp) * n_real - fp * n_fake

    cut = c.first_cut(lambda cut: excess(cut) <= 0)
    before = np.maximum(cut - 1, 0)
    share = ratio(excess(before), excess(before) - excess(cut))
    start, stop = c.at(before)[1], c.at(cut)[1]
    rate = ratio(start + share * (stop - start), n_real)
    return c.with_both_classes(rate[:, 0]), cut[:, 0], share[:, 0]


def equal_error_threshold(c: Curves, level: Floats, cut: Ints, share: Floats) -> Floats:
    """(R,) the threshold at `equal_error`, interpolated between the scores at both ends of its
    segment; NaN without both classes.

    cut, share: (R,) from `equal_error`. Before the first point of the ROC stands no finite
    threshold: on the segment that begins there it is the highest score. Scores that a replicate did
    not draw are no points of its ROC.
    """
    stop = np.maximum(cut, 1)
    reached = pick(c.called, stop - 1)
    start = c.first_cut(lambda at: pick(c.called, at) >= reached[:, None])[:, 0]
    start = np.where(start > 0, start, stop)
    return (
        c.with_both_classes(level[start - 1] * (1 - share) + level[stop - 1] * share)
        if len(level)
        else np.full(len(cut), np.nan)
    )


def last_cut_within(c: Curves, max_fpr: float) -> Ints:
    """(R,) the last cut whose FPR is at most `max_fpr`, in [0, 1]."""
    # The quotient of two whole numbers is rounded as `max_fpr` was when it was written, a product
    # with it is not.
    beyond = c.first_cut(lambda cut: ratio(c.at(cut)[1], c.n_real[:, None]) > max_fpr)[:, 0]
    return np.where(ratio(c.at(beyond)[1], c.n_real) > max_fpr, beyond - 1, beyond)


def tpr_at_fpr(c: Curves, max_fpr: float) -> Floats:
    """(R,) the highest TPR among the ROC points with FPR <= `max_fpr`; nothing is interpolated."""
    return c.with_both_classes(ratio(c.at(last_cut_within(c, max_fpr))[0], c.n_fake))


def best_balanced_threshold(c: Curves, level: Floats) -> Floats:
    """(R,) the threshold that maximises balanced accuracy: the midpoint of the lowest plateau, see
    `midpoint`.

    A plateau is a whole interval of thresholds with the same, maximal value: it runs across levels
    that a replicate did not draw, and across tied fakes and reals that cancel. NaN where a class is
    missing.
    """
    n_fake, n_real = c.n_fake[:, None], c.n_real[:, None]
    # (R, K + 1) TPR - FPR times both class sizes: whole numbers, so that equality is exact
    youden = c.tp * (n_real + n_fake) - c.called * n_fake
    # (R,) the last cut that has the maximum, and from there the first one of its plateau: `longer`
    # are the replicates whose plateau goes on
    last = len(level) - youden[:, ::-1].argmax(axis=1)
    first, longer = last.copy(), np.arange(len(last))
    while longer.size:
        longer = longer[first[longer] > 0]
        longer = longer[youden[longer, first[longer] - 1] == youden[longer, last[longer]]]
        first[longer] -= 1
    return c.with_both_classes(midpoint(level, first, last))


def midpoint(level: Floats, first: Ints, last: Ints) -> Floats:
    """Return the middle of the thresholds that give the cuts `first` to `last`, (R,) each.

    Cut k comes from the thresholds in (level[k], level[k - 1]]. An interval without a lower end
    gives -inf (every image is called fake); otherwise one without an upper end gives +inf (none
    is).
    """
    low, high = np.append(level, -np.inf)[last], np.append(np.inf, level)[first]
    open_below = np.isinf(low)
    middle = np.where(open_below, low, low / 2 + np.where(open_below, 0.0, high) / 2)
    return np.where((middle > low) | open_below, middle, high)  # neighbouring floats have no middle


def cut_of(level: Floats, threshold: Floats) -> Ints:
    """(R,) a threshold's cut: how many levels reach it; infinite ones cut at the ends."""
    return np.asarray(len(level) - np.searchsorted(level[::-1], threshold, side="left"))


def equal_mass_bins(c: Curves, bins: int) -> Ints:
    """(R, bins + 1) the cuts between bins of equal mass, from the highest score down: 0 first, K
    last.

    Levels are never parted: a level goes whole into the bin that its middle image falls into, so
    that the bins hold equally many images only without ties.
    """
    share, last = 2 * c.called[:, -1:] * np.arange(1, bins), c.tp.shape[1] - 1

    def past(cut: Ints) -> NDArray[np.bool_]:
        through = pick(c.called, cut) + pick(c.called, np.minimum(cut + 1, last))
        return np.asarray(bins * through >= share)

    between = c.first_cut(past, columns=bins - 1)
    return np.pad(between, ((0, 0), (1, 1)), constant_values=((0, 0), (0, last)))


def calibration_error(c: Curves, probability: Floats, cuts: Ints) -> Floats:
    """(R,) ECE of p(fake), (K,) per level: bins' |mean p - share of fakes|, by their mass."""
    excess = pick(_cumulated(c.images * probability), cuts) - pick(c.tp, cuts)
    return ratio(np.abs(np.diff(excess, axis=1)).sum(axis=1), c.called[:, -1])
