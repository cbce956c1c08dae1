"""What a winner's source decides about its scores: thresholds and temperature, of images and of
units.

What a winner's record says is of images. The mean over a video's frames spreads less than single
frames do, so a threshold that 5 % of a val's real frames reach is not one that 5 % of its real
videos reach (PROTOCOL section 4): those of units are made here of the winner's scores on source
val, which the store keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from study.core.records import TrainedDetector
from study.statistics.thresholds import FIXED, fit_temperature, source_thresholds
from study.statistics.units import has_units, to_units
from study.store.store import Store

NO_UNITS = "source val has one image a unit: its thresholds and temperature are of single images"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """thresholds: name -> logit; temperature > 0; NaN where there is no source. note: what is to be
    known of them, or "".
    """

    thresholds: Mapping[str, float]
    temperature: float
    note: str = ""


class Calibrations:
    """What the source of each winner decides, at either level; of units it is read from the store,
    once a winner. Several threads may ask.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of_units: dict[str, Calibration] = {}

    def of(self, winner: TrainedDetector | None, level: str) -> Calibration:
        """Return what a winner's source decides at `image` or `unit` level. winner: None for a
        detector run elsewhere, which has the fixed threshold only.

        Raises StoreError where the winner's scores on source val are missing.
        """
        if winner is None:
            return Calibration(thresholds={"fixed": FIXED}, temperature=math.nan)
        # a detector that is not trained has no source
        if level == "image" or math.isnan(winner.temperature):
            return Calibration(thresholds=winner.thresholds, temperature=winner.temperature)
        if winner.key not in self._of_units:
            self._of_units[winner.key] = self._made(winner)
        return self._of_units[winner.key]

    def _made(self, winner: TrainedDetector) -> Calibration:
        val = self._store.val_scores(winner.key)
        units = to_units(val)
        return Calibration(
            thresholds=source_thresholds(units.label, units.logit),
            temperature=fit_temperature(units.label, units.logit),
            note="" if has_units(val) else NO_UNITS,
        )
