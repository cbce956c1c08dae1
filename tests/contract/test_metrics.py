"""What every metric of `METRICS` must do, whoever added it: by its name alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk

from study.core.records import Estimate, Scores
from study.statistics.exact import Bound
from study.statistics.intervals import estimate_cell
from study.statistics.likelihood_ratio import UNKNOWN, Evidence
from study.statistics.matrix import summarise
from study.statistics.metrics import METRICS, NEEDS, Metric

GIVEN = {"fixed": 0.2, "undefined": math.nan, "all": -math.inf, "none": math.inf}
TEMPERATURE = 1.7
EVIDENCE = Evidence(0.8, 0.1)  # ln LR = 0.8 logit + 0.1
NO_DIRECTION = {"eer_threshold"}  # neither more nor less of it is better
# what a rising transform of the scores changes: all that takes a logit for more than its rank
OF_LOGITS = {"eer_threshold", "brier", "nll", "ece", "brier_scaled", "nll_scaled", "ece_scaled"} | {
    name for name, metric in METRICS.items() if "evidence" in metric.needs
}

each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def scored(label: np.ndarray, logit: np.ndarray) -> Scores:
    ids = np.array([f"set/{i:06d}.png" for i in range(len(label))], dtype=np.str_)
    return Scores(
        sample_id=ids,
        group=ids,
        unit=ids,
        method=np.where(label == 1, "gan", "camera").astype(np.str_),
        label=np.asarray(label, np.uint8),
        logit=np.asarray(logit, np.float64),
        listed=len(label),
    )


def estimates(
    label: np.ndarray,
    logit: np.ndarray,
    *,
    given: dict[str, float] = GIVEN,
    temperature: float = TEMPERATURE,
    evidence: Evidence = EVIDENCE,
    replicates: int = 40,
) -> dict[tuple[str, str], Estimate]:
    cell = estimate_cell(
        [scored(label, logit)],
        [given],
        [temperature],
        [evidence],
        replicates=replicates,
        rng_seed=0,
    )
    return {(row.metric, row.threshold): row.estimate for row in cell.rows if row.seed == "0"}


def at(metric: Metric, threshold: str = "fixed") -> tuple[str, str]:
    return metric.name, threshold if metric.at_threshold else ""


def sample(n: int, *, shift: float, fakes: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Binormal logits that are what they say: the log of the likelihoods' ratio, at even odds."""
    rng = np.random.default_rng(1)
    label = (np.arange(n) < fakes * n).astype(np.uint8)
    return label, (rng.normal(size=n) + shift * (label - 0.5)) * shift


