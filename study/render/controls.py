"""Detectors against controls, as text: controls.csv and controls.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from study.analysis.controls import ControlRow
from study.core.csv_lines import csv_line
from study.core.records import CONTROLS
from study.render.numbers import counted, number, p_text, with_interval
from study.render.table import markdown, table

ALPHA = 0.05
UNCLAIMED = "no claim: the training sample is not counted"
EXPLAINED = (
    "Each detector less each control, on the same images: the AUC of single models, mean over"
    " seeds. Controls are trained on the train split of X and scored on the test split of Y, as"
    " the detectors are. The rows of these names in the matrix are others: cross-validated on Y"
    " itself. (metadata only) sees the file, (border and brightness) a few statistics of border,"
    " corners and brightness, (processing history) what processing left in the pixels. A probe is a"
    " detector of the study, a frozen pretrained network below a linear head. The interval"
    " counts test images, training sample and seeds (halves of the training groups); where"
    " the training sample is not counted, nothing is claimed. A classifier of the audit is taken as"
    " it is. Holm's step is over the cells and detectors of a control."
)


def verdict(row: ControlRow) -> str:
    """Return what a row says, in words."""
    if row.reason or math.isnan(row.p_holm):
        return f"cannot be tested ({row.reason})" if row.reason else "cannot be tested"
    if not row.counted:
        return UNCLAIMED
    if row.p_holm >= ALPHA:
        return "not told apart"
    return "better" if row.difference > 0 else "worse"


def controls_lines(rows: Sequence[ControlRow]) -> list[str]:
    """Return, for the terminal, how often a detector is shown to be better than each control. Of
    what cannot be tested and what is not claimed nothing is shown: that is counted apart.
    """
    lines = []
    for control in dict.fromkeys(row.control for row in rows):
        mine = [row for row in rows if row.control == control]
        said = Counter(map(verdict, mine))
        unclaimed = said[UNCLAIMED]
        tested = said["better"] + said["worse"] + said["not told apart"]
        probe = " trained alike" if control in CONTROLS else ", a frozen probe"
        parts = [
            f"against {control}{probe}: a detector is better by more than noise in"
            f" {said['better']} of {counted(tested, 'comparison')} (each detector in each cell)"
        ]
        if len(mine) > tested + unclaimed:
            parts.append(f"{len(mine) - tested - unclaimed} cannot be tested")
        if unclaimed:
            parts.append(f"{unclaimed} not claimed: the training sample is not counted")
        lines.append("; ".join(parts))
    return lines


def controls_markdown(rows: Sequence[ControlRow]) -> str:
    """Return controls.md; "" where there is nothing to compare."""
    if not rows:
        return ""
    parts = ["# Detectors against controls", EXPLAINED]
    head = ("train on", "test on", "detector", "AUC", "control's AUC", "difference", "p", "verdict")
    for control in dict.fromkeys(row.control for row in rows):
        lines = [
            (
                *(row.train_on, row.test_on, row.detector, number(row.auc)),
                number(row.control_auc),
                with_interval(row.difference, row.low, row.high, signed=True),
                p_text(row.p_holm),
                verdict(row),
            )
            for row in rows
            if row.control == control
        ]
        trained = ", trained on X" if control in CONTROLS else ""
        parts += [f"## {control}{trained}", markdown(table(head, lines))]
    return "\n\n".join(parts) + "\n"


def controls_csv(rows: Sequence[ControlRow]) -> str:
    """Return controls.csv: the fields of `ControlRow`, and the verdict in words."""
    names = [field.name for field in fields(ControlRow)]
    lines = [csv_line((*names, "verdict"))]
    lines += [csv_line((*(getattr(row, name) for name in names), verdict(row))) for row in rows]
    return "".join(lines)
