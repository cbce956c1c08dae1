"""The rows of a scored cell: pooled and by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import logit as logit_of
from scipy.stats import t as t_distribution
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

from study.analysis.calibrations import Calibrations
from study.analysis.cell_rows import cell_rows
from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import IMAGES_ALONE
from study.analysis.score_set import DrawnFile
from study.core.records import Pairing, Scores
from study.data.subgroups import Subgroups
from study.planning.cells import PlannedCell
from study.statistics.metrics import METRICS
from tests.analysis.score_sets import CellScores, drawn_file, score_set

PAIRING = Pairing(detector="npr", train_on="a")
THRESHOLDS = {"fixed": 0.0, "source": 0.3, "source_fpr5": 1.4}


def scored(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    ids = np.array([f"b/{i:03d}.png" for i in range(120)])
    label = (np.arange(120) % 3 > 0).astype(np.uint8)
    method = np.where(label == 0, "real", np.where(np.arange(120) % 3 == 1, "gan", "diffusion"))
    logit = (rng.normal(size=120) + 2 * (method == "gan") + 0.5 * (method == "diffusion")).astype(
        np.float32
    )
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=method, label=label, logit=logit, listed=121
    )


def rows_of(
    cells: Sequence[CellScores],
    winner: object,
    cache: Path,
    *,
    val: Scores | None = None,
    leakage: Leakage = NO_LEAKS,
    drawn: Mapping[tuple[Pairing, str], Sequence[DrawnFile]] = MappingProxyType({}),
    subgroups: Mapping[str, Subgroups] = MappingProxyType({}),
) -> list[Any]:
    """The matrix of some cells of one winner, without a study around it."""
    scores, made = score_set(cells, leakage=leakage, drawn=drawn, subgroups=subgroups)
    planned = [PlannedCell(cell=cell, winner=cast(Any, winner), job=None) for cell in made]
    store = cast(Any, SimpleNamespace(val_scores=lambda key: val))
    return cell_rows(scores, planned, cache=cache, calibrations=Calibrations(store))


@pytest.fixture
def rows(tmp_path: Path) -> list[Any]:
    """The matrix of one cell of two seeds."""
    winner = SimpleNamespace(key="w", thresholds=THRESHOLDS, temperature=1.0)
    cells = [("b", PAIRING, scored(seed), seed) for seed in (0, 1)]
    return rows_of(cells, winner, tmp_path, val=scored(2))


def test_rows_by_level_of_a_subgroup_stand_beside_the_pooled_ones(tmp_path: Path) -> None:
    winner = SimpleNamespace(key="w", thresholds=THRESHOLDS, temperature=1.0)
    one = scored(0)
    level = np.array(["dark", "light", ""])[np.arange(len(one.label)) // 3 % 3]
    levels = {s: v for s, v in zip(one.sample_id.tolist(), level.tolist(), strict=True) if v}
    found = rows_of(
        [("b", PAIRING, one, 0)],
        winner,
        tmp_path,
        val=scored(2),
        subgroups={"b": {"tone": levels}},
    )
    for name in ("dark", "light"):
        of = {
            (r.metric, r.threshold): r.estimate
            for r in found
            if (r.subset, r.seed) == (f"subgroup:tone={name}", "mean")
        }
        mine = level == name
        expected = roc_auc_score(one.label[mine], one.logit[mine])
        assert of["auc", ""].value == pytest.approx(expected)
        assert (of["auc", ""].n_real, of["auc", ""].n_fake) == (
            int((one.label[mine] == 0).sum()),
            int(one.label[mine].sum()),
        )
        fpr = (one.logit[mine & (one.label == 0)] >= THRESHOLDS["source"]).mean()
        assert of["real_accuracy", "source"].value == pytest.approx(1 - fpr)


def test_rows_by_method_stand_beside_the_pooled_ones(rows: list[Any]) -> None:
    assert {row.level for row in rows} == {"image"}
    assert list(dict.fromkeys(row.subset for row in rows)) == [
        "",
        "method:diffusion",
        "method:gan",
    ]
    found = {(r.subset, r.seed, r.metric, r.threshold): r.estimate for r in rows}
    assert len(found) == len(rows)
    for seed in (0, 1):
        one = scored(seed)
        for method in ("gan", "diffusion"):
            kept = (one.label == 0) | (one.method == method)
            auc = found[f"method:{method}", str(seed), "auc", ""]
            assert auc.value == pytest.approx(roc_auc_score(one.label[kept], one.logit[kept]))
            assert (auc.n_real, auc.n_fake) == (40, 40)
            for name, threshold in THRESHOLDS.items():
                tn, fp, fn, tp = confusion_matrix(
                    one.label[kept], one.logit[kept] >= threshold
                ).ravel()
                counts = [
                    found[f"method:{method}", str(seed), c, name].value
                    for c in ("tp", "fp", "tn", "fn")
                ]
                assert counts == [tp, fp, tn, fn]
    assert {row.coverage for row in rows} == {120 / 121}


def test_the_eers_threshold_and_the_counts_at_every_threshold_are_there(rows: list[Any]) -> None:
    found = {(r.metric, r.threshold): r.estimate for r in rows if not r.subset and r.seed == "mean"}
    low, high = (float(min(scored(0).logit)), float(max(scored(0).logit)))
    assert low < found["eer_threshold", ""].value < high
    for threshold in (*THRESHOLDS, "oracle"):
        tp, fp, tn, fn = (found[count, threshold].value for count in ("tp", "fp", "tn", "fn"))
        assert (tp + fn, fp + tn) == (80, 40)


def frames(split: str, logits: list[list[float]], *, units: bool = True) -> Scores:
    """Videos of two frames each, by their logits; the first half of them real."""
    logit = np.array(logits, dtype=np.float32).ravel()
    ids = np.array([f"{split}/{i:03d}.png" for i in range(len(logit))])
    video = np.array([f"{split}/video {i // 2:03d}" for i in range(len(logit))])
    label = (np.arange(len(logit)) >= len(logit) / 2).astype(np.uint8)
    return Scores(
        sample_id=ids,
        group=video,
        unit=video if units else ids,
        method=np.array(["real", "fake"])[label],
        label=label,
        logit=logit,
        listed=len(ids),
    )


VAL = [*([-3.0, -1.0] for _ in range(39)), [4.0, -4.0], *([0.5 * i, 3.0] for i in range(40))]
TEST = [*([-2.0, 1.0 - 0.2 * i] for i in range(20)), *([-0.5, 2.0 - 0.2 * i] for i in range(20))]


def probability(logits: np.ndarray) -> np.ndarray:
    """The mean p(fake) of each video."""
    return (1 / (1 + np.exp(-logits.astype(float)))).reshape(-1, 2).mean(axis=1)


def unit_rows(folder: Path, val: Scores | None, temperature: float = 1.0) -> list[Any]:
    """The matrix of one winner with thresholds of frames, on videos. val: what it scored on its
    source's val.
    """
    thresholds = THRESHOLDS if val else {"fixed": 0.0, "source": np.nan, "source_fpr5": np.nan}
    winner = SimpleNamespace(key="w", thresholds=thresholds, temperature=temperature)
    leaked = Leakage(
        leaks={("a", "b"): cast(Any, SimpleNamespace(ids=lambda: ("test/000.png", "test/001.png")))}
    )
    cells = [("b", PAIRING, frames("test", TEST), 0)]
    return rows_of(cells, winner, folder, val=val, leakage=leaked)


def test_units_are_judged_by_thresholds_and_a_temperature_of_source_vals_units(
    tmp_path: Path,
) -> None:
    val = frames("val", VAL)
    rows = unit_rows(tmp_path, val)
    found = {
        (r.level, r.leak_free, r.metric, r.threshold): r.estimate for r in rows if r.seed == "mean"
    }
    test, p_val = frames("test", TEST), probability(val.logit)
    for leak_free, skipped in ((False, 0), (True, 1)):
        p = probability(test.logit)[skipped:]
        real = np.arange(40)[skipped:] < 20
        # Two of the 40 reals may be called fake, and 39 have the same score: halfway, as logits,
        # from it to the next higher one, 0.
        calls = np.log(p / (1 - p)) >= np.log(p_val[0] / (1 - p_val[0])) / 2
        assert found["unit", leak_free, "fp", "source_fpr5"].value == calls[real].sum()
        assert found["unit", leak_free, "tp", "source_fpr5"].value == calls[~real].sum()
        temperatures = np.geomspace(0.02, 50, 20001)
        z, y = np.log(p_val / (1 - p_val)), np.repeat([1 / 42, 41 / 42], 40)  # Platt's targets
        losses = [(np.logaddexp(0, z / t) - y * z / t).mean() for t in temperatures]
        t = temperatures[int(np.argmin(losses))]
        expected = log_loss(~real, 1 / (1 + np.exp(-np.log(p / (1 - p)) / t)))
        assert found["unit", leak_free, "nll_scaled", ""].value == pytest.approx(expected, rel=1e-3)
    calls = test.logit >= THRESHOLDS["source_fpr5"]
    assert found["image", False, "fp", "source_fpr5"].value == calls[test.label == 0].sum()
    assert not any("single images" in r.estimate.note for r in rows)


def test_a_source_without_units_is_said_where_it_decides(tmp_path: Path) -> None:
    val = frames("val", VAL, units=False)
    rows = unit_rows(tmp_path, val)
    history = {
        (r.level, r.leak_free, r.threshold or r.metric)
        for r in rows
        if "of single images" in r.estimate.note
    }
    decided = {m.name for m in METRICS.values() if m.of_source}
    assert history == {
        ("unit", leak_free, name)
        for leak_free in (False, True)
        for name in ("source", "source_fpr1", "source_fpr5", *decided)
    }
    # 4 of 80 real frames may lie above it, and 39 lie at -1: halfway from there to the next higher
    # score, a fake's 0.
    p = probability(frames("test", TEST).logit)
    found = {
        (r.level, r.leak_free, r.metric, r.threshold): r.estimate.value
        for r in rows
        if r.seed == "mean"
    }
    assert found["unit", False, "tp", "source_fpr5"] == (np.log(p / (1 - p))[20:] >= -0.5).sum()


def test_units_of_a_detector_without_a_source_have_no_source_threshold(tmp_path: Path) -> None:
    rows = [r for r in unit_rows(tmp_path, None, np.nan) if (r.level, r.seed) == ("unit", "mean")]
    undefined = {
        r.threshold or r.metric for r in rows if r.estimate.reason.startswith("the source ")
    }
    decided = {m.name for m in METRICS.values() if m.of_source}
    assert undefined == {"source", "source_fpr1", "source_fpr5", *decided}


def with_halves(pairs: int, sd: float) -> dict[tuple[Pairing, str], list[DrawnFile]]:
    """Logits of halves' models, whose fakes are moved by what each has learned."""
    rng, one = np.random.default_rng(9), scored(0)
    moved = sd * rng.normal(size=(pairs, 2, 1)) * (one.label == 1)
    return {(PAIRING, "b"): [drawn_file("half", one, one.logit + moved)]}


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_mean_of_an_auc_has_the_interval_of_one_model(tmp_path: Path, seeds: int) -> None:
    """By hand: DeLong's variance of the mean placements, and what halves say, normal on the logit
    scale. The rows of seeds keep the interval of the images.
    """
    cells = [("b", PAIRING, scored(seed), seed) for seed in range(seeds)]
    winner = SimpleNamespace(key="w", thresholds=THRESHOLDS, temperature=1.0)
    drawn = with_halves(10, 0.8)
    rows = rows_of(cells, winner, tmp_path, val=scored(2), drawn=drawn)
    plain = rows_of(cells, winner, tmp_path, val=scored(2))
    label = scored(0).label

    def placed(logit: np.ndarray) -> np.ndarray:
        beats = logit[label == 1][:, None] > logit[label == 0][None]
        found = np.empty(len(label))
        found[label == 1], found[label == 0] = beats.mean(axis=1), beats.mean(axis=0)
        return found

    def spread(places: np.ndarray) -> list[float]:
        return [places[label == k].var(ddof=1) / (label == k).sum() for k in (0, 1)]

    each = np.stack([placed(scored(seed).logit) for seed in range(seeds)])
    images = spread(each.mean(axis=0))
    halves = drawn[PAIRING, "b"][0][1].logits.reshape(10, 2, -1)
    apart = [roc_auc_score(label, a) - roc_auc_score(label, b) for a, b in halves]
    noise = np.mean([sum(spread(placed(a) - placed(b))) for a, b in halves])
    raw = np.mean(np.square(apart)) / 2
    draw = raw - noise / 2
    of_seeds = 0.0
    if seeds > 1:
        aucs = [roc_auc_score(label, scored(seed).logit) for seed in range(seeds)]
        own = sum(sum(spread(one - each.mean(axis=0))) for one in each) / (seeds - 1)
        of_seeds = max(np.var(aucs, ddof=1) - own, 0.0)
    training = max(draw / seeds, draw - (1 - 1 / seeds) * of_seeds)
    doubt = sum(v**2 / ((label == k).sum() - 1) for k, v in enumerate(images))
    doubt += training / draw * raw**2 / 10
    total = sum(images) + training
    (found,) = (r.estimate for r in rows if (r.seed, r.metric, r.subset) == ("mean", "auc", ""))
    value = found.value
    reach = t_distribution(total**2 / doubt).ppf(0.975) * np.sqrt(total) / (value * (1 - value))
    assert (found.low, found.high) == pytest.approx(
        tuple(expit(logit_of(value) + side * reach) for side in (-1, 1)), rel=1e-5
    )
    assert found.note == ""
    shown = {(r.seed, r.subset, r.metric, r.threshold): r.estimate for r in rows}
    for before in plain:
        after = shown[before.seed, before.subset, before.metric, before.threshold]
        assert repr(after.value) == repr(before.estimate.value)
        if (before.seed, before.metric) != ("mean", "auc"):
            assert repr(after) == repr(before.estimate)
        else:
            assert after.low < before.estimate.low and before.estimate.note == IMAGES_ALONE


