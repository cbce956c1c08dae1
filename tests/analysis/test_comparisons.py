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
from study.analysis.results import ResultRow
from study.analysis.score_set import DrawnFile, open_scores
from study.analysis.significance import Verdict
from study.core.errors import ScoreError
from study.core.records import ELSEWHERE, NO_TRAINING, SHORTCUTS, Pairing, Scores
from study.render.answer import answer, answer_text
from study.render.comparisons import COLUMNS, comparisons_csv, comparisons_markdown
from study.render.files import write_comparisons
from study.statistics.comparisons import holm
from study.store.store import Store
from tests.analysis.score_sets import CellScores, clean_cell, drawn_file, score_set
from tests.render.synthetic_matrix import row

FAKES = np.arange(200) % 2


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


def halves(
    scores: Sequence[CellScores], *, pairs: int = 10, sd: float = 0.1, seed: int = 7
) -> dict[tuple[Pairing, str], list[DrawnFile]]:
    """Logits of halves' models for every pairing on every test set: those of its seeds in turn,
    with the fakes moved by what the half has learned, which is the same on all test sets.
    """
    rng, moved = np.random.default_rng(seed), {}
    found: dict[tuple[Pairing, str], list[DrawnFile]] = {}
    for y, pairing, one, _ in scores:
        if pairing.train_on in (NO_TRAINING, ELSEWHERE) or (pairing, y) in found:
            continue
        shift = moved.setdefault(pairing, sd * rng.normal(size=(pairs, 2)))
        held = [s.logit for t, p, s, _ in scores if (t, p) == (y, pairing)]
        own = np.stack([held[n % len(held)] for n in range(2 * pairs)]).reshape(pairs, 2, -1)
        fake = np.where(one.label == 1, 1.0, 0.0)
        found[pairing, y] = [drawn_file("half", one, own + shift[..., None] * fake)]
    return found


def compared(scores: Iterable[CellScores], *, sd: float = 0.1, **more: Any) -> Comparisons:
    given = [*scores]
    return compare_detectors(*score_set(given, drawn=halves(given, sd=sd)), **more)


def aucs_of(scores: Sequence[CellScores], detector: str, x: str, y: str) -> list[float]:
    """The AUC of each seed, by scikit-learn."""
    return [
        float(roc_auc_score(s.label, s.logit))
        for t, p, s, _ in scores
        if (t, p.detector, p.train_on) == (y, detector, x)
    ]


def placed(scores: Sequence[CellScores], detector: str, x: str, y: str) -> np.ndarray:
    """(N,) the mean over seeds of each image's placement, by counting."""
    found = []
    for t, p, s, _ in scores:
        if (t, p.detector, p.train_on) == (y, detector, x):
            beats = s.logit[s.label == 1][:, None] > s.logit[s.label == 0][None]
            one = np.empty(len(s.label))
            one[s.label == 1], one[s.label == 0] = beats.mean(axis=1), beats.mean(axis=0)
            found.append(one)
    return np.mean(found, axis=0)


@pytest.mark.parametrize("images_a_group", [1, 4])
def test_every_pair_in_every_cell_is_of_single_models(images_a_group: int) -> None:
    scores = study(
        {"good": 1.5, "fair": 1.0, "poor": 0.4}, ["aa", "bbb"], images_a_group=images_a_group
    )
    found = compared(scores, sd=1.0)
    pairs = {("good", "fair"), ("good", "poor"), ("fair", "poor")}
    expected = {(x, y, *pair) for x in ("aa", "bbb") for y in ("aa", "bbb") for pair in pairs}
    assert {(p.train_on, p.test_on, p.first, p.second) for p in found.pairs} == expected and len(
        found.pairs
    ) == len(expected)
    label, group = scores[0][2].label, scores[0][2].group
    for pair in found.pairs:
        place = (pair.train_on, pair.test_on)
        first, second = (aucs_of(scores, d, *place) for d in (pair.first, pair.second))
        assert pair.auc_first == pytest.approx(np.mean(first), abs=1e-12)
        assert pair.finding.value == pytest.approx(np.mean(first) - np.mean(second), abs=1e-12)
        apart = placed(scores, pair.first, *place) - placed(scores, pair.second, *place)
        variance = 0.0
        if images_a_group == 1:
            variance = sum(apart[label == k].var(ddof=1) / 100 for k in (0, 1))
        else:  # all groups are mixed: the variance of the groups' sums
            for k in (0, 1):
                apart[label == k] = (apart[label == k] - apart[label == k].mean()) / 100
            sums = [apart[group == g].sum() for g in np.unique(group)]
            variance = np.var(sums, ddof=1) * len(sums)
        assert pair.finding.images == pytest.approx(variance, rel=1e-9)
        assert pair.finding.counted and pair.finding.training > 0
        total = pair.finding.images + pair.finding.training
        assert pair.finding.error == pytest.approx(math.sqrt(total))
        reach = stats.t(pair.finding.degrees).ppf(0.975) * pair.finding.error
        assert (pair.finding.low, pair.finding.high) == pytest.approx(
            (max(pair.finding.value - reach, -1.0), min(pair.finding.value + reach, 1.0))
        )
    assert [p.p_holm for p in found.pairs] == pytest.approx(
        holm([p.finding.p for p in found.pairs])
    )


