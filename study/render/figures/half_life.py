"""How long a detector lasts: its AUC on generators that are younger than what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.exposure import LaterRow
from study.render.figures import canvas

APART = 0.008  # between the points of two training sets, as a share of the axis


def half_life(found: Sequence[LaterRow]) -> Figure | None:
    """Draw the AUC on every younger generator, with its interval, against the months between it and
    the training set: a panel per detector, a colour and a marker per training set, a little apart.
    None where there is no such generator.
    """
    if not found:
        return None
    detectors = list(dict.fromkeys(one.detector for one in found))
    sources = list(dict.fromkeys(one.train_on for one in found))
    until = {one.train_on: one.trained_until for one in found}
    styles = canvas.marks_of(sources)
    longest = max(one.months for one in found)
    figure, every = canvas.panels(len(detectors), height=0.8 * canvas.PANEL, share_y=True)
    for axes, detector in zip(every, detectors, strict=True):
        for at, source in enumerate(sources):
            place = (detector, source)
            mine = [one for one in found if (one.detector, one.train_on) == place]
            shift = (at - (len(sources) - 1) / 2) * APART * longest
            months = [one.months + shift for one in mine]
            axes.plot(months, [one.auc.value for one in mine], linewidth=0.8, **styles[source])
            ends = [one.auc.low for one in mine], [one.auc.high for one in mine]
            axes.vlines(months, *ends, color=styles[source]["color"], linewidth=1)
        axes.axhline(0.5, **canvas.CHANCE)
        axes.set_title(canvas.wrapped(detector), fontsize="small")
        axes.set_xlim(0, longest * 1.05)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        canvas.label(axes, "months after the training set")
    every[0].set_ylabel("AUC [95 % interval]", fontsize="small")
    lines = {f"{canvas.wrapped(name)}\n(until {until[name]})": styles[name] for name in sources}
    canvas.legend(figure, {**lines, "chance": canvas.CHANCE}, "train on")
    return figure
