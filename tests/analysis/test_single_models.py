"""Single models and what is said of weighted sums of their AUCs, by hand and with known truth."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.analysis import score_set as score_set_module
from study.analysis.comparisons import compare_detectors
from study.analysis.score_set import ScoreSet, blends_of
from study.analysis.significance import Verdict
from study.analysis.single_models import Halves, column
from study.analysis.weighted_sums import Term, WeightedSum, alone, cell_sum, training_parts
from study.core.records import Pairing
from study.statistics.error_model import own_noise
from study.statistics.ranking import every_pair_alike
from tests.analysis.score_sets import clean_cell, drawn_file, score_set
from tests.analysis.test_comparisons import compared, halves, made, study

A = Pairing(detector="a", train_on="x")
FAKE = np.arange(200) % 2


def test_detectors_that_learn_the_same_from_every_half_have_no_training_error_between_them() -> (
    None
):
    """Halves are matched by number: what both take from a half cancels."""
    scores = study({"one": 1.0, "two": 1.0}, ["aa", "bbb"], seeds=1)
    drawn = halves(scores, sd=0.6)
    for (pairing, y), files in drawn.items():
        if pairing.detector == "two":
            drawn[pairing, y] = drawn[replace(pairing, detector="one"), y]
        assert files
    (pair,) = compare_detectors(*score_set(scores, drawn=drawn)).mean_pairs
    assert pair.finding.counted and pair.finding.training == pytest.approx(0, abs=1e-15)
    own = compare_detectors(*score_set(scores, drawn=drawn)).headline.standings
    assert all(one.mean.training > 1e-4 for one in own)


def test_only_pairs_of_halves_that_all_models_have_count() -> None:
    scores = study({"one": 1.0, "two": 1.0}, ["aa", "bbb"], seeds=1)
    full, fewer = halves(scores, sd=0.6), halves(scores, sd=0.6)
    for (pairing, y), files in fewer.items():
        if pairing.detector == "two":
            (draws, of), kept = files[0], slice(0, 8)
            fewer[pairing, y] = [(draws[kept], replace(of, logits=of.logits[kept]))]
    first, second = (
        compare_detectors(*score_set(scores, drawn=drawn)).mean_pairs[0] for drawn in (full, fewer)
    )
    # of ten pairs, and of four: the degrees of freedom are theirs
    assert first.finding.degrees > second.finding.degrees > 3.9
    none = {place: files for place, files in full.items() if place[0].detector == "one"}
    (lost,) = compare_detectors(*score_set(scores, drawn=none)).mean_pairs
    assert not lost.finding.counted and lost.verdict is Verdict.NOT_COUNTED


def test_the_halves_own_noise_is_what_the_error_model_takes_out() -> None:
    """The variance of two halves' influences by `own_noise`, pair by pair."""
    scores = study({"a": 1.0}, ["y"], seeds=1)
    (y, pairing, one, seed) = scores[0]
    drawn = halves(scores, sd=0.0)
    opened, cells = score_set([(y, pairing, one, seed)], drawn=drawn)
    total = cell_sum(opened, cells)
    (models,) = column(opened, cells).models.values()
    assert models.halves is not None
    influences = models.halves.influence.astype(np.float64)
    expected = [
        2 * own_noise(np.stack([each, np.zeros(200)]), total.families[0].groups)
        for each in influences
    ]
    spread = total._spread({y: influences})
    assert spread == pytest.approx(np.mean(expected))


def test_a_cell_in_two_weights_is_the_cell() -> None:
    """A sum is linear: a third of a cell and two thirds of it are the cell."""
    scores = study({"a": 1.0}, ["y"], seeds=3)
    opened, cells = score_set(scores, drawn=halves(scores, sd=0.5))
    whole = cell_sum(opened, cells)
    (term,) = whole.terms
    parts = tuple(Term(test_on="y", models=term.models, weight=w) for w in (1 / 3, 2 / 3))
    both = WeightedSum(terms=parts, families=alone(column(opened, cells)))
    a, b = (one.finding(kind="auc", null=0.5) for one in (whole, both))
    assert (a.low, a.high, a.p, a.training) == pytest.approx((b.low, b.high, b.p, b.training))
    assert a.value == np.mean([roc_auc_score(s.label, s.logit) for _, _, s, _ in scores])


