"""The metrics of one sample of scores (PROTOCOL section 4).

Numpy and scipy only. Every function takes `label` (N,), 1 = fake, and `logit` (N,),
finite, higher = more fake, in any order; scores are compared as float64, ties are exact. What a
sample does not define is NaN, never 0 or 0.5: a missing class, no images, an empty denominator.
Raises ScoreError where a score is not finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from study.statistics import ranking
from study.statistics.ranking import Floats, checked, curves, rank, ratio

ECE_BINS = 15
FPR = {"tpr_at_fpr1": 0.01, "tpr_at_fpr5": 0.05}  # the metrics of a TPR at an FPR
RATES = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "real_accuracy",
    "fake_accuracy",
)
COUNTS = ("tp", "fp", "tn", "fn")


def sigmoid(logit: ArrayLike) -> Floats:
    """p(fake) = 1 / (1 + exp(-logit)) in float64, elementwise; exact at both ends, no overflow."""
    return np.asarray(expit(np.asarray(logit, dtype=np.float64)))


def auc(label: ArrayLike, logit: ArrayLike) -> float:
    """Area under the ROC, in [0, 1]: how often a fake scores above a real (Mann-Whitney), ties
    counting half.
    """
    return float(ranking.auc(curves(rank(label, logit)))[0])


def average_precision(label: ArrayLike, logit: ArrayLike) -> float:
    """Step-wise average precision in [0, 1] with fake positive, tied scores taken in one step;
    chance is the prevalence.
    """
    return float(ranking.average_precision(curves(rank(label, logit)))[0])


def roc(label: ArrayLike, logit: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return the full ROC: FPR, TPR and thresholds, (K + 1,) each for K distinct scores, from (0,
    0) at +inf to (1, 1).

    A rate is NaN throughout where its class is missing.
    """
    ranked = rank(label, logit)
    c = curves(ranked)
    return (
        ratio(c.called[0] - c.tp[0], c.n_real),
        ratio(c.tp[0], c.n_fake),
        np.append(np.inf, ranked.level),
    )


def eer(label: ArrayLike, logit: ArrayLike) -> tuple[float, float]:
    """Return the equal error rate in [0, 1] and its threshold, both by linear interpolation of the
    full ROC to FPR = FNR.

    Before the first point of the ROC stands no finite threshold: an EER on that first segment has
    the highest score as its own.
    """
    ranked = rank(label, logit)
    c = curves(ranked)
    rate, cut, share = ranking.equal_error(c)
    return float(rate[0]), float(ranking.equal_error_threshold(c, ranked.level, cut, share)[0])


def tpr_at_fpr(label: ArrayLike, logit: ArrayLike, max_fpr: float) -> float:
    """Highest TPR among the ROC points with FPR <= `max_fpr`, both in [0, 1]; coarse where 1 /
    max_fpr exceeds the reals.
    """
    return float(ranking.tpr_at_fpr(curves(rank(label, logit)), max_fpr)[0])


def rates(
    *, tp: ArrayLike, fp: ArrayLike, n_fake: ArrayLike, n_real: ArrayLike
) -> dict[str, Floats]:
    """Return the metrics named by `RATES` from counts, elementwise; an empty denominator gives NaN.

    Precision and F1 compare the classes, and are NaN where either is missing. F1 is 0 where both
    exist and no fake is found.
    """
    tp, fp, n_fake, n_real = (
        np.asarray(count, dtype=np.float64) for count in (tp, fp, n_fake, n_real)
    )
    both = np.where((n_fake > 0) & (n_real > 0), 1.0, np.nan)
    recall, real_accuracy = ratio(tp, n_fake), ratio(n_real - fp, n_real)
    return {
        "accuracy": ratio(tp + n_real - fp, n_fake + n_real),
        "balanced_accuracy": (recall + real_accuracy) / 2,
        "f1": ratio(2 * tp, n_fake + tp + fp) * both,
        "precision": ratio(tp, tp + fp) * both,
        "recall": recall,
        "real_accuracy": real_accuracy,
        "fake_accuracy": recall,
    }


def counts(
    *, tp: ArrayLike, fp: ArrayLike, n_fake: ArrayLike, n_real: ArrayLike
) -> dict[str, Floats]:
    """Return the confusion counts named by `COUNTS`, elementwise; those of a class that is missing
    are NaN.
    """
    tp, fp, n_fake, n_real = (
        np.asarray(count, dtype=np.float64) for count in (tp, fp, n_fake, n_real)
    )
    fakes, reals = np.where(n_fake > 0, 1.0, np.nan), np.where(n_real > 0, 1.0, np.nan)
    return {
        "tp": tp * fakes,
        "fp": fp * reals,
        "tn": (n_real - fp) * reals,
        "fn": (n_fake - tp) * fakes,
    }


def at_threshold(label: ArrayLike, logit: ArrayLike, threshold: float) -> dict[str, float]:
    """Call an image fake when logit >= threshold; return the metrics of `RATES` and the counts tp,
    fp, tn, fn.

    The threshold may be -inf (every image is fake) or +inf (none is); where it is NaN, so is
    everything.
    """
    fake, score = checked(label, logit)
    called = score >= np.float64(threshold)
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    tp, fp = int((called & fake).sum()), int((called & ~fake).sum())
    values = {
        name: float(value)
        for name, value in rates(tp=tp, fp=fp, n_fake=n_fake, n_real=n_real).items()
    }
    values |= {"tp": tp, "fp": fp, "tn": n_real - fp, "fn": n_fake - tp}
    return dict.fromkeys(values, float("nan")) if np.isnan(threshold) else values


def squared_errors(label: ArrayLike, logit: ArrayLike) -> Floats:
    """(N,) squared difference of p(fake) and the label, in [0, 1]."""
    fake, score = checked(label, logit)
    return (sigmoid(score) - fake) ** 2


def log_losses(label: ArrayLike, logit: ArrayLike) -> Floats:
    """(N,) negative log-likelihood in nats, softplus of the logit's margin: exact where the
    probability is saturated.
    """
    fake, score = checked(label, logit)
    return np.logaddexp(0.0, np.where(fake, -score, score))


def brier(label: ArrayLike, logit: ArrayLike) -> float:
    """Brier score: the mean squared difference of p(fake) and the label, in [0, 1], lower is
    better.
    """
    return _mean(squared_errors(label, logit))


def nll(label: ArrayLike, logit: ArrayLike) -> float:
    """Mean negative log-likelihood in nats, >= 0, lower is better."""
    return _mean(log_losses(label, logit))


def ece(label: ArrayLike, logit: ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error of p(fake) in [0, 1], over `bins` bins of equal mass between which
    ties are never parted.
    """
    ranked = rank(label, logit)
    c = curves(ranked)
    return float(
        ranking.calibration_error(c, sigmoid(ranked.level), ranking.equal_mass_bins(c, bins))[0]
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
