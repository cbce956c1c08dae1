"""The floor of each fine-tuned network: its winners against a linear probe on the same frozen body,
on the same source val.

Source val chose both: the winners' configuration and epoch, and the probe's strength. A network
below its probe by more than noise of the images was not tuned well enough to say what its body is
worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from study.core.identity import derive_seed
from study.core.records import Pairing
from study.planning.jobs import Jobs
from study.planning.selection import SearchHistory
from study.statistics.comparisons import PairedAucs
from study.statistics.differences import ALPHA, Difference


@dataclass(frozen=True, kw_only=True)
class Floor:
    """One pairing. winners, probe: AUC on source val, of the mean logit over the winners, and of
    the probe. difference: of the two, over images.
    """

    pairing: Pairing
    winners: float
    probe: float
    difference: Difference

    @property
    def is_below(self) -> bool:
        """Whether the winners are worse by more than noise."""
        return self.difference.value < 0 and self.difference.p < ALPHA


def floors(jobs: Jobs, history: Mapping[Pairing, SearchHistory]) -> list[Floor]:
    """Return the floor of every pairing that has one, where the store has its probe and winners."""
    found, store = [], jobs.workspace.store
    for pairing, searched in history.items():
        probe = jobs.probe(pairing)
        trained = [j.trial.key for j in jobs.winners(pairing, searched) if j.is_done()]
        if probe is None or not probe.is_done() or not trained:
            continue
        scores, floor = [store.val_scores(key) for key in trained], store.probe(probe.trial.key)
        if any(list(one.sample_id) != list(floor.sample_id) for one in scores):
            continue  # of a val that lost images since
        mean = np.mean([one.logit for one in scores], axis=0, dtype=np.float64)
        seed = derive_seed("floor", jobs.study.seed, pairing.name)
        pair = PairedAucs(floor.label, [mean, floor.logit], floor.group, rng_seed=seed)
        found.append(
            Floor(
                pairing=pairing,
                winners=float(pair.aucs[0]),
                probe=float(pair.aucs[1]),
                difference=pair.difference(0, 1),
            )
        )
    return found
