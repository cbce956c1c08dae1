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
    " sample of any. The same models are scored on all of them, so the training sample and seeds"
    " count in the error of the mean."
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
    said = [EXPLAINED, markdown(table(head, lines)), *_notes(rows)]
    return "\n\n".join(["# Other test sets", *said]) + "\n"


def _notes(rows: Sequence[OtherTestSets]) -> list[str]:
    """What is left out, and where the training sample is not counted."""
    found = []
    if uncounted := [row.detector for row in rows if row.found and not row.counted]:
        found.append(
            f"The training sample is not counted, as models of halves are missing:"
            f" {', '.join(uncounted)}. These intervals are too narrow."
        )
    if marked := rows[0].marked:
        found.append(f"Left out as marked ! (a confound or a leak): {', '.join(marked)}.")
    for row in rows:
        if row.without_error:
            names = ", ".join(row.without_error)
            found.append(f"Left out of {row.detector}, as its AUC has no known error: {names}.")
    return found


def _within(low: float, high: float) -> str:
    """An interval of an AUC, cut to [0, 1]."""
    return between(max(low, 0.0), min(high, 1.0))
