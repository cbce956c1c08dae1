"""Does the embedded default study find its right answer, whatever its seed?

    python benchmarks/quick_answer.py --results DIR --out quick_answer.jsonl    # 20 study seeds

Runs `quick` with its named detector, spectrum, and its whole budget, once for each study seed, and
appends a line a seed: AUC, interval and null band of each cell, and which test sets the audit
marks. Seeds that are in the file are not run again. A cell counts as more than chance where its
interval lies above .5 and its value above the null band.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import numpy as np

from study.data.sources.demo import FAMILIES

SEEDS = 20


class Cell(TypedDict):
    """A cell of the matrix: AUC, its 95 % interval, and the upper end of its null band."""

    train_on: str
    test_on: str
    auc: float
    low: float
    high: float
    band_high: float


class Line(TypedDict):
    """What one study seed gave: a line of the result file."""

    seed: int
    cells: list[Cell]
    marked: list[str]


def cells_of(folder: Path) -> list[Cell]:
    """Return the cells of spectrum from a study's folder."""
    with (folder / "matrix.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["detector"], row["metric"], row["seed"], row["degradation"], row["level"])
            == ("spectrum", "auc", "mean", "none", "image")
        ]
    bands = {
        (row["train_on"], row["test_on"]): float(row["high"])
        for row in rows
        if row["role"] == "null"
    }
    return [
        {
            "train_on": row["train_on"],
            "test_on": row["test_on"],
            "auc": float(row["value"]),
            "low": float(row["low"]),
            "high": float(row["high"]),
            "band_high": bands[row["train_on"], row["test_on"]],
        }
        for row in rows
        if row["role"] == "detector" and not row["subset"] and row["leak_free"] == "false"
    ]


def is_related(cell: Cell) -> bool:
    """Whether the two datasets have traces of one family."""
    return FAMILIES[cell["train_on"]] == FAMILIES[cell["test_on"]]


def generalises(cell: Cell) -> bool:
    """Whether the tool calls the cell more than chance."""
    return cell["low"] > 0.5 and cell["auc"] > cell["band_high"]


def marked(folder: Path) -> list[str]:
    """Return the test sets that the audit marks."""
    with (folder / "datasets.csv").open(encoding="utf-8", newline="") as file:
        return [row["name"] for row in csv.DictReader(file) if row["warnings"]]


def run(seed: int, results: Path) -> Line:
    """Run the study with one seed, and return its line."""
    options = ["--set", f"seed={seed}", "--set", 'detectors=["spectrum"]', "--local"]
    where = results / f"seed{seed}"
    for command in ("study.sweep", "study.cross_eval"):
        line = [sys.executable, "-m", command, "quick", "--results", str(where), *options]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return {"seed": seed, "cells": cells_of(where / "quick"), "marked": marked(where / "quick")}


def report(lines: list[Line]) -> None:
    """Print how many seeds have the right answer, and each cell's mean."""
    right, aucs = 0, dict[tuple[str, str], list[Cell]]()
    for line in lines:
        cells = line["cells"]
        right += all(generalises(cell) is is_related(cell) for cell in cells)
        for cell in cells:
            aucs.setdefault((cell["train_on"], cell["test_on"]), []).append(cell)
    print(f"{right} of {len(lines)} study seeds: every related pair more than chance, no other")
    print(f"{'train on -> test on':40} {'':9} mean AUC    sd  more than chance")
    for (train_on, test_on), cells in aucs.items():
        values = [cell["auc"] for cell in cells]
        kind = "related" if is_related(cells[0]) else "unrelated"
        shown = sum(map(generalises, cells))
        name = f"{train_on} -> {test_on}"
        print(f"{name:40} {kind:9} {np.mean(values):8.3f} {np.std(values):5.3f}  {shown}")
    print("marked by the audit:", sorted({str(line["marked"]) for line in lines}))


def main() -> None:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", type=Path, required=True, help="folder of the studies' results"
    )
    parser.add_argument("--out", type=Path, default=Path("quick_answer.jsonl"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    lines: list[Line] = []
    if args.out.exists():
        lines = [json.loads(line) for line in args.out.read_text(encoding="utf-8").splitlines()]
    for seed in range(args.seeds):
        if seed not in {line["seed"] for line in lines}:
            lines.append(run(seed, args.results))
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    report(lines)


if __name__ == "__main__":
    main()
