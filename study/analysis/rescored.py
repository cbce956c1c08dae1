"""Some cells of a study scored anew, from pixels, against what the store has of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from study.core.records import NO_DEGRADATION
from study.jobs.cell import CellJob, score_cell, stored_detector
from study.planning.cells import plan_cells
from study.planning.open_study import OpenStudy
from study.planning.repeats import repeats_of

# Batches, threads and processors round differently: by far less than this on a float32 network.
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """A cell that was scored anew. largest: of the differences between stored and new logits,
    infinite where the images are not the same.
    """

    name: str
    key: str
    largest: float

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return self.largest <= TOLERANCE


def rescored(opened: OpenStudy, count: int, *, seed: int = 0) -> list[Rescored]:
    """Score `count` clean cells of single detectors anew, drawn by `seed` from those that are
    scored, of all repeats; all where there are fewer. Nothing is written.
    """
    scored = [
        (planned.job, planned.cell, one.name)
        for one in repeats_of(opened)
        for planned in plan_cells(one)
        if isinstance(planned.job, CellJob)
        and planned.cell.state == "done"
        and planned.cell.degradation == NO_DEGRADATION
    ]
    order = np.random.default_rng(seed).permutation(len(scored))[:count]
    found = []
    for job, cell, repeat in (scored[i] for i in sorted(order)):
        store = job.workspace.store
        before, now = (
            store.scores(job.scores_key),
            score_cell(job, stored_detector(store, job.model)),
        )
        same = np.array_equal(before.sample_id, now.sample_id)
        largest = float(np.abs(before.logit - now.logit).max()) if same else np.inf
        name = f"{cell.pairing.name} -> {cell.test_on}, seed {cell.winner_seed}"
        name += f", {repeat}" if repeat else ""
        found.append(Rescored(name=name, key=job.scores_key, largest=largest))
    return found
