"""Made-up rows of a matrix, shared by the tests of reporting and tracking. Values follow from the
names, so they never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from study.analysis.leakage import NO_LEAKS
from study.analysis.results import ResultRow, Results
from study.core.identity import unit_interval
from study.core.records import SHORTCUTS, Estimate

NAN = float("nan")
PLAIN = ("auc", "ap", "eer", "tpr_at_fpr1", "tpr_at_fpr5", "brier", "nll", "ece")
AT_THRESHOLD = ("accuracy", "balanced_accuracy", "f1")
THRESHOLDS = ("fixed", "source", "source_fpr5", "oracle")
# 20
QUANTITIES = [(metric, "") for metric in PLAIN] + [
    (metric, threshold) for metric in AT_THRESHOLD for threshold in THRESHOLDS
]


def results(rows: Sequence[ResultRow], **tables: Any) -> Results:
    """Rows as the table of a study; `tables` are the others."""
    return Results(rows=tuple(rows), **tables)


def row(
    detector: str = "npr",
    train_on: str = "a",
    test_on: str = "b",
    value: float = 0.75,
    **changes: object,
) -> ResultRow:
    """One row; `changes` go to the row, or to its estimate where it has a field of that name."""
    estimate = Estimate(value=value, low=value - 0.05, high=value + 0.05, n_real=100, n_fake=150)
    own = {k: v for k, v in changes.items() if k in Estimate.__dataclass_fields__ and k != "reason"}
    made = ResultRow(
        detector=detector,
        train_on=train_on,
        test_on=test_on,
        role="baseline" if detector in SHORTCUTS else "detector",
        degradation="none",
        level="image",
        domain="cross" if "domain" in changes else NO_LEAKS.domain(train_on, test_on),
        seed="mean",
        metric="auc",
        threshold="",
        estimate=replace(estimate, **own),
        coverage=1.0,
        state="done",
    )
    return replace(made, **{k: v for k, v in changes.items() if k not in own})


def without_number(
    detector: str, train_on: str, test_on: str, state: str, reason: str, **changes: object
) -> ResultRow:
    """A cell that has no number: what `study.planning.cells` writes for it."""
    return row(
        detector,
        train_on,
        test_on,
        NAN,
        low=NAN,
        high=NAN,
        n_real=0,
        n_fake=0,
        coverage=NAN,
        state=state,
        reason=reason,
        **changes,
    )


def matrix(
    detectors: Sequence[str],
    datasets: Sequence[str],
    *,
    train_on: Sequence[str] | None = None,
    seeds: int = 2,
    quantities: Sequence[tuple[str, str]] = QUANTITIES,
) -> list[ResultRow]:
    """A whole matrix: every seed of every cell, and their mean."""
    rows = []
    for detector in detectors:
        for source in train_on or datasets:
            for target in datasets:
                for metric, threshold in quantities:
                    high = 0.85 if target in source.split("+") else 0.5
                    cell = {
                        "detector": detector,
                        "train_on": source,
                        "test_on": target,
                        "metric": metric,
                        "threshold": threshold,
                    }
                    values = [
                        high + 0.15 * unit_interval(str(seed), "/".join(cell.values()))
                        for seed in range(seeds)
                    ]
                    rows += [row(**cell, value=v, seed=str(s)) for s, v in enumerate(values)]
                    rows.append(
                        row(
                            **cell,
                            value=mean(values),
                            seeds=seeds,
                            sd=stdev(values) if seeds > 1 else NAN,
                        )
                    )
    return rows
