"""Figures: a heat map per detector and quantity, ROC curves per test set, robustness curves per
detector, the critical-difference diagram. PNG files, drawn without a display.

Figures are built from matplotlib's objects and never through pyplot, whose state is
global.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from study.analysis.results import ResultRow, Results
from study.core.errors import StoreError
from study.core.identity import whole_file
from study.core.records import NO_DEGRADATION, Pairing, Scores
from study.data.images.degradations import number_of
from study.data.images.steps import STEPS, Axis
from study.data.names import is_in_domain
from study.render.grid import SEEDS_APART, Grid, GridCell, images_text, pick, state_words
from study.render.numbers import ends, number
from study.statistics.comparisons import Ranks
from study.statistics.metrics import METRICS, roc

DPI = 150
CELL_WIDTH, CELL_HEIGHT = 1.45, 0.9  # inches
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 1.5),
    (1.2, 1.2),
    (6, 1.5, 1.2, 1.5),
    (9, 2),
    (3, 1, 1, 1, 1, 1),
)
PANEL = 3.4  # inches
MAX_PANELS_ACROSS = 3
MOST_AUCS = 8  # said in a panel of ROC curves
LEAKS, SHARES, APART = "\N{DAGGER}", "\N{DOUBLE DAGGER}", "\N{SECTION SIGN}"  # marks in heat maps
WARNED = "! a confound or a leak: see the tables"
LONGEST_NAME = 36  # characters of a detector's name in a diagram

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # false and true positive rates

Style = dict[str, Any]  # keyword arguments of a matplotlib line


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

    In-domain cells are outlined; a cell without a number is hatched and says its state; a dagger
    marks cells with images that leak from training, a double one those that share so many that they
    are not cross-domain, a section sign those of whose seeds none lies in the interval of their
    mean. Where there are several seeds their standard deviation stands below. Where the quantity
    has a chance level the colours diverge from it (white is chance, blue is better, red is worse),
    otherwise brighter is better. Raises StoreError where the file cannot be written.
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
    _save(figure, path)


def _cell_at(grid: Grid, source: str, target: str) -> GridCell:
    """A cell of the matrix, or of one of the audit's classifiers."""
    of_audit = grid.baselines.get(source, {}).get(target)
    return grid.cells.get((source, target)) or GridCell(row=of_audit, domain="unknown")


def _marks(cell: GridCell) -> str:
    """The marks of a number, as the notes of the tables say at length."""
    marked = {LEAKS: cell.clean is not None, SHARES: cell.overlap != "", APART: cell.apart}
    return "".join(mark for mark, is_marked in marked.items() if is_marked and cell.number)


def _legend(grid: Grid) -> list[str]:
    """What stands above a heat map, a line each: what its cells hold, and every mark that it
    has.
    """
    keys = {
        LEAKS: "test images leak from training",
        SHARES: "shares images with the training set, not cross-domain",
    }
    marks = {mark for cell in grid.cells.values() for mark in _marks(cell)}
    lines = ["mean over seeds [95 % interval], sd over seeds; outlined: in-domain"]
    if marks & keys.keys():
        lines.append("; ".join(f"{mark} {words}" for mark, words in keys.items() if mark in marks))
    lines += [f"{APART} {SEEDS_APART}"] if APART in marks else []
    return lines + ([WARNED] if grid.warnings() else [])


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
        return colormaps["RdBu"], Normalize(-0.5, 0.5), "better than chance by"
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
    spread, value = e.seeds > 1 and math.isfinite(e.sd), f"{number(e.value)}{_marks(cell)}"
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
    axes.set_xticks(
        range(across),
        [
            f"{_wrapped(name)}{' !' if name in grid.warnings() else ''}\n{_counts(grid, name)}"
            for name in grid.test_on
        ],
        fontsize=8,
    )
    axes.set_yticks(range(down), [_wrapped(name) for name in _lines(grid)], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name.replace("+", "+ "), 20)).replace("+ ", "+")


def _counts(grid: Grid, test_on: str) -> str:
    rows = [row for row in grid.rows() if row.test_on == test_on and row.state == "done"]
    return images_text(rows) if rows else ""


