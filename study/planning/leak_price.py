"""The leak price: what picking the best checkpoint on the test set would have claimed, minus the honest number.

Floor 3. PROTOCOL section 3. Winners that kept their epochs (`run.keep_epochs`) are scored on every test set with the weights of
each epoch. The claim is the highest test AUC of any epoch, seed by seed: an upper bound, and never a result of ours. It is at least
0 by construction, also where all epochs are equally good, since the best of several noisy numbers lies above their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from study.identity import digest
from study.jobs import CellJob, load_detector, score_cell
from study.planning.cells import PlannedCell
from study.planning.setup import Setup
from study.records import NO_DEGRADATION, Pairing
from study.statistics.metrics import auc
from study.statistics.seeds import SeedDifference, over_seeds
from study.store import Store


@dataclass(frozen=True, kw_only=True)
class EpochsJob:
    """A cell to be scored with the weights of each of `epochs` in turn: all that its winner kept but the selected one."""

    cell: CellJob
    epochs: tuple[int, ...]

    def key(self, epoch: int) -> str:
        """The key of one epoch's scores."""
        return digest("epoch scores", self.cell.scores_key, epoch)


@dataclass(frozen=True, kw_only=True)
class LeakPrice:
    """One cell: mean AUCs over seeds. honest: of the selected epoch; claimed: of the best on the test set, an upper bound.

    price: claimed - honest over seeds. epochs: (seed by seed) the one selected and the one that the test set would choose.
    """

    pairing: Pairing
    test_on: str
    honest: float
    claimed: float
    price: SeedDifference
    epochs: tuple[tuple[int, int], ...]


def epochs_jobs(setup: Setup, cells: Sequence[PlannedCell]) -> list[EpochsJob]:
    """Return the jobs of the scored cells whose winners kept their epochs."""
    return [job for cell in cells if (job := _job(setup, cell)) is not None]


def _job(setup: Setup, planned: PlannedCell) -> EpochsJob | None:
    plain = planned.cell.degradation == NO_DEGRADATION and planned.cell.state == "done"
    if not setup.study.run.keep_epochs or planned.winner is None or not isinstance(planned.job, CellJob) or not plain:
        return None
    others = [epoch for epoch in setup.store.epochs(planned.winner.key) if epoch != planned.winner.best_epoch]
    return EpochsJob(cell=planned.job, epochs=tuple(others)) if others else None


def run_epochs(job: EpochsJob) -> None:
    """Score a cell with every epoch's weights and write them to the store."""
    from safetensors.torch import load_file

    store = _store(job)
    detector = load_detector(store.model_folder(job.cell.model))
    for epoch in job.epochs:
        if store.has_scores(job.key(epoch)):
            continue
        tensors = detector.state_dict()  # of now: on a GPU scoring gives a detector other tensors for its buffers
        for name, value in load_file(store.epoch_file(job.cell.model, epoch)).items():
            tensors[name].copy_(value)
        store.save_scores(job.key(epoch), score_cell(job.cell, detector))


def is_scored(job: EpochsJob) -> bool:
    """Tell whether the store has the scores of all epochs."""
    return all(_store(job).has_scores(job.key(epoch)) for epoch in job.epochs)


def _store(job: EpochsJob) -> Store:
    return Store(job.cell.workspace.results, job.cell.workspace.study)


def leak_prices(setup: Setup, cells: Sequence[PlannedCell]) -> list[LeakPrice]:
    """Return the price of every cell whose winners' epochs are scored."""
    found: dict[tuple[Pairing, str], list[tuple[float, float, tuple[int, int]]]] = {}
    for planned in cells:
        job = _job(setup, planned)
        if job is None or planned.winner is None or not is_scored(job):
            continue
        honest = _auc(setup.store, planned.cell.scores_key)
        by_epoch = {planned.winner.best_epoch: honest} | {epoch: _auc(setup.store, job.key(epoch)) for epoch in job.epochs}
        best = max(by_epoch, key=lambda epoch: (by_epoch[epoch], epoch == planned.winner.best_epoch))  # type: ignore[union-attr]
        place = planned.cell.pairing, planned.cell.test_on
        found.setdefault(place, []).append((honest, by_epoch[best], (planned.winner.best_epoch, best)))
    return [_price(pairing, test_on, seeds) for (pairing, test_on), seeds in found.items()]


def _auc(store: Store, key: str) -> float:
    scores = store.scores(key)
    return auc(scores.label, scores.logit)


def _price(pairing: Pairing, test_on: str, seeds: Sequence[tuple[float, float, tuple[int, int]]]) -> LeakPrice:
    return LeakPrice(
        pairing=pairing,
        test_on=test_on,
        honest=fmean(honest for honest, _, _ in seeds),
        claimed=fmean(claimed for _, claimed, _ in seeds),
        price=over_seeds([claimed - honest for honest, claimed, _ in seeds]),
        epochs=tuple(epochs for _, _, epochs in seeds),
    )