def test_cross_domain_means_and_their_variance_by_hand() -> None:
    scores = study({"good": 1.5, "fair": 1.2}, ["aa", "bbb", "cccc"])
    found, drawn = compared(scores), halves(scores)
    label = scores[0][2].label
    cross = [(x, y) for x in ("aa", "bbb", "cccc") for y in ("aa", "bbb", "cccc") if x != y]
    assert sorted(found.cells) == sorted(cross)
    for detector in ("good", "fair"):
        expected = np.mean([np.mean(aucs_of(scores, detector, x, y)) for x, y in cross])
        assert found.cross_domain[detector] == pytest.approx(expected)
    (pair,) = found.mean_pairs
    variance, apart, noise = 0.0, np.zeros(10), np.zeros(10)
    seeds, noise_of_seeds = np.zeros(2), 0.0
    for y in ("aa", "bbb", "cccc"):
        images, models, of_seeds = np.zeros(200), np.zeros((10, 200)), np.zeros((2, 200))
        for sign, detector in ((1, "good"), (-1, "fair")):
            for x in {"aa", "bbb", "cccc"} - {y}:
                images += sign * placed(scores, detector, x, y) / 6
                pairing = Pairing(detector=detector, train_on=x)
                logits = drawn[pairing, y][0][1].logits.reshape(10, 2, 200)
                for r, both in enumerate(logits):
                    for side, half in ((1, both[0]), (-1, both[1])):
                        one = made(y, half)
                        apart[r] += side * sign * roc_auc_score(label, half) / 6
                        own = placed([(y, pairing, one, 0)], detector, x, y)
                        models[r] += side * sign * own / 6
                for seed in (0, 1):
                    mine = [i for i in scores if i[:2] == (y, pairing) and i[3] == seed]
                    seeds[seed] += sign * aucs_of(mine, detector, x, y)[0] / 6
                    of_seeds[seed] += sign * placed(mine, detector, x, y) / 6
        for k in (0, 1):
            variance += images[label == k].var(ddof=1) / 100
            noise += models[:, label == k].var(axis=1, ddof=1) / 100
            noise_of_seeds += (of_seeds[0] - of_seeds[1])[label == k].var(ddof=1) / 100 / 2
    draw = np.mean(apart**2) / 2 - noise.mean() / 2
    seed = max(seeds.var(ddof=1) - noise_of_seeds, 0.0)
    training = max(draw / 2, draw - seed / 2) if draw > 0 else 0.0
    assert pair.finding.images == pytest.approx(variance, rel=1e-6)
    assert pair.finding.training == pytest.approx(training, rel=1e-4, abs=1e-12)
    assert pair.finding.value == pytest.approx(seeds.mean())
    assert (pair.n_real, pair.n_fake, pair.n_groups) == (300, 300, 600)
    assert "not counted" not in answer(found)


def test_a_clear_winner_is_named_and_the_few_test_sets_too() -> None:
    scores = study({"fair": 0.8, "good": 2.0, "poor": 0.1}, ["aa", "bbb"], seeds=3)
    words = answer(compared(scores, rows=baseline_rows({"aa": 0.5, "bbb": 0.55})))
    lines = words.splitlines()
    assert lines[0] == "Which detector generalises best, and is that more than noise?"
    assert lines[1].startswith(
        "good generalises best over 2 cross-domain cells on 2 test sets: it has 0.9"
    )
    assert lines[1].endswith(
        " (more than chance in 2 of these 2 cells); chance is 0.500, a classifier of file metadata"
        " has 0.525 [0.503, 0.547]."
    )
    assert lines[2].startswith("No null band was computed")
    assert lines[3].startswith(
        "The shortcut baselines (classifiers of file metadata, and of border"
    )
    assert lines[4].startswith(
        "More than noise, of images, training sample and seeds: good's lead on fair of 0."
    )
    assert "; poor of 0." in lines[4]
    assert (
        "too few test sets: the same order of 3 detectors on all 2 would have p = 0.17" in lines[5]
    )


def baseline_rows(aucs: dict[str, float], half: float = 0.031) -> list[ResultRow]:
    """The audit's classifier of file metadata, with intervals of that half width."""
    return [
        row(SHORTCUTS[0], NO_TRAINING, y, auc, low=auc - half, high=auc + half, seeds=1)
        for y, auc in aucs.items()
    ]


def with_cell(value: float, *, seed: int, n: int = 200) -> np.ndarray:
    """Logits whose AUC is `value` to .001; every second image is a fake."""
    fake, noise = np.arange(n) % 2, np.random.default_rng(seed).normal(size=n)
    low, high = -4.0, 4.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        below = roc_auc_score(fake, noise + middle * fake) < value
        low, high = (middle, high) if below else (low, middle)
    return noise + high * fake


