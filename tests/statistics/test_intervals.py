"""Estimates of a cell: what each row holds, which interval it has, and what is said where there is
none.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_curve

from study.core.errors import ScoreError
from study.statistics import metrics, resampling, thresholds
from study.statistics.delong import delong_interval
from study.statistics.exact import clopper_pearson, separated_eer
from study.statistics.intervals import LOSSES, CellEstimates, columns_of, estimate_cell, values_of
from study.statistics.likelihood_ratio import Evidence
from study.statistics.metrics import METRICS
from study.statistics.replicates import Sample
from study.statistics.resampling import clusters, draws

COUNTS = ("tp", "fp", "tn", "fn")
RATES = [m.name for m in METRICS.values() if m.at_threshold and not m.is_count]
PLAIN = [m.name for m in METRICS.values() if not m.at_threshold]
GIVEN = {"fixed": 0.0, "source": 0.4, "source_fpr1": 2.2, "source_fpr5": 1.5}
LR = Evidence(0.8, 0.1)
WITHOUT_INTERVAL = {m.name for m in METRICS.values() if m.bound.interval == "none"}


def table(cell: CellEstimates):
    return {(row.metric, row.threshold, row.seed): row.estimate for row in cell.rows}


def estimate(seeds, *, given=GIVEN, temperature=1.5, replicates=300, rng_seed=1):
    names = [given] * len(seeds)
    return table(
        estimate_cell(
            seeds,
            names,
            [temperature] * len(seeds),
            [LR] * len(seeds),
            replicates=replicates,
            rng_seed=rng_seed,
        )
    )


@pytest.fixture
def three_seeds(make_scores):
    """60 groups, half of them mixed, three images each; three scorings of them."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 3)
    label = np.where(group < 30, np.arange(180) % 2, group % 2)
    shared = rng.normal(size=60)[group]
    return [
        make_scores(label, shared + rng.normal(size=180) + label, [f"g{g:02d}" for g in group])
        for _ in range(3)
    ]


def test_every_metric_of_every_seed_and_of_the_mean_has_one_row(three_seeds):
    cell = estimate_cell(three_seeds, [GIVEN] * 3, [1.0] * 3, replicates=50, rng_seed=0)
    columns = [(m, "") for m in PLAIN] + [
        (m, t) for t in thresholds.THRESHOLDS for m in (*RATES, *COUNTS)
    ]
    expected = [
        (metric, threshold, seed)
        for seed in ("0", "1", "2", "mean")
        for metric, threshold in columns
    ]
    assert [(row.metric, row.threshold, row.seed) for row in cell.rows] == expected
    assert cell.oracle == tuple(
        thresholds.best_balanced_accuracy(s.label, s.logit) for s in three_seeds
    )


def test_values_are_the_metrics_of_the_sample(three_seeds):
    found = estimate(three_seeds, replicates=20)
    for number, scores in enumerate(three_seeds):
        seed = str(number)
        y, z = scores.label, scores.logit
        oracle = thresholds.best_balanced_accuracy(y, z)
        expected = {
            "auc": metrics.auc(y, z),
            "ap": metrics.average_precision(y, z),
            "eer": metrics.eer(y, z)[0],
        }
        expected["eer_threshold"] = metrics.eer(y, z)[1]
        expected |= {
            "brier": metrics.brier(y, z),
            "nll": metrics.nll(y, z),
            "ece": metrics.ece(y, z),
        }
        expected |= {
            "tpr_at_fpr1": metrics.tpr_at_fpr(y, z, 0.01),
            "tpr_at_fpr5": metrics.tpr_at_fpr(y, z, 0.05),
        }
        scaled = z.astype(np.float64) / 1.5
        expected |= {"nll_scaled": metrics.nll(y, scaled), "ece_scaled": metrics.ece(y, scaled)}
        expected["brier_scaled"] = np.mean((y - 1 / (1 + np.exp(-scaled))) ** 2)
        for metric, value in expected.items():
            assert found[metric, "", seed].value == pytest.approx(value, abs=1e-12), metric
        for name, threshold in {**GIVEN, "oracle": oracle}.items():
            at = metrics.at_threshold(y, z, threshold)
            tn, fp, fn, tp = confusion_matrix(y, z >= np.float64(threshold)).ravel()
            assert [found[count, name, seed].value for count in COUNTS] == [tp, fp, tn, fn]
            for metric in RATES:
                assert found[metric, name, seed].value == pytest.approx(at[metric], abs=1e-12)
        assert (found["auc", "", seed].n_real, found["auc", "", seed].n_fake) == (
            (y == 0).sum(),
            (y == 1).sum(),
        )


