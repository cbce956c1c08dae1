"""What a detector would reach on other test sets: from 8 families on, else why not."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.analysis.other_test_sets import other_test_sets
from study.core.records import Pairing, Scores
from study.render.other_test_sets import other_test_sets_markdown
from tests.analysis.score_sets import score_set

N = 200


def scored(name: str, lift: float, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    label = (np.arange(N) % 2).astype(np.uint8)
    ids = np.array([f"{name}/{i:03d}" for i in range(N)])
    logit = (rng.normal(size=N) + lift * label).astype(np.float32)
    method = np.array(["real", "fake"])[label]
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=method, label=label, logit=logit, listed=N
    )


def of_sets(names: list[str]) -> list[tuple[str, Pairing, Scores, int]]:
    pairing = Pairing(detector="npr", train_on="x")
    lifts = np.linspace(0.2, 1.6, len(names))
    return [
        (name, pairing, scored(name, float(lift), i), 0)
        for i, (name, lift) in enumerate(zip(names, lifts, strict=True))
    ]


def test_nine_test_sets_are_a_sample() -> None:
    given = of_sets([f"y{i}" for i in range(9)])
    (row,) = other_test_sets(*score_set([*given, ("x", given[0][1], scored("x", 9.0, 99), 0)]))
    assert row.found is not None and row.families == 9  # in-domain is not among them
    aucs = [roc_auc_score(one.label, one.logit) for _, _, one, _ in given]
    assert row.found.mean == pytest.approx(fmean(aucs), abs=0.02)  # better known ones weigh more
    assert row.found.between == pytest.approx(np.std(aucs, ddof=1), abs=0.03)
    assert row.found.one_low < row.found.low < row.found.mean < row.found.high < row.found.one_high
    text = other_test_sets_markdown([row])
    assert "| npr" in text and "not said" not in text


def test_few_test_sets_say_nothing_of_others() -> None:
    (row,) = other_test_sets(*score_set(of_sets(["a", "b", "c"])))
    assert row.found is None and row.reason.startswith("3 families of test sets")
    assert "not said: 3 families of test sets; of others" in other_test_sets_markdown([row])
    pairing = Pairing(detector="npr", train_on="x")
    assert other_test_sets(*score_set([("x", pairing, scored("x", 1.0, 0), 0)])) == ()
    assert other_test_sets_markdown(()) == ""
