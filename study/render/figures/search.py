"""How each search went: the best source-val AUC so far against the trials; and how trainings went,
epoch by epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.search_curves import EpochPoint
from study.core.records import Pairing
from study.render.figures import canvas


def best_so_far(curves: Mapping[Pairing, Sequence[float | None]], path: Path) -> None:
    """Draw the best source-val AUC against the trials: a panel per training set, a line per
    detector.

    curves: by pairing, the best so far after trial 0, 1, ...; None before the first that was done.
    Raises StoreError where the file cannot be written.
    """
    sources = list(dict.fromkeys(pairing.train_on for pairing in curves))
    detectors = list(dict.fromkeys(pairing.detector for pairing in curves))
    lines = {name: {**mark, "linewidth": 1.3} for name, mark in canvas.marks_of(detectors).items()}
    figure, every = canvas.panels(len(sources), height=0.8 * canvas.PANEL, room=1.8, share_y=True)
    for axes, source in zip(every, sources, strict=True):
        for pairing, curve in curves.items():
            if pairing.train_on == source:
                heights = [math.nan if value is None else value for value in curve]
                style = lines[pairing.detector] | {"where": "post", "markersize": 3}
                axes.step(range(len(heights)), heights, **style)
        axes.set_title(f"train on {canvas.wrapped(source)}", fontsize=9)
        # as matplotlib's own, at whole numbers
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        canvas.label(axes, "trial (0 is the default)")
    every[0].set_ylabel("best source-val AUC so far", fontsize=8)
    canvas.legend(figure, lines)
    canvas.save(figure, path)


def learning_curves(points: Sequence[EpochPoint]) -> Figure | None:
    """Draw the source-val AUC of the selected trials (solid) and of the defaults (dashed) epoch by
    epoch: a panel per training set, a colour per detector; a dotted line where a phase of a
    schedule begins. None where no training had several epochs.
    """
    if not points:
        return None
    sources = list(dict.fromkeys(one.train_on for one in points))
    marks = canvas.marks_of(list(dict.fromkeys(one.detector for one in points)))
    figure, every = canvas.panels(len(sources), height=0.8 * canvas.PANEL, room=1.8, share_y=True)
    for axes, source in zip(every, sources, strict=True):
        lines: dict[tuple[str, str], list[EpochPoint]] = {}
        for one in points:
            if one.train_on == source:
                lines.setdefault((one.detector, one.which), []).append(one)
        for (detector, which), mine in lines.items():
            style = marks[detector] | {"linewidth": 1.3, "markersize": 3}
            style["linestyle"] = "-" if which == "selected" else "--"
            epochs = [one.epoch + 1 for one in mine]
            axes.plot(epochs, [one.val_auc for one in mine], **style)
            begun = [b.epoch + 1 for a, b in pairwise(mine) if a.phase != b.phase]
            for epoch in begun:
                axes.axvline(epoch, color=style["color"], linewidth=0.8, linestyle=":")
        axes.set_title(f"train on {canvas.wrapped(source)}", fontsize="small")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        canvas.label(axes, "epoch")
    every[0].set_ylabel("AUC on source val", fontsize="small")
    said: dict[str, canvas.Style] = {"selected": {"linestyle": "-"}, "default": {"linestyle": "--"}}
    canvas.legend(
        figure, {**marks, **{name: one | {"color": "#555555"} for name, one in said.items()}}
    )
    return figure
