"""The figures and tables of a paper: vector files beside pictures, small multiples instead of
figures with everything in them, LaTeX tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from study.analysis.cell_curves import CellCurves
from study.analysis.comparisons import Comparisons
from study.analysis.exposure import LaterRow
from study.analysis.results import Results
from study.analysis.robustness import Robustness
from study.analysis.search_curves import EpochPoint
from study.render.figures.headless import costs_only, headless
from study.render.files import write_texts
from study.render.paper_tables import paper_tables
from study.tracking.metric_names import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLD = "source"  # of the confusion counts


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What the figures and tables are made of."""

    results: Results
    comparisons: Comparisons
    robustness: Sequence[Robustness]
    curves: Sequence[CellCurves]
    epochs: Sequence[EpochPoint]
    later: Sequence[LaterRow] = ()


def write_paper(
    paper: Paper, folder: Path, formats: Sequence[str], style: Path | None = None
) -> list[Path]:
    """Write every figure in every format, and the tables; return the files. A figure that fails is
    left out, with a warning. style: matplotlib's settings, as a file. Raises StoreError.
    """
    files = write_texts(folder, paper_tables(paper.results, paper.comparisons))
    with headless(style):
        from study.render.figures.canvas import save_as

        for name, draw in _figures(paper).items():
            with costs_only(f"'{folder / name}' is"):
                figure = draw()
                if figure is not None:
                    files += save_as(figure, folder / name, formats)
    return files


def _figures(paper: Paper) -> dict[str, Callable[[], Figure | None]]:
    """What draws each figure, by its name; it gives None where there is nothing to draw."""
    from study.render.figures import cell_panels
    from study.render.figures.forest import forest
    from study.render.figures.half_life import half_life
    from study.render.figures.heat_map import heat_maps
    from study.render.figures.ranks import critical_difference
    from study.render.figures.robustness import changes
    from study.render.figures.search import learning_curves

    results, warned, found = paper.results, paper.results.warnings(), paper.comparisons
    detectors = dict.fromkeys(row.detector for row in results.rows if row.role == "detector")
    confusions = {
        f"confusion_{slug(name)}": partial(cell_panels.confusion_panels, results, name, THRESHOLD)
        for name in detectors
    }
    return {
        "forest": partial(forest, found),
        "critical_difference": partial(critical_difference, tuple(found.cross_domain), found.ranks),
        "heat_maps": partial(heat_maps, results),
        "roc": partial(cell_panels.roc_panels, paper.curves, results),
        "precision_recall": partial(cell_panels.precision_panels, paper.curves, warned),
        "reliability": partial(cell_panels.reliability_panels, paper.curves, warned),
        "robustness": partial(changes, paper.robustness),
        "half_life": partial(half_life, paper.later),
        "learning_curves": partial(learning_curves, paper.epochs),
        **confusions,
    }
