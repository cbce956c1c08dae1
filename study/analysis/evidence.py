"""Scores as evidence, cell by cell: what a likelihood ratio that is calibrated on X is worth on Y,
how far it may be trusted, and whether it is valid there (PROTOCOL section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from study.analysis.results import ResultRow
from study.analysis.score_set import ScoreSet
from study.core.records import ELSEWHERE, NO_DEGRADATION, Estimate, Pairing, TrainedDetector
from study.planning.cells import PlannedCell
from study.statistics.comparisons import holm
from study.statistics.likelihood_ratio import LN10, Judged, elub, fit_evidence, invalid_p
from study.statistics.ranking import Floats
from study.store.store import Store

NAN = float("nan")
UNKNOWN = Estimate(value=NAN, low=NAN, high=NAN, n_real=0, n_fake=0, reason="not measured")
# column of the table -> (metric, threshold) of the matrix
NUMBERS = {
    "cllr": ("cllr", ""),
    "cllr_min": ("cllr_min", ""),
    "ppv1": ("ppv_at_prevalence1", "source_fpr1"),
    "ppv10": ("ppv_at_prevalence10", "source_fpr1"),
    "risk80": ("risk_at_coverage80", ""),
}


@dataclass(frozen=True, kw_only=True)
class EvidenceRow:
    """One clean cell. numbers: those of `NUMBERS`, of the matrix, mean over seeds.

    low, high: within these log10 LR every seed's LRs rest on data of Y (ELUB): beyond, an LR claims
    more than Y can show. p: of LRs that are calibrated on X being valid on Y; p_holm over all
    cells. NaN where there is no source, or it cannot be tested. reals, fakes: the log10 LRs of all
    seeds, sorted: what a Tippett plot shows.
    """

    detector: str
    train_on: str
    test_on: str
    numbers: Mapping[str, Estimate]
    low: float = NAN
    high: float = NAN
    p: float = NAN
    p_holm: float = NAN
    reals: Floats = field(default_factory=lambda: np.empty(0))
    fakes: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def has_ratios(self) -> bool:
        """Whether there are LRs of both classes."""
        return len(self.reals) > 0 and len(self.fakes) > 0

    def tippett(self, at: Floats) -> tuple[Floats, Floats]:
        """Return the share of reals and of fakes whose log10 LR is at least that, (K,) each."""
        return _at_least(self.reals, at), _at_least(self.fakes, at)


def _at_least(ratios: Floats, at: Floats) -> Floats:
    return np.asarray(1 - np.searchsorted(ratios, at) / len(ratios))


def evidence_rows(
    scores: ScoreSet, store: Store, cells: Iterable[PlannedCell], rows: Iterable[ResultRow]
) -> tuple[EvidenceRow, ...]:
    """Return every clean cell of a detector that has a source. rows: of the matrix."""
    places: dict[tuple[Pairing, str], list[PlannedCell]] = {}
    for planned in cells:
        cell, winner = planned.cell, planned.winner
        clean = cell.state == "done" and cell.degradation == NO_DEGRADATION
        has_source = winner is not None and not math.isnan(winner.temperature)
        if clean and has_source and cell.pairing.train_on != ELSEWHERE:
            places.setdefault((cell.pairing, cell.test_on), []).append(planned)
    measured = {
        (row.detector, row.train_on, row.test_on, row.metric, row.threshold): row.estimate
        for row in rows
        if row.is_plain and row.seed == "mean"
    }
    found = [_row(scores, store, *place, of, measured) for place, of in places.items()]
    tested = [i for i, row in enumerate(found) if not math.isnan(row.p)]
    if tested:
        steps = holm([found[i].p for i in tested])
        for i, step in zip(tested, steps, strict=True):
            found[i] = replace(found[i], p_holm=float(step))
    return tuple(found)


def _row(
    scores: ScoreSet,
    store: Store,
    pairing: Pairing,
    test_on: str,
    cells: Sequence[PlannedCell],
    measured: Mapping[tuple[str, str, str, str, str], Estimate],
) -> EvidenceRow:
    place = (pairing.detector, pairing.train_on, test_on)
    row = EvidenceRow(
        detector=pairing.detector,
        train_on=pairing.train_on,
        test_on=test_on,
        numbers={name: measured.get((*place, *of), UNKNOWN) for name, of in NUMBERS.items()},
    )
    winners = [planned.winner for planned in cells if planned.winner is not None]
    held = scores.aligned([planned.cell.scores_key for planned in cells])
    if not held.has_both_classes:
        return row
    source = [_of_source(store, winner) for winner in winners]
    target = [Judged(label=held.label, logit=z, group=held.group) for z in held.logits]
    fitted = [fit_evidence(one.label, one.logit) for one in source]
    ratios = [one.log_lr(z) for one, z in zip(fitted, held.logits, strict=True) if one.is_known]
    if not ratios:
        return row
    lows, highs = zip(*(elub(held.label, one) for one in ratios), strict=True)
    real, fake = (np.sort(np.stack(ratios)[:, held.label == k].ravel()) / LN10 for k in (0, 1))
    return replace(
        row,
        low=max(lows),
        high=min(highs),
        p=invalid_p(source, target),
        reals=real,
        fakes=fake,
    )


def _of_source(store: Store, winner: TrainedDetector) -> Judged:
    val = store.val_scores(winner.key)
    return Judged(label=val.label, logit=val.logit, group=val.group)
