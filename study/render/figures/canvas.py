"""What the figures have in common: panels, styles of lines, legends, and PNG files drawn without a
display.

Figures are built from matplotlib's objects and never through pyplot, whose state is global.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.results import Domain
from study.core.errors import StoreError
from study.core.identity import whole_file
from study.core.records import Pairing
from study.render.colours import BLACK, OKABE_ITO
from study.render.marks import WARNED

DPI = 150
PANEL = 3.4  # inches
MAX_PANELS_ACROSS = 3
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 1.5),
    (1.2, 1.2),
    (6, 1.5, 1.2, 1.5),
    (9, 2),
    (3, 1, 1, 1, 1, 1),
)

# of a name besides its colour: in grey most of the colours are alike
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

COLOURS = (*OKABE_ITO, BLACK)
Colour = str | tuple[float, float, float, float]
Style = dict[str, Any]  # keyword arguments of a matplotlib line

CHANCE: Style = {"color": "#999999", "linewidth": 0.8, "linestyle": ":"}


def panels(
    n: int, *, height: float = PANEL, room: float = 2.6, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of n panels side by side and below each other. height: of a panel; room:
    beside them for a legend; both in inches.
    """
    across = 2 if n == 4 else min(n, MAX_PANELS_ACROSS) or 1
    down = math.ceil(n / across) or 1
    figure = Figure(figsize=(PANEL * across + room, height * down + 0.6), layout="constrained")
    every = list(figure.subplots(down, across, squeeze=False, sharey=share_y).flat)
    for axes in every[n:]:
        axes.set_axis_off()
    return figure, every[:n]


def label(axes: Axes, x: str, y: str = "") -> None:
    """Name the axes of a panel, and lay a grid behind it."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#e5e5e5", linewidth=0.5)


def legend(figure: Figure, lines: Mapping[str, Style], title: str = "") -> None:
    """Say beside the panels what each style of line is."""
    handles = [Line2D([], [], label=words, **style) for words, style in lines.items()]
    place: Style = {"loc": "outside right upper", "frameon": False}
    figure.legend(handles=handles, fontsize=7, title=title, title_fontsize=8, **place)


def styles_of(pairings: Sequence[Pairing]) -> dict[Pairing, Style]:
    """Return how each pairing is drawn: its colour is the detector, and where there are several
    its marker is, too; its dashes are the training set.
    """
    detectors = list(dict.fromkeys(pairing.detector for pairing in pairings))
    sources = list(dict.fromkeys(pairing.train_on for pairing in pairings))
    marked = marks_of(detectors)
    dashed = dashes_of(sources)
    styles: dict[Pairing, Style] = {}
    for pairing in pairings:
        style = marked[pairing.detector] | {"linewidth": 1.3, "markevery": 0.25}
        if len(detectors) == 1:
            style = {name: style[name] for name in ("color", "linewidth")}
        styles[pairing] = style | {"linestyle": dashed[pairing.train_on]}
    return styles


def dashes_of(names: Sequence[str]) -> dict[str, Any]:
    """Return the dashes of each name's line."""
    every = [(0, dashes) if dashes else "-" for dashes in DASHES]
    return {name: every[at % len(every)] for at, name in enumerate(names)}


def marks_of(names: Sequence[str]) -> dict[str, Style]:
    """Return the colour and the marker of each name."""
    colours = colours_of(names)
    return {
        name: {"color": colours[name], "marker": MARKERS[at % len(MARKERS)], "markersize": 4}
        for at, name in enumerate(names)
    }


def colours_of(names: Sequence[str]) -> dict[str, Colour]:
    """Return a colour for each name: Okabe and Ito's, which the colour-blind tell apart, as far as
    they reach.
    """
    several = colormaps["tab20"]
    if len(names) <= len(COLOURS):
        return dict(zip(names, COLOURS, strict=False))
    return {name: several(at % several.N) for at, name in enumerate(names)}


def wrapped(name: str) -> str:
    """Return a name in lines of about 20 characters, a union broken at its members."""
    return "\n".join(textwrap.wrap(name.replace("+", "+ "), 20)).replace("+ ", "+")


def marked(test_on: str, warned: Collection[str]) -> str:
    """Return the name of a test set, marked where the audit warns of it."""
    return f"{wrapped(test_on)}{f' {WARNED}' if test_on in warned else ''}"


def width(domain: Domain) -> float:
    """Return the width of a curve, in points: in-domain ones are thick."""
    return 2.4 if domain == "in" else 1.2


# what a file of each format would else say of the time and of the program
METADATA: Mapping[str, Mapping[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def save_as(figure: Figure, path: Path, formats: Sequence[str]) -> list[Path]:
    """Write a figure in several of the formats in `METADATA`, as `save` does; return the files.
    path: without the end of its name.
    """
    files = [path.with_name(f"{path.name}.{name}") for name in formats]
    for file in files:
        save(figure, file)
        figure.set_layout_engine("none")  # it is laid out, and the same in each
    return files


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that its name ends in; the file appears whole or not at all.
    Raises StoreError where it cannot be written.
    """
    kind = path.suffix[1:]
    try:
        with whole_file(path) as temporary:
            FigureCanvasAgg(figure).print_figure(
                temporary, format=kind, dpi=DPI, metadata=METADATA[kind]
            )
    except OSError as error:
        raise StoreError(
            f"cannot write '{path}': {error.strerror or error}; choose another --results folder"
        ) from error
