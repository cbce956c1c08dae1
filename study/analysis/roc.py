"""The ROC of every pairing on every test set, of the mean logit over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import Domain
from study.core.records import Pairing, Scores
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


def roc_of_means(
    scores: Iterable[tuple[str, Pairing, Scores]], leakage: Leakage = NO_LEAKS
) -> list[RocCurve]:
    """Return the curves in the order of the scores.

    scores: (test_on, pairing, scores) of every scored cell; several with the same test set and
    pairing are its seeds, of which the images count that all of them scored.
    """
    places: dict[tuple[str, Pairing], list[Scores]] = {}
    for test_on, pairing, one in scores:
        places.setdefault((test_on, pairing), []).append(one)
    curves = []
    for (test_on, pairing), seeds in places.items():
        false_positives, true_positives = _mean_curve(seeds)
        curves.append(
            RocCurve(
                test_on=test_on,
                pairing=pairing,
                domain=leakage.domain(pairing.train_on, test_on),
                false_positives=false_positives,
                true_positives=true_positives,
            )
        )
    return curves


def _mean_curve(seeds: Sequence[Scores]) -> tuple[Floats, Floats]:
    common = seeds[0].sample_id
    for other in seeds[1:]:
        common = np.intersect1d(common, other.sample_id)
    kept = [np.isin(one.sample_id, common) for one in seeds]
    logits = [one.logit[keep].astype(np.float64) for one, keep in zip(seeds, kept, strict=True)]
    label = seeds[0].label[kept[0]]
    if label.size == 0 or label.min() == label.max():
        return np.empty(0), np.empty(0)
    false_positives, true_positives, _ = roc(label, np.mean(logits, axis=0))
    return false_positives, true_positives
