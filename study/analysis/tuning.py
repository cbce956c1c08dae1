"""What tuning has gained: each pairing's winners against other configurations trained with the same
seeds.

A contrast is tuned minus other, on source val and on test sets. Two uncertainties stand
apart: over seeds (each seed's own difference, Student's t), and over images (the AUCs of the mean
logits, paired; Holm over all cells of one kind). Source val chose the tuned configuration and
flatters it; the test sets do not. Only what neither explains is more than noise. Of a test set that
leaks, the images that training has seen are left out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import Domain
from study.analysis.significance import Verdict, by_interval, judge
from study.core.identity import derive_seed
from study.core.records import NO_DEGRADATION, Pairing, Scores
from study.planning.cells import PlannedCell, test_content
from study.planning.open_study import OpenStudy
from study.planning.variants import DEFAULT, Variant
from study.statistics.comparisons import PairedAucs, holm
from study.statistics.differences import Difference
from study.statistics.methods import without
from study.statistics.metrics import auc
from study.statistics.seeds import SeedDifference, over_seeds, same_logits

VAL = ""  # the test_on of a contrast on source val


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The tuned configuration and another, in one place; test_on is `VAL` on source val, whose
    domain is `in`.

    tuned, other: AUC in [0, 1], mean over the seeds that both have. images: NaN with a reason where
    it does not apply (source val, the same models). same: the other configuration is the tuned one.
    reason: why there are no numbers, else "".
    seedless: whether no seed changes the logits of either.
    leaked: how many test images leak from training; they are left out, unless a class is gone
    without them (`kept`).
    """

    pairing: Pairing
    source: str
    test_on: str
    domain: Domain = "unknown"
    tuned: float
    other: float
    seeds: SeedDifference
    images: Difference
    p_holm: float = math.nan
    same: bool = False
    reason: str = ""
    seedless: bool = False
    leaked: int = 0
    kept: bool = False

    @property
    def verdict(self) -> Verdict:
        """What the difference is, over images and seeds, which are pairs."""
        by_seeds = by_interval(self.images.value, self.seeds.low, self.seeds.high)
        return judge(self.p_holm, self.seedless or by_seeds, same=self.same)


def contrasts(
    setup: OpenStudy,
    cells: Sequence[PlannedCell],
    others: Sequence[tuple[Variant, Sequence[PlannedCell]]],
    leakage: Leakage = NO_LEAKS,
) -> list[Contrast]:
    """Return every variant's contrasts with its pairing's winners: source val, then the test sets
    that it is scored on.
    """
    cells = [c for c in cells if c.cell.degradation == NO_DEGRADATION]
    winners = {
        (c.cell.pairing, c.cell.winner_seed): c.winner.key for c in cells if c.winner is not None
    }
    found = []
    for variant, mine in others:
        found.append(_on_val(setup, variant, winners))
        for test_on in dict.fromkeys(c.cell.test_on for c in mine):
            tuned = {
                c.cell.winner_seed: c
                for c in cells
                if (c.cell.pairing, c.cell.test_on) == (variant.pairing, test_on)
            }
            other = {c.cell.winner_seed: c for c in mine if c.cell.test_on == test_on}
            found.append(
                _on_test(
                    setup,
                    variant,
                    test_on,
                    tuned,
                    other,
                    leakage.leaked(variant.pairing.train_on, test_on),
                )
            )
    placed = [
        replace(c, domain=leakage.domain(c.pairing.train_on, c.test_on or c.pairing.train_on))
        for c in found
    ]
    return _adjusted(placed)


def _on_val(
    setup: OpenStudy, variant: Variant, winners: Mapping[tuple[Pairing, int], str]
) -> Contrast:
    """Compare by the AUCs on source val that the records hold."""
    failures, pairs, missing, same = setup.store.failures(), [], [], True
    for job in variant.jobs:
        tuned, other = winners.get((variant.pairing, job.winner_seed)), job.trial.key
        same = same and tuned == other
        if tuned is None:
            missing.append("no winner")
        elif setup.store.has_model(other):
            pairs.append((setup.store.model(tuned).val_auc, setup.store.model(other).val_auc))
        else:
            missing.append(str(failures.get(other, "not trained yet")))
    images = Difference(value=math.nan, reason="source val")
    return _contrast(variant, VAL, pairs, images, same=same, reason="" if pairs else missing[0])


def _on_test(
    setup: OpenStudy,
    variant: Variant,
    test_on: str,
    tuned: Mapping[int, PlannedCell],
    other: Mapping[int, PlannedCell],
    leaked: Collection[str],
) -> Contrast:
    done = [s for s in other if s in tuned and tuned[s].cell.state == other[s].cell.state == "done"]
    if not done:
        return _contrast(
            variant,
            test_on,
            [],
            Difference(value=math.nan),
            same=False,
            reason="not scored in both",
        )
    both = [
        [setup.store.scores(side[seed].cell.scores_key) for seed in done] for side in (tuned, other)
    ]
    left = [[without(one, leaked) for one in side] for side in both]
    kept = len(np.unique(left[0][0].label)) < 2
    leaks = len(both[0][0].label) - len(left[0][0].label)
    both = both if kept else left
    same = all(tuned[s].cell.scores_key == other[s].cell.scores_key for s in done)
    seedless = all(same_logits([one.logit.astype(np.float64) for one in side]) for side in both)
    images = (
        Difference(value=0.0, reason="the same models") if same else _paired(setup, test_on, both)
    )
    pairs = [(auc(a.label, a.logit), auc(b.label, b.logit)) for a, b in zip(*both, strict=True)]
    found = _contrast(variant, test_on, pairs, images, same=same)
    return replace(found, seedless=seedless, leaked=leaks, kept=kept and leaks > 0)


def _paired(setup: OpenStudy, test_on: str, both: Sequence[Sequence[Scores]]) -> Difference:
    """Compare mean logits over seeds; all of a test set's cells have the same images."""
    first = both[0][0]
    means = [np.mean([one.logit.astype(np.float64) for one in side], axis=0) for side in both]
    rng_seed = derive_seed(setup.study.seed, "bootstrap", test_content(setup, test_on))
    return PairedAucs(first.label, means, first.group, rng_seed=rng_seed).difference(0, 1)


def _contrast(
    variant: Variant,
    test_on: str,
    pairs: Sequence[tuple[float, float]],
    images: Difference,
    *,
    same: bool,
    reason: str = "",
) -> Contrast:
    return Contrast(
        pairing=variant.pairing,
        source=variant.source,
        test_on=test_on,
        tuned=fmean(tuned for tuned, _ in pairs) if pairs else math.nan,
        other=fmean(other for _, other in pairs) if pairs else math.nan,
        seeds=over_seeds([tuned - other for tuned, other in pairs]),
        images=images,
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
        for i, p in zip(places, holm([found[i].images.p for i in places]), strict=True):
            adjusted[i] = replace(found[i], p_holm=float(p))
    return adjusted
