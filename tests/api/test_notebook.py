"""docs/api.ipynb is executed, cell by cell, on a study of the preset `quick`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study import cross_eval, sweep

NOTEBOOK = Path(__file__).parents[2] / "docs" / "api.ipynb"
SMALLER = [
    *("--set", "budget.trials=1"),
    *("--set", "budget.replicates=0"),
    *("--set", "budget.epochs=1"),
    *("--set", "budget.seeds=1"),
    *("--set", "data.max_per_class=40"),
]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["quick", "--local", "--set", 'detectors=["spectrum", "npr"]', *SMALLER]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    names: dict[str, Any] = {}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 6
    for number, source in enumerate(code):
        exec(compile(source, f"cell {number}", "exec"), names)
    table = names["results"].matrix("spectrum")
    assert table.shape == (3, 4)
    assert table.notna().all(axis=None)
    assert {*names["cross"]["domain"]} == {"cross"}
