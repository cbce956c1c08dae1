"""The heat map: the matrix of a detector and a quantity as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from study.analysis.results import ResultRow, Results
from study.core.records import NO_DEGRADATION
from study.render.figures import canvas
from study.render.figures.canvas import Style
from study.render.grid import Grid, GridCell, images_text, pick, state_words
from study.render.marks import WARNED, explained
from study.render.numbers import ends, number
from study.statistics.metrics import METRICS

CELL_WIDTH, CELL_HEIGHT = 1.45, 0.9  # inches


def heat_map(
    results: Results,
    detector: str,
    metric: str,
    path: Path,
    *,
    threshold: str = "",
    degradation: str = NO_DEGRADATION,
    level: str = "image",
) -> None:
    """Draw a detector's matrix: training sets down, test sets across, each cell with its value and
    95 % interval.

    In-domain cells are outlined; a cell without a number is hatched and says its state. The marks
    are those of marks.py, explained above the map. Where there are several seeds their standard
    deviation stands below. Brighter is better. Where the quantity has a chance level the colours
    diverge from it: grey is chance, yellow is better, blue is worse. Raises StoreError where the
    file cannot be written.
    """
    grid = pick(results, detector, metric, threshold, degradation=degradation, level=level)
    figure = Figure(figsize=_heat_map_size(grid), layout="constrained")
    axes = figure.add_subplot()
    colours, scale, label = _colour_scale(grid)
    for y, source in enumerate(_lines(grid)):
        for x, target in enumerate(grid.test_on):
            _draw_cell(axes, (x, y), _cell_at(grid, source, target), colours, scale)
    _label_axes(axes, grid)
    bar = figure.colorbar(
        ScalarMappable(norm=scale, cmap=colours), ax=axes, fraction=0.04, pad=0.02, aspect=18
    )
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"{detector}: {grid.title}", fontsize=11, fontweight="bold")
    axes.set_title("\n".join(_legend(grid)), fontsize=8, loc="left")
    canvas.save(figure, path)


def heat_maps(results: Results, metric: str = "auc", *, threshold: str = "") -> Figure | None:
    """Draw the matrices of all detectors side by side on one scale, each cell with its value alone;
    in-domain cells are outlined. None where there is no detector.
    """
    names = list(dict.fromkeys(row.detector for row in results.rows if row.role == "detector"))
    if not names:
        return None
    grids = [pick(results, name, metric, threshold) for name in names]
    across = max(len(grid.test_on) for grid in grids)
    down = max(len(grid.train_on) for grid in grids)
    columns = min(len(names), max(1, 12 // across))
    lines = math.ceil(len(names) / columns)
    size = (columns * (0.62 * across + 0.5) + 1.9, lines * (0.42 * down + 0.9) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    every = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    colours, scale, label = _colour_scale(grids[0])
    for axes, grid in zip(every, grids, strict=False):
        for (y, source), (x, target) in product(enumerate(grid.train_on), enumerate(grid.test_on)):
            _draw_small(axes, (x, y), grid.cells[source, target], colours, scale)
        marked = [canvas.marked(name, grid.warnings()) for name in grid.test_on]
        axes.set_xticks(range(len(marked)), marked, fontsize="x-small", rotation=45, ha="right")
        sources = [canvas.wrapped(name) for name in grid.train_on]
        axes.set_yticks(range(len(sources)), sources, fontsize="x-small")
        axes.set(xlim=(-0.5, across - 0.5), ylim=(down - 0.5, -0.5))
        axes.set_title(grid.detector, fontsize="small")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for axes in every[len(grids) :]:
        axes.set_axis_off()
    bar = figure.colorbar(ScalarMappable(norm=scale, cmap=colours), ax=every, fraction=0.03)
    bar.set_label(label, fontsize="x-small")
    bar.ax.tick_params(labelsize="x-small")
    figure.supxlabel("test on", fontsize="small")
    figure.supylabel("train on", fontsize="small")
    return figure


def _draw_small(
    axes: Axes, at: tuple[int, int], cell: GridCell, colours: Colormap, scale: Normalize
) -> None:
    x, y = at
    if cell.number is None:
        empty: Style = {"facecolor": "#eeeeee", "edgecolor": "#b5b5b5", "hatch": "////"}
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0, **empty))
        return
    colour = colours(scale(_colour_value(cell.number)))
    full: Style = {"facecolor": colour, "edgecolor": "white", "linewidth": 1}
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **full))
    if cell.domain == "in":
        outline: Style = {"fill": False, "edgecolor": "black", "linewidth": 1.6, "zorder": 3}
        axes.add_patch(Rectangle((x - 0.46, y - 0.45), 0.92, 0.9, **outline))
    text = number(cell.number.estimate.value, places=2)
    ink = "white" if _luminance(colour) < 0.45 else "black"
    axes.text(x, y, text, ha="center", va="center", fontsize="x-small", color=ink)


def _cell_at(grid: Grid, source: str, target: str) -> GridCell:
    """A cell of the matrix, or of one of the audit's classifiers."""
    of_audit = grid.baselines.get(source, {}).get(target)
    return grid.cells.get((source, target)) or GridCell(row=of_audit, domain="unknown")


