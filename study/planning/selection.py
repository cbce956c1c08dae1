"""Selection: which configuration of a pairing wins, by source val alone (docs/protocol.md, the
firewall).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.core.records import Trial, TrialResult

Trials = Sequence[tuple[Trial, TrialResult]]


@dataclass(frozen=True, kw_only=True)
class SearchHistory:
    """How far a pairing's search has come: its trials that have ended, in trial order, and whether
    its budget is used.
    """

    trials: Trials
    complete: bool

    @property
    def best(self) -> tuple[Trial, TrialResult] | None:
        """The best trial so far; None where none gave a defined val AUC."""
        return select(self.trials)

    @property
    def winner(self) -> Trial | None:
        """The selected trial; None before the budget is used, and where there is none."""
        return self.best[0] if self.complete and self.best else None

    @property
    def why_no_winner(self) -> str:
        """Why a search that has used its budget selected nothing."""
        reasons = [result.reason for _, result in self.trials if result.state == "failed"]
        if reasons:
            return f"no trial gave a result ({reasons[-1]})"
        return "no trial gave a defined validation AUC"


def rank(result: TrialResult, number: int) -> tuple[float, float, int]:
    """Order of merit, best first: higher val AUC, then lower val NLL, then the lower trial
    number.
    """
    return (-result.val_auc, result.val_nll, number)


def is_candidate(result: TrialResult) -> bool:
    """Tell whether a trial may be selected: it was done, and its val AUC is defined."""
    return result.state == "done" and math.isfinite(result.val_auc)


def select(trials: Trials) -> tuple[Trial, TrialResult] | None:
    """Return the winning trial of one pairing, or None where no trial ended with a defined val
    AUC.
    """
    candidates = [(t, r) for t, r in trials if is_candidate(r)]
    return min(candidates, key=lambda pair: rank(pair[1], pair[0].number), default=None)
