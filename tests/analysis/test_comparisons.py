"""A study's comparisons, on made-up scores whose answer is known."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from study.analysis.comparisons import Comparisons, compare_detectors
from study.analysis.leakage import NO_LEAKS
from study.analysis.overlap_groups import Images, overlap_groups, own_names
from study.analysis.score_set import open_scores
from study.core.errors import ScoreError
from study.core.records import NO_TRAINING, Pairing, Scores
from study.render.answer import answer
from study.render.comparisons import COLUMNS, comparisons_csv, comparisons_markdown
from study.render.files import write_comparisons
from study.render.numbers import number
from study.statistics.comparisons import PairedAucs, holm
from study.store.store import Store
from tests.analysis.score_sets import CellScores, clean_cell, score_set


def made(test_on: str, logit: np.ndarray, *, images_a_group: int = 1) -> Scores:
    n = len(logit)
    ids = np.array([f"{test_on}/{i:04d}.png" for i in range(n)])
    group = np.array([f"g{i // images_a_group:04d}" for i in range(n)])
    label = (np.arange(n) % 2).astype(np.uint8)
    logit = logit.astype(np.float32)
    return Scores(
        sample_id=ids,
        group=group,
        unit=ids,
        method=np.full(n, "m"),
        label=label,
        logit=logit,
        listed=n,
    )


def study(
    skill: dict[str, float],
    datasets: Sequence[str],
    *,
    n: int = 200,
    seeds: int = 2,
    images_a_group: int = 1,
) -> list[CellScores]:
    """Every detector trained on every dataset; skill: how far it moves fakes it has not seen, on
    reals of unit spread.
    """
    rng, found = np.random.default_rng(0), []
    shared = {y: rng.normal(size=n) for y in datasets}
    for detector, shift in skill.items():
        for x in datasets:
            for y in datasets:
                for seed in range(seeds):
                    logit = (
                        0.7 * shared[y]
                        + 0.7 * rng.normal(size=n)
                        + (2.5 if x == y else shift) * (np.arange(n) % 2)
                    )
                    found.append(
                        (
                            y,
                            Pairing(detector=detector, train_on=x),
                            made(y, logit, images_a_group=images_a_group),
                            seed,
                        )
                    )
    return found


def compared(scores: Iterable[CellScores]) -> Comparisons:
    return compare_detectors(*score_set(scores))


def mean_logit(scores: Sequence[CellScores], detector: str, x: str, y: str) -> np.ndarray:
    return np.mean(
        [
            s.logit.astype(np.float64)
            for t, p, s, _ in scores
            if (t, p.detector, p.train_on) == (y, detector, x)
        ],
        axis=0,
    )


@pytest.mark.parametrize("images_a_group", [1, 4])
def test_every_pair_in_every_cell_is_the_paired_comparison_of_mean_logits(
    images_a_group: int,
) -> None:
    scores = study(
        {"good": 1.5, "fair": 1.0, "poor": 0.4}, ["aa", "bbb"], images_a_group=images_a_group
    )
    found = compared(scores)
    pairs = {("good", "fair"), ("good", "poor"), ("fair", "poor")}
    expected = {(x, y, *pair) for x in ("aa", "bbb") for y in ("aa", "bbb") for pair in pairs}
    assert {(p.train_on, p.test_on, p.first, p.second) for p in found.pairs} == expected and len(
        found.pairs
    ) == len(expected)
    for pair in found.pairs:
        first, second = (
            mean_logit(scores, d, pair.train_on, pair.test_on) for d in (pair.first, pair.second)
        )
        one = scores[0][2]
        both = PairedAucs(one.label, (first, second), one.group, rng_seed=len(pair.test_on))
        direct = both.difference(0, 1)
        assert pair.difference == direct
        assert pair.auc_first == pytest.approx(roc_auc_score(one.label, first))
    assert [p.p_holm for p in found.pairs] == pytest.approx(
        holm([p.difference.p for p in found.pairs])
    )


def test_cross_domain_means_and_their_variance_by_hand() -> None:
    scores = study({"good": 1.5, "fair": 1.2}, ["aa", "bbb", "cccc"])
    found = compared(scores)
    label = scores[0][2].label
    cross = [(x, y) for x in ("aa", "bbb", "cccc") for y in ("aa", "bbb", "cccc") if x != y]
    assert sorted(found.cells) == sorted(cross)
    for detector in ("good", "fair"):
        expected = np.mean(
            [roc_auc_score(label, mean_logit(scores, detector, x, y)) for x, y in cross]
        )
        assert found.cross_domain[detector] == pytest.approx(expected)
    (pair,) = found.mean_pairs
    variance = 0.0
    for y in ("aa", "bbb", "cccc"):
        fakes, reals = np.zeros(100), np.zeros(100)
        for sign, detector in ((1, "good"), (-1, "fair")):
            for x in {"aa", "bbb", "cccc"} - {y}:
                z = mean_logit(scores, detector, x, y)
                beats = z[label == 1][:, None] > z[label == 0][None]
                fakes += sign * beats.mean(axis=1) / 6
                reals += sign * beats.mean(axis=0) / 6
        variance += fakes.var(ddof=1) / 100 + reals.var(ddof=1) / 100
    low, high = stats.norm(pair.difference.value, math.sqrt(variance)).interval(0.95)
    assert (pair.difference.low, pair.difference.high) == pytest.approx((low, high))
    assert (pair.n_real, pair.n_fake, pair.n_groups) == (300, 300, 600)


def test_a_clear_winner_is_named_and_the_few_test_sets_too() -> None:
    words = answer(compared(study({"fair": 0.8, "good": 2.0, "poor": 0.1}, ["aa", "bbb"], seeds=3)))
    lines = words.splitlines()
    assert lines[0] == "Which detector generalises best, and is that more than noise?"
    assert lines[1].startswith("good: cross-domain mean AUC 0.")
    assert (
        " (the matrix's mean over seeds) over 2 cross-domain cells on 2 test sets; 0.9" in lines[1]
    )
    assert lines[1].endswith(
        " for the mean logit over its seeds, on which the tests below are made."
    )
    assert (
        lines[2].startswith(
            "More than noise, of images and of training seeds: its lead on fair of 0."
        )
        and "; poor of 0." in lines[2]
    )
    assert (
        "too few test sets: the same order of 3 detectors on all 2 would have p = 0.17" in lines[3]
    )


def test_the_mean_over_seeds_stands_beside_the_mean_logits() -> None:
    """Seeds that err independently: their mean logit is an ensemble, and does better than they do
    one by one.
    """
    scores = study({"good": 1.5, "fair": 1.0}, ["aa", "bbb"], seeds=3)
    found, label = compared(scores), scores[0][2].label
    for detector in ("good", "fair"):
        own = [
            roc_auc_score(label, s.logit)
            for y, p, s, _ in scores
            if p.detector == detector and y != p.train_on
        ]
        assert len(own) == 6 and found.of_single_models[detector] == pytest.approx(np.mean(own))
        logits = [mean_logit(scores, detector, x, y) for x, y in found.cells]
        assert found.by_cell[detector] == pytest.approx([roc_auc_score(label, z) for z in logits])
        assert found.of_single_models[detector] < found.cross_domain[detector]
        single, logit = found.of_single_models[detector], found.cross_domain[detector]
        assert f"| {detector} | {number(single)} | {number(logit)} |" in comparisons_markdown(found)
    assert (
        f"good: cross-domain mean AUC {found.of_single_models['good']:.3f} (the matrix's"
        in answer(found)
    )
    assert (
        "| first | second | AUC of first (mean logit) | AUC of second (mean logit) |"
        in comparisons_markdown(found)
    )
    reversed_ = replace(found, of_single_models={"good": 0.6, "fair": 0.7})
    assert "tests below are made. By the mean over seeds fair is first, with 0.700.\n" in answer(
        reversed_
    )
    one = answer(compared(study({"good": 1.5, "fair": 1.0}, ["aa", "bbb"], seeds=1))).splitlines()[
        1
    ]
    assert one.endswith(", over 2 cross-domain cells on 2 test sets.") and "seeds" not in one


def test_marked_test_sets_are_named_and_the_means_without_them_stand_beside() -> None:
    """The leader is better on the marked test set alone."""
    rng, fake = np.random.default_rng(0), np.arange(200) % 2
    shift = {
        "cheat": {"aa": 9.0, "bbb": 0.3, "cccc": 0.3},
        "honest": {"aa": 0.5, "bbb": 0.6, "cccc": 0.6},
    }
    found = compared(
        of_sizes(
            {
                d: {y: rng.normal(size=200) + s * fake for y, s in sets.items()}
                for d, sets in shift.items()
            }
        )
    )
    assert next(iter(found.cross_domain)) == "cheat" and "marked" not in answer(found)
    at = [i for i, (_, y) in enumerate(found.cells) if y != "aa"]
    means = {d: np.mean([found.by_cell[d][i] for i in at]) for d in shift}
    expected = (
        f"honest {means['honest']:.3f}; cheat {means['cheat']:.3f}; honest is first, not cheat."
    )
    words = answer(replace(found, marked=("aa", "elsewhere")))
    assert (
        "1 of 3 test sets is marked ! (a confound or a leak, see the tables): aa. Without them"
        in words
        and expected in words
    )
    assert expected in comparisons_markdown(replace(found, marked=("aa",)))
    assert "; cheat stays first." in answer(replace(found, marked=("bbb",)))
    every = answer(replace(found, marked=("aa", "bbb", "cccc")))
    assert (
        "3 of 3 test sets are marked ! (a confound or a leak, see the tables): aa, bbb, cccc. No"
        " cross-domain number" in every
    )


def test_equal_detectors_are_not_told_apart_and_the_smallest_lead_stands_beside() -> None:
    found = compared(study({"one": 1.0, "two": 1.0}, ["aa", "bbb"]))
    (pair,) = found.mean_pairs
    assert pair.p_holm > 0.05
    assert f"not more than noise: its lead on {pair.second} of" in answer(found)
    assert f"(a lead of {pair.difference.smallest:.3f} would show 4 times in 5)" in answer(found)


def test_many_test_sets_have_ranks() -> None:
    scores = study(
        {"good": 1.6, "fair": 0.9, "poor": 0.2}, [f"set{'x' * i}" for i in range(6)], n=120, seeds=1
    )
    found = compared(scores)
    table = np.array(
        [
            [
                np.mean(
                    [
                        roc_auc_score(scores[0][2].label, mean_logit(scores, d, x, y))
                        for x in found.test_sets
                        if x != y
                    ]
                )
                for d in found.cross_domain
            ]
            for y in found.test_sets
        ]
    )
    assert found.ranks.p == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert found.ranks.mean_ranks == pytest.approx(stats.rankdata(-table, axis=1).mean(axis=0))
    assert "Over test sets, the mean ranks differ over 6 test sets (Friedman, p = 0.00" in answer(
        found
    )
    assert "good ranks first" in answer(found)


def test_columns_are_compared_over_pairings_trained_on_neither() -> None:
    scores = study({"good": 1.6, "fair": 0.9, "poor": 0.2}, ["aa", "bbb", "cccc"], seeds=1)
    found = compared(scores)
    assert found.rows[0, 1] == found.rows[1, 2] == 3 and found.rows[0, 0] == 6
    label = scores[0][2].label
    values = [
        [roc_auc_score(label, mean_logit(scores, d, "cccc", y)) for d in ("good", "fair", "poor")]
        for y in ("aa", "bbb")
    ]
    assert found.agreement[0, 1] == pytest.approx(stats.spearmanr(*values).statistic)


def test_what_is_not_trained_stands_beside_every_training_set() -> None:
    scores = study({"good": 1.6, "fair": 0.9}, ["aa", "bbb", "cccc"], seeds=1)
    for y, shift in (("aa", 0.3), ("bbb", 0.3), ("cccc", 0.3)):
        for detector in ("zero", "null"):
            logit = np.random.default_rng(len(y + detector)).normal(size=200) + shift * (
                np.arange(200) % 2
            )
            scores.append((y, Pairing(detector=detector, train_on=NO_TRAINING), made(y, logit), 0))
    found = compared(scores)
    label = scores[0][2].label
    means = [
        roc_auc_score(label, mean_logit(scores, "zero", NO_TRAINING, y))
        for y in ("aa", "bbb", "cccc")
    ]
    assert found.cross_domain["zero"] == pytest.approx(np.mean(means)) and len(found.cells) == 6
    own = [p for p in found.pairs if {p.first, p.second} == {"zero", "null"}]
    assert [(p.train_on, p.test_on) for p in own] == [
        (NO_TRAINING, y) for y in ("aa", "bbb", "cccc")
    ]
    assert len([p for p in found.pairs if {p.first, p.second} == {"zero", "good"}]) == 9
    only = compared([one for one in scores if one[1].train_on == NO_TRAINING])
    assert len(only.cells) == 3 and len(only.mean_pairs) == 1


def test_what_cannot_be_said_is_said() -> None:
    assert "nothing is scored yet" in answer(compared([]))
    inside = [
        one for one in study({"a": 1.0, "b": 2.0}, ["aa", "bbb"]) if one[0] == one[1].train_on
    ]
    assert "no test set lies outside the training set" in answer(compared(inside))
    assert len(compared(inside).pairs) == 2
    assert "nothing to compare it with" in answer(compared(study({"only": 1.0}, ["aa", "bbb"])))
    lacking = [
        *study({"a": 1.0, "b": 0.9}, ["aa", "bbb"]),
        *[i for i in study({"c": 3.0}, ["aa", "bbb"]) if i[0] == i[1].train_on],
    ]
    assert answer(compared(lacking)).endswith("Left out, without a cross-domain AUC: c.")
    lone = [
        (y, p, replace(s, label=np.ones_like(s.label)), n)
        for y, p, s, n in study({"a": 1.0, "b": 0.9}, ["aa", "bbb"])
    ]
    assert all(pair.difference.reason == "no real images" for pair in compared(lone).pairs)
    assert "That cannot be said" in answer(compared(lone))


def test_images_are_matched_by_name_and_what_one_lacks_is_left_out_for_all() -> None:
    scores = study({"one": 1.0, "two": 0.5}, ["aa", "bbb"], seeds=1)
    y, pairing, last, seed = scores[-1]
    kept = np.arange(10, len(last.logit))
    columns = {
        name: getattr(last, name)[kept]
        for name in ("sample_id", "group", "unit", "method", "label", "logit")
    }
    found = compared([*scores[:-1], (y, pairing, replace(last, **columns), seed)])
    pair = next(p for p in found.pairs if (p.train_on, p.test_on) == ("bbb", "bbb"))
    first, second = (mean_logit(scores, d, "bbb", "bbb")[kept] for d in ("one", "two"))
    both = PairedAucs(last.label[kept], (first, second), last.group[kept], rng_seed=3)
    assert pair.difference == both.difference(0, 1)
    wrong = replace(last, label=1 - last.label)
    with pytest.raises(ScoreError, match=r"label of bbb/0000.png differs"):
        compared([*scores[:-1], (y, pairing, wrong, seed)])


def test_the_files_hold_every_pair(tmp_path: Path) -> None:
    found = compared(study({"good|er": 1.5, "fair": 1.0, "poor": 0.4}, ["aa", "bbb"], n=80))
    store = Store(tmp_path, "small")
    files = write_comparisons(found, store.folder)
    assert [file.name for file in files] == [
        "comparisons.md",
        "comparisons.csv",
        "critical_difference.png",
    ]
    with files[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [r["scope"] for r in rows] == ["cell"] * 12 + ["cross_domain_mean"] * 3
    for row, pair in zip(rows, [*found.pairs, *found.mean_pairs], strict=True):
        assert (
            float(row["difference"]) == pair.difference.value
            and float(row["p_holm"]) == pair.p_holm
        )
        if pair.seeds is not None:
            over = (pair.seeds.mean, pair.seeds.low, pair.seeds.high)
            assert (
                tuple(float(row[f"seeds_{name}"]) for name in ("difference", "low", "high")) == over
            )
    text = files[0].read_text(encoding="utf-8")
    assert text == comparisons_markdown(found) and text.startswith(
        "# Which detector generalises best"
    )
    assert "good\\|er" in text and text.count("\n| ") > 12 + 3 + 3
    assert comparisons_csv(compared([])).splitlines() == [",".join(COLUMNS)]


def test_a_study_is_read_from_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    from study.analysis import score_set as library

    scores = study({"one": 1.0, "two": 0.5}, ["aa", "bbb"], seeds=1)
    clean = [clean_cell(p, y, 0, str(i)) for i, (y, p, _, _) in enumerate(scores)]
    cells = [one for c in clean for one in (c, replace(c, degradation="jpeg75"))]
    cells.append(replace(cells[0], state="failed", scores_key="none such"))
    monkeypatch.setattr(library, "test_content", lambda setup, test_on: test_on)
    monkeypatch.setattr(library, "identities_of", lambda setup: own_names)
    read: list[str] = []

    def stored(key: str) -> Scores:
        read.append(key)
        return scores[int(key)][2]

    setup = SimpleNamespace(study=SimpleNamespace(seed=0), store=SimpleNamespace(scores=stored))
    keys = [cell.scores_key for cell in cells if cell.state == "done"]
    opened = open_scores(cast(Any, setup), keys, NO_LEAKS)
    found = compare_detectors(opened, cells, marked=["bbb"])
    assert found.marked == ("bbb",)
    assert [p.difference for p in found.pairs] == [p.difference for p in compared(scores).pairs]
    assert read == [str(i) for i in range(len(scores))]


def parts_of_one(
    rng: np.random.Generator, shifts: dict[str, float], *, parts: int, seeds_sd: float = 0.0
) -> list[CellScores]:
    """Detectors trained elsewhere on `parts` test sets: fakes of their own, and the same 100 reals
    with the same scores.

    seeds_sd: of the shift of the fakes, between three seeds of a detector.
    """
    n, found = 100, []
    reals = {d: rng.normal(size=n) for d in shifts}
    drawn = {
        d: shift + seeds_sd * rng.normal(size=3 if seeds_sd else 1) for d, shift in shifts.items()
    }
    for part in range(parts):
        ids = np.array([f"f{part}/{i:03d}" for i in range(n)] + [f"r/{i:03d}" for i in range(n)])
        label = (np.arange(2 * n) < n).astype(np.uint8)
        for d in shifts:
            fakes = rng.normal(size=n)
            for seed, shift in enumerate(drawn[d]):
                logit = np.concatenate([fakes + shift, reals[d]])
                one = Scores(
                    sample_id=ids,
                    group=ids,
                    unit=ids,
                    method=ids,
                    label=label,
                    logit=logit,
                    listed=2 * n,
                )
                found.append((f"set{part}", Pairing(detector=d, train_on="x"), one, seed))
    return found


def test_test_sets_that_share_reals_do_not_make_noise_a_finding() -> None:
    """Two detectors of one skill, four test sets with the same reals: 5 % of 300 runs, where
    independence would claim 23 %.
    """
    rng = np.random.default_rng(1)
    runs = [compared(parts_of_one(rng, {"a": 1.0, "b": 1.0}, parts=4)) for _ in range(300)]
    assert 0.02 <= np.mean([run.mean_pairs[0].difference.p < 0.05 for run in runs]) <= 0.085
    assert runs[0].overlap_groups == (("set0", "set1", "set2", "set3"),)
    assert runs[0].ranks.n == 1
    assert "set0 + set1 + set2 + set3 being one as they share images" in answer(runs[0])


def test_a_familys_variance_is_that_of_a_bootstrap_that_draws_its_images_once() -> None:
    scores = parts_of_one(np.random.default_rng(2), {"a": 1.0, "b": 0.6}, parts=3)
    (pair,) = compared(scores).mean_pairs
    rng, found = np.random.default_rng(3), []
    for _ in range(600):
        reals, fakes = (
            100 + rng.integers(100, size=100),
            {f"set{i}": rng.integers(100, size=100) for i in range(3)},
        )
        aucs = {"a": 0.0, "b": 0.0}
        for test_on, pairing, one, _ in scores:
            f, r = one.logit[fakes[test_on]], one.logit[reals]
            aucs[pairing.detector] += (
                stats.mannwhitneyu(f, r, method="asymptotic").statistic / 10000 / 3
            )
        found.append(aucs[pair.first] - aucs[pair.second])
    reach = (pair.difference.high - pair.difference.low) / 2 / stats.norm.ppf(0.975)
    assert reach == pytest.approx(np.std(found), rel=0.12)


def test_the_same_recipe_under_two_names_is_no_finding() -> None:
    """Seeds that move an AUC by .03 and 200 images: what is called more than noise is so in at most
    5 % of 200 runs.
    """
    rng = np.random.default_rng(4)
    runs = [
        compared(parts_of_one(rng, {"a": 1.0, "b": 1.0}, parts=1, seeds_sd=0.25)).mean_pairs[0]
        for _ in range(200)
    ]
    assert np.mean([pair.p_noise < 0.05 for pair in runs]) <= 0.06
    for pair in runs[:5]:
        assert pair.seeds is not None and pair.p_noise >= max(pair.difference.p, pair.seeds.p)


def test_with_one_seed_the_answer_says_that_seeds_are_unknown() -> None:
    found = compared(study({"good": 2.0, "poor": 0.1}, ["aa", "bbb"], seeds=1))
    assert (
        "More than noise of the images; whether of training seeds too is unknown: its lead on poor"
        in answer(found)
    )
    assert ", over seeds unknown (one seed)." in answer(found)
    assert "one seed: unknown" in comparisons_markdown(found)
    untrained = [
        (y, Pairing(detector=p.detector, train_on=NO_TRAINING), s, 0)
        for y, p, s, _ in study({"a": 2.0, "b": 0.1}, ["aa"], seeds=1)
    ]
    assert "no seed changes it" in answer(compared(untrained))


def of_sizes(
    logits: dict[str, dict[str, np.ndarray]], train_on: str = NO_TRAINING
) -> list[CellScores]:
    """Detectors, by name, with their logits on each test set; every second image is a fake."""
    return [
        (y, Pairing(detector=d, train_on=train_on), made(y, logit), 0)
        for d, sets in logits.items()
        for y, logit in sets.items()
    ]


def test_four_images_do_not_make_a_lead() -> None:
    """Perfect against reversed on 2 + 2 images, about equal on 500 + 500: DeLong's variance of the
    first is 0, and no certainty.
    """
    rng, fake = np.random.default_rng(0), np.arange(1000) % 2
    base, tiny = rng.normal(size=1000) + fake, np.array([0.0, 2.0, 1.0, 3.0])
    logits = {
        d: {"y1": sign * tiny, "y2": base + 0.3 * rng.normal(size=1000)}
        for d, sign in (("a", 1), ("b", -1))
    }
    found = compared(of_sizes(logits))
    (pair,) = found.mean_pairs
    first, second = (roc_auc_score(fake, logits[d]["y2"]) for d in ("a", "b"))
    assert pair.difference.value == pytest.approx((1 + first - second) / 2)
    assert (
        pair.difference.low < 0 < pair.difference.high
        and pair.p_holm > 0.05
        and pair.p_noise > 0.05
    )
    assert "Over the images, not more than noise: its lead on b" in answer(found)
    # of the same order: no lead there, and a bound on what it might be
    for same in (tiny, np.exp(tiny)):
        level = (
            compared(of_sizes({"a": {**logits["a"], "y1": tiny}, "b": {**logits["b"], "y1": same}}))
            .mean_pairs[0]
            .difference
        )
        assert level.high - level.value >= (1 - 0.025 ** (1 / 2)) / 2
    alone = compared(of_sizes({d: {"y1": sets["y1"]} for d, sets in logits.items()}))
    # one test set: the mean is its cell
    assert alone.mean_pairs[0].difference == alone.pairs[0].difference


def test_a_lead_that_cannot_be_tested_is_not_called_noise() -> None:
    scores = study({"good": 2.0, "poor": 0.1}, ["aa", "bbb"], n=60)
    one_group = [
        (y, p, replace(s, group=np.where(s.label == 1, "fakes", s.group)), seed)
        for y, p, s, seed in scores
    ]
    words = answer(compared(one_group))
    assert (
        "Cannot be tested: its lead on poor of 0." in words
        and "a class comes from one group" in words
    )
    assert "not more than noise: its lead" not in words


def test_seeds_of_other_logits_and_equal_aucs_are_unknown_and_equal_logits_are_none() -> None:
    """On 60 images two detectors that separate have AUC 1 with every seed, whatever the seed has
    changed.
    """
    fake, rng = np.arange(60) % 2, np.random.default_rng(0)
    poor = [rng.normal(size=60) for _ in range(2)]

    def lead(good: list[np.ndarray], other: list[np.ndarray]) -> Any:
        scores = [
            (y, Pairing(detector=d, train_on="x"), made(y, z), seed)
            for y in ("aa", "bbb")
            for d, logits in (("good", good), ("poor", other))
            for seed, z in enumerate(logits)
        ]
        return compared(scores)

    moving = lead([3.0 * fake, 5.0 * fake], [poor[0], poor[0]])
    assert moving.mean_pairs[0].seeds.reason == "2 seeds of the same AUC" and math.isnan(
        moving.mean_pairs[0].p_noise
    )
    assert "whether of training seeds too is unknown" in answer(
        moving
    ) and "2 seeds of the same AUC: unknown" in comparisons_markdown(moving)
    # but for rounding, as between two batch sizes
    still = lead([3.0 * fake] * 2, [poor[0], poor[0] * (1 + 1e-7)])
    assert still.mean_pairs[0].seeds.fixed and "no seed changes it" in answer(still)
    assert lead([3.0 * fake] * 2, poor).mean_pairs[0].seeds.p > 0


def test_seeds_are_averaged_over_cells_by_their_number() -> None:
    """Seed 0 of one cell failed: only the seeds that every cell has are compared, each with
    itself.
    """
    scores = [
        one
        for one in study({"good": 1.5, "fair": 0.8}, ["aa", "bbb"], seeds=4)
        if one[0] != one[1].train_on
    ]
    lost = [one for one in scores if (one[0], one[1].detector, one[3]) != ("aa", "good", 0)]
    (pair,) = compared(lost[::-1]).mean_pairs
    sides = {
        d: [
            np.mean(
                [
                    roc_auc_score(s.label, s.logit)
                    for _, p, s, n in lost
                    if (p.detector, n) == (d, seed)
                ]
            )
            for seed in seeds
        ]
        for d, seeds in (("good", (1, 2, 3)), ("fair", (0, 1, 2, 3)))
    }
    welch = stats.ttest_ind(sides["good"], sides["fair"], equal_var=False)
    assert pair.seeds is not None and pair.seeds.p == pytest.approx(welch.pvalue)
    apart = [one for one in lost if one[1].detector == "fair" or (one[3] < 2) == (one[0] == "aa")]
    assert compared(apart).mean_pairs[0].seeds.reason == "no seed has every cell"  # type: ignore[union-attr]


def test_what_makes_test_sets_a_family() -> None:
    label = (np.arange(200) % 2).astype(np.uint8)
    ids = np.array([f"i{i:03d}" for i in range(200)])
    sets = {y: Images(sample_id=ids, group=np.char.add("g", ids), label=label) for y in "abc"}
    names = {y: {i: (f"{y}{i}", f"{y}{i}") for i in ids.tolist()} for y in "abc"}
    # one copy of a real, and one real of a group of a's
    names["c"] |= {"i000": ("ai000", "ci000"), "i002": ("ci002", "ai004")}
    apart, together = (
        overlap_groups(
            sets, {**names, "c": {i: (f"c{i}", f"c{i}") for i in ids.tolist()}}.__getitem__
        ),
        overlap_groups(sets, names.__getitem__),
    )
    assert [list(one) for one in apart] == [["a"], ["b"], ["c"]] and apart[0]["a"] is sets[
        "a"
    ].group
    assert [list(one) for one in together] == [["a", "c"], ["b"]]
    a, c = together[0]["a"], together[0]["c"]
    assert a[0] == c[0] and a[4] == c[2] and len(np.unique(np.concatenate([a, c]))) == 400 - 2