@each_metric
def test_it_has_a_name_a_title_and_needs_that_have_a_reason(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    assert metric.needs <= NEEDS.keys()
    assert [other.name for other in METRICS.values() if other.title == metric.title] == [
        metric.name
    ]


@each_metric
@pytest.mark.parametrize("images", ["both", "fakes only", "reals only", "none"])
@pytest.mark.parametrize("source", [True, False])
def test_it_is_undefined_where_a_need_is_not_met_and_says_so(
    metric: Metric, images: str, source: bool
) -> None:
    label, logit = sample(40, shift=1.0)
    kept = {"both": label >= 0, "fakes only": label == 1, "reals only": label == 0}.get(
        images, label > 1
    )
    decided = {} if source else {"temperature": math.nan, "evidence": UNKNOWN}
    found = estimates(label[kept], logit[kept], **decided)
    for threshold in (*GIVEN, "oracle") if metric.at_threshold else ("",):
        both = {"real", "fake"} if threshold == "oracle" else set()
        lacking = {
            "real": images in ("fakes only", "none"),
            "fake": images in ("reals only", "none"),
            "temperature": not source,
            "evidence": not source,
            "threshold": threshold == "undefined",
            "called": threshold == "none",
        }
        expected = [
            why for need, why in NEEDS.items() if lacking[need] and need in metric.needs | both
        ]
        expected = ["no images"] if images == "none" else expected
        value = found[metric.name, threshold]
        assert math.isnan(value.value) is bool(expected), threshold
        assert value.reason == (expected[0] if expected else ""), threshold


@each_metric
def test_its_direction_is_that_of_scores_that_are_right(metric: Metric) -> None:
    if metric.name in NO_DIRECTION:
        return
    label, logit = sample(2000, shift=1.5)
    right, wrong = (estimates(label, sign * logit)[at(metric)].value for sign in (1, -1))
    assert (right > wrong) is metric.greater_is_better


@each_metric
@pytest.mark.parametrize("fakes", [0.5, 0.2])
def test_its_chance_level_is_what_scores_without_information_give(
    metric: Metric, fakes: float
) -> None:
    label, logit = sample(40_000, shift=1.0, fakes=fakes)
    level = metric.chance(n_real=int((label == 0).sum()), n_fake=int(label.sum()))
    logit = np.random.default_rng(2).permutation(logit)
    if not math.isnan(level):
        assert estimates(label, logit, replicates=1)[at(metric)].value == pytest.approx(
            level, abs=0.02
        )
        assert math.isfinite(metric.chance(n_real=1, n_fake=1))


@each_metric
def test_the_order_of_the_images_changes_nothing(metric: Metric) -> None:
    label, logit = sample(300, shift=1.0)
    logit = np.round(logit, 1)
    order = np.random.default_rng(3).permutation(300)
    one, other = (estimates(label[o], logit[o])[at(metric)].value for o in (slice(None), order))
    assert one == pytest.approx(other, rel=1e-12)


@each_metric
def test_a_rising_transform_changes_nothing_but_for_metrics_of_the_logit(metric: Metric) -> None:
    label, logit = sample(300, shift=1.0)

    def transform(z: np.ndarray) -> np.ndarray:
        return np.exp(np.asarray(z) / 3) * 10 - 4

    plain = estimates(label, logit)[at(metric)].value
    moved = estimates(label, transform(logit), given={"fixed": float(transform(GIVEN["fixed"]))})
    assert (moved[at(metric)].value == plain) is (metric.name not in OF_LOGITS)


@each_metric
def test_a_replicate_is_the_metric_of_its_images_written_out(metric: Metric) -> None:
    """Every image twice: shares stay what they are, counts double."""
    label, logit = sample(60, shift=1.0)
    once, twice = (estimates(np.tile(label, n), np.tile(logit, n))[at(metric)] for n in (1, 2))
    factor = 2 if metric.is_count else 1
    assert twice.value == pytest.approx(factor * once.value, rel=1e-12)


@each_metric
@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_holds_its_value_and_none_of_separated_scores_has_no_width(
    metric: Metric, sign: int
) -> None:
    label = np.repeat(np.array([0, 1], np.uint8), 20)
    logit = sign * (np.where(label, 3.0, -3.0) + np.linspace(0, 0.5, 40))
    for threshold in ("fixed", "oracle") if metric.at_threshold else ("",):
        found = estimates(label, logit)[metric.name, threshold]
        oracle_of_reversed = threshold == "oracle" and sign < 0  # it separates nothing
        if metric.bound.interval == "none" or oracle_of_reversed:
            assert math.isnan(found.low) and found.note
        elif (metric.name, threshold, sign) == ("ppv_at_prevalence1", "oracle", 1):
            # a rate whose interval would be wider than .98 has none
            assert math.isnan(found.low) and "nothing from 0 to 1 is ruled out" in found.note
        elif type(metric.bound) is not Bound:
            assert found.low <= found.value <= found.high and found.low < found.high, threshold


@each_metric
def test_its_gap_is_positive_and_its_worst_cell_the_wrong_one_where_scores_get_worse(
    metric: Metric,
) -> None:
    if metric.name in NO_DIRECTION:
        return
    label, logit = sample(2000, shift=1.5)
    places = {("a", "a"): 1.0, ("a", "b"): 0.0, ("b", "a"): -1.0, ("b", "b"): 1.0}
    noise = np.random.default_rng(5).permutation(logit)
    values = {
        place: estimates(label, share * logit if share else noise)[at(metric)].value
        for place, share in places.items()
    }
    chance = metric.chance(n_real=1000, n_fake=1000)
    found = summarise(
        values,
        {"a": ["a"], "b": ["b"]},
        None if math.isnan(chance) else chance,
        greater_is_better=metric.greater_is_better,
    )
    assert found.gap > 0 and found.worst_cell == ("b", "a")


def of_probability(function: Callable[..., float]) -> Callable[..., float]:
    return lambda y, z, _: function(y, 1 / (1 + np.exp(-z)))


def roc_at(limit: float) -> Callable[..., float]:
    def highest(y: np.ndarray, z: np.ndarray, _: float) -> float:
        fpr, tpr, _ = sk.roc_curve(y, z, drop_intermediate=False)
        return float(tpr[fpr <= limit].max())

    return highest


# What scikit-learn has: of labels, logits and the threshold.
SCIKIT_LEARN: dict[str, Callable[..., float]] = {
    "auc": lambda y, z, _: sk.roc_auc_score(y, z),
    "ap": lambda y, z, _: sk.average_precision_score(y, z),
    "tpr_at_fpr1": roc_at(0.01),
    "tpr_at_fpr5": roc_at(0.05),
    "brier": of_probability(sk.brier_score_loss),
    "nll": of_probability(sk.log_loss),
    "brier_scaled": lambda y, z, _: of_probability(sk.brier_score_loss)(y, z / TEMPERATURE, _),
    "nll_scaled": lambda y, z, _: of_probability(sk.log_loss)(y, z / TEMPERATURE, _),
    "accuracy": lambda y, z, t: sk.accuracy_score(y, z >= t),
    "balanced_accuracy": lambda y, z, t: sk.balanced_accuracy_score(y, z >= t),
    "f1": lambda y, z, t: sk.f1_score(y, z >= t),
    "precision": lambda y, z, t: sk.precision_score(y, z >= t),
    "recall": lambda y, z, t: sk.recall_score(y, z >= t),
    "real_accuracy": lambda y, z, t: sk.recall_score(y, z >= t, pos_label=0),
    "fake_accuracy": lambda y, z, t: sk.recall_score(y, z >= t),
    "tn": lambda y, z, t: sk.confusion_matrix(y, z >= t)[0, 0],
    "fp": lambda y, z, t: sk.confusion_matrix(y, z >= t)[0, 1],
    "fn": lambda y, z, t: sk.confusion_matrix(y, z >= t)[1, 0],
    "tp": lambda y, z, t: sk.confusion_matrix(y, z >= t)[1, 1],
}


@pytest.mark.parametrize("name", SCIKIT_LEARN)
@pytest.mark.parametrize("places", [9, 0], ids=["distinct", "tied"])
@pytest.mark.parametrize("fakes", [0.5, 0.1])
def test_it_agrees_with_scikit_learn(name: str, places: int, fakes: float) -> None:
    label, logit = sample(400, shift=1.0, fakes=fakes)
    logit = np.round(logit, places)
    expected = SCIKIT_LEARN[name](label, logit, GIVEN["fixed"])
    found = estimates(label, logit)[at(METRICS[name])].value
    assert found == pytest.approx(expected, rel=0, abs=1e-12)
