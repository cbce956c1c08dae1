"""What tuning has gained: each pairing's winners against other configurations trained with the same
seeds.

A contrast is tuned minus other, on source val and on test sets: the AUCs of single models, mean
over seeds, on the same images. On test sets it is tested by the one error model, Holm over all
cells of one kind. Only the winner's configuration is trained on halves of the training groups: the
other is taken to vary as much, and independently, which overstates their difference's error. Source
val chose the tuned configuration and flatters it; the test sets do not. Of a test set that leaks,
the images that training has seen are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from study.analysis.results import Domain
from study.analysis.score_set import Aligned, ScoreSet
from study.analysis.significance import Verdict, judge
from study.analysis.single_models import Column, halves_of, single_models
from study.analysis.weighted_sums import Term, WeightedSum, alone, difference
from study.core.records import NO_DEGRADATION, Pairing
from study.planning.cells import PlannedCell
from study.planning.variants import DEFAULT, Variant
from study.statistics.comparisons import holm
from study.statistics.error_model import Finding, Part
from study.statistics.seeds import SeedDifference, over_seeds
from study.store.store import Store

VAL = ""  # the test_on of a contrast on source val


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The tuned configuration and another, in one place; test_on is `VAL` on source val, which is
    in-domain.

    tuned, other: AUC in [0, 1], mean over the seeds that both have. seeds: their difference, seed
    by seed. finding: of the difference, NaN with a reason where it does not apply (source val, the
    same models). note: what is to be said of it. same: the other configuration is the tuned one.
    reason: why there are no numbers, else "".
    leaked: how many test images leak from training; they are left out, unless a class is gone
    without them (`kept`).
    """

    pairing: Pairing
    source: str
    test_on: str
    domain: Domain
    tuned: float
    other: float
    seeds: SeedDifference
    finding: Finding
    p_holm: float = math.nan
    note: str = ""
    same: bool = False
    reason: str = ""
    leaked: int = 0
    kept: bool = False

    @property
    def verdict(self) -> Verdict:
        """What the difference is."""
        return judge(self.finding, self.p_holm, same=self.same)


def contrasts(
    scores: ScoreSet,
    store: Store,
    cells: Sequence[PlannedCell],
    others: Sequence[tuple[Variant, Sequence[PlannedCell]]],
) -> list[Contrast]:
    """Return every variant's contrasts with its pairing's winners: source val, then the test sets
    that it is scored on. store: holds the AUCs on source val.
    """
    clean = [planned for planned in cells if planned.cell.degradation == NO_DEGRADATION]
    found = []
    for variant, mine in others:
        own = [planned for planned in clean if planned.cell.pairing == variant.pairing]
        winners = {p.cell.winner_seed: p.winner.key for p in own if p.winner is not None}
        found.append(_on_val(store, variant, winners))
        for test_on in dict.fromkeys(planned.cell.test_on for planned in mine):
            tuned, other = (_scored_keys(side, test_on) for side in (own, mine))
            found.append(_on_test(scores, variant, test_on, tuned, other))
    return _adjusted(found)


def _scored_keys(cells: Sequence[PlannedCell], test_on: str) -> dict[int, str]:
    """Seed -> the key of its scores, of the cells of a test set that are scored."""
    on_it = [planned.cell for planned in cells if planned.cell.test_on == test_on]
    return {cell.winner_seed: cell.scores_key for cell in on_it if cell.state == "done"}


def _on_val(store: Store, variant: Variant, winners: Mapping[int, str]) -> Contrast:
    """Compare by the AUCs on source val that the records hold. winners: seed -> key."""
    failures, pairs, missing, same = store.failures(), [], [], True
    for job in variant.jobs:
        tuned, other = winners.get(job.winner_seed), job.trial.key
        same = same and tuned == other
        if tuned is None or not store.has_model(tuned):
            missing.append("no winner")
        elif store.has_model(other):
            pairs.append((store.model(tuned).val_auc, store.model(other).val_auc))
        else:
            missing.append(str(failures.get(other, "not trained yet")))
    none = Finding(value=math.nan, reason="source val")
    reason = "" if pairs else missing[0]
    return _contrast(variant, VAL, "in", pairs, none, same=same, reason=reason)


def _on_test(
    scores: ScoreSet,
    variant: Variant,
    test_on: str,
    tuned: Mapping[int, str],
    other: Mapping[int, str],
) -> Contrast:
    """Compare on a test set, without the images that leak. tuned, other: seed -> scores key."""
    train_on = variant.pairing.train_on
    domain = scores.leakage.domain(train_on, test_on)
    keys = [(tuned[seed], other[seed]) for seed in other if seed in tuned]
    if not keys:
        none, reason = Finding(value=math.nan), "not scored in both"
        return _contrast(variant, test_on, domain, [], none, same=False, reason=reason)
    both = scores.aligned([key for side in zip(*keys, strict=True) for key in side])
    both = both.leak_free(scores.leakage.leaked(train_on, test_on))
    half = len(keys)
    same = all(mine == theirs for mine, theirs in keys)
    finding, note = Finding(value=0.0, reason="the same models"), ""
    if not same:
        sides = tuple(range(half)), tuple(range(half, 2 * half))
        rng_seed = scores.rng_seed(test_on)
        total = difference(both, sides, test_on=test_on, rng_seed=rng_seed)
        training = _training(scores, variant.pairing, test_on, both, half)
        finding, note = total.judged(training), total.note
    aucs = both.aucs
    pairs = [*zip(aucs[:half], aucs[half:], strict=True)]
    return replace(
        _contrast(variant, test_on, domain, pairs, finding, same=same),
        note=note,
        leaked=both.leaked,
        kept=both.kept,
    )


def _training(
    scores: ScoreSet, pairing: Pairing, test_on: str, both: Aligned, seeds: int
) -> Part | None:
    """The part of training sample and seeds in a difference whose other side varies as the winner
    does, and independently; None where the winner's is not counted. The first scorings are the
    winner's.
    """
    halves = halves_of(scores, pairing, test_on, both)
    models = single_models(both, dict(enumerate(range(seeds))), pairing, halves=halves)
    own = Column(test_on=test_on, images=both, models={pairing: models}, rng_seed=0)
    term = Term(test_on=test_on, models=models, weight=1.0)
    part = WeightedSum(terms=(term,), families=alone(own)).training
    return None if part is None else part.times(2)


def _contrast(
    variant: Variant,
    test_on: str,
    domain: Domain,
    pairs: Sequence[tuple[float, float]],
    finding: Finding,
    *,
    same: bool,
    reason: str = "",
) -> Contrast:
    return Contrast(
        pairing=variant.pairing,
        source=variant.source,
        test_on=test_on,
        domain=domain,
        tuned=fmean(tuned for tuned, _ in pairs) if pairs else math.nan,
        other=fmean(other for _, other in pairs) if pairs else math.nan,
        seeds=over_seeds([tuned - other for tuned, other in pairs]),
        finding=finding,
        same=same,
        reason=reason,
    )


def _adjusted(found: Sequence[Contrast]) -> list[Contrast]:
    """With Holm's p, over the defaults and over the transferred configurations apart."""
    adjusted: list[Contrast] = list(found)
    for is_default in (True, False):
        places = [
            i for i, contrast in enumerate(found) if (contrast.source == DEFAULT) == is_default
        ]
        for i, p in zip(places, holm([found[i].finding.p for i in places]), strict=True):
            adjusted[i] = replace(found[i], p_holm=float(p))
    return adjusted
