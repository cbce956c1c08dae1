"""What deliveries change, on made-up scores, against calculations by hand and scipy."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from study.analysis.deliveries import EVERY, SAME, Deliveries, flips, ranks
from study.analysis.leakage import Leakage
from study.analysis.robustness import Robustness
from study.core.records import NO_DEGRADATION, Geometry, Pairing, Scores
from study.data.leaks.find import Leak, Leaks
from study.planning.cells import PlannedCell
from study.render.deliveries import deliveries_markdown, flips_csv, ranks_csv
from tests.analysis.score_sets import score_set

LABEL = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.uint8)
PUBLISHED = "(cnnspot:progan)"


def scored(logit: list[float], *, groups: list[str] | None = None, first: str = "i") -> Scores:
    ids = np.array([f"{first}{at}" for at in range(8)])
    return Scores(
        sample_id=ids,
        group=ids if groups is None else np.array(groups),
        unit=ids,
        method=ids,
        label=LABEL,
        logit=np.array(logit, dtype=np.float32),
        listed=8,
    )


# under the own geometry the threshold of 1 calls the last four fake
OWN = [0.0, 0.0, 0.0, 0.9, 1.0, 2.0, 2.0, 2.0]
LATER = [1.0, 0.0, 0.0, 0.9, 0.0, 0.5, 2.0, 2.0]  # one real turns to fake, two fakes to real
AGAIN = [0.0, 0.0, 0.0, 0.9, 0.0, 2.0, 2.0, 2.0]  # another seed: one fake turns to real


def planned(
    held: list[tuple[str, Pairing, str, int, Scores]],
    cut: float = 1.0,
    leakage: Leakage | None = None,
) -> tuple[Any, list[PlannedCell]]:
    """The cells (test set, pairing, degradation, seed, scores) with winners of that threshold."""
    more = {} if leakage is None else {"leakage": leakage}
    scores, cells = score_set([(y, p, one, seed) for y, p, _, seed, one in held], **more)
    spec = SimpleNamespace(geometry=Geometry(size_px=8, mode="squash"))
    winner: Any = SimpleNamespace(thresholds={"fixed": 0.0, "source": cut}, spec=spec)
    cells = [replace(c, degradation=g) for c, (_, _, g, _, _) in zip(cells, held, strict=True)]
    return scores, [PlannedCell(cell=cell, winner=winner, job=None) for cell in cells]


def two_seeds(test_on: str, first: str = "i") -> list[tuple[str, Pairing, str, int, Scores]]:
    npr = Pairing(detector="npr", train_on="a")
    return [
        (test_on, npr, NO_DEGRADATION, 0, scored(OWN, first=first)),
        (test_on, npr, NO_DEGRADATION, 1, scored(OWN, first=first)),
        (test_on, npr, "crop5", 0, scored(LATER, first=first)),
        (test_on, npr, "crop5", 1, scored(AGAIN, first=first)),
        (test_on, npr, "blur1", 0, scored(LATER, first=first)),
    ]


def test_flips_by_hand() -> None:
    found = flips(*planned(two_seeds("b")))
    assert [one.test_on for one in found] == ["b", EVERY]
    for one in found:  # 3 of 8 and 1 of 8, mean over seeds
        assert one.share == pytest.approx(2 / 8)
        assert (one.to_fake, one.to_real) == (pytest.approx(0.5 / 8), pytest.approx(1.5 / 8))
        assert (one.images, one.groups, one.seeds, one.threshold) == (8, 8, 2, "source")
        exact = stats.binomtest(2, 8).proportion_ci(method="exact")
        assert (one.low, one.high) == pytest.approx((exact.low, exact.high))


def test_all_test_sets_together_are_their_images_and_what_they_share_counts_once() -> None:
    apart = flips(*planned([*two_seeds("b"), *two_seeds("c", first="k")]))
    assert [one.test_on for one in apart] == ["b", "c", EVERY]
    assert (apart[-1].images, apart[-1].groups, apart[-1].share) == (16, 16, pytest.approx(0.25))
    assert apart[-1].high - apart[-1].low < apart[0].high - apart[0].low
    shared = flips(*planned([*two_seeds("b"), *two_seeds("c")]))[-1]
    assert (shared.images, shared.groups) == (16, 8)
    assert shared.high - shared.low > apart[-1].high - apart[-1].low


def test_a_delivery_that_is_the_own_geometry_flips_nothing_and_says_so() -> None:
    npr = Pairing(detector="npr", train_on="a")
    held = [
        ("b", npr, NO_DEGRADATION, 0, scored(OWN)),
        ("b", npr, "resize", 0, scored(OWN)),
        ("b", npr, "pad", 0, scored(OWN)),
    ]
    found = flips(*planned(held))
    assert [(one.delivery, one.share) for one in found[1::2]] == [("resize", 0.0), ("pad", 0.0)]
    for own, other in zip(found[:2], found[2:], strict=True):
        assert own.note == SAME and math.isnan(own.high)
        assert "exact bound" in other.note and other.high == pytest.approx(1 - 0.025 ** (1 / 8))
    text = deliveries_markdown(Deliveries(flips=tuple(found), ranks=tuple(ranks(ROWS))))
    assert "| npr | a | 8 | own geometry | 0.000 [0.000, 0.369] |" in text


def test_a_detector_without_a_source_is_judged_at_logit_0() -> None:
    published = Pairing(detector="theirs", train_on=PUBLISHED)
    held = [
        ("b", published, NO_DEGRADATION, 0, scored([x - 1 for x in OWN])),
        ("b", published, "crop", 0, scored([x - 1 for x in LATER])),
    ]
    one = flips(*planned(held, cut=math.nan))[0]
    assert (one.threshold, one.share) == ("fixed", pytest.approx(3 / 8))


def test_leaked_images_are_left_out_and_what_is_not_scored_says_why() -> None:
    same = {"kind": "exact", "label": 0, "source_label": 0, "correlation": 1.0}
    leak = Leak(image="i0", source="a/x.png", **same)
    sides = {"image_splits": ("test",), "source_splits": ("train",), "real": 4, "fake": 4}
    leaks = Leaks(images="b", source="a", found=(leak,), **sides)
    leakage = Leakage(leaks={("a", "b"): leaks})
    one = flips(*planned(two_seeds("b"), leakage=leakage))[0]
    assert (one.images, one.leaked) == (7, 1)
    assert one.share == pytest.approx((2 + 1) / 2 / 7)  # without the real that turned
    scores, cells = planned(two_seeds("b"))
    lost = [
        replace(p, cell=replace(p.cell, state="failed", reason="no disk", scores_key=""))
        if p.cell.degradation == "crop5"
        else p
        for p in cells
    ]
    for one in flips(scores, lost):
        assert math.isnan(one.share) and one.reason == "failed: no disk"


def aucs(detector: str, train_on: str, test_on: str, clean: float, auc: float) -> Robustness:
    return Robustness(
        detector=detector,
        train_on=train_on,
        test_on=test_on,
        domain="in" if train_on == test_on else "cross",
        degradation="crop",
        auc=auc,
        clean=clean,
        images=8,
        left_out=0,
        state="done",
        reason="",
    )


ROWS = [
    aucs("one", "a", "b", 0.8, 0.5),
    aucs("one", "b", "a", 0.7, 0.6),
    aucs("one", "a", "a", 0.99, 0.99),  # in-domain: no part of the mean
    aucs("two", "a", "b", 0.7, 0.7),
    aucs("two", "b", "a", 0.6, 0.6),
    aucs("theirs", PUBLISHED, "a", 0.5, 0.4),
    aucs("theirs", PUBLISHED, "b", 0.5, 0.4),
]


def test_ranks_by_hand_and_by_scipy() -> None:
    (found,) = ranks(ROWS)
    assert found.places == (("a", "b"), ("b", "a"))
    assert found.own == pytest.approx({"one": 0.75, "two": 0.65, "theirs": 0.5})
    assert found.delivered == pytest.approx({"one": 0.55, "two": 0.65, "theirs": 0.4})
    expected = stats.kendalltau([0.75, 0.65, 0.5], [0.55, 0.65, 0.4]).statistic
    assert (found.tau, found.turned, found.pairs) == (pytest.approx(expected), 1, 3)
    (unmarked,) = ranks(ROWS, marked=["b"])
    assert unmarked.places == (("b", "a"),) and not unmarked.marked
    assert unmarked.own == pytest.approx({"one": 0.7, "two": 0.6, "theirs": 0.5})
    (all_marked,) = ranks(ROWS, marked=["a", "b"])
    assert all_marked.places == found.places and all_marked.marked


def test_who_has_no_rank_is_named() -> None:
    trained_there = [replace(row, domain="in") if row.test_on == "a" else row for row in ROWS[5:]]
    (found,) = ranks([*ROWS[:5], *trained_there])
    assert found.left_out == ("theirs",) and len(found.own) == 2
    (alone,) = ranks(ROWS[:3])
    assert math.isnan(alone.tau) and "fewer than two" in alone.reason
    lost = replace(ROWS[0], auc=math.nan, clean=math.nan)
    (fewer,) = ranks([lost, *ROWS[1:]])
    assert fewer.places == (("b", "a"),)


def test_tables_and_files_say_the_same_numbers() -> None:
    found = Deliveries(flips=tuple(flips(*planned(two_seeds("b")))), ranks=tuple(ranks(ROWS)))
    text = deliveries_markdown(found)
    exact = stats.binomtest(2, 8).proportion_ci(method="exact")
    assert f"| npr | a | 8 | 0.250 [{exact.low:.3f}, {exact.high:.3f}] |" in text
    assert "| crop | 3 | 2 | 0.333 | 1 of 3 |" in text
    assert "| one | 1 (0.750) | 2 (0.550) |" in text and "| two | 2 (0.650) | 1 (0.650) |" in text
    lines = [*csv.DictReader(flips_csv(found.flips).splitlines())]
    assert [line["test_on"] for line in lines] == ["b", "(all)"]
    assert float(lines[0]["share"]) == found.flips[0].share
    order = {line["detector"]: line for line in csv.DictReader(ranks_csv(found.ranks).splitlines())}
    assert (order["one"]["own_rank"], order["one"]["rank"]) == ("1.0", "2.0")
    assert deliveries_markdown(Deliveries()) == ""
