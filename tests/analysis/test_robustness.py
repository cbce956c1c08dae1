"""What a degradation costs, with its interval, on made-up scores: two cells of one test set and one
of another.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.robustness import Groups, Robustness, _error, mean_drop, robustness
from study.analysis.score_set import align
from study.core.records import Pairing, Scores
from study.data.leaks.find import Leak, Leaks
from study.render.robustness import robustness_markdown, robustness_text
from study.statistics.delong import placements
from study.statistics.methods import part
from tests.analysis.score_sets import score_set

N = 120


def made(logit: np.ndarray) -> Scores:
    ids = np.array([f"{i:04d}" for i in range(N)])
    label = (np.arange(N) % 2).astype(np.uint8)
    return Scores(
        sample_id=ids,
        group=ids,
        unit=ids,
        method=ids,
        label=label,
        logit=logit.astype(np.float32),
        listed=N,
    )


def cell(pairs: list[tuple[Scores, Scores]], first_group: int) -> Robustness:
    aucs = [
        np.mean([roc_auc_score(s.label, s.logit) for s in side])
        for side in zip(*pairs, strict=True)
    ]
    groups = Groups(pairs[0][0].sample_id, np.arange(first_group, first_group + N))
    aligned = [align(pair) for pair in pairs]
    return Robustness(
        detector="npr",
        train_on="x",
        test_on="y",
        domain="cross",
        degradation="blur1",
        auc=float(aucs[0]),
        clean=float(aucs[1]),
        images=N,
        left_out=0,
        state="done",
        reason="",
        error=_error(aligned, groups),
    )


def test_the_drops_interval_is_paired_and_cells_of_one_test_set_vary_together() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(N) % 2
    logits = [
        [base + 0.3 * rng.normal(size=N) + shift * label for shift in (0.8, 1.4)]
        for base in rng.normal(size=(2, N)).repeat(2, 0)
    ]
    one, two, other = (
        cell([(made(logits[i][0]), made(logits[i][1]))], start)
        for i, start in ((0, 0), (1, 0), (2, N))
    )
    drops = []
    for clean_and_degraded in (logits[0] + logits[1], logits[2]):
        value, variance = 0.0, 0.0
        places = [placements(label, z) for z in clean_and_degraded]
        signs = [1, -1] * (len(places) // 2)
        for k in (0, 1):
            of = sum(sign * one[k] / 3 for sign, one in zip(signs, places, strict=True))
            variance += of.var(ddof=1) / len(of)
        value = sum(sign * one[0].mean() / 3 for sign, one in zip(signs, places, strict=True))
        drops.append((value, variance))
    same, apart = drops
    found = mean_drop([one, two, other])
    assert found.value == pytest.approx(same[0] + apart[0])
    reach = stats.norm.ppf(0.975) * math.sqrt(same[1] + apart[1])
    # strata are pooled: (n - 1) / n of them counts once
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.02)
    assert not found.counted
    unpaired = [sum(of.var(ddof=1) / len(of) for of in placements(label, z)) for z in logits[2]]
    assert mean_drop([other]).high - mean_drop([other]).low < 2 * 1.96 * math.sqrt(sum(unpaired))
    assert math.isnan(mean_drop([one, replace(two, error=None)]).low)


def on(seed: int, kept: np.ndarray, shift: float) -> Scores:
    """Scores of the images at the places `kept`, with `shift` between the classes."""
    full = made(np.random.default_rng(seed).normal(size=N) + shift * (np.arange(N) % 2))
    return part(full, kept)


def robust(
    stored: dict[tuple[str, str], Scores], leakage: Leakage = NO_LEAKS
) -> dict[str, Robustness]:
    """What the degradation costs each detector of a store, (detector, degradation) -> scores."""
    scores, cells = score_set(
        [("b", Pairing(detector=d, train_on="a"), one, 0) for (d, _), one in stored.items()],
        leakage=leakage,
    )
    cells = [replace(c, degradation=g) for c, (_, g) in zip(cells, stored, strict=True)]
    return {found.detector: found for found in robustness(scores, cells)}


def aucs(scores: Scores, kept: np.ndarray) -> float:
    inside = np.isin(scores.sample_id, made(np.zeros(N)).sample_id[kept])
    return float(roc_auc_score(scores.label[inside], scores.logit[inside]))


def test_detectors_whose_geometries_leave_out_other_images() -> None:
    """Two images are too elongated for one detector, and one of them is not once it is degraded; a
    third cannot be degraded.
    """
    every = np.arange(N)
    clean, degraded = every[2:], np.setdiff1d(every, [0, 7])
    both = np.setdiff1d(clean, [7])
    stored = {
        ("resized", "none"): on(0, clean, 2.0),
        ("resized", "long64"): on(1, degraded, 1.0),
        ("cropped", "none"): on(2, every, 2.0),
        ("cropped", "long64"): on(3, np.setdiff1d(every, [7]), 1.0),
    }
    for order in (stored, dict(reversed(stored.items()))):
        found = robust(order)
        one = found["resized"]
        assert one.auc == pytest.approx(aucs(stored["resized", "long64"], both))
        assert one.clean == pytest.approx(aucs(stored["resized", "none"], both))
        assert (one.images, one.left_out, one.unmatched) == (N - 3, 1, 1)
        assert (found["cropped"].images, found["cropped"].left_out, found["cropped"].unmatched) == (
            N - 1,
            1,
            0,
        )
        assert one.error is not None and len(one.error.group) == N - 3
        assert found["cropped"].error is not None
        # an image has the same group whichever detector scored it
        shared = np.isin(np.setdiff1d(every, [7]), both)
        assert np.array_equal(found["cropped"].error.group[shared], one.error.group)
        text = " ".join(robustness_text([*found.values()], width=200).split())
        assert (
            "resized: long64 is not applicable to 1 of 119 images of b; they are left out, of the"
            " clean AUC too." in text
        )
        assert (
            "1 of 119 images of b have a score under long64 but none as they are (too elongated);"
            " they are left out." in text
        )
        assert "cropped: long64 is not applicable to 1 of 120 images of b;" in text


def test_images_that_leak_are_in_neither_side() -> None:
    every = np.arange(N)
    stored = {("npr", "none"): on(0, every, 2.0), ("npr", "jpeg50"): on(1, every, 1.0)}
    ids = made(np.zeros(N)).sample_id

    def leaks(places: np.ndarray) -> Leakage:
        found = tuple(
            Leak(
                image=str(i),
                source="a/x.png",
                kind="exact",
                label=0,
                source_label=0,
                correlation=1.0,
            )
            for i in ids[places].tolist()
        )
        of = Leaks(
            images="b",
            image_splits=("test",),
            source="a",
            source_splits=("train",),
            real=60,
            fake=60,
            found=found,
        )
        return Leakage(leaks={("a", "b"): of})

    one = robust(stored, leaks(every[:30]))["npr"]
    assert one.auc == pytest.approx(aucs(stored["npr", "jpeg50"], every[30:]))
    assert one.clean == pytest.approx(aucs(stored["npr", "none"], every[30:]))
    assert (one.images, one.leaked, one.kept, one.left_out) == (N - 30, 30, False, 0)
    assert one.error is not None and len(one.error.label) == N - 30
    assert "Test images that leak from training: a -> b 30, left out." in robustness_markdown([one])
    all_reals = robust(stored, leaks(every[::2]))["npr"]
    assert all_reals.clean == pytest.approx(aucs(stored["npr", "none"], every))
    assert (all_reals.images, all_reals.leaked, all_reals.kept) == (N, 60, True)
    assert "a -> b 60, kept, as a class is gone without them, under jpeg50." in robustness_text(
        [all_reals], width=200
    )
    assert "leak" not in robustness_text([robust(stored)["npr"]], width=200)
