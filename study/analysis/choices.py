"""What the choices made on source val were worth: tuned minus default, the selection gap, the leak
price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.analysis.leak_price import LeakPrice, leak_prices
from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import Results
from study.analysis.selection_gap import SelectionGap, selection_gaps
from study.analysis.tuning import Contrast, contrasts
from study.core.records import Pairing
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
from study.planning.selection import SearchHistory
from study.planning.variants import variant_cells, variants


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Of a study's scored cells; each () where the study does not ask for it, or nothing of it is
    scored.
    """

    gaps: tuple[SelectionGap, ...]
    contrasts: tuple[Contrast, ...]
    prices: tuple[LeakPrice, ...]


def choices_of(
    setup: OpenStudy,
    history: Mapping[Pairing, SearchHistory],
    cells: Sequence[PlannedCell],
    results: Results,
    leakage: Leakage = NO_LEAKS,
) -> Choices:
    """Put together what the store has. Trains nothing, scores nothing."""
    val_aucs = {
        (c.cell.pairing, c.cell.winner_seed): c.winner.val_auc
        for c in cells
        if c.winner is not None
    }
    others = variant_cells(setup, variants(setup.jobs, history))
    return Choices(
        gaps=tuple(selection_gaps(val_aucs, results.rows)),
        contrasts=tuple(contrasts(setup, cells, others, leakage)),
        prices=tuple(leak_prices(setup, cells, leakage)),
    )