def test_an_ensembles_halves_are_those_of_its_members() -> None:
    rng, y = np.random.default_rng(0), "y"
    members = {name: Pairing(detector=name, train_on="x") for name in ("one", "two")}
    ensemble = Pairing(detector="ensemble", train_on="x")
    base = made(y, rng.normal(size=200) + FAKE)
    logits = {name: rng.normal(size=(5, 2, 200)) + FAKE for name in members}
    drawn = {(members[name], y): [drawn_file("half", base, of)] for name, of in logits.items()}
    weights = {"one": 0.25, "two": 2.0}
    winners = [
        SimpleNamespace(
            key=f"k{seed}",
            spec=SimpleNamespace(
                learner="members",
                options={f"weight_{n}": w + 0.1 * (seed - 1) for n, w in weights.items()}
                | {"bias": 1.0},
            ),
        )
        for seed in range(3)
    ]
    cells = [clean_cell(ensemble, y, seed, str(seed)) for seed in range(3)]
    planned = [
        SimpleNamespace(cell=cell, winner=winner)
        for cell, winner in zip(cells, winners, strict=True)
    ]
    blends = blends_of(cast(Any, planned))
    assert blends[ensemble] == pytest.approx(weights)
    files = [(str(seed), made(y, rng.normal(size=200) + FAKE)) for seed in range(3)]
    opened = ScoreSet(files, rng_seed=len, drawn=drawn, blends=blends)
    found = opened.drawn(ensemble, y, "half", base.sample_id)
    expected = 0.25 * logits["one"] + 2.0 * logits["two"]
    np.testing.assert_allclose(found.logits, expected, atol=1e-5)
    assert found.numbers == tuple(range(5)) and cell_sum(opened, cells).training is not None
    lacking = ScoreSet(files, rng_seed=len, blends=blends)
    assert cell_sum(lacking, cells).training is None


def test_the_parts_of_clean_cells_are_there_for_other_studies() -> None:
    scores = study({"a": 1.0}, ["y"], seeds=2)
    opened, cells = score_set(scores, drawn=halves(scores, sd=0.5))
    degraded = replace(cells[0], degradation="jpeg30")
    failed = replace(cells[0], test_on="z", state="failed")
    parts = training_parts(opened, [*cells, degraded, failed])
    assert parts == {(cells[0].pairing, "y"): cell_sum(opened, cells).training}
    bare, cells = score_set(scores)
    assert training_parts(bare, cells) == {(cells[0].pairing, "y"): None}


def test_when_every_pair_differs_alike() -> None:
    label, rng = np.array([0, 1, 0, 1, 0, 1]), np.random.default_rng(0)
    separated, constant, mixed = 1.0 * label, np.zeros(6), rng.normal(size=6)
    assert every_pair_alike(label, [(1.0, separated), (-1.0, constant), (0.5, -separated)])
    assert every_pair_alike(label, [(1.0, mixed), (-1.0, np.exp(mixed))])
    assert not every_pair_alike(label, [(1.0, mixed), (-0.5, np.exp(mixed))])
    assert not every_pair_alike(label, [(1.0, mixed), (-1.0, rng.normal(size=6))])


def test_a_power_statement_is_of_the_same_error_as_the_test() -> None:
    """More training error, more pairs of detectors: a larger lead is needed."""
    scores = study({"one": 1.0, "two": 1.0}, ["aa", "bbb"], seeds=3)
    more = study({"one": 1.0, "two": 1.0, "three": 1.0, "four": 1.0}, ["aa", "bbb"], seeds=3)
    small, large = (compared(scores, sd=sd).mean_pairs[0].finding for sd in (0.1, 0.5))
    assert 0 < small.smallest < large.smallest
    for one in (small, large):
        assert one.smallest > 2.8 * one.error
    several = compared(more, sd=0.1).mean_pairs
    assert len(several) == 6
    assert all(p.finding.smallest > 3.4 * p.finding.error for p in several)
    assert not math.isnan(small.p)


def test_what_halves_say_is_kept_within_a_bound_and_the_last_used_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    opened, _ = score_set([])

    def ask(name: str) -> Halves:
        def make() -> Halves:
            made.append(name)
            return Halves(numbers=(0,), apart=np.zeros(1), influence=np.zeros((1, 250), np.float32))

        return opened.derived(name, make)

    size = ask("a").nbytes
    assert size == 1008
    monkeypatch.setattr(score_set_module, "KEPT_BYTES", 2 * size)
    for name in ("b", "a", "c", "a", "c", "b"):  # c drives b out, and b then a
        ask(name)
    assert made == ["a", "b", "c", "b"]
    ask("a")
    assert made[-1] == "a"
