"""The marks that stand beside names and numbers, the same everywhere: on the terminal, in tables,
figures and LaTeX, on the page. docs/statistics.md explains each.
"""

from __future__ import annotations

IN_DOMAIN = "*"  # of a cell; figures and the page outline it as well
WARNED = "!"  # of a test set: a confound or a leak. Of a cell: test images that leak from training
SHARES = "~"  # of a cell: it shares images with the training set, and is in no mean
APART = "^"  # of a cell: its seeds lie outside the interval, which is of the test images alone
MARKS = {
    IN_DOMAIN: "in-domain",
    WARNED: "at a test set: a confound or a leak; at a cell: images that leak from training",
    SHARES: "shares images with the training set: in neither mean",
    APART: "seeds differ by more than the interval, which is of the test images alone",
}


def explained(marks: str) -> str:
    """Return what these marks mean, in one line.

    >>> explained("*~")
    '* in-domain; ~ shares images with the training set: in neither mean'
    """
    return "; ".join(f"{mark} {words}" for mark, words in MARKS.items() if mark in marks)
