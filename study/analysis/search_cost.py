"""What the searches took, and whether source val is worth selecting by.

Equal trials are not equal compute: a pairing's trials, its device time and the best source-val
AUC so far stand side by side. Trials are scored on source val only, so what source val says of
other domains is asked of the configurations that have test scores: winners and defaults.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from scipy.special import ndtri

from study.analysis.score_set import ScoreSet
from study.core.records import NO_DEGRADATION, Pairing
from study.planning.cells import PlannedCell
from study.planning.search_summary import best_so_far
from study.planning.selection import SearchHistory
from study.planning.variants import Variant
from study.statistics.ranking import Floats
from study.statistics.ranks import tied_ranks
from study.statistics.resampling import CONFIDENCE

SHARES = (0.25, 0.5, 1.0)  # of the trials, after which the best so far is told
LEAST = 4  # configurations on a training set: below, their order may be any


@dataclass(frozen=True, kw_only=True)
class SearchCost:
    """One pairing. trials: that ended, of which some failed. seconds: of all its trials, on one
    slot. devices: that a trial holds. best: the highest source-val AUC after the first trial, and
    after each of `SHARES` of them; NaN before any was done.
    """

    pairing: Pairing
    trials: int
    failed: int
    seconds: float
    devices: float
    best: tuple[float, ...]

    @property
    def device_seconds(self) -> float:
        """Device time, in seconds."""
        return self.seconds * self.devices


@dataclass(frozen=True, kw_only=True)
class ValAgreement:
    """Whether configurations that are better on source val are better across domains.

    train_on: a training set, "" for all of them together, ranked within each. configurations: how
    many. rho: Spearman's, with its interval; NaN with a reason.
    """

    train_on: str
    configurations: int
    rho: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reason: str = ""


def search_costs(
    history: Mapping[Pairing, SearchHistory], *, devices: float
) -> tuple[SearchCost, ...]:
    """Return what each pairing's search took. devices: that a trial holds."""
    return tuple(_cost(pairing, searched, devices) for pairing, searched in history.items())


def _cost(pairing: Pairing, searched: SearchHistory, devices: float) -> SearchCost:
    results = [result for _, result in searched.trials]
    curve = [math.nan if best is None else best for best in best_so_far(searched.trials)]
    places = [0, *(max(math.ceil(share * len(curve)), 1) - 1 for share in SHARES)]
    return SearchCost(
        pairing=pairing,
        trials=len(results),
        failed=sum(result.state == "failed" for result in results),
        seconds=sum(result.seconds for result in results),
        devices=devices,
        best=tuple(curve[place] if curve else math.nan for place in places),
    )


def val_agreement(
    scores: ScoreSet,
    cells: Iterable[PlannedCell],
    variants: Sequence[tuple[Variant, Sequence[PlannedCell]]],
) -> tuple[ValAgreement, ...]:
    """Return the rank correlation of source-val AUC and cross-domain mean AUC over the winners and
    defaults of each training set, and of all; () where nothing is cross-domain.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    winners: dict[Pairing, list[PlannedCell]] = {}
    for planned in cells:
        winners.setdefault(planned.cell.pairing, []).append(planned)
    of_defaults = [mine for variant, mine in variants if variant.is_default]
    for mine in (*winners.values(), *of_defaults):
        point = _point(scores, mine)
        if point is not None:
            points.setdefault(mine[0].cell.pairing.train_on, []).append(point)
    found = [_agreement(x, [of]) for x, of in points.items()]
    if len(points) > 1:
        found.append(_agreement("", [*points.values()]))
    return tuple(found)


def _point(scores: ScoreSet, mine: Sequence[PlannedCell]) -> tuple[float, float] | None:
    """A configuration's source-val AUC, and its AUC over cross-domain test sets, means over seeds;
    None where it lacks one.
    """
    vals = {p.winner.winner_seed: p.winner.val_auc for p in mine if p.winner is not None}
    by_set: dict[str, list[float]] = {}
    for planned in mine:
        cell = planned.cell
        clean = cell.state == "done" and cell.degradation == NO_DEGRADATION
        if clean and scores.leakage.domain(cell.pairing.train_on, cell.test_on) == "cross":
            aucs = scores.aligned([cell.scores_key]).aucs
            by_set.setdefault(cell.test_on, []).append(aucs[0])
    means = [fmean(aucs) for aucs in by_set.values()]
    val = fmean(vals.values()) if vals else math.nan
    if not means or not math.isfinite(val) or not all(map(math.isfinite, means)):
        return None
    return val, fmean(means)


def _agreement(train_on: str, parts: Sequence[Sequence[tuple[float, float]]]) -> ValAgreement:
    """Spearman's rho of points, ranked within their part. Its interval is Fisher's with the error
    of Bonett and Wright (2000), as if configurations were independent.
    """
    n = sum(map(len, parts))
    row = ValAgreement(train_on=train_on, configurations=n)
    if max(map(len, parts)) < LEAST:
        why = f"fewer than {LEAST} configurations of a training set have test scores"
        return replace(row, reason=why)
    rho = _correlation(np.concatenate([_ranks(part) for part in parts]))
    if math.isnan(rho):
        return replace(row, reason="all configurations are alike in one of the two")
    free = n - (len(parts) - 1) - 3
    if abs(rho) == 1 or free < 1:
        return replace(row, rho=rho)
    reach = float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt((1 + rho**2 / 2) / free)
    low, high = (math.tanh(math.atanh(rho) + sign * reach) for sign in (-1, 1))
    return replace(row, rho=rho, low=low, high=high)


def _ranks(points: Sequence[tuple[float, float]]) -> Floats:
    """Ranks of both columns, (n, 2), centred, so that several sets of them can be put together."""
    ranks = tied_ranks(np.array(points), axis=0)
    return np.asarray(ranks - ranks.mean(axis=0), dtype=np.float64)


def _correlation(ranks: Floats) -> float:
    one, other = ranks[:, 0], ranks[:, 1]
    size = math.sqrt(float((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / size if size > 0 else math.nan