def test_intervals_are_percentiles_of_replicates_that_all_seeds_share(three_seeds):
    found = estimate(three_seeds, replicates=200, rng_seed=9)
    groups = clusters(three_seeds[0].label, three_seeds[0].group)
    count = np.concatenate(list(draws(groups, replicates=200, rng_seed=9)))
    scored = [
        Sample(
            scores=s, groups=groups, thresholds=GIVEN, temperature=1.5, evidence=LR, losses=LOSSES
        )
        for s in three_seeds
    ]
    sampled = np.stack([values_of(one, count) for one in scored])
    for at, (metric, threshold) in enumerate(columns_of(scored[0])):
        bounded = (
            metric.startswith("tpr")
            or metric in ("eer", "ap", *WITHOUT_INTERVAL)
            or metric.startswith("ppv")
            or threshold == "oracle"
        )
        if bounded or metric in (
            "accuracy",
            "recall",
            "real_accuracy",
            "fake_accuracy",
            "precision",
        ):
            continue  # may be widened, or have another interval
        for seed, values in [
            ("0", sampled[0, :, at]),
            ("2", sampled[2, :, at]),
            ("mean", sampled[:, :, at].mean(axis=0)),
        ]:
            row = found[metric, threshold, seed]
            assert (row.low, row.high) == tuple(
                pytest.approx(q, abs=1e-12) for q in np.quantile(values, [0.025, 0.975])
            )


def test_the_mean_row_has_the_spread_between_seeds(three_seeds):
    found = estimate(three_seeds, replicates=20)
    values = [found["auc", "", seed].value for seed in "012"]
    mean = found["auc", "", "mean"]
    assert (
        mean.value == pytest.approx(np.mean(values))
        and mean.sd == pytest.approx(np.std(values, ddof=1))
        and mean.seeds == 3
    )
    assert math.isnan(found["auc", "", "0"].sd) and found["auc", "", "0"].seeds == 1
    alone = estimate(three_seeds[:1], replicates=20)["auc", "", "mean"]
    assert alone.value == values[0] and alone.seeds == 1 and math.isnan(alone.sd)
    same = estimate([three_seeds[0]] * 3, replicates=20)["accuracy", "fixed", "mean"]
    assert same.sd == 0 and same.seeds == 3


def test_brief_estimates_are_those_of_the_full_ones(three_seeds):
    full = estimate(three_seeds, replicates=50)
    cell = estimate_cell(three_seeds, [GIVEN] * 3, [1.5] * 3, replicates=50, rng_seed=1, brief=True)
    columns = [
        ("auc", ""),
        *((metric, threshold) for threshold in GIVEN for metric in (*RATES, *COUNTS)),
    ]
    assert [(row.metric, row.threshold) for row in cell.rows if row.seed == "mean"] == columns
    for row in cell.rows:
        other = full[row.metric, row.threshold, row.seed]
        for name in ("value", "low", "high", "sd"):
            assert getattr(row.estimate, name) == pytest.approx(
                getattr(other, name), abs=1e-12, nan_ok=True
            )
        assert (row.estimate.n_real, row.estimate.note) == (other.n_real, other.note)