def _legend(grid: Grid) -> list[str]:
    """What stands above a heat map, a line each: what its cells hold, and every mark that it
    has.
    """
    marks = dict.fromkeys("".join(cell.marks for cell in grid.cells.values()))
    marks |= dict.fromkeys(WARNED * bool(grid.warnings()))
    lines = ["mean over seeds [95 % interval], sd over seeds; outlined: in-domain"]
    return lines + [explained(mark) for mark in marks]


def _heat_map_size(grid: Grid) -> tuple[float, float]:
    return 3.0 + CELL_WIDTH * max(len(grid.test_on), 2), 1.7 + CELL_HEIGHT * max(
        len(_lines(grid)), 2
    )


def _lines(grid: Grid) -> list[str]:
    """What stands below each other: the training sets, and in a map of AUCs the audit's
    classifiers.
    """
    return [*grid.train_on, *(grid.baselines if grid.metric == "auc" else ())]


def _colour_value(row: ResultRow) -> float:
    """What a cell is coloured by: how much better than chance it is, or its value."""
    if not _diverges(row.metric):
        return row.estimate.value
    metric = METRICS[row.metric]
    chance = metric.chance(n_real=row.estimate.n_real, n_fake=row.estimate.n_fake)
    return (row.estimate.value - chance) * (1.0 if metric.greater_is_better else -1.0)


def _diverges(metric: str) -> bool:
    """Whether a metric's chance level has a colour of its own: it has room on both sides."""
    return METRICS[metric].chance(n_real=1, n_fake=1) == 0.5


def _colour_scale(grid: Grid) -> tuple[Colormap, Normalize, str]:
    if _diverges(grid.metric):
        # grey at chance, and in grey as well: darker is worse than chance, brighter is better
        return colormaps["cividis"], Normalize(-0.5, 0.5), "better than chance by"
    values = [_colour_value(row) for row in grid.rows() if row.has_number]
    if not METRICS[grid.metric].greater_is_better:
        return colormaps["cividis_r"], Normalize(0.0, max(values, default=1.0)), grid.metric
    inside = all(0.0 <= value <= 1.0 for value in values)
    return (
        colormaps["cividis"],
        Normalize(0.0, 1.0) if inside else Normalize(min(values), max(values)),
        grid.metric,
    )


def _draw_cell(
    axes: Axes, at: tuple[int, int], cell: GridCell, colours: Colormap, scale: Normalize
) -> None:
    x, y = at
    middle: Style = {"ha": "center", "va": "center"}
    if cell.domain == "in":
        outline: Style = {"fill": False, "edgecolor": "black", "linewidth": 2.2, "zorder": 3}
        axes.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, **outline))
    if cell.number is None:
        empty: Style = {"facecolor": "#eeeeee", "edgecolor": "#b5b5b5", "hatch": "////"}
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0, **empty))
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        words = state_words(cell.row)
        axes.text(x, y, words, fontsize=8, color="#333333", bbox=background, **middle)
        return
    colour = colours(scale(_colour_value(cell.number)))
    full: Style = {"facecolor": colour, "edgecolor": "white", "linewidth": 1}
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **full))
    middle["color"] = "white" if _luminance(colour) < 0.45 else "black"
    e = cell.number.estimate
    spread, value = e.seeds > 1 and math.isfinite(e.sd), f"{number(e.value)}{cell.marks}"
    axes.text(x, y - (0.2 if spread else 0.12), value, fontsize=11, **middle)
    axes.text(x, y + (0.09 if spread else 0.2), ends(e.low, e.high), fontsize=8, **middle)
    if spread:
        axes.text(x, y + 0.32, f"sd {number(e.sd)}, n={e.seeds}", fontsize=7, **middle)


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance in [0, 1] of an RGB colour (Rec. 709 weights), for a text colour that can
    be read on it.
    """
    red, green, blue = colour[:3]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _label_axes(axes: Axes, grid: Grid) -> None:
    across, down = len(grid.test_on), len(_lines(grid))
    axes.set(
        xlim=(-0.5, across - 0.5),
        ylim=(down - 0.5, -0.5),
        xlabel="test on (real / fake images)",
        ylabel="train on",
    )
    warned = grid.warnings()
    names = [f"{canvas.marked(name, warned)}\n{_counts(grid, name)}" for name in grid.test_on]
    axes.set_xticks(range(across), names, fontsize=8)
    axes.set_yticks(range(down), [canvas.wrapped(name) for name in _lines(grid)], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _counts(grid: Grid, test_on: str) -> str:
    rows = [row for row in grid.rows() if row.test_on == test_on and row.state == "done"]
    return images_text(rows) if rows else ""