def test_row_11_none_generalises_is_the_first_sentence() -> None:
    """Cells of .541, .442 and .411 and a metadata baseline of .586 were called "generalises best,
    more than noise of the images".
    """
    cells = {"spectrum": 0.541, "npr": 0.442, "linear": 0.411}
    scores = [
        ("lab_b", Pairing(detector=d, train_on="lab_a"), made("lab_b", with_cell(v, seed=i)), 0)
        for i, (d, v) in enumerate(cells.items())
    ]
    found = compared(scores, rows=baseline_rows({"lab_b": 0.586}))
    first = answer(found).splitlines()[1]
    assert first.startswith(
        "None is shown to generalise from lab_a to lab_b: the best, spectrum, has 0.54"
    )
    assert first.endswith(
        "; chance is 0.500, a classifier of file metadata has 0.586 [0.555, 0.617]."
    )
    assert not any(one.generalises for one in found.headline.standings)
    table = answer_text(found).split("\n\n")[1].splitlines()
    assert [line.split()[:2] for line in table[1:]] == [
        ["spectrum", "0.541"],
        ["npr", "0.442"],
        ["linear", "0.411"],
    ]
    assert "not shown, p = 1.000" in answer_text(found)


def test_more_than_chance_but_not_than_metadata_is_no_generalising() -> None:
    scores = study({"good": 1.5, "poor": 0.1}, ["aa", "bbb"], seeds=3)
    for baseline, expected in ((0.60, True), (0.845, False), (0.99, False)):
        rows = baseline_rows({"aa": baseline, "bbb": baseline})
        found = compared(scores, sd=0.2, rows=rows)
        best = found.headline.standings[0]
        assert best.chance.p < 0.001 and best.generalises == expected
        assert ("None is shown to generalise" in answer(found)) != expected


