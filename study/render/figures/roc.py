"""ROC curves: a panel per test set, a curve per detector and training set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from study.analysis.roc import RocCurve
from study.core.records import Pairing
from study.render.figures import canvas
from study.render.figures.canvas import Style
from study.render.marks import WARNED, explained
from study.render.numbers import number

MOST_AUCS = 8  # said in a panel


def roc_curves(curves: Sequence[RocCurve], path: Path, *, warned: Collection[str] = ()) -> None:
    """Draw ROC curves: colours are detectors, dashes training sets, thick ones are in-domain.

    Each panel says its curves' AUCs; one without a curve says so. warned: test sets that the audit
    warns of, whose panels are marked. Raises StoreError where the file cannot be written.
    """
    test_sets = list(dict.fromkeys(curve.test_on for curve in curves))
    styles = canvas.styles_of(list(dict.fromkeys(curve.pairing for curve in curves)))
    figure, every = canvas.panels(len(test_sets))
    for axes, test_on in zip(every, test_sets, strict=True):
        _draw_panel(axes, [curve for curve in curves if curve.test_on == test_on], styles)
        axes.set_title(f"test on {canvas.marked(test_on, warned)}", fontsize=9)
    key = ["thick: in-domain", *([explained(WARNED)] if {*warned} & {*test_sets} else [])]
    what = (
        "ROC of the mean logit over seeds; AUC: of that curve (the matrix has the mean over seeds)"
    )
    figure.suptitle("\n".join([what, "; ".join(key)]), fontsize=9)
    lines = {f"{p.detector}, {p.train_on}": style for p, style in styles.items()}
    canvas.legend(figure, {**lines, "chance": canvas.CHANCE}, "detector, train on")
    canvas.save(figure, path)


def _draw_panel(axes: Axes, curves: Sequence[RocCurve], styles: Mapping[Pairing, Style]) -> None:
    axes.plot([0, 1], [0, 1], **canvas.CHANCE)
    drawn = [curve for curve in curves if curve.is_defined]
    for curve in drawn:
        style = styles[curve.pairing] | {"linewidth": canvas.width(curve.domain)}
        axes.plot(curve.false_positives, curve.true_positives, **style)
    if drawn:
        _say_aucs(axes, drawn, styles)
    else:
        axes.text(0.5, 0.5, "undefined: one class only", ha="center", fontsize=8)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    canvas.label(axes, "false positive rate", "true positive rate")


def _say_aucs(axes: Axes, curves: Sequence[RocCurve], styles: Mapping[Pairing, Style]) -> None:
    """Write the AUC of each curve, the best first, beside a piece of its line; of many only the
    best.
    """
    best = sorted(curves, key=lambda curve: -curve.auc)[:MOST_AUCS]
    handles = [Line2D([], [], label=number(one.auc), **styles[one.pairing]) for one in best]
    title = "AUC" if len(best) == len(curves) else f"AUC, best {len(best)} of {len(curves)}"
    size: Style = {"fontsize": 6, "title_fontsize": 6, "framealpha": 0.8}
    axes.legend(handles=handles, loc="lower right", title=title, **size)
