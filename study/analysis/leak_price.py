"""The leak price: what picking the best checkpoint on the test set would have claimed, minus the
honest number.

PROTOCOL section 3. Winners that kept their epochs (`run.keep_epochs`) are scored on every
test set with the weights of each epoch. The claim is the highest test AUC of any epoch, seed by
seed: an upper bound, and never a result of ours. The price is at least 0 by construction, also
where all epochs are equally good: the best of several noisy numbers lies above their mean. Images
that leak from training are left out of both sides: what they give is another leak's price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from study.analysis.results import Domain
from study.analysis.score_set import ScoreSet
from study.core.records import NO_DEGRADATION, Cell, Pairing
from study.jobs.cell import CellJob
from study.jobs.epochs import EpochsJob
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
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
class KeptEpochs:
    """A scored cell whose winner kept its epochs, the one that was selected, and the job that
    scores the others.
    """

    cell: Cell
    selected: int
    job: EpochsJob

    @property
    def keys(self) -> dict[int, str]:
        """Epoch -> the key of its scores, the selected one first."""
        others = {epoch: self.job.scores_key(epoch) for epoch in self.job.epochs}
        return {self.selected: self.cell.scores_key} | others


def kept_epochs(setup: OpenStudy, cells: Iterable[PlannedCell]) -> list[KeptEpochs]:
    """Return the scored cells whose winners kept other epochs than the selected one."""
    if not setup.study.run.keep_epochs:
        return []
    found = []
    for planned in cells:
        winner, job, cell = planned.winner, planned.job, planned.cell
        is_clean = cell.degradation == NO_DEGRADATION and cell.state == "done"
        if winner is not None and isinstance(job, CellJob) and is_clean:
            others = [e for e in setup.store.epochs(winner.key) if e != winner.best_epoch]
            if others:
                of_cell = EpochsJob(cell=job, epochs=tuple(others))
                found.append(KeptEpochs(cell=cell, selected=winner.best_epoch, job=of_cell))
    return found


def leak_prices(scores: ScoreSet, kept: Iterable[KeptEpochs]) -> list[LeakPrice]:
    """Return the price of every cell whose winners' epochs are scored."""
    places: dict[tuple[Pairing, str], list[KeptEpochs]] = {}
    for one in kept:
        if one.job.is_done():
            places.setdefault((one.cell.pairing, one.cell.test_on), []).append(one)
    return [_price(scores, seeds) for seeds in places.values()]


def _price(scores: ScoreSet, seeds: Sequence[KeptEpochs]) -> LeakPrice:
    """The price of one place. seeds: its winners, of each the scores of every epoch."""
    cell, honest, claimed, epochs = seeds[0].cell, [], [], []
    for seed in seeds:
        keys = seed.keys
        held = scores.aligned(keys.values()).leak_free(scores.leaked(cell))
        aucs = dict(zip(keys, held.aucs, strict=True))
        best = max(aucs, key=lambda epoch: (aucs[epoch], epoch == seed.selected))
        honest.append(aucs[seed.selected])
        claimed.append(aucs[best])
        epochs.append((seed.selected, best))
    return LeakPrice(
        pairing=cell.pairing,
        test_on=cell.test_on,
        domain=scores.leakage.domain(cell.pairing.train_on, cell.test_on),
        honest=fmean(honest),
        claimed=fmean(claimed),
        price=over_seeds([a - b for a, b in zip(claimed, honest, strict=True)]),
        epochs=tuple(epochs),
        leaked=held.leaked,
        kept=held.kept,
    )