def test_the_null_band_decides_what_is_more_than_chance() -> None:
    """A mean of .7 is nothing where permuted labels give .35 to .65 and more."""
    scores = study({"good": 0.75}, ["aa", "bbb"], seeds=3)
    rng, found = np.random.default_rng(3), {}
    for sd in (0.05, 0.8):
        drawn = halves(scores)
        for (pairing, y), files in drawn.items():
            one = next(s for t, p, s, _ in scores if (t, p) == (y, pairing))
            moved = sd * rng.normal(size=(50, 1, 1)) * one.label
            files.append(drawn_file("permuted", one, rng.normal(size=(50, 1, 200)) + moved))
        (found[sd],) = compare_detectors(*score_set(scores, drawn=drawn)).headline.standings
        chance = found[sd].chance
        aucs = []
        for x, y in (("aa", "bbb"), ("bbb", "aa")):
            logits = drawn[Pairing(detector="good", train_on=x), y][1][1].logits
            aucs.append([roc_auc_score(np.arange(200) % 2, z) for z in logits])
        means = np.mean(aucs, axis=0)
        assert chance.models == 50 and chance.value == pytest.approx(means.mean())
        assert (chance.low, chance.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
        t = abs(found[sd].mean.value - means.mean()) / (means.std(ddof=1) * math.sqrt(1 + 1 / 50))
        of_band = 2 * stats.t(49).sf(t)
        assert chance.p == pytest.approx(max(of_band, found[sd].mean.p))
        assert (chance.p > found[sd].mean.p) == (sd == 0.8)
    assert found[0.05].generalises and not found[0.8].generalises
    assert found[0.8].mean.low > 0.6  # the interval alone would have called it more than chance


def test_a_lead_between_two_that_are_no_more_than_chance_must_be_more_than_nothing_gives() -> None:
    scores = study({"good": 0.75, "poor": 0.0}, ["aa", "bbb"], seeds=3)
    rng, found = np.random.default_rng(3), {}
    for sd in (0.0, 0.05, 0.8):
        drawn, nulls = halves(scores), {}
        for (pairing, y), files in drawn.items() if sd else ():
            one = next(s for t, p, s, _ in scores if (t, p) == (y, pairing))
            moved = sd * rng.normal(size=(50, 1, 1)) * one.label
            files.append(drawn_file("permuted", one, rng.normal(size=(50, 1, 200)) + moved))
            aucs = [roc_auc_score(one.label, z) for z in files[1][1].logits]
            nulls[pairing.detector, pairing.train_on, y] = np.array(aucs)
        comparisons = compare_detectors(*score_set(scores, drawn=drawn))
        (pair,) = comparisons.mean_pairs
        shown = {s.detector: s.is_more_than_chance for s in comparisons.headline.standings}
        assert shown == {"good": sd < 0.8, "poor": False}
        found[sd] = pair.finding
        if sd == 0.8:
            means = {
                d: (nulls[d, "aa", "bbb"] + nulls[d, "bbb", "aa"]) / 2 for d in ("good", "poor")
            }
            expected = ((means["good"] - means["poor"]) ** 2).mean()
            assert pair.finding.training == pytest.approx(expected)
            assert pair.verdict is Verdict.NOT_MORE and pair.finding.low < 0 < pair.finding.high
        else:
            assert pair.verdict is Verdict.MORE_THAN_NOISE
    # where one is more than chance nothing changes
    assert found[0.05] == found[0.0] and found[0.05].training < found[0.8].training


def test_without_halves_no_claim_is_made() -> None:
    scores = study({"good": 2.0, "poor": 0.1}, ["aa", "bbb"], seeds=3)
    found = compare_detectors(*score_set(scores))
    assert {pair.verdict for pair in (*found.pairs, *found.mean_pairs)} == {Verdict.NOT_COUNTED}
    lines = answer(found).splitlines()
    assert lines[1].startswith("Whether any detector generalises over 2 cross-domain cells on")
    assert "is not claimed: the first by its mean, good, has 0.9" in lines[1]
    assert lines[2].startswith("No claim is made, as the training sample is not counted (budget.")
    assert "No claim: the training sample is not counted: good's lead on poor of 0." in answer(
        found
    )
    assert "more than noise" not in "".join(lines[1:]).replace("not more than noise", "").lower()


def test_row_9_a_seeds_scale_decides_nothing() -> None:
    """The logits of one seed, six times as large, decided the mean logit alone."""
    scores = study({"good": 1.5, "fair": 1.0}, ["aa", "bbb"], seeds=3)
    scaled = [
        (y, p, replace(s, logit=s.logit * np.float32(8.0)), n) if n == 1 else (y, p, s, n)
        for y, p, s, n in scores
    ]
    drawn = halves(scores)
    plain, other = (compare_detectors(*score_set(one, drawn=drawn)) for one in (scores, scaled))
    assert repr(plain.pairs) == repr(other.pairs)
    assert repr(plain.mean_pairs) == repr(other.mean_pairs)
    assert answer(plain) == answer(other)


@pytest.mark.parametrize("seed", range(6))
def test_row_2_verdict_sign_interval_and_p_agree(seed: int) -> None:
    """Over random studies: what is shown as ahead is ahead in the interval, in p, and in the
    matrix's own numbers.
    """
    rng = np.random.default_rng(seed)
    skill = {name: float(rng.uniform(0, 1.5)) for name in ("a", "b", "c")}
    scores = study(
        skill,
        ["aa", "bbb", "cccc"],
        n=int(rng.choice([24, 60, 200])),
        seeds=int(rng.integers(1, 4)),
        images_a_group=int(rng.choice([1, 3])),
    )
    found = compared(scores, sd=float(rng.choice([0.0, 0.05, 0.5])))
    for pair in (*found.pairs, *found.mean_pairs):
        d = pair.finding
        assert d.value == pytest.approx(pair.auc_first - pair.auc_second, abs=1e-12)
        assert d.low <= d.value <= d.high and (d.p < 0.05) == (not d.low <= 0 <= d.high)
        assert pair.p_holm >= d.p
        if pair.verdict is Verdict.MORE_THAN_NOISE:
            ahead = pair.auc_first > pair.auc_second
            assert (d.low > 0) == ahead and (d.high < 0) != ahead
        else:
            assert pair.verdict is Verdict.NOT_MORE and pair.p_holm >= 0.05
    for one in found.headline.standings:
        assert not one.generalises or (one.mean.low > 0.5 and one.mean.value > 0.5)


def test_row_5_few_groups_have_the_p_of_a_group_permutation() -> None:
    """27 groups: the least p was .0103, before Holm over 27 comparisons. No training counts here,
    so that a permutation of groups is the whole truth.
    """
    rng, group = np.random.default_rng(5), np.repeat(np.arange(27), 4)
    label = (np.arange(108) % 4 < 2).astype(np.uint8)
    first = rng.normal(size=108) + 1.6 * label
    second = rng.normal(size=108) + 0.5 * label
    scores = of_sizes({"first": {"aa": first}, "second": {"aa": second}})
    scores = [
        (y, p, replace(s, label=label, group=np.char.add("g", group.astype(str))), n)
        for y, p, s, n in scores
    ]
    (pair,) = compared(scores).pairs
    value = np.zeros(108)
    for sign, logit in ((1, first), (-1, second)):
        beats = logit[label == 1][:, None] > logit[label == 0][None]
        value[label == 1] += sign * beats.mean(axis=1) / 108
        value[label == 0] += sign * beats.mean(axis=0) / 108
    sums = np.array([value[group == g].sum() for g in range(27)])
    assert sums.sum() == pytest.approx(pair.finding.value)
    flips = np.random.default_rng(1).choice([-1.0, 1.0], (20_000, 27)) @ sums
    p = (np.abs(flips) >= abs(sums.sum()) - 1e-12).mean()
    assert p < 0.01 and pair.finding.p == pytest.approx(p, abs=4 * math.sqrt(p / 20_000) + 1e-4)
    assert pair.finding.low > 0 and pair.verdict is Verdict.MORE_THAN_NOISE


def test_marked_test_sets_are_left_out_and_the_means_with_them_stand_beside() -> None:
    """The leader is better on the marked test set alone."""
    rng, fake = np.random.default_rng(0), np.arange(200) % 2
    shift = {
        "cheat": {"aa": 9.0, "bbb": 0.3, "cccc": 0.3},
        "honest": {"aa": 0.5, "bbb": 0.6, "cccc": 0.6},
    }
    scores = of_sizes(
        {
            d: {y: rng.normal(size=200) + s * fake for y, s in sets.items()}
            for d, sets in shift.items()
        }
    )
    plain = compared(scores)
    assert next(iter(plain.cross_domain)) == "cheat" and "marked" not in answer(plain)
    assert "with test sets marked !" not in comparisons_markdown(plain)
    found = compared(scores, marked=["aa", "elsewhere"])
    assert [y for _, y in found.cells] == ["bbb", "cccc"] and len(found.marked_cells) == 1
    for d, sets in shift.items():
        aucs = {y: aucs_of(scores, d, NO_TRAINING, y)[0] for y in sets}
        assert found.cross_domain[d] == pytest.approx((aucs["bbb"] + aucs["cccc"]) / 2)
        assert found.with_marked[d] == pytest.approx(np.mean([*aucs.values()]))
        assert found.with_marked[d] == plain.cross_domain[d]
    expected = (
        f"cheat {found.with_marked['cheat']:.3f}; honest {found.with_marked['honest']:.3f}; cheat"
        " is first, not honest."
    )
    words = answer(found)
    assert "Left out of these means, as the audit marks it ! (a confound" in words
    assert "aa. With it the mean AUCs are (nothing is tested here): " + expected in words
    assert found.headline.standings[0].detector == "honest"
    assert expected in comparisons_markdown(found)
    assert "with test sets marked !" in comparisons_markdown(found)
    assert "; cheat stays first." in answer(compared(scores, marked=["bbb"]))
    every = answer_text(compared(scores, marked=["aa", "bbb", "cccc"]))
    assert "3 test sets is not claimed, as all test sets are marked !: the first by its" in every
    assert "generalises best over" not in every and every.count("all test sets are marked !") == 3
    assert (
        "All test sets of these means are marked ! (a confound or a leak, see the tables): aa, bbb,"
        " cccc. No cross-domain number" in every
    )


def test_equal_detectors_are_not_told_apart_and_the_smallest_lead_stands_beside() -> None:
    found = compared(study({"one": 1.0, "two": 1.0}, ["aa", "bbb"]))
    (pair,) = found.mean_pairs
    assert pair.p_holm > 0.05 and 0 < pair.finding.smallest < 0.5
    assert f"Not more than noise: {pair.first}'s lead on {pair.second} of" in answer(found)
    assert (
        f"(a true lead of {pair.finding.smallest:.3f} would show in 4 of 5 studies like this)"
        in answer(found)
    )
    assert (
        "generalises over 2 cross-domain cells on 2 test sets, and no detector is shown to be"
        in (answer(found))
    )
    hopeless = compared(study({"one": 1.0, "two": 1.0}, ["aa", "bbb"], n=20), sd=2.0)
    assert math.isnan(hopeless.mean_pairs[0].finding.smallest)
    assert "(the study is too small: even a true lead of 0.5 would often not show)" in answer(
        hopeless
    )
    assert "| none up to 0.5 |" in comparisons_markdown(hopeless)


def test_many_test_sets_have_ranks() -> None:
    scores = study(
        {"good": 1.6, "fair": 0.9, "poor": 0.2}, [f"set{'x' * i}" for i in range(6)], n=120, seeds=1
    )
    found = compared(scores)
    table = np.array(
        [
            [
                np.mean([np.mean(aucs_of(scores, d, x, y)) for x in found.test_sets if x != y])
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
    values = [
        [aucs_of(scores, d, "cccc", y)[0] for d in ("good", "fair", "poor")] for y in ("aa", "bbb")
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
    means = [aucs_of(scores, "zero", NO_TRAINING, y)[0] for y in ("aa", "bbb", "cccc")]
    assert found.cross_domain["zero"] == pytest.approx(np.mean(means)) and len(found.cells) == 6
    own = [p for p in found.pairs if {p.first, p.second} == {"zero", "null"}]
    assert [(p.train_on, p.test_on) for p in own] == [
        (NO_TRAINING, y) for y in ("aa", "bbb", "cccc")
    ]
    assert len([p for p in found.pairs if {p.first, p.second} == {"zero", "good"}]) == 9
    # what is not trained is taken as it is: no training sample, and none that is missing
    assert all(p.finding.counted and p.finding.training == 0 for p in own)
    only = compare_detectors(*score_set([o for o in scores if o[1].train_on == NO_TRAINING]))
    assert len(only.cells) == 3 and len(only.mean_pairs) == 1
    assert only.mean_pairs[0].finding.counted and "not counted" not in answer(only)


def test_a_published_detector_is_ranked_where_its_authors_trained_on_no_test_set() -> None:
    own = study({"good": 1.6, "fair": 0.9}, ["aa", "bbb", "cccc"], seeds=1)
    logits = {
        y: np.random.default_rng(len(y)).normal(size=200) + FAKES for y in ("aa", "bbb", "cccc")
    }

    def with_published(**trained_on: str) -> Comparisons:
        more = [
            (y, Pairing(detector=name, train_on=f"({x})"), made(y, logit), 0)
            for name, x in trained_on.items()
            for y, logit in logits.items()
        ]
        return compared([*own, *more])

    found = with_published(apart="dd:progan")
    auc = np.mean([roc_auc_score(FAKES, logit) for logit in logits.values()])
    assert found.cross_domain["apart"] == pytest.approx(auc, abs=1e-6) and len(found.cells) == 6
    (standing,) = [one for one in found.headline.standings if one.detector == "apart"]
    assert standing.mean.counted and standing.mean.training == 0 and math.isnan(standing.in_domain)
    # of another's place in the means nothing changes where one has seen a test set
    found = with_published(apart="dd:progan", seen="bbb")
    assert found.seen == ("seen",) and not found.left_out and "seen" not in found.cross_domain
    assert {*found.cross_domain} == {"good", "apart", "fair"} and len(found.cells) == 6
    said = "Left out, as its authors trained it on a test set of these means: seen."
    assert said in answer_text(found)
    both = [p for p in found.pairs if {p.first, p.second} == {"apart", "seen"}]
    assert [(p.train_on, p.test_on) for p in both] == [(NO_TRAINING, y) for y in logits]


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
    assert all(pair.finding.reason == "no real images" for pair in compared(lone).pairs)
    assert {pair.verdict for pair in compared(lone).pairs} == {Verdict.UNTESTED}
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
    first, second = (
        next(s for t, p, s, _ in scores if (t, p) == ("bbb", Pairing(detector=d, train_on="bbb")))
        for d in ("one", "two")
    )
    apart = [roc_auc_score(last.label[kept], s.logit[kept]) for s in (first, second)]
    assert pair.finding.value == pytest.approx(apart[0] - apart[1], abs=1e-12)
    assert pair.n_real + pair.n_fake == len(kept) and pair.finding.counted
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
    for line, pair in zip(rows, [*found.pairs, *found.mean_pairs], strict=True):
        assert (
            float(line["difference"]) == pair.finding.value and float(line["p_holm"]) == pair.p_holm
        )
        shown = tuple(float(line[f"{name}_variance"]) for name in ("images", "training"))
        assert shown == (pair.finding.images, pair.finding.training)
        assert (line["verdict"], line["training_counted"]) == (pair.verdict.value, "true")
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
    plain = compare_detectors(*score_set(scores))
    assert repr([p.finding for p in found.pairs]) == repr([p.finding for p in plain.pairs])
    assert read == [str(i) for i in range(len(scores))]


def parts_of_one(
    rng: np.random.Generator,
    shifts: dict[str, float],
    *,
    parts: int,
    seeds_sd: float = 0.0,
    sample_sd: float = 0.0,
) -> list[CellScores]:
    """Detectors trained elsewhere on `parts` test sets: fakes of their own, and the same 100 reals
    with the same scores.

    seeds_sd: of the shift of the fakes, between three seeds of a detector. sample_sd: of that of
    the training sample, which all seeds share.
    """
    n, found = 100, []
    reals = {d: rng.normal(size=n) for d in shifts}
    drawn = {
        d: shift + sample_sd * rng.normal() + seeds_sd * rng.normal(size=3 if seeds_sd else 1)
        for d, shift in shifts.items()
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
    """Two detectors of one skill that are not trained, four test sets with the same reals: 5 % of
    200 runs, where independence would claim 23 %.
    """
    rng = np.random.default_rng(1)
    runs = [
        compared(untrained(parts_of_one(rng, {"a": 1.0, "b": 1.0}, parts=4))) for _ in range(300)
    ]
    assert 0.015 <= np.mean([run.mean_pairs[0].finding.p < 0.05 for run in runs]) <= 0.085
    assert runs[0].overlap_groups == (("set0", "set1", "set2", "set3"),)
    assert runs[0].ranks.n == 1
    assert "set0 + set1 + set2 + set3 being one as they share images" in answer(runs[0])


def untrained(scores: Iterable[CellScores]) -> list[CellScores]:
    """The same of detectors that are not trained."""
    return [(y, Pairing(detector=p.detector, train_on=NO_TRAINING), s, n) for y, p, s, n in scores]


def test_a_familys_variance_is_that_of_a_bootstrap_that_draws_its_images_once() -> None:
    scores = parts_of_one(np.random.default_rng(2), {"a": 1.0, "b": 0.6}, parts=3)
    (pair,) = compared(scores).mean_pairs
    rng, found = np.random.default_rng(3), []
    for _ in range(400):
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
    assert math.sqrt(pair.finding.images) == pytest.approx(np.std(found), rel=0.12)


def test_the_same_recipe_under_two_names_is_no_finding() -> None:
    """Seeds and training samples that move an AUC by .03 each, and 200 images: what is called more
    than noise is so in at most 8 % of 100 runs (3 % of 800).
    """
    rng, runs = np.random.default_rng(14), []
    for run in range(100):
        scores = parts_of_one(rng, {"a": 1.0, "b": 1.0}, parts=1, seeds_sd=0.1, sample_sd=0.1)
        runs.append(
            compare_detectors(*score_set(scores, drawn=halves(scores, sd=0.15, seed=run + 1000)))
        )
    pairs = [run.mean_pairs[0] for run in runs]
    assert np.mean([pair.verdict is Verdict.MORE_THAN_NOISE for pair in pairs]) <= 0.08
    assert all(pair.finding.counted and pair.finding.training > 0 for pair in pairs[:5])


def test_one_seed_is_no_reason_to_claim_less_where_halves_are_there() -> None:
    """Halves differ by their seeds, too: what one seed decides is in what they say."""
    found = compared(study({"good": 2.0, "poor": 0.1}, ["aa", "bbb"], seeds=1))
    (pair,) = found.mean_pairs
    assert pair.verdict is Verdict.MORE_THAN_NOISE and pair.finding.training > 0
    assert "'s lead on poor" in answer(found)


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
    assert pair.finding.value == pytest.approx((1 + first - second) / 2)
    assert pair.finding.low < 0 < pair.finding.high and pair.p_holm > 0.05
    assert "Not more than noise: a's lead on b" in answer(found)
    # of the same order: no lead there, and a bound on what it might be
    for same in (tiny, np.exp(tiny)):
        level = (
            compared(of_sizes({"a": {**logits["a"], "y1": tiny}, "b": {**logits["b"], "y1": same}}))
            .mean_pairs[0]
            .finding
        )
        assert level.high - level.value >= (1 - 0.025 ** (1 / 2)) / 2
    alone = compared(of_sizes({d: {"y1": sets["y1"]} for d, sets in logits.items()}))
    # one test set: the mean is its cell
    assert repr(alone.mean_pairs[0].finding) == repr(alone.pairs[0].finding)


def test_a_lead_that_cannot_be_tested_is_not_called_noise() -> None:
    scores = study({"good": 2.0, "poor": 0.1}, ["aa", "bbb"], n=60)
    one_group = [
        (y, p, replace(s, group=np.where(s.label == 1, "fakes", s.group)), seed)
        for y, p, s, seed in scores
    ]
    words = answer(compared(one_group))
    assert (
        "Cannot be tested: good's lead on poor of 0." in words
        and "a class comes from one group" in words
    )
    assert "not more than noise: its lead" not in words


def test_seeds_of_equal_aucs_take_nothing_from_what_halves_say() -> None:
    """On 60 images two detectors that separate have AUC 1 with every seed, whatever the seed has
    changed. Nothing is subtracted for that.
    """
    fake, rng = np.arange(60) % 2, np.random.default_rng(0)
    poor = rng.normal(size=60)
    scores = [
        (y, Pairing(detector=d, train_on="x"), made(y, z), seed)
        for y in ("aa", "bbb")
        for d, logits in (("good", [3.0 * fake, 5.0 * fake]), ("poor", [poor, poor]))
        for seed, z in enumerate(logits)
    ]
    once = [one for one in scores if one[3] == 0]
    drawn = halves(scores, sd=0.5)
    both, one = (
        compare_detectors(*score_set(given, drawn=drawn)).mean_pairs[0] for given in (scores, once)
    )
    assert both.finding.training == pytest.approx(one.finding.training) and one.finding.training > 0


def test_a_seed_counts_by_its_number_and_only_where_it_scored_every_cell() -> None:
    """Seed 0 of one cell failed: the mean still has all that is there, as the matrix has, and what
    seeds decide is seen in the other three, each with itself.
    """
    scores = [
        one
        for one in study({"good": 1.5, "fair": 0.8}, ["aa", "bbb"], seeds=4, n=2000)
        if one[0] != one[1].train_on
    ]
    rng = np.random.default_rng(1)
    shifts = {("good", s): 0.5 * float(rng.normal()) for s in range(4)}
    scores = [
        (y, p, made(y, s.logit + shifts.get((p.detector, n), 0.0) * s.label), n)
        for y, p, s, n in scores
    ]
    lost = [one for one in scores if (one[0], one[1].detector, one[3]) != ("aa", "good", 0)]
    drawn = halves(scores, sd=0.3)
    (pair,) = compare_detectors(*score_set(lost[::-1], drawn=drawn)).mean_pairs
    cells = {
        (d, y): [
            (n, roc_auc_score(s.label, s.logit)) for t, p, s, n in lost if (t, p.detector) == (y, d)
        ]
        for d in ("good", "fair")
        for y in ("aa", "bbb")
    }
    means = {place: np.mean([auc for _, auc in of]) for place, of in cells.items()}
    value = np.mean([means["good", y] - means["fair", y] for y in ("aa", "bbb")])
    assert pair.finding.value == pytest.approx(value)
    apart = [one for one in lost if one[1].detector == "fair" or (one[3] < 2) == (one[0] == "aa")]
    # no seed of the good one has both cells: nothing is known of its seeds, nothing is subtracted
    (none,) = compare_detectors(*score_set(apart, drawn=drawn)).mean_pairs
    assert pair.finding.training < none.finding.training


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


def test_what_was_run_elsewhere_is_ranked_where_it_has_scores_of_all_test_sets() -> None:
    scores = study({"good": 1.2, "poor": 0.2}, ["aa", "bbb"], seeds=2)
    rng = np.random.default_rng(8)
    outside = [
        (
            y,
            Pairing(detector=name, train_on=ELSEWHERE),
            made(y, rng.normal(size=200) + 2 * FAKES),
            0,
        )
        for name, sets in (("theirs", ("aa", "bbb")), ("partial", ("aa",)))
        for y in sets
    ]
    # two images of one set are missing: the others are compared without them
    y, pairing, one, seed = outside[0]
    columns = ("sample_id", "group", "unit", "method", "label", "logit")
    kept = {name: getattr(one, name)[2:] for name in columns}
    outside[0] = (y, pairing, replace(one, **kept), seed)
    found, plain = compared([*scores, *outside]), compared(scores)
    first = found.headline.standings[0]
    assert (first.detector, first.is_given, first.generalises) == ("theirs", True, False)
    expected = np.mean([roc_auc_score(s.label, s.logit) for _, p, s, _ in outside if p == pairing])
    assert first.mean.value == pytest.approx(expected)
    assert first.mean.training == 0 and first.mean.counted
    # our own stay as they are
    assert repr(found.headline.own) == repr(plain.headline.own)
    assert found.cross_domain == plain.cross_domain and found.left_out == ("partial",)
    (pair,) = (p for p in found.mean_pairs if (p.first, p.second) == ("theirs", "good"))
    assert (pair.n_real + pair.n_fake, pair.finding.counted) == (398, True)
    ours = [
        roc_auc_score(s.label[2 * (t == "aa") :], s.logit[2 * (t == "aa") :])
        for t, p, s, _ in scores
        if p.detector == "good" and p.train_on != t
    ]
    assert pair.finding.value == pytest.approx(expected - np.mean(ours))
    words = answer(found)
    assert "Run elsewhere, on the same test sets: theirs 0.9" in words
    assert words.splitlines()[1].startswith("good generalises")
    assert "trained elsewhere" in answer_text(found) and "| theirs |" in comparisons_markdown(found)


def test_a_mean_that_rests_on_some_of_its_cells_says_so() -> None:
    """A trace that two of three sets share: the mean is more than chance, and two cells are."""
    rng, known = np.random.default_rng(4), {("aa", "bbb"), ("bbb", "aa")}
    sets = ("aa", "bbb", "cccc")
    scores = [
        (
            y,
            Pairing(detector="d", train_on=x),
            made(y, rng.normal(size=200) + 2.5 * FAKES * (x == y or (x, y) in known)),
            0,
        )
        for x in sets
        for y in sets
    ]
    found = compared(scores)
    (one,) = found.headline.standings
    assert (one.above, one.cells, one.generalises) == (2, 6, True)
    assert "(more than chance in 2 of these 6 cells); chance is 0.500" in answer(found)
    (bare,) = compare_detectors(*score_set(scores)).headline.standings
    assert bare.above == 0  # nothing is claimed


def test_both_rates_at_the_sources_thresholds_stand_in_the_ranked_table() -> None:
    scores = study({"good": 1.2}, ["aa", "bbb"], seeds=2)
    accuracies = {
        ("real_accuracy", 1): (0.9, 0.8),
        ("real_accuracy", 5): (0.7, 0.5),
        ("fake_accuracy", 1): (0.2, 0.5),
        ("fake_accuracy", 5): (0.3, 0.7),
    }
    rows = [
        row("good", x, y, value, metric=metric, threshold=f"source_fpr{share}")
        for (metric, share), values in accuracies.items()
        for (x, y), value in zip((("aa", "bbb"), ("bbb", "aa")), values, strict=True)
    ]
    rows += [row("good", x, x, value) for x, value in (("aa", 0.95), ("bbb", 0.85))]
    found = compared(scores, rows=rows)
    (one,) = found.headline.standings
    assert (one.fpr1, one.fpr5) == pytest.approx((0.15, 0.4))
    assert (one.tpr1, one.tpr5) == pytest.approx((0.35, 0.5))
    assert "0.350                    0.400      0.500" in answer_text(found)
    assert one.in_domain == pytest.approx(0.9) and one.gap == pytest.approx(0.9 - one.mean.value)
