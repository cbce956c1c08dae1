"""What cross_eval prints: what may be wrong with all of it, of each detector its matrix and what
was chosen for it, then what degradations cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.choices import Choices
from study.analysis.results import Results
from study.analysis.robustness import Robustness
from study.render.flags import flag_lines
from study.render.floors import floor_line
from study.render.grid import detectors
from study.render.leak_price import price_line
from study.render.robustness import robustness_text
from study.render.selection_gap import gap_line
from study.render.tables import text_table
from study.render.thresholds import text_transfer
from study.render.tuning import tuning_line
from study.render.turned import turned_notes


def printed(
    results: Results,
    choices: Choices,
    degraded: Sequence[Robustness],
    quantity: tuple[str, str],
    *,
    transfer: bool,
) -> str:
    """Return the text. quantity: the metric of the matrices, and its threshold or "". transfer:
    whether the threshold transfer of each detector follows its matrix.
    """
    parts = [f"note: {note}" for note in turned_notes(results)]
    for detector in detectors(results):
        lines = [
            text_table(results, detector, *quantity),
            gap_line(choices.gaps, detector),
            tuning_line(choices.contrasts, detector),
            price_line(choices.prices, detector),
            floor_line(choices.floors, detector),
            flag_lines(results.flags, detector),
        ]
        parts.append("\n".join(filter(None, lines)))
        parts += [text_transfer(results, detector)] if transfer else []
    return "\n\n".join([*parts, *([robustness_text(degraded)] if degraded else [])])
