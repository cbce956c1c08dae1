"""The card of an exported detector."""

from __future__ import annotations

from pathlib import Path

import yaml

from study.analysis.results import DatasetRow, PairRow, Results
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


def test_a_leak_is_marked_where_a_hub_reads_the_numbers(tmp_path: Path) -> None:
    """And the number without it stands beside. Of another training set nothing is said."""
    record, _ = make_winner(tmp_path, train_on="a")
    rows = (
        row(value=0.9, seed="0"),
        row(value=0.6, seed="0", leak_free=True),
        row(test_on="c", value=0.7, seed="0"),
        row(test_on="d", value=0.8, seed="0"),
    )
    pairs = (
        PairRow(train_on="a", test_on="b", domain="cross", leaked=7),
        PairRow(train_on="a", test_on="c", domain="cross"),
        PairRow(train_on="x", test_on="d", domain="cross", leaked=9),
    )
    datasets = (DatasetRow(name="c", warnings="JPEG quality separates the classes."),)
    results = Results(rows=rows, datasets=datasets, pairs=pairs)
    _, head, text = card(record, results, no=[], preparation="").split("---\n", 2)
    found = {
        (one["dataset"]["name"], metric["name"]): metric["value"]
        for one in yaml.safe_load(head)["model-index"][0]["results"]
        for metric in one["metrics"]
    }
    assert found == {
        ("b (cross-domain, leaks from training)", "auc"): 0.9,
        ("b (cross-domain, leaks from training)", "auc, without leaking images"): 0.6,
        ("c (cross-domain, marked by the audit)", "auc"): 0.7,
        ("d (cross-domain)", "auc"): 0.8,
    }
    lines = [line for line in text.splitlines() if line.startswith("| b |")]
    assert len(lines) == 2 and all(line.endswith("| leaks from training |") for line in lines)
    assert "* `b` has leaks from training: 7 test images seen in training" in text
    assert "* `c` is marked by the audit: JPEG quality" in text and "9 test images" not in text
