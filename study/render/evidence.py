"""Scores as evidence, as Markdown: the table that a reviewer asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from study.analysis.evidence import NUMBERS, EvidenceRow
from study.core.csv_lines import csv_line
from study.core.records import Estimate
from study.render.numbers import ends, number, p_text
from study.render.table import markdown, table
from study.statistics.resampling import CONFIDENCE

TIPPETT_AT = np.arange(-50, 51) / 10  # log10 LR
EXPLAINED = (
    "A likelihood ratio (LR) says how much more probable a score is of a fake than of a real. It is"
    " calibrated on the source's val. Cllr is its cost in bits, 1 where every LR is 1 and above 1"
    " where LRs mislead; least Cllr is what perfect calibration would leave. Within the bounds"
    " (ELUB, log10 LR, the narrowest over seeds) LRs rest on the test images: report none beyond."
    " Valid: whether an LR calibrated on X is one on Y (a score test of slope and offset, Holm over"
    " the cells); what is not refuted is not shown. PPV: the share of fakes among images called so"
    " at the source's 1 % FPR threshold, where 1 or 10 % of images are fake; without an interval"
    " where the images rule nothing out from 0 to 1. Risk: the share of"
    " wrong calls among the 80 % of images whose LRs are farthest from 1. Tippett plots of the LRs"
    " of all seeds are in figures/tippett.png, their data in tippett.csv."
)


def valid_words(row: EvidenceRow) -> str:
    """Return whether LRs are valid, in words."""
    if math.isnan(row.p_holm):
        return "cannot be tested"
    verdict = "no" if row.p_holm < 1 - CONFIDENCE else "not refuted"
    return f"{verdict} (p {p_text(row.p_holm)})"


def evidence_markdown(rows: Sequence[EvidenceRow]) -> str:
    """Return the table; "" where no detector has a source. Ends with a newline."""
    if not rows:
        return ""
    head = [*("detector", "train on", "test on", "Cllr", "least Cllr", "bounds of log10 LR")]
    head += ["valid", "PPV at 1 %", "PPV at 10 %", "risk at 80 %"]
    lines = [
        (
            *(row.detector, row.train_on, row.test_on),
            *(_shown(row.numbers[name]) for name in [*NUMBERS][:2]),
            bounds_words(row),
            valid_words(row),
            *(_shown(row.numbers[name]) for name in [*NUMBERS][2:]),
        )
        for row in rows
    ]
    return "\n\n".join(["# Scores as evidence", EXPLAINED, markdown(table(head, lines))]) + "\n"


def tippett_csv(rows: Sequence[EvidenceRow]) -> str:
    """Return tippett.csv: of every cell the share of reals and of fakes whose LR is at least that,
    at steps of log10 LR.
    """
    names = ("detector", "train_on", "test_on", "log10_lr", "reals_at_least", "fakes_at_least")
    lines = [csv_line(names)]
    for row in rows:
        if row.has_ratios:
            for at, real, fake in zip(TIPPETT_AT, *row.tippett(TIPPETT_AT), strict=True):
                place = (row.detector, row.train_on, row.test_on)
                lines.append(csv_line((*place, float(at), float(real), float(fake))))
    return "".join(lines)


def bounds_words(row: EvidenceRow) -> str:
    """Return within which log10 LR an LR rests on data, in words."""
    if math.isnan(row.low):
        return "undefined"
    return "none: no LR but 1" if row.low >= row.high else f"{row.low:.2f} to {row.high:.2f}"


def _shown(one: Estimate) -> str:
    if math.isnan(one.value):
        return "undefined"
    return f"{number(one.value)} {ends(one.low, one.high)}"
