"""The critical-difference diagram: which detectors rank apart over test sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.render.figures.canvas import Style
from study.statistics.comparisons import Ranks

LONGEST_NAME = 36  # characters of a detector's name


def critical_difference(names: Sequence[str], ranks: Ranks) -> Figure | None:
    """Draw Demsar's (2006) diagram: mean ranks on a line, best on the left, bars over detectors
    that are not told apart.

    names: of the K detectors of `ranks`. None where there are no two of them, or no two test sets.
    """
    if ranks.n < 2 or len(names) < 2:
        return None
    k, bars = len(names), len(ranks.cliques)
    half = (k + 1) // 2
    figure = Figure(figsize=(9.0, 1.7 + 0.28 * half + 0.16 * bars), layout="constrained")
    axes = figure.add_subplot()
    for place, at in enumerate(np.argsort(ranks.mean_ranks, kind="stable")):
        depth = 0.5 + 0.3 * bars + 0.6 * min(place, k - 1 - place)
        edge = 0.9 if place < half else k + 0.1
        _draw_rank(axes, float(ranks.mean_ranks[at]), names[at], (edge, depth))
    for row, clique in enumerate(ranks.cliques):
        ends = [ranks.mean_ranks[clique[0]] - 0.02, ranks.mean_ranks[clique[-1]] + 0.02]
        bar: Style = {"color": "black", "linewidth": 4, "solid_capstyle": "round"}
        axes.plot(ends, [0.25 + 0.3 * row] * 2, **bar)
    if math.isfinite(ranks.critical_difference):
        _draw_scale(axes, ranks.critical_difference, k - 1)
    axes.set(xlim=(0.1, k + 0.9), ylim=(1.1 + 0.3 * bars + 0.6 * half, -1.4))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.spines["top"].set_position(("data", 0.0))
    axes.spines["top"].set_bounds(1, k)
    axes.xaxis.tick_top()
    axes.set_xticks(range(1, k + 1))
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    test = f"Friedman p = {ranks.p:.2g} over {ranks.n} test sets"
    if math.isnan(ranks.p):
        test = f"too few to test: {ranks.n} test sets"
    title = f"Mean rank by cross-domain AUC (1 is best); {test}"
    figure.suptitle(title, fontsize=10, fontweight="bold")
    return figure


def _draw_rank(axes: Axes, rank: float, name: str, corner: tuple[float, float]) -> None:
    """Draw a line from a mean rank on the axis down and out to the corner, where the detector's
    name stands.
    """
    edge, depth = corner
    axes.plot([rank, rank, edge], [0, depth, depth], color="#444444", linewidth=0.9)
    shown = name
    if len(name) > LONGEST_NAME:
        shown = f"{name[: LONGEST_NAME // 2]}...{name[3 - LONGEST_NAME // 2 :]}"
    is_left = edge < 1
    words = f"{shown} ({rank:.2f}) " if is_left else f" ({rank:.2f}) {shown}"
    axes.text(edge, depth, words, ha="right" if is_left else "left", va="center", fontsize=8)


def _draw_scale(axes: Axes, difference: float, longest: float) -> None:
    """Draw the critical difference above the axis, no longer than that."""
    shown = min(difference, longest)
    line: Style = {"color": "black", "linewidth": 1.5, "marker": "|", "markersize": 8}
    axes.plot([1, 1 + shown], [-0.75] * 2, **line)
    longer = "" if shown == difference else ", longer than the axis"
    words = f"critical difference {difference:.2f}{longer}"
    axes.text(1 + shown / 2, -0.87, words, ha="center", fontsize=8)
