"""Files for people and for other programs: confusion tables, classification reports, metrics as
JSON, predictions of every cell as CSV, and a README of the results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from study.analysis.classification import COLUMNS, CellPredictions, CellReport
from study.analysis.results import ResultRow
from study.core.csv_lines import csv_line
from study.core.identity import whole_file
from study.core.records import NO_DEGRADATION
from study.render.numbers import json_number

CONFUSION, REPORTS, METRICS = "confusion.csv", "classification.txt", "metrics.json"
PREDICTIONS, README = "predictions", "README.md"
PREDICTED = ("*__*__*__seed*.csv",)  # the files in the folder of predictions
_PLACE = ("detector", "train_on", "test_on", "seed", "threshold")
_COUNTS = ("tn", "fp", "fn", "tp")
_RATES = ("precision", "recall", "f1-score", "support")


def write_reports(reports: Sequence[CellReport], folder: Path) -> list[Path]:
    """Write the confusion tables and the classification reports; return the files."""
    head = [*_PLACE, "cut", *_COUNTS, "accuracy"]
    head += [f"{name}_{rate}" for name in ("real", "fake", "macro avg") for rate in _RATES]
    lines = [csv_line([name.replace(" ", "_").replace("-", "_") for name in head])]
    lines += [csv_line(_confusion(one)) for one in reports]
    texts = [f"{one.name} (logit {one.cut:.4g})\n\n{_table(one)}\n\n{one.text}" for one in reports]
    return [
        _write(folder / CONFUSION, "".join(lines)),
        _write(folder / REPORTS, "\n\n".join(texts)),
    ]


def _confusion(one: CellReport) -> list[str]:
    place = [str(getattr(one, name)) for name in (*_PLACE, "cut", *_COUNTS)]
    classes = [one.report[name] for name in ("real", "fake", "macro avg")]
    numbers = [_cell(kind[rate]) for kind in classes for rate in _RATES]
    accuracy = (one.tp + one.tn) / max(1, one.tp + one.tn + one.fp + one.fn)
    return [*place, repr(accuracy), *numbers]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _table(one: CellReport) -> str:
    rows = (("", "called real", "called fake"), ("real", one.tn, one.fp), ("fake", one.fn, one.tp))
    return "\n".join(f"{a:<6}{b:>12}{c:>13}" for a, b, c in rows)


def write_metrics(rows: Iterable[ResultRow], folder: Path) -> Path:
    """Write the clean numbers of whole cells, mean over seeds, as JSON: detector, training set,
    test set, metric (`accuracy@source`), then value, low, high.
    """
    found: dict[str, Any] = {}
    for row in rows:
        mean = row.seed == "mean" and row.level == "image" and not row.subset and row.metric
        if not mean or row.degradation != NO_DEGRADATION or row.leak_free:
            continue
        cell = found.setdefault(row.detector, {}).setdefault(row.train_on, {})
        name = f"{row.metric}@{row.threshold}" if row.threshold else row.metric
        estimate = row.estimate
        cell.setdefault(row.test_on, {})[name] = {
            key: json_number(getattr(estimate, key)) for key in ("value", "low", "high")
        }
    return _write(folder / METRICS, json.dumps(found, indent=1, allow_nan=False) + "\n")


def write_predictions(of: CellPredictions, folder: Path) -> Path:
    """Write a cell's predictions, a line an image."""
    path = folder / PREDICTIONS / of.file_name
    path.parent.mkdir(exist_ok=True)
    return _write(path, "".join(map(csv_line, (COLUMNS, *of.rows()))))


def write_readme(name: str, answer: str, commands: Sequence[tuple[str, str]], folder: Path) -> Path:
    """Write what a folder of results holds, the answer, and how to go on. commands: (what one
    wants, the command).
    """
    told = "\n".join(f"> {line}" for line in answer.splitlines())
    go_on = "\n".join(f"* {what}: `{command}`" for what, command in commands)
    here = [(file, what) for file, what in FILES if (folder / file.split(", ")[0]).exists()]
    files = "\n".join(f"| `{file}` | {what} |" for file, what in here)
    return _write(
        folder / README,
        f"# Results of the study {name}\n\n## The answer\n\n{told}\n\n"
        f"## What is here\n\n| file | content |\n|---|---|\n{files}\n\n"
        f"## How to go on\n\n{go_on}\n\n"
        "A score is no ground for accusing anybody. Every detector here is wrong on some real"
        " photographs.\n",
    )


FILES = (
    ("report.html", "everything on one page, for a browser; nothing is fetched, so it can be sent"),
    ("tables.md", "the matrix of every detector as tables, with the marks explained"),
    ("comparisons.md", "which detector generalises best, with every pair compared"),
    (
        "controls.md",
        "every detector against classifiers of files, borders and processing, and probes",
    ),
    ("matrix.csv", "every number with its interval, a line each"),
    (METRICS, "the mean of every cell and metric, as JSON"),
    (CONFUSION, "confusion counts, precision, recall and F1 of every cell, seed by seed"),
    (REPORTS, "the same as text, a report for each cell"),
    ("tippett.csv", "the share of reals and fakes with at least each likelihood ratio, by cell"),
    ("deliveries.csv", "the share of verdicts that flip where images are cut otherwise"),
    ("delivery_ranks.csv", "whether detectors keep their ranks there"),
    ("tuning.md", "what tuning gained over the default configuration"),
    ("audit.json", "what sets the classes of a dataset apart beside being fake"),
    ("images.parquet", "which image of which dataset is in which split"),
    ("flags.csv", "pairings that were trained or tuned too little"),
    ("figures/", "heat maps, ROC curves, Tippett plots, search curves"),
    ("study.toml", "the study, every setting written out"),
    ("scores/, models/", "one logit per test image; the trained detectors"),
    ("run.log", "what the commands said"),
)


def _write(path: Path, text: str) -> Path:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
