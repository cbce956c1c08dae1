"""Small multiples: a panel for every training set and test set, with the detectors in it. ROC,
precision and recall, reliability; the confusion counts of a detector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.cell_curves import GRID, RECALL, CellCurves
from study.analysis.results import ResultRow, Results
from study.render.figures import canvas
from study.render.figures.canvas import Style
from study.render.numbers import ends, number

SIDE = 1.9  # inches
MOST_LABELS = 7  # written into a panel
COUNTS = ("tn", "fp", "fn", "tp")
Place = tuple[str, str]  # train_on, test_on
Draw = Callable[[Axes, CellCurves, Style], object]


def roc_panels(curves: Sequence[CellCurves], results: Results) -> Figure | None:
    """Draw the ROC of every cell, mean over seeds at each false positive rate, its band over test
    images, and the matrix' AUC and interval in the colour of the line; None where no cell has a
    curve.
    """

    def draw(axes: Axes, one: CellCurves, style: Style) -> None:
        axes.step(GRID, one.tpr, where="post", **style)
        band: Style = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(GRID, one.low, one.high, step="post", **band)

    names = "false positive rate", "true positive rate"
    both = [one for one in curves if one.tpr.size]
    figure = _panels(both, draw, names, results.warnings(), _aucs(results))
    if figure is not None:
        for axes in figure.axes:
            axes.plot([0, 1], [0, 1], **canvas.CHANCE)
    return figure


def precision_panels(curves: Sequence[CellCurves], warned: Collection[str]) -> Figure | None:
    """Draw precision against recall of every cell, at the share of fakes of its test set; None
    where no cell has a curve.
    """

    def draw(axes: Axes, one: CellCurves, style: Style) -> None:
        axes.plot(RECALL, one.precision, **style)
        axes.axhline(one.n_fake / (one.n_fake + one.n_real), **canvas.CHANCE)

    both = [one for one in curves if one.tpr.size]
    return _panels(both, draw, ("recall", "precision"), warned)


def reliability_panels(curves: Sequence[CellCurves], warned: Collection[str]) -> Figure | None:
    """Draw the share of fakes against the mean p(fake) of every cell, in bins of equal mass."""

    def draw(axes: Axes, one: CellCurves, style: Style) -> None:
        p, share = [x for x, _, _ in one.bins], [y for _, y, _ in one.bins]
        axes.plot(p, share, marker="o", markersize=2.5, **style)

    figure = _panels(curves, draw, ("mean p(fake)", "share of fakes"), warned)
    if figure is not None:
        for axes in figure.axes:
            axes.plot([0, 1], [0, 1], **canvas.CHANCE)
    return figure


def _aucs(results: Results) -> Mapping[tuple[str, str, str], str]:
    """The AUC of every clean cell in words."""
    return {
        (row.detector, row.train_on, row.test_on): (
            f"{number(row.estimate.value)} {ends(row.estimate.low, row.estimate.high)}"
        )
        for row in results.rows
        if row.is_plain and row.seed == "mean" and row.metric == "auc" and row.has_number
    }


def _panels(
    curves: Sequence[CellCurves],
    draw: Draw,
    names: tuple[str, str],
    warned: Collection[str],
    words: Mapping[tuple[str, str, str], str] = MappingProxyType({}),
) -> Figure | None:
    """A panel a place, and in each what `draw` makes of a detector's cell. warned: test sets that
    are marked. words: written below each other in the panel, in the line's colour.
    """
    if not curves:
        return None
    figure, axes = _grid_of([(one.train_on, one.test_on) for one in curves], warned)
    detectors = list(dict.fromkeys(one.detector for one in curves))
    colours, dashes = canvas.colours_of(detectors), canvas.dashes_of(detectors)
    styles: dict[str, Style] = {
        name: {"color": colours[name], "linestyle": dashes[name], "linewidth": 1.2}
        for name in detectors
    }
    for place, panel in axes.items():
        mine = [one for one in curves if (one.train_on, one.test_on) == place]
        for one in mine:
            draw(panel, one, styles[one.detector])
        said = [(styles[one.detector], words.get((one.detector, *place), "")) for one in mine]
        _say(panel, [(style, text) for style, text in said if text])
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        panel.tick_params(labelsize="x-small")
    figure.supxlabel(names[0], fontsize="small")
    figure.supylabel(names[1], fontsize="small")
    canvas.legend(figure, styles)
    return figure


def _say(axes: Axes, said: Sequence[tuple[Style, str]]) -> None:
    """Write numbers into the lower right of a panel, each in its detector's colour and behind a
    piece of its line.
    """
    handles = [Line2D([], [], label=text, **style) for style, text in said[:MOST_LABELS]]
    if handles:
        look: Style = {"fontsize": "x-small", "frameon": False, "labelcolor": "linecolor"}
        close: Style = {
            "borderpad": 0,
            "labelspacing": 0.2,
            "handlelength": 2,
            "handletextpad": 0.4,
        }
        axes.legend(handles=handles, loc="lower right", **look, **close)


def _grid_of(places: Iterable[Place], warned: Collection[str]) -> tuple[Figure, dict[Place, Axes]]:
    """Panels of training sets down and test sets across, those that there are; what each is stands
    above it and at its side.
    """
    known = list(dict.fromkeys(places))
    down, across = (list(dict.fromkeys(of)) for of in zip(*known, strict=True))
    size = (SIDE * len(across) + 1.9, SIDE * len(down) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    every = figure.subplots(len(down), len(across), squeeze=False, sharex=True, sharey=True)
    for (y, x), axes in np.ndenumerate(every):
        if y == 0:
            axes.set_title(f"test on\n{canvas.marked(across[x], warned)}", fontsize="small")
        if x == 0:
            axes.set_ylabel(f"train on\n{canvas.wrapped(down[y])}", fontsize="small")
        if (down[y], across[x]) not in known:
            axes.set_axis_off()
    return figure, {(x, y): every[down.index(x), across.index(y)] for x, y in known}


def confusion_panels(results: Results, detector: str, threshold: str) -> Figure | None:
    """Draw a detector's confusion counts at a threshold, mean over seeds; shades are shares of a
    row. None where it has none.
    """
    counts: dict[Place, dict[str, float]] = {}
    for row in results.rows:
        if _is_count(row, detector, threshold):
            counts.setdefault((row.train_on, row.test_on), {})[row.metric] = row.estimate.value
    whole = {place: of for place, of in counts.items() if of.keys() == {*COUNTS}}
    if not whole:
        return None
    figure, axes = _grid_of(whole, results.warnings())
    for place, of in whole.items():
        table = np.array([of[name] for name in COUNTS]).reshape(2, 2)
        of_class = table.sum(axis=1, keepdims=True)
        shares = np.divide(table, of_class, out=np.zeros((2, 2)), where=of_class > 0)
        axes[place].imshow(shares, cmap=colormaps["cividis"], vmin=0, vmax=1)
        for (y, x), value in np.ndenumerate(table):
            colour = "black" if shares[y, x] > 0.5 else "white"
            text = f"{value:.0f}" if math.isclose(value, round(value)) else f"{value:.1f}"
            middle: Style = {"ha": "center", "va": "center", "fontsize": "small"}
            axes[place].text(x, y, text, color=colour, **middle)
        axes[place].set_xticks([0, 1], ["called\nreal", "called\nfake"], fontsize="x-small")
        axes[place].set_yticks([0, 1], ["real", "fake"], fontsize="x-small")
    return figure


def _is_count(row: ResultRow, detector: str, threshold: str) -> bool:
    quantity = row.metric in COUNTS and row.threshold == threshold
    return quantity and row.is_plain and row.seed == "mean" and row.detector == detector