def test_counts_of_none_or_all_are_bounded_by_their_class(make_scores):
    label = np.repeat([0, 1], [40, 30])
    found = estimate([make_scores(label, np.where(label, 3.0, -3.0) + np.linspace(0, 1, 70))])
    low = clopper_pearson(30, 30)[0]
    tp, fn, fp = (found[count, "fixed", "0"] for count in ("tp", "fn", "fp"))
    assert (tp.value, tp.low, tp.high) == (30, pytest.approx(30 * low), 30)
    assert (fn.value, fn.low, fn.high) == (0, 0, pytest.approx(30 * (1 - low)))
    assert (fp.value, fp.low) == (0, 0) and fp.high == pytest.approx(40 * clopper_pearson(0, 40)[1])
    assert "exact bound" in tp.note and "exact bound" in found["tp", "oracle", "0"].note
    lone = estimate([make_scores([1] * 20, np.arange(20.0))])
    assert (
        lone["fp", "fixed", "0"].reason == "no real images" and lone["tp", "fixed", "0"].value == 20
    )


def test_every_interval_holds_its_value(three_seeds):
    for (metric, threshold, _), row in estimate(three_seeds).items():
        if threshold == "oracle":
            assert math.isnan(row.low) and math.isnan(row.high) and math.isfinite(row.value)
            assert row.note.endswith("no interval: the threshold was chosen on these very images")
        else:
            assert row.low <= row.value <= row.high or metric in WITHOUT_INTERVAL


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_row_7_an_oracle_at_chance_claims_no_interval(make_scores, n):
    """Percentiles of the oracle balanced accuracy held the truth, .5, in 55, 21 and 3 %."""
    label, leans = np.arange(2 * n) % 2, []
    for number in range(5):
        logit = np.random.default_rng(number).normal(size=2 * n)
        found = estimate([make_scores(label, logit, list(range(2 * n)))], replicates=20)
        for seed in ("0", "mean"):
            row = found["balanced_accuracy", "oracle", seed]
            assert (
                math.isnan(row.low) and math.isnan(row.high) and "on these very images" in row.note
            )
            fixed = found["balanced_accuracy", "fixed", seed]
            assert fixed.low <= fixed.value <= fixed.high
        best = roc_curve(label, logit)
        assert row.value == pytest.approx(((1 - best[0] + best[1]) / 2).max())
        leans.append(row.value)
    assert np.mean(leans) > 0.5  # it leans upwards: the truth is .5


def test_an_ece_has_no_interval_and_says_why(three_seeds):
    for metric in ("ece", "ece_scaled"):
        for seed in ("0", "mean"):
            row = estimate(three_seeds)[metric, "", seed]
            assert (
                row.value > 0
                and math.isnan(row.low)
                and math.isnan(row.high)
                and row.note.startswith("no interval: an ECE")
            )


def test_no_result_claims_more_than_perfect_separation_would(make_scores):
    """30 reals, 30 fakes: the fewer fakes lie below the reals, the higher both ends."""
    label = np.repeat([0, 1], 30)
    found = []
    for wrong in (0, 1, 2, 4, 8):
        logit = np.where(label, 3.0, -3.0) + np.linspace(0, 0.1, 60)
        logit[30 : 30 + wrong] = -9.0
        found.append(estimate([make_scores(label, logit)], replicates=600))
    for metric, threshold in (
        ("auc", ""),
        ("ap", ""),
        ("tpr_at_fpr5", ""),
        ("recall", "fixed"),
        ("accuracy", "fixed"),
    ):
        lows = [one[metric, threshold, "0"].low for one in found]
        assert lows == sorted(lows, reverse=True), metric
    highs = [one["eer", "", "0"].high for one in found]
    assert highs == sorted(highs)
    assert found[1]["recall", "fixed", "0"].low == pytest.approx(
        binomtest(29, 30).proportion_ci(method="exact").low, abs=0.03
    )


