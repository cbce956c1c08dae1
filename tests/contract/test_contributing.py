"""CONTRIBUTING's recipes, done as their text says in a copy of this project: a detector, which then
passes the contract suite by its name; a degradation, which then has a row in matrix.csv; a metric,
which then passes its contract and has a matrix; a command, which is then listed and passes the
house's tests.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_curve

from study.core.records import Scores
from study.store.store import Store
from tests.factories import files_of, picture, write_dataset, write_image

ROOT = Path(__file__).parents[2]
LONGEST = 40  # lines that are not blank, code and words


def recipe(what: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"## To add a {what}\n")[2].partition("\n## ")[0]


def code_blocks(what: str) -> list[str]:
    assert sum(bool(shown.strip()) for shown in recipe(what).splitlines()) < LONGEST
    found = re.findall(r"```python\n(.*?)```", recipe(what), re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def copy_project(to: Path) -> None:
    for folder in ("study", "search_spaces", "tests"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)


def insert(file: Path, opening: str, text: str, *, before: bool = False) -> None:
    """Put text behind a line that stands there once, or before it."""
    shipped = file.read_text(encoding="utf-8")
    assert shipped.count(opening) == 1
    both = (text, opening) if before else (opening, text)
    file.write_text(shipped.replace(opening, "".join(both)), encoding="utf-8")


def run(project: Path, *command: str) -> str:
    """What a module prints, run in a copy of this project."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def hold_to_contract(project: Path, suite: str, name: str) -> None:
    file = f"tests/contract/{suite}.py"
    printed = run(project, "pytest", "-q", "-p", "no:cacheprovider", file, "-k", name)
    passed = re.search(r"(\d+) passed|\.{10,}", printed)
    assert passed and "skipped" not in printed, printed


@pytest.mark.slow
def test_the_recipe_for_a_detector_works_as_written(tmp_path: Path) -> None:
    code, line = code_blocks("detector")
    copy_project(tmp_path)
    comment, _, body = code.partition("\n")
    file = tmp_path / comment.removeprefix("# ")
    file.write_text(body, encoding="utf-8")
    registry = tmp_path / "study" / "detectors" / "registry.py"
    insert(registry, "DETECTORS: Mapping[str, Entry] = {\n", textwrap.indent(line, "    "))
    copied, made = re.findall(r"`(search_spaces/\w+\.toml)`", recipe("detector"))[::-1]
    shutil.copy(tmp_path / copied, tmp_path / made)
    hold_to_contract(tmp_path, "test_detectors", file.stem)


STUDY = """
name = "gamma"
detectors = ["spectrum"]
train_on = ["alpha"]
test_on = ["alpha", "dark"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
[detector.spectrum]
size_px = 32
[data]
root = "data"
"""


