"""What a winner's source decides about its scores: thresholds, temperature and likelihood ratio, of
images and of units.

The thresholds and the temperature of images are in a winner's record. The rest is made here of the
winner's scores on source val, which the store keeps. The mean over a video's frames spreads less
than single frames do, so a threshold that 5 % of a val's real frames reach is not one that 5 % of
its real videos reach (PROTOCOL section 4): units have their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from study.core.records import Scores, TrainedDetector
from study.statistics.likelihood_ratio import UNKNOWN, Evidence, fit_evidence
from study.statistics.thresholds import (
    FIXED,
    THRESHOLDS,
    at_fpr,
    fit_temperature,
    source_thresholds,
)
from study.statistics.units import has_units, to_units
from study.store.store import Store

NO_UNITS = "source val has one image a unit: what the source decides is of single images"
STRICT = "source_fpr1"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """thresholds: name -> logit; temperature > 0; NaN where there is no source. note: what is to be
    known of them all, or ""; notes: of one threshold, by its name.
    """

    thresholds: Mapping[str, float]
    temperature: float
    evidence: Evidence = UNKNOWN
    note: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)


class Calibrations:
    """What the source of each winner decides, at either level, read from the store once a winner.
    Several threads may ask.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[tuple[str, str], Calibration] = {}

    def of(self, winner: TrainedDetector | None, level: str) -> Calibration:
        """Return what a winner's source decides at `image` or `unit` level. winner: None for a
        detector run elsewhere, which has the fixed threshold only.

        Raises StoreError where the winner's scores on source val are missing.
        """
        if winner is None:
            return Calibration(thresholds={"fixed": FIXED}, temperature=math.nan)
        if math.isnan(winner.temperature):  # a detector that is not trained has no source
            return Calibration(
                thresholds=_in_order({**winner.thresholds, STRICT: math.nan}), temperature=math.nan
            )
        if (winner.key, level) not in self._made:
            val = self._store.val_scores(winner.key)
            made = _of_images(winner, val) if level == "image" else _of_units(val)
            self._made[winner.key, level] = made
        return self._made[winner.key, level]


def _of_images(winner: TrainedDetector, val: Scores) -> Calibration:
    return Calibration(
        thresholds=_in_order({**winner.thresholds, STRICT: at_fpr(val.label, val.logit, 0.01)}),
        temperature=winner.temperature,
        evidence=fit_evidence(val.label, val.logit),
        notes=_of_few(val),
    )


def _of_units(val: Scores) -> Calibration:
    units = to_units(val)
    named = source_thresholds(units.label, units.logit)
    return Calibration(
        thresholds=_in_order({**named, STRICT: at_fpr(units.label, units.logit, 0.01)}),
        temperature=fit_temperature(units.label, units.logit),
        evidence=fit_evidence(units.label, units.logit),
        note="" if has_units(val) else NO_UNITS,
        notes=_of_few(units),
    )


def _in_order(thresholds: Mapping[str, float]) -> dict[str, float]:
    return {name: thresholds[name] for name in THRESHOLDS if name in thresholds}


def _of_few(val: Scores) -> dict[str, str]:
    """What is to be said of the threshold with 1 % FPR where so few reals allow none but 0."""
    reals = int((val.label == 0).sum())
    few = f"source val has {reals} reals: the threshold is the one that none of them reaches"
    return {STRICT: few} if reals < 100 else {}
