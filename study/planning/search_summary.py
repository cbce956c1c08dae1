"""What a search has shown: best so far after each trial, its time, and which settings mattered. The
store has it as search.json.

Derived from the trials on record; nothing is read from it again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from study.core.identity import derive_seed
from study.core.records import Pairing
from study.planning.open_study import OpenStudy
from study.planning.selection import SearchHistory, Trials, is_candidate
from study.search.driver import PairingSearch
from study.search.importances import importances


def write_search_summary(opened: OpenStudy, history: Mapping[Pairing, SearchHistory]) -> None:
    """Write search.json: for each pairing its best-so-far curve, time per trial, and importances of
    the settings searched.
    """
    table = {
        "order_dependent": list(opened.study.order_dependent()),
        "rules": dataclasses.asdict(opened.study.search),
        "pairings": {
            pairing.name: _pairing(opened.searches[pairing], searched, opened.study.seed)
            for pairing, searched in history.items()
        },
    }
    opened.store.save_json(opened.store.folder / "search.json", table)


def _pairing(search: PairingSearch, searched: SearchHistory, seed: int) -> dict[str, Any]:
    seed = derive_seed("importances", seed, search.pairing.name)
    done = [(t.params, r.val_auc) for t, r in searched.trials if is_candidate(r)]
    values, reason = importances(search.space, done, seed=seed)
    return {
        "complete": searched.complete,
        "winner": searched.best[0].number if searched.best else None,
        "trials": [
            {
                "number": t.number,
                "origin": t.origin,
                "state": r.state,
                "seconds": round(r.seconds, 3),
                "best_so_far": best,
            }
            for (t, r), best in zip(searched.trials, best_so_far(searched.trials), strict=True)
        ],
        "seconds": round(sum(result.seconds for _, result in searched.trials), 3),
        "importances": values,
        "importances_reason": reason,
    }


def best_so_far(trials: Trials) -> list[float | None]:
    """Return, after each trial in order, the highest source-val AUC of those that were done; None
    before the first.
    """
    best, curve = -math.inf, []
    for _, result in trials:
        if is_candidate(result):
            best = max(best, result.val_auc)
        curve.append(best if math.isfinite(best) else None)
    return curve