@pytest.mark.parametrize(("sign", "bound"), [(1, "a perfect"), (-1, "an all wrong")])
def test_an_interval_that_is_widened_names_the_result_whose_bound_it_reaches(
    make_scores, sign, bound
):
    """4 reals and 4 fakes, one pair of 16 the wrong way round: EER 1/4; with the sign turned all
    but one, EER 3/4.
    """
    found = estimate(
        [make_scores(np.repeat([0, 1], 4), sign * np.array([0, 1, 2, 4, 3, 5, 6, 7]))],
        replicates=600,
    )
    assert found["auc", "", "0"].value == (15 / 16 if sign == 1 else 1 / 16)
    assert found["eer", "", "0"].value == (0.25 if sign == 1 else 0.75)
    for metric in ("auc", "eer"):
        said = f"limit extended to the exact bound of {bound} result, for 8 independent groups"
        assert said in found[metric, "", "0"].note


def test_the_mean_is_no_surer_than_its_seeds_bounds(make_scores):
    """Two seeds call all of 30 fakes fake, the third 29: none of the three is sure of more than
    .884.
    """
    label = np.repeat([0, 1], 30)
    right = np.where(label, 3.0, -3.0)
    slip = right.copy()
    slip[-1] = -1.0
    found = estimate(
        [make_scores(label, right), make_scores(label, right), make_scores(label, slip)]
    )
    seeds = [found["recall", "fixed", seed] for seed in "012"]
    mean = found["recall", "fixed", "mean"]
    assert (
        mean.low <= np.mean([row.low for row in seeds])
        and mean.low < 0.025 ** (1 / 30)
        and mean.high == pytest.approx(1, abs=1e-5)
    )
    assert "do not vary" in mean.note


@pytest.mark.parametrize(("groups", "frames", "rate"), [(30, 1, 0.96), (100, 1, 0.9), (60, 8, 0.9)])
def test_a_recalls_interval_holds_the_truth(make_scores, groups, frames, rate):
    """Fakes are called by group for a part: beta-binomial groups, correlation 1/3."""
    rng, held = np.random.default_rng(8), []
    label = np.repeat([0, 1], [20, groups * frames])
    group = [f"r{i}" for i in range(20)] + [f"f{i // frames}" for i in range(groups * frames)]
    for trial in range(150):
        chance = rng.beta(2 * rate, 2 * (1 - rate), groups) if frames > 1 else np.full(groups, rate)
        called = rng.random(groups * frames) < np.repeat(chance, frames)
        scores = make_scores(
            label, np.concatenate([-np.arange(1.0, 21), np.where(called, 1.0, -1.0)]), group
        )
        cell = estimate_cell(
            [scores], [{"fixed": 0.0}], [1.0], replicates=200, rng_seed=trial, brief=True
        )
        row = next(row.estimate for row in cell.rows if row.metric == "recall" and row.seed == "0")
        held.append(row.low <= rate <= row.high)
    assert np.mean(held) >= 0.92


def test_the_result_depends_on_the_seed_alone(three_seeds, monkeypatch):
    first = estimate(three_seeds)
    again = estimate(three_seeds)
    assert {key: (row.low, row.high) for key, row in first.items()} == {
        key: (row.low, row.high) for key, row in again.items()
    }
    # the same draws in other blocks: sums may differ in their last bit
    monkeypatch.setattr(resampling, "BLOCK", 2000)
    blocked = estimate(three_seeds)
    assert blocked.keys() == first.keys()
    for key, row in first.items():
        assert (blocked[key].low, blocked[key].high) == pytest.approx(
            (row.low, row.high), rel=1e-12, abs=1e-12, nan_ok=True
        )
    other = estimate(three_seeds, rng_seed=2)
    assert (
        other["auc", "", "0"].value == first["auc", "", "0"].value
        and other["auc", "", "0"].low != first["auc", "", "0"].low
    )


