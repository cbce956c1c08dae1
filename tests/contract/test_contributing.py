"""CONTRIBUTING's recipes, done as their text says in a copy of this project: a detector, which then
passes the contract suite by its name; a degradation, which then has a row in matrix.csv; a command,
which is then listed and passes the house's tests.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.factories import files_of, write_dataset

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
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/contract/test_detectors.py",
        "-k",
        file.stem,
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed|\.{10,}", done.stdout)
    assert passed and "skipped" not in done.stdout, done.stdout


STUDY = """
name = "gamma"
detectors = ["spectrum"]
train_on = ["alpha"]
test_on = ["alpha", "dark"]
[budget]
trials = 1
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
    for command in (["sweep"], ["cross_eval", "--degradations", "gamma2"]):
        done = subprocess.run(
            [sys.executable, "-m", f"study.{command[0]}", "gamma.toml", "--local", *command[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
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

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        return done.stdout

    assert f"  {file.stem}  " in run("study") and "Count the trials" in run("study")
    for called in (["study", file.stem], [f"study.{file.stem}"]):
        assert run(*called, "gamma.toml").splitlines() == ["0 trials", "0 winners", "0 cells"]
    run("pytest", "-q", "-p", "no:cacheprovider", "tests/test_house.py")
