"""Asynchronous successive halving (ASHA, Li et al., MLSys 2020) for one pairing, by Optuna's
pruner.

A trial goes on past a rung (after 1, 3, 9, ... epochs) only if it is among the best third of those
that have reached it so far. A trial stands where its best epoch so far is, since that is what it is
judged by in the end.

What it decides depends on who came first, so a search with it is order-dependent: the same study
may select another configuration on another machine. Patience, which looks at one trial alone, is
not.
"""

from __future__ import annotations

import math

import optuna
from optuna.pruners import SuccessiveHalvingPruner

from study.core.records import EpochRecord

REDUCTION = 3
FIRST_RUNG = 1  # epochs


class Halving:
    """The rungs of one pairing. Trials are told by their number; nothing is kept beyond this
    process.
    """

    def __init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=REDUCTION)
        self._study = optuna.create_study(direction="maximize", pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}
        self._seen: dict[int, int] = {}
        self._best: dict[int, float] = {}

    def report(self, number: int, record: EpochRecord) -> str:
        """Take in an epoch of trial `number`; return "" to let it go on, or why it is to be stopped
        now.

        An epoch that was told before (a trial begun again after its worker died) is passed over.
        """
        if record.epoch <= self._seen.get(number, -1):
            return ""
        self._seen[number] = record.epoch
        if number not in self._trials:
            self._trials[number] = self._study.ask()
        trial = self._trials[number]
        if math.isfinite(record.val_auc):
            self._best[number] = max(record.val_auc, self._best.get(number, -math.inf))
        if number in self._best:
            trial.report(self._best[number], step=record.epoch + 1)
        return f"stopped by asha after {record.epoch + 1} epochs" if trial.should_prune() else ""
