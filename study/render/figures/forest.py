"""The forest plot: every detector's cross-domain mean beside chance, permuted labels and the
shortcut baselines.
"""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from study.analysis.comparisons import Comparisons
from study.analysis.headline import CHANCE
from study.render.figures import canvas
from study.render.figures.canvas import Style
from study.render.numbers import with_interval

ROW = 0.34  # inches


def forest(found: Comparisons) -> Figure | None:
    """Draw the means with their intervals, the best first, each with its number on the right; the
    bar behind a detector holds 95 % of its models of permuted labels. None where there is no mean.
    """
    standings = found.headline.standings
    if not standings:
        return None
    rows = [(one.detector, one.mean.value, one.mean.low, one.mean.high) for one in standings]
    controls = [
        one for one in (*standings[0].baselines, *found.headline.references) if one.has_number
    ]
    rows += [(one.name, one.value, one.low, one.high) for one in controls]
    figure = Figure(figsize=(7.0, 1.2 + ROW * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for y, one in enumerate(standings):
        if one.chance.models and math.isfinite(one.chance.low):
            size = one.chance.high - one.chance.low
            axes.barh(y, size, left=one.chance.low, height=0.6, color="#d5d5d5", zorder=1)
    beside: Style = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": "small"}
    for y, (_, value, low, high) in enumerate(rows):
        is_control = y >= len(standings)
        colour = canvas.COLOURS[1 if is_control else 0]
        mark: Style = {"color": colour, "marker": "s" if is_control else "o", "zorder": 3}
        axes.plot([low, high], [y, y], color="black", linewidth=1.2, zorder=2)
        axes.plot([value], [y], markersize=6, **mark)
        axes.text(1.02, y, with_interval(value, low, high), **beside)
    axes.axvline(CHANCE, color="black", linewidth=0.8, linestyle="--", zorder=0)
    names = [canvas.wrapped(name) for name, *_ in rows]
    axes.set_yticks(range(len(rows)), names, fontsize="small")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("mean AUC over the cross-domain cells [95 % interval]", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
