"""The metrics (PROTOCOL section 4): plain functions of one sample of scores, and `METRICS`, which
holds all that is known of each metric. A metric is added here and nowhere else.

Numpy and scipy only. A plain function takes `label` (N,), 1 = fake, and `logit` (N,), finite,
higher = more fake, in any order; scores are compared as float64, ties are exact. What a sample
does not define is NaN, never 0 or 0.5: a missing class, no images, an empty denominator. Raises
ScoreError where a score is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from study.statistics import ranking
from study.statistics.exact import (
    AtFpr,
    AucBound,
    Bound,
    CornerBound,
    Count,
    Rate,
    Trials,
    mean_precision,
)
from study.statistics.likelihood_ratio import bits, least_cllr
from study.statistics.ranking import Floats, checked, curves, placed_below, rank, ratio
from study.statistics.replicates import ECE_BINS, Confusion, MeanCost, MeanLoss, Replicates


def sigmoid(logit: ArrayLike) -> Floats:
    """p(fake) = 1 / (1 + exp(-logit)) in float64, elementwise; exact at both ends, no overflow."""
    return np.asarray(expit(np.asarray(logit, dtype=np.float64)))


def auc(label: ArrayLike, logit: ArrayLike) -> float:
    """AUC (Mann-Whitney), in [0, 1]: how often a fake scores above a real, ties counting half."""
    fake, score = checked(label, logit)
    fakes, reals = np.sort(score[fake]), score[~fake]
    below, not_above = placed_below(fakes, reals)
    return float(ratio((below.sum() + not_above.sum()) / 2, len(fakes) * len(reals)))


def average_precision(label: ArrayLike, logit: ArrayLike) -> float:
    """Step-wise average precision in [0, 1], fake positive, tied scores in one step."""
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
    """Highest TPR where FPR <= `max_fpr`, both in [0, 1]; coarse where that is below 1 / reals."""
    return float(ranking.tpr_at_fpr(curves(rank(label, logit)), max_fpr)[0])


def at_threshold(label: ArrayLike, logit: ArrayLike, threshold: float) -> dict[str, float]:
    """Call an image fake when logit >= threshold; return the metrics at a threshold, with the
    counts tp, fp, tn, fn, by name.

    The threshold may be -inf (every image is fake) or +inf (none is); where it is NaN, so is
    everything.
    """
    fake, score = checked(label, logit)
    called = score >= np.float64(threshold)
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    tp, fp = int((called & fake).sum()), int((called & ~fake).sum())
    counted = {"tp": tp, "fp": fp, "n_fake": n_fake, "n_real": n_real}
    confusion = Confusion(**{name: np.array(float(count)) for name, count in counted.items()})
    values = {m.name: float(m.function(confusion)) for m in METRICS.values() if m.at_threshold}
    values |= {"tp": tp, "fp": fp, "tn": n_real - fp, "fn": n_fake - tp}
    return dict.fromkeys(values, float("nan")) if np.isnan(threshold) else values


def squared_errors(label: ArrayLike, logit: ArrayLike) -> Floats:
    """(N,) squared difference of p(fake) and the label, in [0, 1]."""
    fake, score = checked(label, logit)
    return (sigmoid(score) - fake) ** 2


def log_losses(label: ArrayLike, logit: ArrayLike) -> Floats:
    """(N,) negative log-likelihood in nats, softplus of the margin: exact where p saturates."""
    fake, score = checked(label, logit)
    return np.logaddexp(0.0, np.where(fake, -score, score))


def brier(label: ArrayLike, logit: ArrayLike) -> float:
    """Brier score: the mean squared error of p(fake), in [0, 1], lower is better."""
    return _mean(squared_errors(label, logit))


def nll(label: ArrayLike, logit: ArrayLike) -> float:
    """Mean negative log-likelihood in nats, >= 0, lower is better."""
    return _mean(log_losses(label, logit))


def ece(label: ArrayLike, logit: ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error of p(fake), in [0, 1]; `bins` of equal mass, ties never parted."""
    ranked = rank(label, logit)
    c = curves(ranked)
    return float(
        ranking.calibration_error(c, sigmoid(ranked.level), ranking.equal_mass_bins(c, bins))[0]
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


Chance = Callable[..., float]  # of n_real and n_fake, by name


def always(level: float) -> Chance:
    """Return the chance level that is the same on every test set."""
    return lambda *, n_real, n_fake: level


def prevalence(*, n_real: int, n_fake: int) -> float:
    """Return the share of fakes; NaN without images."""
    return n_fake / (n_real + n_fake) if n_real + n_fake else float("nan")


# What a value may need, in the order in which it is asked for: why it is undefined without.
NEEDS = {
    "real": "no real images",
    "fake": "no fake images",
    "temperature": "the source defines no temperature",
    "evidence": "the source defines no likelihood ratio",
    "threshold": "the source does not define this threshold",
    "called": "no image is called fake",
}
BOTH = frozenset({"real", "fake"})
NO_CHANCE, NOTHING_KNOWN = always(float("nan")), Bound()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, and all that is known of it.

    name: in matrix.csv. title: in tables and figures.
    function: its values (R,) in R replicates at once, NaN where undefined: a function of
    `Replicates`, or, where a threshold is needed, of the `Confusion` at it.
    greater_is_better: true, too, of what is neither better nor worse, as a threshold.
    chance: of n_real and n_fake, what scores without information give on a test set with so many
    images; NaN where there is no such level.
    needs: of `NEEDS`, what must be there for it to be defined.
    bound: what is known of its error beside the replicates.
    """

    name: str
    title: str
    function: Callable[[Any], Floats]
    greater_is_better: bool = True
    chance: Chance = NO_CHANCE
    needs: frozenset[str] = frozenset()
    bound: Bound = NOTHING_KNOWN

    @property
    def at_threshold(self) -> bool:
        """Whether it is of what is called fake at a threshold."""
        return "threshold" in self.needs

    @property
    def of_source(self) -> bool:
        """Whether it is of what the source decides beside thresholds."""
        return bool(self.needs & {"temperature", "evidence"})

    @property
    def is_count(self) -> bool:
        """Whether it counts images, and is no quality of its own."""
        return isinstance(self.bound, Count)


def accuracy(c: Confusion) -> Floats:
    """(R,) the share of images that are called what they are, in [0, 1]."""
    return ratio(c.tp + c.n_real - c.fp, c.n_fake + c.n_real)


def balanced_accuracy(c: Confusion) -> Floats:
    """(R,) the mean of recall and accuracy on reals, in [0, 1]."""
    return (c.recall + c.real_accuracy) / 2


def f1(c: Confusion) -> Floats:
    """(R,) the harmonic mean of precision and recall, in [0, 1]: 0 where no fake is found."""
    return ratio(2 * c.tp, c.n_fake + c.tp + c.fp) * c.fakes * c.reals


def precision(c: Confusion) -> Floats:
    """(R,) the share of fakes in what is called fake, in [0, 1]; NaN where a class is missing."""
    return ratio(c.tp, c.tp + c.fp) * c.fakes * c.reals


CLLR = MeanCost(bits)


def aurc(r: Replicates) -> Floats:
    """(R,) the area under risk against coverage, in [0, 1] (Geifman & El-Yaniv, 2017)."""
    coverage, risk = r.risk
    return np.asarray((np.diff(coverage, axis=1, prepend=0.0) * np.nan_to_num(risk)).sum(axis=1))


def risk_at(r: Replicates, share: float) -> Floats:
    """(R,) the share of wrong calls among the `share` of images with the LRs farthest from 1."""
    coverage, risk = r.risk
    cut = (coverage < share).sum(axis=1)[:, None]
    return np.take_along_axis(risk, np.minimum(cut, risk.shape[1] - 1), axis=1)[:, 0]


def _eer_threshold(r: Replicates) -> Floats:
    _, cut, share = r.equal_error
    return ranking.equal_error_threshold(r.curves, r.level, cut, share)


def _ece(r: Replicates, temperature: float = 1.0) -> Floats:
    return ranking.calibration_error(r.curves, sigmoid(r.level / temperature), r.bins)


def _tpr_at(percent: int) -> Metric:
    fpr = percent / 100
    return Metric(
        name=f"tpr_at_fpr{percent}",
        title=f"TPR at {percent} % FPR",
        function=lambda r: ranking.tpr_at_fpr(r.curves, fpr),
        chance=always(fpr),
        needs=BOTH,
        # few reals say nothing of a low FPR
        bound=AtFpr(
            fpr=fpr,
            worst=lambda e, odds: 1 - e if e <= fpr else 0.0,
            best=lambda e, odds: e if fpr < 1 - e else 1.0,
        ),
    )


def _ppv_at(percent: int) -> Metric:
    share = percent / 100

    def ppv(c: Confusion) -> Floats:
        found = share * c.recall
        return ratio(found, found + (1 - share) * (1 - c.real_accuracy))

    return Metric(
        name=f"ppv_at_prevalence{percent}",
        title=f"PPV at {percent} % fakes",
        function=ppv,
        chance=always(share),
        needs=THRESHOLD | BOTH | {"called"},
        bound=Rate(rate=ppv),
    )


def _risk_at(percent: int) -> Metric:
    return Metric(
        name=f"risk_at_coverage{percent}",
        title=f"risk at {percent} % coverage",
        function=lambda r: risk_at(r, percent / 100),
        greater_is_better=False,
        needs=EVIDENCE,
    )


def _worst_precision(e: float, odds: float) -> float:
    """The AP of the worst ROC through (e, 1 - e): FPR e up to the recall 1 - e, then 1."""
    return mean_precision(0, 1 - e, e * odds) + mean_precision(1 - e, 1, odds)


def _rate(
    name: str,
    title: str,
    function: Callable[[Confusion], Floats],
    *,
    of: Trials | None = None,
    chance: Chance = NO_CHANCE,
    maximised: bool = False,
) -> Metric:
    """A metric at a threshold. of, maximised: see `Rate`."""
    needs = {
        "groups": frozenset[str](),
        "real": {"real"},
        "fake": {"fake"},
        "called": BOTH | {"called"},
    }
    return Metric(
        name=name,
        title=title,
        function=function,
        chance=chance,
        needs=THRESHOLD | (needs[of] if of else BOTH),
        bound=Rate(rate=function, of=of, maximised=maximised),
    )


def _count(
    name: str,
    title: str,
    of: Literal["real", "fake"],
    function: Callable[[Confusion], Floats],
    *,
    right: bool,
) -> Metric:
    """A count of images of a class. right: whether they are called what they are."""
    return Metric(
        name=name,
        title=title,
        function=function,
        greater_is_better=right,
        needs=THRESHOLD | {of},
        bound=Count(of=of, right=right),
    )


NO_ECE_INTERVAL = Bound(
    interval="none", why="no interval: an ECE lies above its truth, and its replicates higher still"
)
NO_PAV_INTERVAL = Bound(
    interval="none", why="no interval: the LRs were calibrated on these very images"
)
TEMPERATURE, THRESHOLD = frozenset({"temperature"}), frozenset({"threshold"})
EVIDENCE = frozenset({"evidence"})
AFTER = "after temperature scaling"


def _by_name(*metrics: Metric) -> Mapping[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, Metric] = _by_name(
    Metric(
        name="auc",
        title="AUC",
        function=lambda r: r.auc,
        chance=always(0.5),
        needs=BOTH,
        bound=AucBound(),
    ),
    Metric(
        name="ap",
        title="average precision",
        function=lambda r: ranking.average_precision(r.curves),
        chance=prevalence,
        needs=BOTH,
        # the least that any curve can have: Boyd et al. (2012)
        bound=CornerBound(
            interval="logit",
            worst=_worst_precision,
            best=lambda e, odds: e + (1 - e) / (1 + odds * (1 - e)),
            least=lambda odds: mean_precision(0, 1, odds),
        ),
    ),
    Metric(
        name="eer",
        title="EER",
        function=lambda r: r.equal_error[0],
        greater_is_better=False,
        chance=always(0.5),
        needs=BOTH,
        bound=CornerBound(worst=lambda e, odds: e, best=lambda e, odds: 1 - e),
    ),
    Metric(name="eer_threshold", title="EER threshold", function=_eer_threshold, needs=BOTH),
    _tpr_at(1),
    _tpr_at(5),
    Metric(
        name="brier",
        title="Brier score",
        function=MeanLoss(squared_errors),
        greater_is_better=False,
    ),
    Metric(name="nll", title="NLL", function=MeanLoss(log_losses), greater_is_better=False),
    Metric(name="ece", title="ECE", function=_ece, greater_is_better=False, bound=NO_ECE_INTERVAL),
    Metric(
        name="brier_scaled",
        title=f"Brier score {AFTER}",
        function=MeanLoss(squared_errors, scaled=True),
        greater_is_better=False,
        needs=TEMPERATURE,
    ),
    Metric(
        name="nll_scaled",
        title=f"NLL {AFTER}",
        function=MeanLoss(log_losses, scaled=True),
        greater_is_better=False,
        needs=TEMPERATURE,
    ),
    Metric(
        name="ece_scaled",
        title=f"ECE {AFTER}",
        function=lambda r: _ece(r, r.sample.temperature),
        greater_is_better=False,
        needs=TEMPERATURE,
        bound=NO_ECE_INTERVAL,
    ),
    Metric(
        name="cllr", title="Cllr", function=CLLR, greater_is_better=False, needs=EVIDENCE | BOTH
    ),
    Metric(
        name="cllr_min",
        title="least Cllr",
        function=lambda r: least_cllr(r.curves),
        greater_is_better=False,
        chance=always(1.0),
        needs=BOTH,
        bound=NO_PAV_INTERVAL,
    ),
    Metric(
        name="cllr_cal",
        title="Cllr of calibration",
        function=lambda r: CLLR(r) - least_cllr(r.curves),
        greater_is_better=False,
        needs=EVIDENCE | BOTH,
        bound=NO_PAV_INTERVAL,
    ),
    Metric(
        name="aurc",
        title="area under risk against coverage",
        function=aurc,
        greater_is_better=False,
        needs=EVIDENCE,
    ),
    _risk_at(80),
    _risk_at(50),
    _rate("accuracy", "accuracy", accuracy, of="groups"),
    _rate(
        "balanced_accuracy",
        "balanced accuracy",
        balanced_accuracy,
        chance=always(0.5),
        maximised=True,
    ),
    _rate("f1", "F1", f1),
    _rate("precision", "precision", precision, of="called"),
    _rate("recall", "recall", lambda c: c.recall, of="fake"),
    _rate("real_accuracy", "accuracy on reals", lambda c: c.real_accuracy, of="real"),
    _rate("fake_accuracy", "accuracy on fakes", lambda c: c.recall, of="fake"),
    _ppv_at(1),
    _ppv_at(10),
    _count("tp", "fakes called fake", "fake", lambda c: c.tp * c.fakes, right=True),
    _count("fp", "reals called fake", "real", lambda c: c.fp * c.reals, right=False),
    _count("tn", "reals called real", "real", lambda c: (c.n_real - c.fp) * c.reals, right=True),
    _count("fn", "fakes called real", "fake", lambda c: (c.n_fake - c.tp) * c.fakes, right=False),
)
