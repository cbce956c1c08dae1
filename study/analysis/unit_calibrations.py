"""What a source's val decides at unit level: thresholds and temperature, of the mean probabilities
of its units.

The mean over a video's frames spreads less than single frames do, so a threshold that 5 %
of a val's real frames reach is not one that 5 % of its real videos reach (PROTOCOL section 4). What
a winner's record says is of images; its units are made here of its scores on source val, which the
store keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from study.core.records import TrainedDetector
from study.statistics.thresholds import fit_temperature, source_thresholds
from study.statistics.units import has_units, to_units
from study.store.store import Store

NO_UNITS = "source val has one image a unit: its thresholds and temperature are of single images"


@dataclass(frozen=True, kw_only=True)
class SourceCalibration:
    """thresholds: name -> logit; temperature > 0; NaN where there is no source. note: what is to be
    known of them, or "".
    """

    thresholds: Mapping[str, float]
    temperature: float
    note: str = ""


class UnitCalibrations:
    """What the source of each winner decides at unit level, read from the store once a winner.
    Several threads may ask.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, SourceCalibration] = {}

    def of(self, winner: TrainedDetector) -> SourceCalibration:
        """Return what a winner's source decides. Raises StoreError where its scores on source val
        are missing.
        """
        if winner.key not in self._found:
            self._found[winner.key] = self._read(winner)
        return self._found[winner.key]

    def _read(self, winner: TrainedDetector) -> SourceCalibration:
        if math.isnan(winner.temperature):  # not trained: there is no source
            return SourceCalibration(thresholds=winner.thresholds, temperature=winner.temperature)
        val = self._store.val_scores(winner.key)
        units = to_units(val)
        return SourceCalibration(
            thresholds=source_thresholds(units.label, units.logit),
            temperature=fit_temperature(units.label, units.logit),
            note="" if has_units(val) else NO_UNITS,
        )
