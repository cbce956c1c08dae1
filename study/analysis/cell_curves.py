"""What a cell shows beside its numbers: its error curve, how its scores are distributed, how well
they are calibrated, and which images it is most wrong on. Tables for the report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from study.analysis.score_set import Aligned, ScoreSet
from study.core.records import NO_DEGRADATION, Cell, Pairing
from study.statistics import ranking
from study.statistics.metrics import sigmoid
from study.statistics.ranking import Floats
from study.statistics.replicates import ECE_BINS
from study.statistics.roc_band import roc_band

# false positive rates, close to each other at both ends, as a DET curve shows them
GRID: Floats = np.unique(np.concatenate([[0, 0.01, 0.05, 1], ndtr(np.linspace(-3, 3, 61))]))
RECALL: Floats = np.arange(1, 51) / 50
BINS = 24  # of a histogram
TAILS = (0.005, 0.995)  # beyond these quantiles scores count in the bins at the ends
WORST = 6  # images of each class


@dataclass(frozen=True, kw_only=True)
class WorstImage:
    """An image on the wrong side of p = 0.5. logit: mean over seeds."""

    sample_id: str
    is_fake: bool
    logit: float


@dataclass(frozen=True, kw_only=True)
class CellCurves:
    """One clean cell, on the images that all its seeds have scored.

    tpr: the highest true positive rate at no more than each false positive rate of `GRID`, mean
    over seeds; low, high: its 95 % interval over test images (`roc_band`). All (G,), (0,) where a
    class is missing.
    precision: (R,) at the highest threshold that calls at least `RECALL` of the fakes fake, mean
    over seeds; (0,) where a class is missing.
    edges: (BINS + 1,) of the logits' bins; reals, fakes: (BINS,) shares of each class, all seeds
    together. bins: of equal mass, from the lowest: (mean p(fake), share of fakes, images of all
    seeds). worst: the images that it is most wrong on, first.
    """

    detector: str
    train_on: str
    test_on: str
    seeds: int
    n_real: int
    n_fake: int
    tpr: Floats
    low: Floats
    high: Floats
    precision: Floats
    edges: Floats
    reals: Floats
    fakes: Floats
    bins: tuple[tuple[float, float, int], ...]
    worst: tuple[WorstImage, ...]


def cell_curves(scores: ScoreSet, cells: Iterable[Cell], most: int) -> tuple[CellCurves, ...]:
    """Return the curves of the scored clean cells, in their order; of the first `most` of them."""
    places: dict[tuple[Pairing, str], list[str]] = {}
    for cell in cells:
        if cell.state == "done" and cell.degradation == NO_DEGRADATION:
            places.setdefault((cell.pairing, cell.test_on), []).append(cell.scores_key)
    shown = [*places.items()][:most]
    return tuple(
        _curves(*place, scores.aligned(keys), scores.rng_seed(place[1])) for place, keys in shown
    )


def _curves(pairing: Pairing, test_on: str, held: Aligned, rng_seed: int) -> CellCurves:
    tpr = low = high = precision = np.empty(0)
    if held.has_both_classes:
        tpr, low, high = roc_band(held.label, held.logits, held.group, GRID, rng_seed=rng_seed)
        precision = np.mean([_precision(held.label, logit) for logit in held.logits], axis=0)
    edges = _edges(held.logits)
    return CellCurves(
        detector=pairing.detector,
        train_on=pairing.train_on,
        test_on=test_on,
        seeds=len(held.logits),
        n_real=int((held.label == 0).sum()),
        n_fake=int((held.label == 1).sum()),
        tpr=tpr,
        low=low,
        high=high,
        precision=precision,
        edges=edges,
        reals=_shares(held.logits[:, held.label == 0], edges),
        fakes=_shares(held.logits[:, held.label == 1], edges),
        bins=calibration_bins(np.tile(held.label, len(held.logits)), held.logits.ravel()),
        worst=_worst(held),
    )


def _precision(label: ArrayLike, logit: Floats) -> Floats:
    """The precision at `RECALL`."""
    curves = ranking.curves(ranking.rank(label, logit))
    tp, called = curves.tp[0], curves.called[0]
    reached = np.searchsorted(tp / curves.n_fake[0], RECALL, side="left")
    return np.asarray(tp[reached] / called[reached])


def _edges(logits: Floats) -> Floats:
    low, high = np.quantile(logits, TAILS)
    if not low < high:  # scores that are all alike stand in the middle
        low, high = low - 1, low + 1
    return np.linspace(low, high, BINS + 1)


def _shares(logits: Floats, edges: Floats) -> Floats:
    counts, _ = np.histogram(np.clip(logits, edges[0], edges[-1]), edges)
    return np.asarray(counts / max(logits.size, 1))


def calibration_bins(
    label: ArrayLike, logit: Floats, bins: int = ECE_BINS
) -> tuple[tuple[float, float, int], ...]:
    """Return the bins that the ECE is made of, from the lowest: mean p(fake), share of fakes, how
    many images. Tied scores are never parted.
    """
    ranked = ranking.rank(label, logit)
    curves = ranking.curves(ranked)
    cuts = np.unique(ranking.equal_mass_bins(curves, bins)[0])
    each = np.diff(curves.called[0]) * sigmoid(ranked.level)
    summed = np.append(0.0, np.cumsum(each))[cuts]
    images, fakes = np.diff(curves.called[0][cuts]), np.diff(curves.tp[0][cuts])
    found = zip(np.diff(summed) / images, fakes / images, images, strict=True)
    return tuple((float(p), float(share), int(n)) for p, share, n in found)[::-1]


def _worst(held: Aligned) -> tuple[WorstImage, ...]:
    logit = held.mean_logit()
    wrong = np.where(held.label == 1, -logit, logit)  # how far on the wrong side of p = 0.5
    found: list[int] = []
    for label in (0, 1):
        mine = np.flatnonzero((held.label == label) & (wrong > 0))
        found += mine[np.argsort(-wrong[mine], kind="stable")][:WORST].tolist()
    return tuple(
        WorstImage(
            sample_id=str(held.sample_id[at]),
            is_fake=bool(held.label[at]),
            logit=float(logit[at]),
        )
        for at in sorted(found, key=lambda at: -wrong[at])
    )
