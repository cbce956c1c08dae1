"""Selection: which configuration of a pairing wins, by source val alone (docs/protocol.md, the
firewall).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from study.core.failures import Failure
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

    def why_no_winner(
        self, said: Callable[[Failure], str] = lambda failure: failure.text
    ) -> Failure:
        """Return why a search that has used its budget selected nothing: how many of its trials
        failed, and the last failure, in the words of `said`.
        """
        failures = [result.failure for _, result in self.trials if result.failure is not None]
        if not failures:
            return Failure(message="no trial gave a defined validation AUC")
        alike = len({failure.text for failure in failures}) == 1
        counted = f"{len(failures)} failed{'' if alike else ', the last one'}"
        message = f"no trial gave a result ({counted}: {said(failures[-1])})"
        return replace(failures[-1], type="", message=message)


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
