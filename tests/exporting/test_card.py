"""The card of an exported detector."""

from __future__ import annotations

from pathlib import Path

from study.analysis.results import Results
from study.exporting.card import card
from tests.render.synthetic_matrix import row
from tests.tracking.mlflow_helpers import make_winner


def test_of_a_repeated_study_it_has_the_numbers_of_its_own_model(tmp_path: Path) -> None:
    record, _ = make_winner(tmp_path, train_on="a")
    values = {"mean": 0.7, "fold 0": 0.6, "fold 1": 0.8}
    mean, *single = (row(value=value, seed="0", repeat=name) for name, value in values.items())
    results = Results(rows=(mean,), repeats=tuple(single))
    text = card(record, results, no=[], preparation="")
    assert "| 0.600 [0.550, 0.650] |" in text
    assert "0.700" not in text and "0.800" not in text
