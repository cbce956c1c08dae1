"""Robustness: AUC against the strength of one kind of degradation, and what each one changes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.results import ResultRow, Results
from study.analysis.robustness import Robustness, mean_drop
from study.core.records import NO_DEGRADATION, Pairing
from study.data.images.degradations import number_of
from study.data.images.steps import STEPS, Axis
from study.render.figures import canvas
from study.render.figures.canvas import Style
from study.render.grid import images_text
from study.render.marks import WARNED, explained
from study.render.robustness import TITLES

FAMILIES = {name: step.axis for name, step in STEPS.items() if step.axis is not None}
APART = 0.009  # between two curves of a panel, as a share of the axis


def robustness_curves(results: Results, detector: str, family: str, path: Path) -> bool:
    """Draw a detector's AUC against the number of one kind of image step, of `FAMILIES`: JPEG
    quality, the blur's sigma. A panel per test set, a curve per training set, 95 % intervals as
    bars. Clean images are the first point; what was not scored has none. Images that leak from
    training are left out, where there is a number without them.

    Returns False, and draws nothing, where no degradation is of that kind alone. Raises StoreError
    where it cannot be written.
    """
    axis = FAMILIES[family]
    every, leaks = _points(results, detector)
    numbers = {name: number_of(name, family) for name in {row.degradation for row in every}}
    places = {name: found for name, found in numbers.items() if found is not None}
    if not places:
        return False
    places[NO_DEGRADATION] = axis.clean
    rows = [row for row in every if row.degradation in places]
    test_sets, warned = list(dict.fromkeys(row.test_on for row in every)), results.warnings()
    sources = dict.fromkeys(row.train_on for row in every)
    styles = canvas.styles_of([Pairing(detector=source, train_on=source) for source in sources])
    figure, all_axes = canvas.panels(len(test_sets))
    for axes, test_on in zip(all_axes, test_sets, strict=True):
        mine = [row for row in rows if row.test_on == test_on]
        _draw_panel(axes, mine, places, {p.train_on: style for p, style in styles.items()})
        _label(axes, axis, places)
        _say_images(axes, mine, f"test on {canvas.marked(test_on, warned)}")
    lines = {canvas.wrapped(pairing.train_on): style for pairing, style in styles.items()}
    canvas.legend(figure, {**lines, "chance": canvas.CHANCE}, "train on")
    caption = "mean over seeds, 95 % intervals; thick: in-domain"
    caption += "; leaked images left out" if leaks else ""
    marked = f"\n{explained(WARNED)}" if warned.keys() & {*test_sets} else ""
    figure.suptitle(f"{detector}: AUC against {axis.label} ({caption}){marked}", fontsize=9)
    canvas.save(figure, path)
    return True


def _points(results: Results, detector: str) -> tuple[list[ResultRow], bool]:
    """Every AUC of a detector that is defined, where possible without leaked images; and whether
    there are any of these.
    """
    known = [
        row
        for row in results.rows
        if (row.detector, row.metric, row.seed) == (detector, "auc", "mean")
        and (row.level, row.subset) == ("image", "")
        and row.has_number
    ]
    clean = {_place(row): row for row in known if row.leak_free}
    return [clean.get(_place(row), row) for row in known if not row.leak_free], bool(clean)


def _place(row: ResultRow) -> tuple[str, str, str]:
    return row.train_on, row.test_on, row.degradation


def _draw_panel(
    axes: Axes,
    rows: Sequence[ResultRow],
    places: Mapping[str, float],
    styles: Mapping[str, Style],
) -> None:
    """Draw a curve per training set, each a little to the side, so that the bars of several do not
    cover each other.
    """
    room = max(places.values()) - min(places.values())
    for number, (source, style) in enumerate(styles.items()):
        mine = [row for row in rows if row.train_on == source]
        if not mine:
            continue
        mine.sort(key=lambda row: places[row.degradation])
        shift = (number - (len(styles) - 1) / 2) * APART * room
        x = np.array([places[row.degradation] for row in mine]) + shift
        value, low, high = np.array(
            [(row.estimate.value, row.estimate.low, row.estimate.high) for row in mine]
        ).T
        line = style | {"linewidth": canvas.width(mine[0].domain), "marker": "o", "markersize": 3}
        axes.plot(x, value, **line)
        axes.vlines(x, low, high, color=style["color"], linewidth=0.9)


def _label(axes: Axes, axis: Axis, places: Mapping[str, float]) -> None:
    axes.axhline(0.5, **canvas.CHANCE)
    ticks = sorted(places.values())
    names = ["clean" if at == axis.clean else f"{at:g}" for at in ticks]
    axes.set_xticks(ticks, names, rotation=60)
    if axis.falls:
        axes.invert_xaxis()  # from mild to strong
    axes.set_ylim(-0.02, 1.02)
    canvas.label(axes, axis.label, "AUC")


def _say_images(axes: Axes, rows: Sequence[ResultRow], title: str) -> None:
    """Write what a panel rests on into its title, and inside it why points have no interval."""
    images = images_text(rows, reals=" real", fakes=" fake")
    axes.set_title(f"{title}\n{images}" if rows else title, fontsize=9)
    bare = [row.estimate.note for row in rows if math.isnan(row.estimate.low)]
    if bare:
        many = "" if len(bare) == len(rows) else f"{len(bare)} of {len(rows)} points: "
        why = "; ".join(filter(None, dict.fromkeys(bare))) or "no interval"
        words = "\n".join(textwrap.wrap(many + why, 60))
        axes.text(0.03, 0.03, words, fontsize=6, transform=axes.transAxes)


def changes(found: Sequence[Robustness]) -> Figure | None:
    """Draw what every degradation changes in the AUC of every detector, mean over the cells of a
    kind, with its interval: a panel for each kind of cell. None where nothing was degraded.
    """
    held = [one for one in found if not math.isnan(one.auc)]
    if not held:
        return None
    kinds = [kind for kind in TITLES if any(one.domain == kind for one in held)]
    detectors = list(dict.fromkeys(one.detector for one in held))
    degradations = list(dict.fromkeys(one.degradation for one in held))
    size = (3.2 * len(kinds) + 2.6, 0.9 + len(degradations) * (0.16 * len(detectors) + 0.12))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    marks = canvas.marks_of(detectors)
    for axes, kind in zip(panels, kinds, strict=True):
        for (y, degradation), (at, detector) in product(
            enumerate(degradations), enumerate(detectors)
        ):
            place = (detector, degradation, kind)
            mine = [one for one in held if (one.detector, one.degradation, one.domain) == place]
            if mine:
                drop, height = mean_drop(mine), y + 0.8 * ((at + 0.5) / len(detectors) - 0.5)
                line: Style = {"color": marks[detector]["color"], "linewidth": 1.3}
                axes.plot([drop.low, drop.high], [height, height], **line)
                axes.plot([drop.value], [height], **marks[detector])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(TITLES[kind], fontsize="small")
        axes.set_yticks(range(len(degradations)), degradations, fontsize="small")
        axes.set_ylim(len(degradations) - 0.5, -0.5)
        axes.tick_params(labelsize="x-small")
    figure.supxlabel("change of the AUC [95 % interval]", fontsize="small")
    canvas.legend(figure, marks)
    return figure