def roc_curves(
    scores: Sequence[tuple[str, Pairing, Scores]], path: Path, *, warned: Collection[str] = ()
) -> None:
    """Draw ROC curves of the mean logit over seeds: a panel per test set, a curve per detector
    (colour) and training set (dashes).

    Each panel says its curves' AUCs, which are of those curves: the matrix has the mean of the
    seeds' own.

    scores: (test_on, pairing, scores) of every scored cell; several with the same test set and
    pairing are its seeds. Thick curves are in-domain. A panel without a curve says so. warned: test
    sets that the audit warns of, whose panels are marked. Raises StoreError where the file cannot
    be written.
    """
    curves = {place: _mean_curve(seeds) for place, seeds in _by_place(scores).items()}
    test_sets = list(dict.fromkeys(test_on for test_on, _, _ in scores))
    styles = _styles(list(dict.fromkeys(pairing for _, pairing, _ in scores)))
    figure, panels = _panels(len(test_sets))
    for axes, test_on in zip(panels, test_sets, strict=True):
        mine = {pairing: curve for (target, pairing), curve in curves.items() if target == test_on}
        _draw_panel(axes, test_on, mine, styles)
        axes.set_title(_panel_title(test_on, warned), fontsize=9)
    key = ["thick: in-domain", *([WARNED] if {*warned} & {*test_sets} else [])]
    what = (
        "ROC of the mean logit over seeds; AUC: of that curve (the matrix has the mean over seeds)"
    )
    figure.suptitle("\n".join([what, "; ".join(key)]), fontsize=9)
    handles = [
        Line2D([], [], label=f"{p.detector}, {p.train_on}", **style) for p, style in styles.items()
    ]
    handles.append(Line2D([], [], label="chance", **_CHANCE_LINE))
    figure.legend(
        handles=handles,
        loc="outside right upper",
        fontsize=7,
        frameon=False,
        title="detector, train on",
        title_fontsize=8,
    )
    _save(figure, path)


