"""What would hold on other test sets, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.other_test_sets import OtherTestSets
from study.render.numbers import between, number
from study.render.table import Column, markdown, table

EXPLAINED = (
    "All other intervals are of these test sets. Here they are a sample of test sets: the mean"
    " cross-domain AUC over families of test sets that share images, by random effects (Paule and"
    " Mandel, Hartung and Knapp), how far families lie apart beyond their own error, and where one"
    " more test set's AUC would lie. It holds for test sets like these, as far as these are a fair"
    " sample of any."
)


def other_test_sets_markdown(rows: Sequence[OtherTestSets]) -> str:
    """Return the table, or why there is none; "" without cross-domain cells. Ends with a
    newline.
    """
    if not rows:
        return ""
    head = ("detector", Column("families", "count"), "mean AUC", "sd between", "one more test set")
    lines = []
    for row in rows:
        found = row.found
        if found is None:
            lines.append((row.detector, row.families, f"not said: {row.reason}", "", ""))
            continue
        mean = f"{number(found.mean)} {_within(found.low, found.high)}"
        one = _within(found.one_low, found.one_high)
        lines.append((row.detector, row.families, mean, number(found.between), one))
    return "\n\n".join(["# Other test sets", EXPLAINED, markdown(table(head, lines))]) + "\n"


def _within(low: float, high: float) -> str:
    """An interval of an AUC, cut to [0, 1]."""
    return between(max(low, 0.0), min(high, 1.0))