def test_single_images_have_delongs_interval(make_scores):
    rng = np.random.default_rng(5)
    label = np.arange(300) % 2
    seeds = [make_scores(label, rng.normal(size=300) + label) for _ in range(2)]
    found = estimate(seeds, replicates=1000)
    for seed, logits in {
        "0": [seeds[0].logit],
        "1": [seeds[1].logit],
        "mean": [s.logit for s in seeds],
    }.items():
        row = found["auc", "", seed]
        assert (row.low, row.high) == delong_interval(label, logits)
        if len(logits) == 1:
            groups = clusters(label, seeds[0].group)
            drawn = resampling.bootstrap_auc(
                label, logits[0], seeds[0].group, replicates=1000, rng_seed=1
            )
            assert len(groups) == 300
            np.testing.assert_allclose(
                [row.low, row.high], np.quantile(drawn, [0.025, 0.975]), atol=0.008
            )


def test_proportions_of_single_images_have_clopper_pearsons_interval(make_scores):
    """16 of 20 reals and 16 of 20 fakes are right, 16 of 20 calls: the same counts have the same
    interval, scipy's.
    """
    label, right = np.repeat([0, 1], 20), np.tile(np.arange(20) >= 4, 2)
    logit = np.where(right == label, 1.0, -1.0) + np.linspace(0, 0.1, 40)
    found = estimate([make_scores(label, logit)])
    for metric, k, n in (
        ("recall", 16, 20),
        ("real_accuracy", 16, 20),
        ("precision", 16, 20),
        ("accuracy", 32, 40),
    ):
        expected = binomtest(k, n).proportion_ci(method="exact")
        row = found[metric, "fixed", "0"]
        assert (row.low, row.high) == (
            pytest.approx(expected.low),
            pytest.approx(expected.high),
        ), metric
        assert estimate([make_scores(label, logit)] * 2)[
            metric, "fixed", "mean"
        ].high == pytest.approx(expected.high)
    of_20 = binomtest(16, 20).proportion_ci(method="exact")
    for count, low, high in (("tp", of_20.low, of_20.high), ("fp", 1 - of_20.high, 1 - of_20.low)):
        assert (found[count, "fixed", "0"].low, found[count, "fixed", "0"].high) == pytest.approx(
            (20 * low, 20 * high)
        ), count
    grouped = estimate([make_scores(label, logit, np.repeat(np.arange(20), 2).astype(str))])[
        "recall", "fixed", "0"
    ]
    assert grouped.low != pytest.approx(
        binomtest(16, 20).proportion_ci(method="exact").low, abs=1e-6
    )


def test_what_groups_are_called_does_not_matter(make_scores):
    rng = np.random.default_rng(3)
    label, member = rng.integers(0, 2, 60), np.arange(60) // 2
    logit = rng.normal(size=60) + label
    for of in (np.arange(60), member):
        names = rng.permutation(60)[of].astype(str)
        one, other = (
            estimate([make_scores(label, logit, group)])
            for group in ([f"g{i:02d}" for i in of], names)
        )
        for key, row in one.items():
            assert (row.low, row.high) == pytest.approx(
                (other[key].low, other[key].high), nan_ok=True, abs=1e-12
            ), key


def test_perfect_separation_has_exact_bounds_and_says_so(make_scores):
    label = np.repeat([0, 1], [40, 30])
    found = estimate([make_scores(label, np.where(label, 3.0, -3.0) + np.linspace(0, 1, 70))] * 2)
    e = separated_eer(30)
    for seed in ("0", "mean"):
        expected = {
            ("auc", ""): (0.025 ** (1 / 30), 1),
            ("eer", ""): (0, e),
            ("balanced_accuracy", "oracle"): (1 - e, 1),
            ("accuracy", "fixed"): (0.025 ** (1 / 70), 1),
            ("real_accuracy", "fixed"): (0.025 ** (1 / 40), 1),
            ("recall", "fixed"): (0.025 ** (1 / 30), 1),
            ("precision", "fixed"): (0.025 ** (1 / 30), 1),
        }
        for (metric, threshold), (low, high) in expected.items():
            row = found[metric, threshold, seed]
            assert (row.low, row.high) == (pytest.approx(low), pytest.approx(high)), metric
            assert "exact bound" in row.note
        for (metric, _, row_seed), row in found.items():
            unbounded = {"brier", "nll", "brier_scaled", "nll_scaled", "cllr", "aurc"}
            unbounded |= {"risk_at_coverage80", "risk_at_coverage50", *WITHOUT_INTERVAL}
            if row_seed == seed and metric not in unbounded:
                assert row.low < row.high, metric


