"""A run opens each file of scores once, whatever it derives of it, and plans its cells once."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from study import cross_eval, sweep
from study.planning import cells, searches
from study.store.store import Store


@pytest.mark.slow
def test_a_cross_eval_of_36_cells_opens_each_file_of_scores_once(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("budget.seeds=3", "budget.default_winners=true", "run.keep_epochs=true")
    arguments = [str(study_file), "--results", str(tmp_path), "--local"]
    arguments += [word for setting in more for word in ("--set", setting)]
    assert sweep.main(arguments) == 0
    opened: Counter[Path] = Counter()
    called: Counter[str] = Counter()
    read = pq.read_table

    def counted_read(source: Any, *given: Any, **options: Any) -> Any:
        if isinstance(source, (str, Path)):
            opened[Path(source)] += 1
        return read(source, *given, **options)

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)

        def counted(*given: Any, **options: Any) -> Any:
            called[name] += 1
            return function(*given, **options)

        monkeypatch.setattr(module, name, counted)

    monkeypatch.setattr(pq, "read_table", counted_read)
    count(cells, "plan_cells")
    count(searches, "replay")
    for _ in range(2):  # scoring, and with nothing to score
        opened.clear()
        called.clear()
        assert cross_eval.main(arguments) == 0
        store = Store(tmp_path, "small")
        with (store.folder / "cells.csv").open(encoding="utf-8", newline="") as file:
            keys = [line["scores"] for line in csv.DictReader(file)]
        assert len(set(keys)) == 36
        scores = {path: n for path, n in opened.items() if path.parent.name == "scores"}
        assert {store.scores_file(key) for key in keys} < scores.keys()
        assert scores.keys() == {*(store.folder / "scores").glob("*.parquet")}
        assert set(scores.values()) == {1}
        assert called == {"plan_cells": 1, "replay": 1}
