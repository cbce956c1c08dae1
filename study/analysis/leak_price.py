"""The leak price: what picking the best checkpoint on the test set would have claimed, minus the
honest number.

PROTOCOL section 3. Winners that kept their epochs (`run.keep_epochs`) are scored on every
test set with the weights of each epoch. The claim is the highest test AUC of any epoch, seed by
seed: an upper bound, and never a result of ours. The price is at least 0 by construction, also
where all epochs are equally good: the best of several noisy numbers lies above their mean. Images
that leak from training are left out of both sides: what they give is another leak's price.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import Domain
from study.core.records import NO_DEGRADATION, Pairing, Scores
from study.jobs.cell import CellJob
from study.jobs.epochs import EpochsJob, is_scored
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
from study.statistics.methods import without
from study.statistics.metrics import auc
from study.statistics.seeds import SeedDifference, over_seeds


@dataclass(frozen=True, kw_only=True)
class LeakPrice:
    """One cell: mean AUCs over seeds. honest: of the selected epoch; claimed: of the best on the
    test set, an upper bound.

    price: claimed - honest over seeds. epochs: (seed by seed) the one selected and the one that the
    test set would choose.
    leaked: how many test images leak from training; they are left out, unless a class is gone
    without them (`kept`).
    """

    pairing: Pairing
    test_on: str
    domain: Domain
    honest: float
    claimed: float
    price: SeedDifference
    epochs: tuple[tuple[int, int], ...]
    leaked: int = 0
    kept: bool = False


@dataclass(frozen=True, kw_only=True)
class _Seed:
    """One seed of a cell: AUC and number of the selected epoch and of the one that the test set
    would choose.
    """

    honest: float
    claimed: float
    epochs: tuple[int, int]
    leaked: int
    kept: bool


def epochs_jobs(setup: OpenStudy, cells: Sequence[PlannedCell]) -> list[EpochsJob]:
    """Return the jobs of the scored cells whose winners kept their epochs."""
    return [job for cell in cells if (job := _job(setup, cell)) is not None]


def _job(setup: OpenStudy, planned: PlannedCell) -> EpochsJob | None:
    plain = planned.cell.degradation == NO_DEGRADATION and planned.cell.state == "done"
    if (
        not setup.study.run.keep_epochs
        or planned.winner is None
        or not isinstance(planned.job, CellJob)
        or not plain
    ):
        return None
    others = [
        epoch
        for epoch in setup.store.epochs(planned.winner.key)
        if epoch != planned.winner.best_epoch
    ]
    return EpochsJob(cell=planned.job, epochs=tuple(others)) if others else None


def leak_prices(
    setup: OpenStudy, cells: Sequence[PlannedCell], leakage: Leakage = NO_LEAKS
) -> list[LeakPrice]:
    """Return the price of every cell whose winners' epochs are scored. leakage: tells which images
    leak from training.
    """
    found: dict[tuple[Pairing, str], list[_Seed]] = {}
    for planned in cells:
        job = _job(setup, planned)
        if job is None or planned.winner is None or not is_scored(job):
            continue
        pairing, test_on = planned.cell.pairing, planned.cell.test_on
        keys = {planned.winner.best_epoch: planned.cell.scores_key} | {
            epoch: job.scores_key(epoch) for epoch in job.epochs
        }
        scores = {epoch: setup.store.scores(key) for epoch, key in keys.items()}
        found.setdefault((pairing, test_on), []).append(
            _seed(scores, planned.winner.best_epoch, leakage.leaked(pairing.train_on, test_on))
        )
    return [
        _price(pairing, test_on, seeds, leakage.domain(pairing.train_on, test_on))
        for (pairing, test_on), seeds in found.items()
    ]


def _seed(scores: Mapping[int, Scores], selected: int, leaked: Collection[str]) -> _Seed:
    """Of the scores of every epoch of one winner, all of the same images."""
    left = {epoch: without(one, leaked) for epoch, one in scores.items()}
    leaks = len(scores[selected].label) - len(left[selected].label)
    kept = leaks > 0 and len(np.unique(left[selected].label)) < 2
    aucs = {epoch: auc(one.label, one.logit) for epoch, one in (scores if kept else left).items()}
    best = max(aucs, key=lambda epoch: (aucs[epoch], epoch == selected))
    return _Seed(
        honest=aucs[selected], claimed=aucs[best], epochs=(selected, best), leaked=leaks, kept=kept
    )


def _price(pairing: Pairing, test_on: str, seeds: Sequence[_Seed], domain: Domain) -> LeakPrice:
    return LeakPrice(
        pairing=pairing,
        test_on=test_on,
        domain=domain,
        honest=fmean(seed.honest for seed in seeds),
        claimed=fmean(seed.claimed for seed in seeds),
        price=over_seeds([seed.claimed - seed.honest for seed in seeds]),
        epochs=tuple(seed.epochs for seed in seeds),
        leaked=seeds[0].leaked,
        kept=seeds[0].kept,
    )