def test_separation_counts_groups_not_images(make_scores):
    label = np.tile([0, 1], 60)
    mixed = estimate(
        [make_scores(label, label * 2.0 - 1, np.repeat(np.arange(12), 10).astype(str))]
    )
    # 12 mixed groups make 6 disjoint pairs
    assert mixed["auc", "", "0"].low == pytest.approx(0.025 ** (1 / 6))
    assert mixed["recall", "fixed", "0"].low == pytest.approx(0.025 ** (1 / 12))


def test_reversed_scores_are_bounded_from_above(make_scores):
    label = np.repeat([0, 1], 20)
    found = estimate([make_scores(label, -np.arange(40.0) - 1)])
    assert (found["auc", "", "0"].low, found["auc", "", "0"].high) == (
        0,
        pytest.approx(1 - 0.025 ** (1 / 20)),
    )
    assert found["eer", "", "0"].high == 1 and found["eer", "", "0"].low < 1


def test_equal_scores_have_a_bound_where_there_is_one_and_else_no_interval(make_scores):
    found = estimate([make_scores(np.repeat([0, 1], [30, 10]), np.zeros(40))])
    assert (
        found["auc", "", "0"].value == found["eer", "", "0"].value == 0.5
        and found["ap", "", "0"].value == 0.25
    )
    # all of 10 disjoint pairs tie, each for one half
    tied = binomtest(10, 10).proportion_ci(method="exact").low
    assert (found["auc", "", "0"].low, found["auc", "", "0"].high) == (
        pytest.approx(tied / 2),
        pytest.approx(1 - tied / 2),
    )
    assert "all scores equal, 10 disjoint pairs" in found["auc", "", "0"].note
    for unbounded in (found["ap", "", "0"], found["ap", "", "mean"], found["eer", "", "0"]):
        assert np.isnan([unbounded.low, unbounded.high]).all()
        assert unbounded.note == "no interval: no replicate differs"
    called_fake = found["recall", "fixed", "0"]  # logit 0 >= threshold 0
    assert (
        called_fake.value == 1
        and called_fake.low == pytest.approx(0.025 ** (1 / 10))
        and "exact bound" in called_fake.note
    )


def test_infinite_thresholds_are_thresholds(make_scores):
    rng = np.random.default_rng(2)
    label = np.arange(60) % 2
    scores = make_scores(label, rng.normal(size=60))
    found = estimate([scores], given={"fixed": 0.0, "source": -math.inf, "source_fpr5": math.inf})
    assert (
        found["recall", "source", "0"].value == 1
        and found["real_accuracy", "source", "0"].value == 0
    )
    assert (
        found["recall", "source_fpr5", "0"].value == 0
        and found["accuracy", "source_fpr5", "0"].value == 0.5
    )
    nothing = found["precision", "source_fpr5", "0"]
    assert math.isnan(nothing.value) and nothing.reason == "no image is called fake"


