"""How each search went: the best source-val AUC so far against the trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

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
    styles = canvas.styles_of([Pairing(detector=name, train_on="") for name in detectors])
    lines = dict(zip(detectors, styles.values(), strict=True))
    figure, every = canvas.panels(len(sources), height=0.8 * canvas.PANEL, room=1.8, share_y=True)
    for axes, source in zip(every, sources, strict=True):
        for pairing, curve in curves.items():
            if pairing.train_on == source:
                heights = [math.nan if value is None else value for value in curve]
                style = lines[pairing.detector] | {"where": "post", "marker": "o", "markersize": 3}
                axes.step(range(len(heights)), heights, **style)
        axes.set_title(f"train on {canvas.wrapped(source)}", fontsize=9)
        # as matplotlib's own, at whole numbers
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
        canvas.label(axes, "trial (0 is the default)")
    every[0].set_ylabel("best source-val AUC so far", fontsize=8)
    canvas.legend(figure, lines)
    canvas.save(figure, path)
