"""What the choices made on source val were worth: tuned minus default, the selection gap, the leak
price.

Put together for cross_eval, which writes them below the matrices and prints a line of
each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.analysis.leak_price import LeakPrice, leak_prices
from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import Results
from study.analysis.tuning import Contrast, contrasts
from study.core.records import Pairing
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
from study.planning.selection import SearchHistory
from study.planning.variants import variant_cells, variants
from study.render.files import write_tuning
from study.render.leak_price import markdown_prices, price_line
from study.render.selection_gap import SelectionGap, gap_line, markdown_gaps, selection_gaps
from study.render.tuning import tuning_line
from study.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Of a study's scored cells; each () where the study does not ask for it, or nothing of it is
    scored.

    shared: (train_on, test_on) where the test set shares images with the training set.
    """

    gaps: tuple[SelectionGap, ...]
    contrasts: tuple[Contrast, ...]
    prices: tuple[LeakPrice, ...]
    shared: frozenset[tuple[str, str]]

    def markdown(self) -> list[str]:
        """Return the sections that end tables.md."""
        return [part for part in (markdown_gaps(self.gaps), markdown_prices(self.prices)) if part]

    def lines(self, detector: str) -> list[str]:
        """Return what is printed below a detector's matrix."""
        found = (
            gap_line(self.gaps, detector),
            tuning_line(self.contrasts, detector, self.shared),
            price_line(self.prices, detector),
        )
        return [line for line in found if line]

    def write(self, store: Store) -> list[Path]:
        """Write tuning.md and tuning.csv, where there is anything to write; return the files."""
        return write_tuning(self.contrasts, store.folder)


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
    return Choices(
        gaps=tuple(selection_gaps(val_aucs, results.rows)),
        contrasts=tuple(
            contrasts(setup, cells, variant_cells(setup, variants(setup.jobs, history)), leakage)
        ),
        prices=tuple(leak_prices(setup, cells, leakage)),
        shared=frozenset(results.overlaps()),
    )
