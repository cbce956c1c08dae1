"""The ROC of every pairing on every test set, of the mean logit over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from study.analysis.results import Domain
from study.analysis.score_set import ScoreSet
from study.core.records import NO_DEGRADATION, Cell, Pairing
from study.statistics.metrics import roc
from study.statistics.ranking import Floats


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """One pairing on one test set.

    false_positives, true_positives: rates (K,) in [0, 1], from (0, 0) to (1, 1); (0,) where a class
    is missing.
    """

    test_on: str
    pairing: Pairing
    domain: Domain
    false_positives: Floats
    true_positives: Floats

    @property
    def is_defined(self) -> bool:
        """Whether both classes are there."""
        return len(self.false_positives) > 0

    @property
    def auc(self) -> float:
        """The area under it, in [0, 1]: of the mean logit, where the matrix has the mean over
        seeds.
        """
        return float(np.trapezoid(self.true_positives, self.false_positives))


def roc_of_means(scores: ScoreSet, cells: Iterable[Cell]) -> list[RocCurve]:
    """Return the curves of the scored clean cells, in their order, on the images that all seeds of
    a pairing have scored.
    """
    places: dict[tuple[Pairing, str], list[str]] = {}
    for cell in cells:
        if cell.state == "done" and cell.degradation == NO_DEGRADATION:
            places.setdefault((cell.pairing, cell.test_on), []).append(cell.scores_key)
    return [_curve(scores, *place, keys) for place, keys in places.items()]


def _curve(scores: ScoreSet, pairing: Pairing, test_on: str, keys: Sequence[str]) -> RocCurve:
    held = scores.aligned(keys)
    rates = np.empty(0), np.empty(0)
    if held.has_both_classes:
        rates = roc(held.label, held.mean_logit())[:2]
    return RocCurve(
        test_on=test_on,
        pairing=pairing,
        domain=scores.leakage.domain(pairing.train_on, test_on),
        false_positives=rates[0],
        true_positives=rates[1],
    )
