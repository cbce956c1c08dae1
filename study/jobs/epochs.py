"""A cell, scored with the weights of every epoch that its winner kept: for the leak price."""

from __future__ import annotations

from dataclasses import dataclass

from study.core.identity import digest
from study.jobs.cell import CellJob, score_cell, stored_detector


@dataclass(frozen=True, kw_only=True)
class EpochsJob:
    """A cell to be scored with the weights of each of `epochs` in turn: all that its winner kept
    but the selected one.
    """

    cell: CellJob
    epochs: tuple[int, ...]

    @property
    def result_key(self) -> str:
        """The key of all its scores together."""
        return digest("epochs", self.cell.scores_key)

    def scores_key(self, epoch: int) -> str:
        """The key of one epoch's scores."""
        return digest("epoch scores", self.cell.scores_key, epoch)

    def is_done(self) -> bool:
        """Tell whether the store has the scores of all epochs."""
        store = self.cell.workspace.store
        return all(store.has_scores(self.scores_key(epoch)) for epoch in self.epochs)


def run_epochs(job: EpochsJob) -> None:
    """Score a cell with every epoch's weights and write them to the store."""
    store = job.cell.workspace.store
    detector = stored_detector(store, job.cell.model)
    for epoch in job.epochs:
        if store.has_scores(job.scores_key(epoch)):
            continue
        # of now: on a GPU scoring gives a detector other tensors for its buffers
        tensors = detector.state_dict()
        for name, value in store.epoch_weights(job.cell.model, epoch).items():
            tensors[name].copy_(value)
        store.save_scores(job.scores_key(epoch), score_cell(job.cell, detector))
