"""The floor of each fine-tuned network: its winners against a linear probe on the same frozen body,
on the same source val.

Source val chose both: the winners' configuration and epoch, and the probe's strength. A network
below its probe by more than noise of the images was not tuned well enough to say what its body is
worth. Images and seeds count; the training sample does not, as both learned from the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from study.analysis.score_set import align
from study.analysis.weighted_sums import difference
from study.core.identity import derive_seed
from study.core.records import Pairing
from study.planning.jobs import Jobs
from study.planning.selection import SearchHistory
from study.statistics.error_model import ALPHA, Finding, seed_part


@dataclass(frozen=True, kw_only=True)
class Floor:
    """One pairing. winners, probe: AUC on source val, of the winners, mean over seeds, and of the
    probe. difference: of the two.
    """

    pairing: Pairing
    winners: float
    probe: float
    difference: Finding

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
        held, last = align([*scores, floor]), len(scores)
        seed = derive_seed("floor", jobs.study.seed, pairing.name)
        pair = difference(held, (tuple(range(last)), (last,)), test_on="", rng_seed=seed)
        aucs = held.aucs
        found.append(
            Floor(
                pairing=pairing,
                winners=fmean(aucs[:last]),
                probe=aucs[last],
                difference=pair.judged(None, seed_part(aucs[:last]).times(1 / last)),
            )
        )
    return found
