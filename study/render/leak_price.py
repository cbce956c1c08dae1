"""The leak price as Markdown and as lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from study.analysis.leak_price import LeakPrice
from study.render.numbers import counted, leaked_text, leaks_words, number
from study.render.table import Cell, Column, markdown, table

HEAD = (
    "detector",
    "train on",
    "test on",
    Column("honest", "number"),
    Column("claimed (an upper bound)", "number"),
    Column("leak price", "interval", signed=True),
    "sd over seeds",
    "epochs",
    "leaked images",
)
EXPLAINED = """What picking the best checkpoint on the test set would have claimed, minus the honest
number. Honest: AUC of the epoch that source val chose; claimed: the highest test AUC of any epoch,
an upper bound that is no result; mean over seeds [95 % interval over seeds, Student's t]. The best
of several noisy numbers lies above all of their means, so some of the price is luck.
Epochs: chosen by source val -> by the test set, seed by seed. Logistic regressions have none, those
trained by low-rank adaptation keep none. Images that leak from training are left out of both sides.
\\* in-domain."""


def markdown_prices(found: Sequence[LeakPrice]) -> str:
    """Return the prices as Markdown, "" where none is known. Ends with a newline."""
    if not found:
        return ""
    return "\n\n".join(["# Leak price", EXPLAINED, markdown(table(HEAD, map(_row, found)))]) + "\n"


def _row(one: LeakPrice) -> list[Cell]:
    star = " *" if one.domain == "in" else ""
    return [
        one.pairing.detector,
        one.pairing.train_on,
        one.test_on + star,
        one.honest,
        one.claimed,
        (one.price.mean, one.price.low, one.price.high),
        one.price.sd_text,
        ", ".join(f"{a} -> {b}" for a, b in one.epochs),
        leaked_text(one.leaked, kept=one.kept),
    ]


def price_line(found: Sequence[LeakPrice], detector: str) -> str:
    """Return what is printed of a detector's prices, their mean over cells; "" where none is
    known.
    """
    mine = [one for one in found if one.pairing.detector == detector]
    if not mine:
        return ""
    price = number(fmean(one.price.mean for one in mine), signed=True)
    said = [
        f"leak price (an upper bound: the best epoch chosen on the test set) {price} in AUC",
        f"mean of {counted(len(mine), 'cell')}",
        *leaks_words([one.kept for one in mine if one.leaked]),
    ]
    return ", ".join(said)