def test_units_and_what_does_not_leak_count_their_own_halves(tmp_path: Path) -> None:
    """Frames of one video, all moved alike by a half, move its unit."""
    one, rng = frames("test", TEST), np.random.default_rng(2)
    moved = 0.5 * rng.normal(size=(10, 2, 1)) * (one.label == 1)
    drawn = {(PAIRING, "b"): [drawn_file("half", one, one.logit + moved)]}
    winner = SimpleNamespace(key="w", thresholds=THRESHOLDS, temperature=1.0)
    leaked = Leakage(
        leaks={("a", "b"): cast(Any, SimpleNamespace(ids=lambda: ("test/000.png", "test/001.png")))}
    )
    cells = [("b", PAIRING, one, 0)]
    rows = rows_of(cells, winner, tmp_path, val=frames("val", VAL), leakage=leaked, drawn=drawn)
    plain = rows_of(cells, winner, tmp_path, val=frames("val", VAL), leakage=leaked)
    parts = {}
    for name, of in (("counted", rows), ("not", plain)):
        means = [r for r in of if (r.seed, r.metric, r.subset) == ("mean", "auc", "")]
        parts[name] = {(r.level, r.leak_free): r.estimate for r in means}
    assert len(parts["not"]) == 4
    for place, estimate in parts["counted"].items():
        other = parts["not"][place]
        assert estimate.value == other.value and IMAGES_ALONE not in estimate.note
        assert estimate.high - estimate.low > other.high - other.low and IMAGES_ALONE in other.note
