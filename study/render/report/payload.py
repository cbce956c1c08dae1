"""What the report's page holds as data: the numbers of matrix.csv, column by column, and what the
cells show beside them.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.analysis.cell_curves import GRID, CellCurves
from study.analysis.classification import predictions_file
from study.analysis.evidence import EvidenceRow
from study.analysis.results import ResultRow, Results
from study.core.records import ELSEWHERE, NO_DEGRADATION, Pairing
from study.render.evidence import TIPPETT_AT, bounds_words, valid_words
from study.render.grid import THRESHOLD_TITLES
from study.render.numbers import json_number
from study.statistics.metrics import METRICS

Json = dict[str, Any]
MOST_ROWS = 40_000  # numbers on a page: beyond, quantities are left to matrix.csv


class Names:
    """Names, each once, by their place."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def at(self, name: str) -> int:
        """Return the place of a name, which is a new one where it is not known."""
        if name not in self._places:
            self._places[name] = len(self.all)
            self.all.append(name)
        return self._places[name]


def packed(content: Json) -> str:
    """Return JSON as a page takes it: compressed, in letters that no markup is made of."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def unpacked(text: str) -> Json:
    """Return what `packed` was given."""
    found: Json = json.loads(gzip.decompress(base64.b64decode(text)))
    return found


def matrix(results: Results) -> Json:
    """Return the means over seeds of all whole cells, clean and degraded, of single repeats, too: a
    list for each column, whose names are places in other lists. `own_repeat`: which of them is the
    study itself, "" without repeats.
    """
    rows, left_out = _shown(results)
    names = {name: Names() for name in PLACE}
    quantities, texts = Names(), Names()
    columns: dict[str, list[Any]] = {name: [] for name in (*names, *_NUMBERS, "quantity")}
    columns |= {name: [] for name in ("leak_free", "coverage", "domain", "state", "text")}
    domains, states = Names(), Names()
    for row in rows:
        for name, of in names.items():
            columns[name].append(of.at(getattr(row, name)))
        for name in _NUMBERS:
            columns[name].append(_json(getattr(row.estimate, name)))
        columns["quantity"].append(quantities.at(f"{row.metric}@{row.threshold}"))
        columns["leak_free"].append(int(row.leak_free))
        columns["coverage"].append(json_number(row.coverage))
        columns["domain"].append(domains.at(row.domain))
        columns["state"].append(states.at(row.state.replace("_", " ")))
        columns["text"].append(texts.at(_words(row)))
    return {
        "names": {name: of.all for name, of in names.items()},
        "domains": domains.all,
        "states": states.all,
        "texts": texts.all,
        "quantities": [_quantity(*name.split("@")) for name in quantities.all],
        "columns": columns,
        "left_out": left_out,
        "own_repeat": next((row.repeat for row in results.repeats if row.is_first), ""),
    }


PLACE = ("detector", "train_on", "test_on", "degradation", "level", "repeat")
_NUMBERS = ("value", "low", "high", "sd", "n_real", "n_fake", "seeds")


def _json(value: float) -> float | None:
    return value if isinstance(value, int) else json_number(value)


def _shown(results: Results) -> tuple[list[ResultRow], list[str]]:
    """The rows of the heat map, and the quantities that are too many for it. Those of single
    repeats come last, so they are left out first.
    """
    groups: dict[tuple[str, str, bool], list[ResultRow]] = {}
    for row in results.every_row:
        if row.seed == "mean" and not row.subset and row.role in ("detector", "external"):
            groups.setdefault((row.metric, row.threshold, row.is_single), []).append(row)
    order = sorted(groups, key=lambda group: group[2])
    kept: list[ResultRow] = []
    left_out: list[str] = []
    for metric, threshold, is_single in order:
        more = groups[metric, threshold, is_single]
        if left_out or (kept and len(kept) + len(more) > MOST_ROWS):
            name = f"{metric}@{threshold}".rstrip("@")
            left_out.append(f"{name} of single repeats" if is_single else name)
        else:
            kept += more
    places = {id(row): at for at, row in enumerate(results.every_row)}
    return sorted(kept, key=lambda row: places[id(row)]), left_out


def _words(row: ResultRow) -> str:
    """What is to be said of a number, or why there is none."""
    if row.state != "done":
        return f"{row.state.replace('_', ' ')}: {row.reason}".rstrip(": ")
    parts = [row.reason]
    parts.append(f"undefined: {row.estimate.reason}" if row.estimate.reason else row.estimate.note)
    return "; ".join(filter(None, parts))


def _quantity(metric: str, threshold: str) -> Json:
    known = METRICS[metric]
    at = f" at {THRESHOLD_TITLES.get(threshold, threshold)}" if threshold else ""
    return {
        "metric": metric,
        "threshold": threshold,
        "title": f"{known.title}{at}",
        "greater_is_better": known.greater_is_better,
        "is_count": known.is_count,
        "is_threshold": metric == "eer_threshold",
        "chance": json_number(known.chance(n_real=1, n_fake=1)),
    }


def beside(results: Results) -> Json:
    """Return what stands beside the cells: controls and null bands, parts of cells by method, the
    AUC of every seed, what is known of columns and of pairs.
    """
    auc = [row for row in results.rows if row.metric == "auc" and not row.leak_free]
    plain = [row for row in auc if row.degradation == NO_DEGRADATION and row.level == "image"]
    return {
        "threshold_titles": THRESHOLD_TITLES,
        "controls": [_place(row) for row in plain if row.role in ("baseline", "null")],
        "subsets": [
            {**_place(row), "subset": row.subset}
            for row in plain
            if row.subset and row.role != "null" and row.seed == "mean"
        ],
        "seeds": [
            {**_place(row), "seed": row.seed}
            for row in plain
            if row.seed != "mean" and not row.subset
        ],
        "datasets": {row.name: vars(row) for row in results.datasets},
        "pairs": [
            {**vars(row), "overlap": json_number(row.overlap)}
            for row in results.pairs
            if row.leaked or row.note or row.warnings
        ],
    }


def _place(row: ResultRow) -> Json:
    found = {name: getattr(row, name) for name in ("detector", "train_on", "test_on", "role")}
    ends = {name: json_number(getattr(row.estimate, name)) for name in ("value", "low", "high")}
    return {**found, **ends, "text": _words(row)}


def curves(found: Iterable[CellCurves]) -> Json:
    """Return the curves of the cells, to four places."""
    return {
        "fpr": _short(GRID.tolist(), places=6),
        "cells": [
            {
                "detector": one.detector,
                "train_on": one.train_on,
                "test_on": one.test_on,
                "seeds": one.seeds,
                "predictions": _predictions(one),
                **{
                    name: _short(getattr(one, name).tolist())
                    for name in ("tpr", "low", "high", "edges", "reals", "fakes")
                },
                "bins": [_short(line) for line in one.bins],
                "worst": [
                    [image.sample_id, "fake" if image.is_fake else "real", round(image.logit, 4)]
                    for image in one.worst
                ],
            }
            for one in found
        ],
    }


def _predictions(one: CellCurves) -> str:
    """The file of predictions of its first seed; "" where they were made elsewhere."""
    if one.train_on == ELSEWHERE:
        return ""
    pairing = Pairing(detector=one.detector, train_on=one.train_on)
    return predictions_file(pairing, one.test_on, 0)


def _short(values: Sequence[float], places: int = 4) -> list[float | None]:
    return [json_number(round(value, places)) for value in values]


def images(found: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, str]]:
    """Return pictures as a page takes them."""
    return {
        test_on: {name: base64.b64encode(jpeg).decode() for name, jpeg in of.items()}
        for test_on, of in found.items()
    }


def _tippett(row: EvidenceRow) -> list[list[float | None]]:
    """(log10 LR, share of reals, share of fakes at least so high) at some LRs; [] without LRs of
    both classes.
    """
    if not row.has_ratios:
        return []
    lines = zip(TIPPETT_AT, *row.tippett(TIPPETT_AT), strict=True)
    return [_short(line) for line in lines]


def evidence(rows: Iterable[EvidenceRow]) -> list[Json]:
    """Return what the cells' scores are worth as evidence, beside the numbers of the matrix."""
    return [
        {
            "detector": row.detector,
            "train_on": row.train_on,
            "test_on": row.test_on,
            "lines": [
                ["bounds of log10 LR (ELUB)", bounds_words(row)],
                ["an LR calibrated on X is one on Y", valid_words(row)],
            ],
            "tippett": _tippett(row),
        }
        for row in rows
    ]
