"""Selection: which configuration of a pairing wins, by source val alone (docs/protocol.md, the
firewall).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from study.core.records import Trial, TrialResult


def rank(result: TrialResult, number: int) -> tuple[float, float, int]:
    """Order of merit, best first: higher val AUC, then lower val NLL, then the lower trial
    number.
    """
    return (-result.val_auc, result.val_nll, number)


def select(history: Sequence[tuple[Trial, TrialResult]]) -> tuple[Trial, TrialResult] | None:
    """Return the winning trial of one pairing, or None where no trial ended with a defined val
    AUC.
    """
    candidates = [(t, r) for t, r in history if r.state == "done" and math.isfinite(r.val_auc)]
    return min(candidates, key=lambda pair: rank(pair[1], pair[0].number), default=None)
