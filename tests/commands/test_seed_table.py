"""The table of docs/seeds.md that says how to do what the five projects do: its options and
commands are run on a small study, and its files are there.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from study import cross_eval, paper, predict, sweep
from study.store.store import Store
from tests.factories import write_dataset

PAGE = Path(__file__).parents[2] / "docs" / "seeds.md"
FILE = """
name = "tiny"
detectors = ["npr", "spectrum"]
train_on = ["alpha", "beta"]
[budget]
seeds = 1
replicates = 0
null_models = 0
[detector.npr]
size_px = 16
"""


def table() -> dict[str, str]:
    """What the projects have -> how it is done here."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("| they have | here |")
    rows = (line.strip("|").split("|") for line in rest.splitlines() if line.startswith("| "))
    return {name.strip(): how.strip() for name, how in rows}


@pytest.mark.slow
def test_everything_in_the_table_is_there(tmp_path: Path) -> None:
    rows = table()
    for name, seed in (("alpha", 0), ("beta", 1)):
        write_dataset(tmp_path / "data" / name, n=30, size=24, seed=seed)
    file, results = tmp_path / "tiny.toml", tmp_path / "results"
    file.write_text(FILE, encoding="utf-8")
    named = ("no search, one configuration", "learning rate", "batch size", "epochs")
    said = " ".join(rows[name] for name in (*named, "images per class", "checkpoints by epoch"))
    options = re.findall(r"--(?:trials|lr|batch-size|epochs|max-per-class|set) [^`|,]+", said)
    assert len(options) == 6
    small = {"--epochs": "2", "--max-per-class": "25"}  # their numbers alone are others
    words = [word for option in options for word in option.split()]
    words = [small.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    places = ["--data-root", str(tmp_path / "data"), "--results", str(results)]
    study = [str(file), *places, "--local", *words]
    assert sweep.main(study) == 0
    assert cross_eval.main([*study, "--predictions-csv"]) == 0
    assert paper.main([str(file), *places, *words]) == 0

    store = Store(results, "tiny")
    trials = [trial for trial, _ in store.trials()]
    assert {(t.pairing.detector, t.number) for t in trials} == {("npr", 0), ("spectrum", 0)}
    (lr, batch_size) = ({t.params.get(name) for t in trials} for name in ("lr", "batch_size"))
    assert (lr, batch_size) == ({None, 1e-4}, {None, 32})
    assert {t.epochs for t in trials if t.pairing.detector == "npr"} == {2}
    files = re.findall(r"results/STUDY/([\w./]+)", " ".join(rows.values()))
    assert len(files) > 4
    for name in files:
        found = store.folder / name
        assert any(found.iterdir()) if name.endswith("/") else found.stat().st_size, name
    with Image.open(next(store.figures.glob("*roc*.png"))) as picture:
        assert picture.format == "PNG"
    with next((store.folder / "predictions").glob("*.csv")).open(encoding="utf-8") as lines:
        assert {"label", "logit"} <= set(csv.DictReader(lines).fieldnames or ())
    assert json.loads((store.folder / "metrics.json").read_text(encoding="utf-8"))
    with sqlite3.connect(results / "mlflow.db") as database:
        query = "select count(distinct step) from metrics where key = 'val_auc'"
        assert database.execute(query).fetchone() == (2,)
    image = next((tmp_path / "data" / "alpha" / "real").iterdir())
    out = tmp_path / "out.csv"
    assert predict.main(["tiny", str(image), "--results", str(results), "--csv", str(out)]) == 0
    assert str(image) in out.read_text(encoding="utf-8")
