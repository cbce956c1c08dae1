"""What the searches took, and whether source val is worth selecting by, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.search_cost import SHARES, SearchCost, ValAgreement
from study.render.numbers import number, with_interval
from study.render.table import Cell, Column, markdown, table

EXPLAINED = (
    "Equal trials are not equal compute. Device time is that of a pairing's trials, failed ones"
    " included, times the devices that a trial holds. Best: the highest source-val AUC after the"
    " first trial (the default) and after a part of all."
)
AGREES = (
    "Is source val worth selecting by? Spearman's rho between source-val AUC and the mean AUC over"
    " cross-domain test sets. Trials are scored on source val only, so it is over winners and"
    " defaults, of all detectors, each a mean over seeds. The interval takes configurations as"
    " independent, and a detector's winner and default are not quite."
)


def search_cost_markdown(costs: Sequence[SearchCost], agreement: Sequence[ValAgreement]) -> str:
    """Return both tables; "" where nothing was searched. Ends with a newline."""
    if not costs:
        return ""
    head: list[str | Column] = ["detector", "train on"]
    head += [Column("trials", "count"), Column("failed", "count"), "device time"]
    head += [Column("best, trial 0", "number")]
    head += [Column(f"best after {share:.0%}", "number") for share in SHARES]
    rows: list[list[Cell]] = []
    for cost in costs:
        row: list[Cell] = [cost.pairing.detector, cost.pairing.train_on, cost.trials, cost.failed]
        rows.append([*row, f"{cost.device_seconds:,.1f} s", *cost.best])
    parts = ["# What the searches took", EXPLAINED, markdown(table(head, rows))]
    if agreement:
        lines = [
            (one.train_on or "all, ranked within each", one.configurations, _rho(one))
            for one in agreement
        ]
        columns = ("train on", Column("configurations", "count"), "rho")
        parts += [AGREES, markdown(table(columns, lines))]
    return "\n\n".join(parts) + "\n"


def _rho(one: ValAgreement) -> str:
    if one.reason:
        return f"undefined ({one.reason})"
    return with_interval(one.rho, one.low, one.high) if one.low == one.low else number(one.rho)
