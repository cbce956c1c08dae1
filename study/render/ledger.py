"""The ledger of claims: as text, Markdown, JSON, and as a model card's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from study.analysis.ledger import Ledger, Line
from study.analysis.results import ResultRow
from study.render.numbers import json_number, with_interval
from study.render.table import GAP, Cell, Column, markdown, table

SCHEMA = 1
NOTHING = "no published detector is scored in this study"
# the names that Hugging Face's model cards have for metrics
CARD_METRICS = {"auc": "roc_auc", "ap": "average_precision"}


def as_text(found: Ledger) -> str:
    """Return the ledger for a person: each claim, the verdict, and our numbers."""
    blocks = []
    for line in found.lines:
        claim = line.claim
        numbers = [f"{GAP}{_ours_words(line)}:", *(f"{GAP * 2}{_row_words(r)}" for r in line.ours)]
        blocks.append(
            f"{line.detector}: {line.verdict}: {line.because}\n"
            f"{GAP}claimed: {_measured(claim.metric, claim.threshold)} {claim.value:g},"
            f" {claim.data} ({claim.source})\n" + "\n".join(numbers)
        )
    blocks += [f"{name}: no claim of its authors is on record" for name in found.without_claim]
    return "\n\n".join(blocks) or NOTHING


def ledger_markdown(found: Ledger) -> str:
    """Return the ledger as a part of tables.md; "" without published detectors. Ends with a
    newline.
    """
    if not found.lines:
        return ""
    head = ("detector", "claimed", Column("value", "number"), "verdict", "because", "ours")
    rows: list[tuple[Cell, ...]] = [
        (
            line.detector,
            f"{_measured(line.claim.metric, line.claim.threshold)}, {line.claim.data}",
            line.claim.value,
            line.verdict,
            line.because,
            f"{_ours_words(line)}: " + "; ".join(map(_row_words, line.ours)),
        )
        for line in found.lines
    ]
    said = (
        "What the authors of published detectors claim, against the numbers here. A claim is"
        " reproduced or not only on its own test: the same weights, images, preprocessing, metric"
        " and threshold."
    )
    return f"# Claims\n\n{said}\n\n{markdown(table(head, rows))}\n"


def as_json(found: Ledger) -> str:
    """Return the ledger as a JSON document."""
    lines = [
        {
            "detector": line.detector,
            "title": line.card.title,
            "licence": line.card.licence,
            "trained_on": line.card.trained_on,
            "training": line.card.training,
            "preprocessing": line.card.preprocessing,
            "claim": vars(line.claim),
            "verdict": line.verdict,
            "because": line.because,
            "on_other_data": line.verdict == "untestable here",
            "ours": [_json_row(row, found) for row in line.ours],
        }
        for line in found.lines
    ]
    document = {"schema": SCHEMA, "lines": lines, "without_claim": found.without_claim}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _json_row(row: ResultRow, found: Ledger) -> dict[str, Any]:
    of = row.estimate
    return {
        "test_set": row.test_on,
        "metric": row.metric,
        "threshold": row.threshold,
        "value": json_number(of.value),
        "low": json_number(of.low),
        "high": json_number(of.high),
        "n_real": of.n_real,
        "n_fake": of.n_fake,
        "images_sha256": found.images.get(row.test_on, ""),
    }


def model_cards(found: Ledger) -> str:
    """Return the numbers of each published detector as a model card's metadata (`model-index`,
    YAML), documents divided by `---`.
    """
    from huggingface_hub import EvalResult, ModelCardData

    from study.detectors.published import PUBLISHED

    documents = []
    for name in dict.fromkeys(row.detector for row in found.rows):
        results = [
            EvalResult(
                task_type="image-classification",
                task_name="fake image detection",
                dataset_type=row.test_on,
                dataset_name=row.test_on,
                dataset_split="test",
                dataset_args={"images_sha256": found.images[row.test_on]},
                metric_type=CARD_METRICS.get(row.metric, row.metric),
                metric_name=_measured(row.metric, row.threshold),
                metric_value=row.estimate.value,
                metric_args={"interval_95": [row.estimate.low, row.estimate.high]},
            )
            for row in _shown_on_cards(found.rows, name)
        ]
        card = PUBLISHED[name].published
        documents.append(
            ModelCardData(
                model_name=name,
                license=card.licence.lower() if card else None,
                eval_results=results,
            ).to_yaml()
        )
    return "\n---\n".join(documents) + "\n" if documents else ""


def _shown_on_cards(rows: Iterable[ResultRow], name: str) -> list[ResultRow]:
    wanted = {("auc", ""), ("ap", ""), ("accuracy", "fixed"), ("balanced_accuracy", "fixed")}
    return [
        row
        for row in rows
        if row.detector == name and row.has_number and (row.metric, row.threshold) in wanted
    ]


def _measured(metric: str, threshold: str) -> str:
    shown = metric.upper() if metric in ("auc", "ap") else metric.replace("_", " ")
    return f"{shown} at threshold {threshold}" if threshold else shown


def _ours_words(line: Line) -> str:
    return "on other data" if line.verdict == "untestable here" else "ours"


def _row_words(row: ResultRow) -> str:
    of = row.estimate
    return f"{row.test_on} {_measured(row.metric, row.threshold)} " + (
        with_interval(of.value, of.low, of.high)
    )
