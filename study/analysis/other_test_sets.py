"""What a detector would reach on other test sets than these: its cross-domain AUCs as a sample of
test sets.

Intervals elsewhere are of these test sets alone. Families of test sets that share images count
once. With few of them nothing can be said of others, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from study.analysis.score_set import ScoreSet
from study.analysis.single_models import (
    Column,
    Family,
    Term,
    WeightedSum,
    column,
    families_of,
)
from study.core.records import ELSEWHERE, NO_DEGRADATION, Cell, Pairing
from study.statistics.random_effects import RandomEffects, random_effects

ENOUGH = 8  # families of test sets
LEAST_VARIANCE = 1e-8  # of an AUC that has no error of its own, as of perfect separation


@dataclass(frozen=True, kw_only=True)
class OtherTestSets:
    """A detector. families: of cross-domain test sets. found: None where they are too few, and
    `reason` says so. AUCs are cut to [0, 1].
    """

    detector: str
    families: int
    found: RandomEffects | None = None
    reason: str = ""


def other_test_sets(scores: ScoreSet, cells: Iterable[Cell]) -> tuple[OtherTestSets, ...]:
    """Return what each detector's cross-domain cells say of other test sets; () where there are
    none.
    """
    by_set: dict[str, list[Cell]] = {}
    for cell in cells:
        x, y = cell.pairing.train_on, cell.test_on
        clean = cell.state == "done" and cell.degradation == NO_DEGRADATION and x != ELSEWHERE
        if clean and scores.leakage.domain(x, y) == "cross":
            by_set.setdefault(y, []).append(cell)
    columns = [column(scores, mine) for mine in by_set.values()]
    columns = [one for one in columns if not one.reason]
    if not columns:
        return ()
    families = families_of(columns, scores)
    detectors = dict.fromkeys(
        owner.detector for one in columns for owner in one.models if isinstance(owner, Pairing)
    )
    return tuple(_of_detector(name, families) for name in detectors)


def _of_detector(detector: str, families: Sequence[Family]) -> OtherTestSets:
    values, variances = [], []
    for family in families:
        held = [(one, owner) for one in family.columns for owner in _mine(one, detector)]
        if held:
            terms = tuple(
                Term(test_on=one.test_on, models=one.models[owner], weight=1 / len(held))
                for one, owner in held
            )
            found = WeightedSum(terms=terms, families=(family,)).finding(kind="auc")
            values.append(found.value)
            error = 0.0 if math.isnan(found.error) else found.error
            variances.append(max(error**2, LEAST_VARIANCE))
    if len(values) < ENOUGH:
        sets = "1 family" if len(values) == 1 else f"{len(values)} families"
        why = f"{sets} of test sets; of others something can be said from {ENOUGH} on"
        return OtherTestSets(detector=detector, families=len(values), reason=why)
    return OtherTestSets(
        detector=detector, families=len(values), found=random_effects(values, variances)
    )


def _mine(one: Column, detector: str) -> list[Hashable]:
    return [
        owner for owner in one.models if isinstance(owner, Pairing) and owner.detector == detector
    ]