def _panel_title(test_on: str, warned: Collection[str]) -> str:
    return f"test on {_wrapped(test_on)}{' !' if test_on in warned else ''}"


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    """A figure of n panels side by side and below each other, with room for a legend."""
    across = 2 if n == 4 else min(n, MAX_PANELS_ACROSS) or 1
    down = math.ceil(n / across) or 1
    figure = Figure(figsize=(PANEL * across + 2.6, PANEL * down + 0.6), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, panels[:n]


_CHANCE_LINE: Style = {"color": "#999999", "linewidth": 0.8, "linestyle": ":"}


def _by_place(
    scores: Sequence[tuple[str, Pairing, Scores]],
) -> dict[tuple[str, Pairing], list[Scores]]:
    places: dict[tuple[str, Pairing], list[Scores]] = {}
    for test_on, pairing, one in scores:
        places.setdefault((test_on, pairing), []).append(one)
    return places


def _mean_curve(seeds: Sequence[Scores]) -> Curve | None:
    """The ROC of the mean logit over seeds, on the images that all of them scored; None where a
    class is missing.
    """
    common = seeds[0].sample_id
    for other in seeds[1:]:
        common = np.intersect1d(common, other.sample_id)
    kept = [np.isin(one.sample_id, common) for one in seeds]
    logit = np.mean(
        [one.logit[keep].astype(np.float64) for one, keep in zip(seeds, kept, strict=True)], axis=0
    )
    label = seeds[0].label[kept[0]]
    if label.size == 0 or label.min() == label.max():
        return None
    false_positives, true_positives, _ = roc(label, logit)
    return false_positives, true_positives


def _styles(pairings: Sequence[Pairing]) -> dict[Pairing, Style]:
    detectors = list(dict.fromkeys(pairing.detector for pairing in pairings))
    sources = list(dict.fromkeys(pairing.train_on for pairing in pairings))
    palette = colormaps["tab10" if len(detectors) <= 10 else "tab20"]
    styles: dict[Pairing, Style] = {}
    for pairing in pairings:
        dashes = DASHES[sources.index(pairing.train_on) % len(DASHES)]
        colour = palette(detectors.index(pairing.detector) % palette.N)
        styles[pairing] = {
            "color": colour,
            "linewidth": 1.3,
            "linestyle": (0, dashes) if dashes else "-",
        }
    return styles


def _draw_panel(
    axes: Axes,
    test_on: str,
    curves: Mapping[Pairing, Curve | None],
    styles: Mapping[Pairing, Style],
) -> None:
    axes.plot([0, 1], [0, 1], **_CHANCE_LINE)
    for pairing, curve in curves.items():
        if curve is not None:
            (line,) = axes.plot(*curve, **styles[pairing])
            line.set_linewidth(2.4 if is_in_domain(pairing.train_on, test_on) else 1.2)
    _say_aucs(axes, {p: curve for p, curve in curves.items() if curve is not None}, styles)
    if not any(curves.values()):
        axes.text(0.5, 0.5, "undefined: one class only", ha="center", fontsize=8)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("false positive rate", fontsize=8)
    axes.set_ylabel("true positive rate", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#e5e5e5", linewidth=0.5)


def _say_aucs(axes: Axes, curves: Mapping[Pairing, Curve], styles: Mapping[Pairing, Style]) -> None:
    """Write the AUC of each curve, the best first, beside a piece of its line; of many only the
    best.
    """
    aucs = {pairing: float(np.trapezoid(true, false)) for pairing, (false, true) in curves.items()}
    best = sorted(aucs, key=lambda pairing: -aucs[pairing])[:MOST_AUCS]
    handles = [Line2D([], [], label=number(aucs[pairing]), **styles[pairing]) for pairing in best]
    if handles:
        title = "AUC" if len(best) == len(aucs) else f"AUC, best {len(best)} of {len(aucs)}"
        axes.legend(
            handles=handles,
            loc="lower right",
            fontsize=6,
            title=title,
            title_fontsize=6,
            framealpha=0.8,
        )


def robustness_curves(results: Results, detector: str, family: str, path: Path) -> bool:
    """Draw a detector's AUC against the number of one kind of image step (`steps.STEPS`) that has
    an axis: JPEG quality, the blur's sigma. A panel per test set, a curve per training set, 95 %
    intervals as bars. Clean images are the first point; what was not scored has none. Images that
    leak from training are left out, where there is a number without them.

    Returns False, and draws nothing, where no degradation is of that kind alone. Raises StoreError
    where it cannot be written.
    """
    axis = STEPS[family].axis
    assert axis is not None, f"{family} has no axis"
    known = [
        r
        for r in results.rows
        if (r.detector, r.metric, r.seed) == (detector, "auc", "mean")
        and r.level == "image"
        and not r.subset
        and r.has_number
    ]
    without_leaks = {_spot(r): r for r in known if r.leak_free}
    mine = [without_leaks.get(_spot(r), r) for r in known if not r.leak_free]
    numbers = {
        name: found
        for name in dict.fromkeys(r.degradation for r in mine)
        if (found := number_of(name, family)) is not None
    }
    if not numbers:
        return False
    places = {NO_DEGRADATION: axis.clean, **numbers}
    test_sets = list(dict.fromkeys(row.test_on for row in mine))
    warned = results.warnings()
    styles = _styles(
        [
            Pairing(detector=source, train_on=source)
            for source in dict.fromkeys(row.train_on for row in mine)
        ]
    )
    figure, panels = _panels(len(test_sets))
    for axes, test_on in zip(panels, test_sets, strict=True):
        for place, (pairing, style) in enumerate(styles.items()):
            there = [
                r
                for r in mine
                if (r.train_on, r.test_on) == (pairing.train_on, test_on)
                and r.degradation in places
            ]
            shift = (
                (place - (len(styles) - 1) / 2)
                * 0.009
                * (max(places.values()) - min(places.values()))
            )
            _draw_robustness(axes, there, places, shift, style)
        _label_robustness(axes, axis, places)
        shown = [r for r in mine if r.test_on == test_on and r.degradation in places]
        _say_images(axes, shown, _panel_title(test_on, warned))
    handles = [
        Line2D([], [], label=_wrapped(pairing.train_on), **style)
        for pairing, style in styles.items()
    ]
    handles.append(Line2D([], [], label="chance", **_CHANCE_LINE))
    figure.legend(
        handles=handles,
        loc="outside right upper",
        fontsize=7,
        frameon=False,
        title="train on",
        title_fontsize=8,
    )
    caption = "mean over seeds, 95 % intervals; thick: in-domain" + (
        "; leaked images left out" if without_leaks else ""
    )
    marked = f"\n{WARNED}" if warned.keys() & {*test_sets} else ""
    figure.suptitle(f"{detector}: AUC against {axis.label} ({caption}){marked}", fontsize=9)
    _save(figure, path)
    return True


def _spot(row: ResultRow) -> tuple[str, str, str]:
    return row.train_on, row.test_on, row.degradation


def _draw_robustness(
    axes: Axes, rows: Sequence[ResultRow], places: Mapping[str, float], shift: float, style: Style
) -> None:
    """Draw one curve, a little to the side, so that the bars of several do not cover each other."""
    if not rows:
        return
    rows = sorted(rows, key=lambda row: places[row.degradation])
    x = np.array([places[row.degradation] for row in rows]) + shift
    value, low, high = (
        np.array([getattr(row.estimate, name) for row in rows]) for name in ("value", "low", "high")
    )
    width = 2.4 if rows[0].domain == "in" else 1.2
    axes.plot(x, value, **(style | {"linewidth": width}), marker="o", markersize=3)
    axes.vlines(x, low, high, color=style["color"], linewidth=0.9)


def _say_images(axes: Axes, rows: Sequence[ResultRow], title: str) -> None:
    """Write what a panel rests on into its title, and inside it why points have no interval."""
    images = images_text(rows, reals=" real", fakes=" fake")
    axes.set_title(f"{title}\n{images}" if rows else title, fontsize=9)
    bare = [r.estimate.note for r in rows if math.isnan(r.estimate.low)]
    if bare:
        many = "" if len(bare) == len(rows) else f"{len(bare)} of {len(rows)} points: "
        why = "; ".join(filter(None, dict.fromkeys(bare))) or "no interval"
        axes.text(
            0.03,
            0.03,
            "\n".join(textwrap.wrap(many + why, 60)),
            fontsize=6,
            transform=axes.transAxes,
        )


def _label_robustness(axes: Axes, axis: Axis, places: Mapping[str, float]) -> None:
    axes.axhline(0.5, **_CHANCE_LINE)
    ticks = sorted(places.values())
    axes.set_xticks(
        ticks,
        ["clean" if at == axis.clean else f"{at:g}" for at in ticks],
        fontsize=7,
        rotation=60,
    )
    if axis.falls:
        axes.invert_xaxis()  # from mild to strong
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(axis.label, fontsize=8)
    axes.set_ylabel("AUC", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#e5e5e5", linewidth=0.5)


def critical_difference(names: Sequence[str], ranks: Ranks, path: Path) -> None:
    """Draw Demsar's (2006) diagram: mean ranks on a line, best on the left, bars over detectors
    that are not told apart.

    names: of the K detectors of `ranks`, whose mean ranks must be defined. Raises StoreError where
    the file cannot be written.
    """
    order = np.argsort(ranks.mean_ranks, kind="stable")
    k, half = len(names), (len(names) + 1) // 2
    bars = len(ranks.cliques)
    figure = Figure(figsize=(9.0, 1.7 + 0.28 * half + 0.16 * bars), layout="constrained")
    axes = figure.add_subplot()
    for place, at in enumerate(order):
        left = place < half
        depth = 0.5 + 0.3 * bars + 0.6 * (place if left else k - 1 - place)
        _draw_rank(
            axes,
            float(ranks.mean_ranks[at]),
            depth,
            names[at],
            edge=0.9 if left else k + 0.1,
            left=left,
        )
    for row, clique in enumerate(ranks.cliques):
        first, last = ranks.mean_ranks[clique[0]], ranks.mean_ranks[clique[-1]]
        axes.plot(
            [first - 0.02, last + 0.02],
            [0.25 + 0.3 * row] * 2,
            color="black",
            linewidth=4,
            solid_capstyle="round",
        )
    if math.isfinite(ranks.critical_difference):
        shown = min(ranks.critical_difference, k - 1)
        axes.plot(
            [1, 1 + shown], [-0.75] * 2, color="black", linewidth=1.5, marker="|", markersize=8
        )
        longer = "" if shown == ranks.critical_difference else ", longer than the axis"
        axes.text(
            1 + shown / 2,
            -0.87,
            f"critical difference {ranks.critical_difference:.2f}{longer}",
            ha="center",
            fontsize=8,
        )
    axes.set(xlim=(0.1, k + 0.9), ylim=(1.1 + 0.3 * bars + 0.6 * half, -1.4))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.spines["top"].set_position(("data", 0.0))
    axes.spines["top"].set_bounds(1, k)
    axes.xaxis.tick_top()
    axes.set_xticks(range(1, k + 1))
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    sets = f"{ranks.n} test sets"
    test = (
        f"too few to test: {sets}"
        if math.isnan(ranks.p)
        else f"Friedman p = {ranks.p:.2g} over {sets}"
    )
    figure.suptitle(
        f"Mean rank by cross-domain AUC (1 is best); {test}", fontsize=10, fontweight="bold"
    )
    _save(figure, path)


def best_so_far(curves: Mapping[Pairing, Sequence[float | None]], path: Path) -> None:
    """Draw the best source-val AUC against the trials: a panel per training set, a line per
    detector.

    curves: by pairing, the best so far after trial 0, 1, ...; None before the first that was done.
    Raises StoreError where the file cannot be written.
    """
    sources = list(dict.fromkeys(pairing.train_on for pairing in curves))
    detectors = list(dict.fromkeys(pairing.detector for pairing in curves))
    palette = colormaps["tab10" if len(detectors) <= 10 else "tab20"]
    across = min(len(sources), MAX_PANELS_ACROSS) or 1
    down = math.ceil(len(sources) / across) or 1
    figure = Figure(figsize=(PANEL * across + 1.8, PANEL * 0.8 * down + 0.6), layout="constrained")
    panels = [*figure.subplots(down, across, squeeze=False, sharey=True).flat]
    for axes, source in zip(panels, sources, strict=False):
        for pairing, curve in curves.items():
            if pairing.train_on == source:
                heights = [math.nan if value is None else value for value in curve]
                colour = palette(detectors.index(pairing.detector) % palette.N)
                axes.step(
                    range(len(heights)),
                    heights,
                    where="post",
                    marker="o",
                    markersize=3,
                    color=colour,
                    linewidth=1.3,
                )
        axes.set_title(f"train on {_wrapped(source)}", fontsize=9)
        axes.set_xlabel("trial (0 is the default)", fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=7)
        axes.grid(color="#e5e5e5", linewidth=0.5)
    for axes in panels[len(sources) :]:
        axes.set_axis_off()
    panels[0].set_ylabel("best source-val AUC so far", fontsize=8)
    handles = [
        Line2D([], [], label=name, color=palette(i % palette.N)) for i, name in enumerate(detectors)
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=7, frameon=False)
    _save(figure, path)


def _draw_rank(
    axes: Axes, rank: float, depth: float, name: str, *, edge: float, left: bool
) -> None:
    """Draw a line from a mean rank on the axis down to `depth` and out to the edge, where the
    detector's name stands.
    """
    axes.plot([rank, rank, edge], [0, depth, depth], color="#444444", linewidth=0.9)
    shown = (
        name
        if len(name) <= LONGEST_NAME
        else f"{name[: LONGEST_NAME // 2]}...{name[3 - LONGEST_NAME // 2 :]}"
    )
    text = f"{shown} ({rank:.2f}) " if left else f" ({rank:.2f}) {shown}"
    axes.text(edge, depth, text, ha="right" if left else "left", va="center", fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    try:
        with whole_file(path) as temporary:
            FigureCanvasAgg(figure).print_figure(
                temporary, format="png", dpi=DPI, metadata={"Software": None}
            )
    except OSError as error:
        raise StoreError(
            f"cannot write '{path}': {error.strerror or error}; choose another --results folder"
        ) from error
