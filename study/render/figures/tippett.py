"""Tippett plots, a panel per test set: the share of reals and of fakes whose LR is at least so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.analysis.evidence import EvidenceRow
from study.core.records import Pairing
from study.render.evidence import TIPPETT_AT
from study.render.figures import canvas

PALE = 0.45  # how opaque the curves of reals are


def tippett_plots(rows: Sequence[EvidenceRow], path: Path) -> None:
    """Draw them: colours are detectors, dashes training sets, which of a single detector have
    colours too. Of each pairing the upper, full curve is of fakes, the lower, pale one of reals.
    Raises StoreError where the file cannot be written.
    """
    drawn = [row for row in rows if row.has_ratios]
    test_sets = list(dict.fromkeys(row.test_on for row in drawn))
    styles = canvas.styles_of(list(dict.fromkeys(map(_pairing, drawn))))
    if len({pairing.detector for pairing in styles}) == 1:
        colours = canvas.colours_of([pairing.train_on for pairing in styles])
        styles = {p: {**style, "color": colours[p.train_on]} for p, style in styles.items()}
    figure, every = canvas.panels(len(test_sets))
    for axes, test_on in zip(every, test_sets, strict=True):
        axes.axvline(0, **canvas.CHANCE)
        for row in drawn:
            if row.test_on == test_on:
                for share, alpha in zip(row.tippett(TIPPETT_AT), (PALE, 1), strict=True):
                    axes.plot(TIPPETT_AT, share, alpha=alpha, **styles[_pairing(row)])
        axes.set(xlim=(TIPPETT_AT[0], TIPPETT_AT[-1]), ylim=(-0.01, 1.01))
        axes.set_title(f"test on {canvas.wrapped(test_on)}", fontsize=9)
        canvas.label(axes, "log10 LR", "share of images with at least that")
    what = "likelihood ratios of all seeds; full curves: fakes, pale curves: reals"
    figure.suptitle(f"{what}; LR 1 says nothing", fontsize=9)
    lines = {f"{p.detector}, {p.train_on}": style for p, style in styles.items()}
    canvas.legend(figure, {**lines, "LR 1": canvas.CHANCE}, "detector, train on")
    canvas.save(figure, path)


def _pairing(row: EvidenceRow) -> Pairing:
    return Pairing(detector=row.detector, train_on=row.train_on)
