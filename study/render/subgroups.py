"""Subgroups of the test sets, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.subgroups import SubgroupRow
from study.render.table import Column, markdown, table

EXPLAINED = (
    "The columns subgroup:NAME of a manifest divide its test images. Of two levels the first is"
    " compared with the second, of more each with all others, by AUC (mean over seeds of single"
    " models). The interval and p of the difference count images, training sample and seeds; Holm"
    " over all rows. The thresholds' numbers of each level are in matrix.csv (subset)."
)


def subgroups_markdown(rows: Sequence[SubgroupRow]) -> str:
    """Return the table; "" where no manifest has subgroups. Ends with a newline."""
    if not rows:
        return ""
    head = (
        *("detector", "train on", "test on", "subgroup", "against", "real / fake"),
        *(Column("AUC", "number"), Column("AUC of those", "number")),
        *(Column("difference", "interval", signed=True), Column("p (Holm)", "p"), "verdict"),
    )
    lines = [
        (
            *(row.detector, row.train_on, row.test_on, f"{row.subgroup}={row.level}", row.against),
            f"{row.n_real} / {row.n_fake}",
            *(row.auc, row.auc_against),
            (row.finding.value, row.finding.low, row.finding.high),
            row.p_holm,
            row.verdict.value,
        )
        for row in rows
    ]
    return "\n\n".join(["# Subgroups", EXPLAINED, markdown(table(head, lines))]) + "\n"
