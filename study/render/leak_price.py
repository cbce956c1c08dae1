"""The leak price as Markdown and as lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from study.analysis.leak_price import LeakPrice
from study.data.names import is_in_domain
from study.render.markdown import leaked_text, number, pipes, with_interval

HEAD = (
    "detector",
    "train on",
    "test on",
    "honest",
    "claimed (an upper bound)",
    "leak price",
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
    table = pipes([HEAD, *map(_line, found)])
    return "\n\n".join(["# Leak price", EXPLAINED, table]) + "\n" if found else ""


def _line(one: LeakPrice) -> list[str]:
    star = " *" if is_in_domain(one.pairing.train_on, one.test_on) else ""
    place = [one.pairing.detector, one.pairing.train_on, one.test_on + star]
    price = with_interval(one.price.mean, one.price.low, one.price.high, signed=True)
    epochs = ", ".join(f"{a} -> {b}" for a, b in one.epochs)
    leaked = leaked_text(one.leaked, kept=one.kept)
    return [
        *place,
        number(one.honest),
        number(one.claimed),
        price,
        one.price.sd_text,
        epochs,
        leaked,
    ]


def price_line(found: Sequence[LeakPrice], detector: str) -> str:
    """Return what is printed of a detector's prices, their mean over cells; "" where none is
    known.
    """
    mine = [one for one in found if one.pairing.detector == detector]
    if not mine:
        return ""
    cells = f"{len(mine)} cell{'s' if len(mine) > 1 else ''}"
    leaked = [one.kept for one in mine if one.leaked]
    clean = (
        f", leaked images {'kept where a class is gone without' if any(leaked) else 'left out'}"
        if leaked
        else ""
    )
    price = fmean(one.price.mean for one in mine)
    return (
        f"leak price (an upper bound: the best epoch chosen on the test set) {price:+.3f} in AUC,"
        f" mean of {cells}{clean}"
    )
