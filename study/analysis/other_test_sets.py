"""What a detector would reach on other test sets than these: its cross-domain AUCs as a sample of
test sets.

Intervals elsewhere are of these test sets alone. Families of test sets that share images count
once. With few of them nothing can be said of others, and that is said. A family's own error is that
of its images. The same models are scored on all families, so what another training sample would
change does not average out over them: it is added to the error of the mean.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from scipy.special import ndtri

from study.analysis.score_set import ScoreSet
from study.analysis.single_models import Column, column
from study.analysis.weighted_sums import Family, Term, WeightedSum, families_of
from study.core.records import ELSEWHERE, NO_DEGRADATION, Cell, Pairing
from study.statistics.error_model import NOTHING, Finding, Part
from study.statistics.random_effects import RandomEffects, random_effects
from study.statistics.ranking import Floats
from study.statistics.resampling import CONFIDENCE

ENOUGH = 8  # families of test sets


@dataclass(frozen=True, kw_only=True)
class OtherTestSets:
    """A detector. families: of cross-domain test sets. found: None where they are too few, and
    `reason` says so. AUCs are cut to [0, 1]. counted: whether the training sample is in the
    intervals. marked: test sets that the audit warns of, which are left out. without_error: those
    left out because their own error is not known.
    """

    detector: str
    families: int
    found: RandomEffects | None = None
    reason: str = ""
    counted: bool = True
    marked: tuple[str, ...] = ()
    without_error: tuple[str, ...] = ()


def other_test_sets(
    scores: ScoreSet, cells: Iterable[Cell], *, marked: Collection[str] = ()
) -> tuple[OtherTestSets, ...]:
    """Return what each detector's cross-domain cells say of other test sets; () where there are
    none. marked: the test sets that the audit warns of.
    """
    by_set: dict[str, list[Cell]] = {}
    for cell in cells:
        x, y = cell.pairing.train_on, cell.test_on
        clean = cell.state == "done" and cell.degradation == NO_DEGRADATION and x != ELSEWHERE
        if clean and scores.leakage.domain(x, y) == "cross":
            by_set.setdefault(y, []).append(cell)
    columns = [column(scores, mine) for y, mine in by_set.items() if y not in marked]
    families = families_of([one for one in columns if not one.reason], scores)
    unknown = [one.test_on for one in columns if one.reason]
    detectors = {cell.pairing.detector: None for mine in by_set.values() for cell in mine}
    left_out = tuple(y for y in by_set if y in marked)
    return tuple(_of_detector(name, families, left_out, unknown) for name in detectors)


def _of_detector(
    detector: str, families: Sequence[Family], marked: tuple[str, ...], unknown: Sequence[str]
) -> OtherTestSets:
    sums, values, variances, left_out = [], [], [], [*unknown]
    for family in families:
        held = [(one, owner) for one in family.columns for owner in _mine(one, detector)]
        if held:
            terms = tuple(
                Term(test_on=one.test_on, models=one.models[owner], weight=1 / len(held))
                for one, owner in held
            )
            total = WeightedSum(terms=terms, families=(family,))
            own = total.judged(NOTHING, kind="auc")
            if own.reason:
                left_out += dict.fromkeys(one.test_on for one, _ in held)
                continue
            sums.append(total)
            values.append(own.value)
            variances.append(_own_variance(own))
    known = OtherTestSets(
        detector=detector, families=len(values), marked=marked, without_error=tuple(left_out)
    )
    if len(values) < ENOUGH:
        sets = "1 family" if len(values) == 1 else f"{len(values)} families"
        why = f"{sets} of test sets; of others something can be said from {ENOUGH} on"
        return replace(known, reason=why)
    parts: list[Part | None] = []

    def shared(weights: Floats) -> Part:
        parts.append(_mean(sums, weights).training)
        return parts[-1] or NOTHING

    found = random_effects(values, variances, shared)
    return replace(known, found=found, counted=None not in parts)


def _own_variance(own: Finding) -> float:
    """The variance of an AUC by its images. One that does not vary, as of perfect separation, has
    that of a normal number with as wide an interval.
    """
    if "exact" not in own.how:
        return own.images
    reach = max(own.value - own.low, own.high - own.value)
    return (reach / float(ndtri((1 + CONFIDENCE) / 2))) ** 2


def _mean(sums: Sequence[WeightedSum], weights: Floats) -> WeightedSum:
    """The weighted mean of families' means."""
    terms = [
        replace(term, weight=term.weight * float(weight))
        for one, weight in zip(sums, weights, strict=True)
        for term in one.terms
    ]
    return WeightedSum(
        terms=tuple(terms), families=tuple(family for one in sums for family in one.families)
    )


def _mine(one: Column, detector: str) -> list[Hashable]:
    return [
        owner for owner in one.models if isinstance(owner, Pairing) and owner.detector == detector
    ]
