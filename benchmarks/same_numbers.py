"""Does a change of the code leave every number of a study what it was?

    python -m benchmarks.same_numbers BEFORE/quick AFTER/quick

Compares the matrix.csv of two results folders, derived from one store: BEFORE by commit 83fed73
(schema 1), AFTER by the code of today (schema 2, with datasets.csv and pairs.csv beside it). What
schema 1 said in its columns `level` and `reason`, and in rows of a metric `shared_images`, stands
in columns and tables of its own in schema 2, and is put side by side with that. Numbers must be
equal bit for bit, and the rows must stand in the same order. Says how many values it has compared;
the exit code is 1 where one differs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from study.analysis.results import ResultRow, Results, flat
from study.analysis.results_csv import read_results
from study.core.records import ELSEWHERE, SHORTCUTS
from study.data.names import is_in_domain

SHOWN = 20  # differences that are printed, of all that are counted
PLACE = ("detector", "train_on", "test_on", "degradation", "seed", "metric", "threshold")
NUMBERS = ("value", "low", "high", "sd", "n_real", "n_fake", "seeds", "coverage")
WORDS = ("state", "reason", "undefined", "note")
Line = dict[str, str]
Compared = tuple[str, str, str]  # where, before, after


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return its exit code."""
    parser = argparse.ArgumentParser(prog="same_numbers", description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="folder with a matrix.csv (or .gz) of schema 1")
    parser.add_argument("after", type=Path, help="folder with the files of schema 2")
    options = parser.parse_args(arguments)
    compared = [*pairs_of(read_old(options.before), read_results(options.after))]
    differing = [one for one in compared if one[1] != one[2]]
    for where, before, after in differing[:SHOWN]:
        print(f"{where}: {before!r} before, {after!r} after", file=sys.stderr)
    print(f"{len(compared)} values compared, {len(differing)} differ")
    return 1 if differing or not compared else 0


def read_old(folder: Path) -> list[Line]:
    """Return the lines of a matrix.csv of schema 1, every field as its text."""
    path = folder / "matrix.csv"
    packed = not path.is_file()
    with (
        gzip.open(folder / "matrix.csv.gz", "rt", encoding="utf-8", newline="")
        if packed
        else path.open(encoding="utf-8", newline="")
    ) as file:
        lines = list(csv.DictReader(file))
    if {line["schema"] for line in lines} != {"1"}:
        raise SystemExit(f"'{folder}' holds no matrix.csv of schema 1: give the older folder first")
    return lines


def pairs_of(old: Sequence[Line], new: Results) -> Iterator[Compared]:
    """Give every value of schema 1 with what schema 2 says in its place."""
    shared = [line for line in old if line["metric"] == "shared_images"]
    numbers = [line for line in old if line["metric"] != "shared_images"]
    related = {(line["train_on"], line["test_on"]) for line in shared}
    yield "rows of matrix.csv", str(len(numbers)), str(len(new.rows))
    for number, (line, row) in enumerate(zip(numbers, new.rows, strict=False), start=2):
        where = f"row {number}, " + " ".join(line[name] for name in (*PLACE, "level"))
        for name, before, after in _of_row(line, row, related):
            yield f"{where}: {name}", before, after
    yield from _of_pairs(shared, new)
    yield from _of_datasets(numbers, new)


def _of_row(line: Line, row: ResultRow, related: set[tuple[str, str]]) -> Iterable[Compared]:
    after = {name: _text(value) for name, value in flat(row).items()}
    before = {name: line[name] for name in (*PLACE, *NUMBERS, *WORDS)}
    before["role"] = "external" if line["train_on"] == ELSEWHERE else "detector"
    if line["detector"] in SHORTCUTS:
        before["role"], before["reason"] = "baseline", ""  # its warnings are in datasets.csv
    level, _, leak_free = line["level"].partition(":")
    before["leak_free"] = str(leak_free == "without_leaks")
    is_subset = level in ("method", "reals")
    before["level"] = "image" if is_subset else level
    before["subset"] = line["level"] if is_subset else ""
    place = (line["train_on"], line["test_on"])
    before["domain"] = "in" if is_in_domain(*place) else "neither" if place in related else "cross"
    before["domain"] = "unknown" if line["train_on"] == ELSEWHERE else before["domain"]
    return [(name, text, after[name]) for name, text in before.items()]


def _of_pairs(shared: Sequence[Line], new: Results) -> Iterator[Compared]:
    """What test sets share with training: each detector's row repeated it in schema 1."""
    pairs = {(pair.train_on, pair.test_on): pair for pair in new.pairs}
    for line in shared:
        pair = pairs.get((line["train_on"], line["test_on"]))
        if pair is None:
            yield f"pair {line['train_on']} {line['test_on']}", "there", "not there"
            continue
        after = {
            "value": pair.overlap,
            "n_real": pair.n_real,
            "n_fake": pair.n_fake,
            "note": pair.note,
        }
        for name, value in after.items():
            yield f"pair {pair.train_on} {pair.test_on}: {name}", line[name], _text(value)


def _of_datasets(lines: Sequence[Line], new: Results) -> Iterator[Compared]:
    """What the audit warns of: the reason of its classifiers' rows in schema 1."""
    warnings = {row.name: row.warnings for row in new.datasets}
    for line in lines:
        if line["detector"] in SHORTCUTS:
            where = f"warnings of {line['test_on']}"
            yield where, line["reason"], warnings.get(line["test_on"], "not there")


def _text(value: object) -> str:
    """A value as schema 1 wrote it: floats bit for bit, NaN empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