@pytest.mark.slow
def test_the_recipe_for_a_degradation_works_as_written(tmp_path: Path) -> None:
    function, entry = code_blocks("degradation")
    copy_project(tmp_path)
    steps = tmp_path / re.findall(r"`(study/\S+\.py)`", recipe("degradation"))[0]
    opening = "STEPS: Mapping[str, Step] = {\n"
    insert(steps, opening, f"{function}\n\n", before=True)
    insert(steps, opening, textwrap.indent(entry, "    "))
    # The same pictures, made darker on disk by a table, are what the degraded ones must be.
    alpha = write_dataset(tmp_path / "data" / "alpha", layout="train_valid_test", n=40)
    darker = np.array([round(255 * (value / 255) ** 2) for value in range(256)], dtype=np.uint8)
    for path in files_of(shutil.copytree(alpha, tmp_path / "data" / "dark")):
        Image.fromarray(darker[np.asarray(Image.open(path))]).save(path)
    (tmp_path / "gamma.toml").write_text(STUDY, encoding="utf-8")
    run(tmp_path, "study.sweep", "gamma.toml", "--local")
    run(tmp_path, "study.cross_eval", "gamma.toml", "--local", "--degradations", "gamma2")
    results = tmp_path / "results" / "gamma"
    with (results / "matrix.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["detector"] == "spectrum"]
    nll = {
        (row["test_on"], row["degradation"]): float(row["value"])
        for row in rows
        if (row["metric"], row["level"], row["seed"]) == ("nll", "image", "mean")
    }
    assert nll["alpha", "gamma2"] == pytest.approx(nll["dark", "none"], rel=1e-12)
    assert nll["alpha", "gamma2"] != pytest.approx(nll["alpha", "none"], rel=1e-3)
    assert (results / "figures" / "robustness_spectrum_gamma.png").is_file()


MATRIX = """
name = "small"
detectors = ["spectrum"]
train_on = ["alpha", "beta"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 2
seeds = 1
[detector.spectrum]
size_px = 32
[data]
root = "data"
"""


def lowest_fpr(scores: Scores) -> float:
    fpr, tpr, _ = roc_curve(scores.label, scores.logit, drop_intermediate=False)
    return float(fpr[tpr >= 0.95].min())


@pytest.mark.slow
def test_the_recipe_for_a_metric_works_as_written(tmp_path: Path) -> None:
    """A matrix of a metric of which less is better. What gives the fakes of a dataset away is on
    the reals of the other; a quarter of its reals have it, too.
    """
    function, entry = code_blocks("metric")
    copy_project(tmp_path)
    file = tmp_path / re.findall(r"`(study/\S+\.py)`", recipe("metric"))[0]
    insert(file, "\n\nMETRICS: Mapping[str, Metric]", f"\n\n{function}", before=True)
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n)\n")
    entry_line = textwrap.indent(f"{entry.rstrip()},\n", "    ")
    file.write_text(text.removesuffix(")\n") + entry_line + ")\n", encoding="utf-8")
    name, title = re.findall(r"(?:name|title)=\"(.*)\",", entry)
    hold_to_contract(tmp_path, "test_metrics", name)

    for other, dataset in enumerate(("alpha", "beta")):
        for label, folder in enumerate(("real", "fake")):
            for number in range(60):
                marked = label or number % 4 == 0
                pixels = picture(int(marked != other), seed=2_000 * other + 1_000 * label + number)
                write_image(tmp_path / "data" / dataset / folder / f"{number:04d}.png", pixels)
    (tmp_path / "small.toml").write_text(MATRIX, encoding="utf-8")
    run(tmp_path, "study.sweep", "small.toml", "--local")
    words = ("study.cross_eval", "small.toml", "--local", "--full", "--metric", name)
    printed = run(tmp_path, *words)
    store = Store(tmp_path / "results", "small")
    with store.matrix_file.open(encoding="utf-8", newline="") as lines:
        rows = {
            (row["train_on"], row["test_on"]): row
            for row in csv.DictReader(lines)
            if (row["detector"], row["metric"], row["seed"]) == ("spectrum", name, "mean")
        }
    values = {place: float(row["value"]) for place, row in rows.items()}
    by_scikit_learn = [
        lowest_fpr(store.scores(f.stem)) for f in store.folder.glob("scores/*.parquet")
    ]
    assert sorted(values.values()) == pytest.approx(sorted(by_scikit_learn))
    for place, row in rows.items():
        if row["low"]:
            assert float(row["low"]) <= values[place] <= float(row["high"])
        else:  # every real scores above every fake, in every replicate, and nothing bounds that
            assert (values[place], row["note"]) == (1.0, "no interval: no replicate differs")
        # 11 reals cannot show so low a rate: up to 1 nothing is ruled out
        assert row["test_on"] != row["train_on"] or "a perfect result's bound" in row["note"]
    inside, across = (
        np.mean([value for (x, y), value in values.items() if (x == y) is same])
        for same in (True, False)
    )
    worst = max(values, key=lambda place: values[place])
    assert across > inside and worst[0] != worst[1]
    for shown in (
        f"spectrum: {title}",
        f"in-domain mean {inside:.3f} ({0.95 - inside:+.3f} vs chance",
        f"cross-domain mean {across:.3f} ({0.95 - across:+.3f} vs chance",
        f"gap {across - inside:.3f}",
        f"worst {values[worst]:.3f} ({0.95 - values[worst]:+.3f} vs chance): {' -> '.join(worst)}",
    ):
        assert shown in " ".join(printed.split())

    (tmp_path / "fakes.csv").write_text("label,score\n" + "1,2\n1,-3\n" * 5, encoding="utf-8")
    found = json.loads(run(tmp_path, "study.score", "fakes.csv", "--json"))["rows"]
    undefined = next(row for row in found if row["metric"] == name)
    assert undefined["value"] is None and undefined["undefined"] == "no real images"


@pytest.mark.slow
def test_the_recipe_for_a_command_works_as_written(tmp_path: Path) -> None:
    """One new file, and no other touched."""
    (code,) = code_blocks("command")
    copy_project(tmp_path)
    comment, _, body = code.partition("\n")
    file = tmp_path / comment.removeprefix("# ")
    assert file.parent == tmp_path / "study" and not file.exists()
    file.write_text(body, encoding="utf-8")
    write_dataset(tmp_path / "data" / "alpha", layout="train_valid_test", n=40)
    study = STUDY.replace('test_on = ["alpha", "dark"]', "")
    (tmp_path / "gamma.toml").write_text(study, encoding="utf-8")

    assert f"  {file.stem}  " in run(tmp_path, "study")
    assert "Count the trials" in run(tmp_path, "study")
    for called in (["study", file.stem], [f"study.{file.stem}"]):
        assert run(tmp_path, *called, "gamma.toml").splitlines() == [
            "0 trials",
            "0 winners",
            "0 cells",
        ]
    run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "tests/test_house.py")