def test_undefined_has_a_reason(make_scores):
    reasons = {
        key: row.reason for key, row in estimate([make_scores([1] * 20, np.arange(20.0))]).items()
    }
    assert (
        reasons["auc", "", "0"]
        == reasons["auc", "", "mean"]
        == reasons["real_accuracy", "fixed", "0"]
        == "no real images"
    )
    assert reasons["accuracy", "oracle", "0"] == reasons["f1", "fixed", "0"] == "no real images"
    assert (
        reasons["recall", "fixed", "0"]
        == reasons["nll", "", "0"]
        == reasons["accuracy", "fixed", "0"]
        == ""
    )
    reasons = {
        key: row.reason for key, row in estimate([make_scores([0] * 20, np.arange(20.0))]).items()
    }
    assert reasons["ap", "", "0"] == reasons["recall", "source", "0"] == "no fake images"
    found = estimate([make_scores([], [])])
    assert {row.reason for row in found.values()} == {"no images"}
    assert all(math.isnan(row.value) and math.isnan(row.low) for row in found.values())
    scores = make_scores([0, 1] * 10, np.arange(20.0))
    found = estimate([scores], given={"fixed": 0.0, "source": math.nan}, temperature=math.nan)
    assert found["accuracy", "source", "0"].reason == "the source does not define this threshold"
    assert (
        found["ece_scaled", "", "0"].reason
        == found["nll_scaled", "", "0"].reason
        == "the source defines no temperature"
    )
    assert not found["accuracy", "fixed", "0"].reason


def test_undefined_seeds_are_left_out_and_counted(make_scores):
    label = np.arange(40) % 2
    rng = np.random.default_rng(4)
    seeds = [make_scores(label, rng.normal(size=40) - shift) for shift in (0, 0, 50)]
    found = estimate(seeds)
    mean, last = found["precision", "fixed", "mean"], found["precision", "fixed", "2"]
    assert math.isnan(last.value) and mean.seeds == 2 and "1 of 3 seeds undefined" in mean.note
    assert mean.value == pytest.approx(
        (found["precision", "fixed", "0"].value + found["precision", "fixed", "1"].value) / 2
    )


def test_undefined_replicates_are_counted(make_scores):
    label = np.arange(40) % 2
    row = estimate([make_scores(label, np.where(np.arange(40) < 2, 1.0, -1.0))])[
        "precision", "fixed", "0"
    ]
    assert row.value == 0.5 and "of 300 replicates undefined" in row.note


def test_few_groups_and_few_reals_are_flagged(make_scores):
    label = np.tile([0, 1], 40)
    rng = np.random.default_rng(6)
    logit = rng.normal(size=80) + label
    found = estimate([make_scores(label, logit, (np.arange(80) % 8).astype(str))])
    assert found["accuracy", "fixed", "0"].note == "few groups (4)"
    assert found["tpr_at_fpr1", "", "0"].note.startswith("1/FPR exceeds the number of reals")
    assert "1/FPR" not in found["tpr_at_fpr5", "", "0"].note
    one = estimate([make_scores(label, logit, np.where(label, "f", np.arange(80).astype(str)))])[
        "auc", "", "0"
    ]
    assert not math.isnan(one.value) and math.isnan(one.low) and "one group" in one.note


def test_scores_that_do_not_fit_are_errors(make_scores):
    good = make_scores([0, 1, 1], [0, 1, 2])
    with pytest.raises(ScoreError, match=r"set/00002.png is nan \(seed 1\)"):
        estimate([good, make_scores([0, 1, 1], [0, 1, math.nan])])
    with pytest.raises(ScoreError, match="different images"):
        estimate([good, make_scores([0, 1, 0], [0, 1, 2])])


@pytest.mark.parametrize("each", [8, 800])
def test_an_interval_that_rules_nothing_out_is_none(make_scores, each):
    """One real in eight is called fake, and half of the fakes. Of eight reals a third of the
    replicates have none of those, with a PPV of 1; others have one near 0.
    """
    label = np.repeat([0, 1], each)
    wrong = np.arange(each) % 8 == 0
    logit = np.concatenate([np.where(wrong, 1.0, -1.0), np.where(np.arange(each) % 2, 1.0, -1.0)])
    one = estimate([make_scores(label, logit)], replicates=1000)["ppv_at_prevalence1", "fixed", "0"]
    assert one.value == pytest.approx(0.01 * 0.5 / (0.01 * 0.5 + 0.99 / 8))
    if each == 8:
        assert math.isnan(one.low) and "nothing from 0 to 1 is ruled out" in one.note
    else:
        assert 0.02 < one.low < one.value < one.high < 0.06
