"""CONTRIBUTING's detector, added as its text says: the file, the line, the search space; then the
contract suite by its name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 40  # lines that are not blank, code and words


def recipe() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition("## To add a detector")[2].partition("\n## ")[0]


@pytest.mark.slow
def test_the_recipe_for_a_detector_works_as_written(tmp_path: Path) -> None:
    code, line = (
        textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", recipe(), re.DOTALL)
    )
    assert sum(bool(shown.strip()) for shown in recipe().splitlines()) < LONGEST
    for folder in ("study", "search_spaces", "tests"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    comment, _, body = code.partition("\n")
    file = tmp_path / comment.removeprefix("# ")
    file.write_text(body, encoding="utf-8")
    registry = tmp_path / "study" / "detectors" / "registry.py"
    shipped = registry.read_text(encoding="utf-8")
    opening = "DETECTORS: Mapping[str, Entry] = {\n"
    assert shipped.count(opening) == 1
    registry.write_text(
        shipped.replace(opening, opening + textwrap.indent(line, "    ")), encoding="utf-8"
    )
    copied, made = re.findall(r"`(search_spaces/\w+\.toml)`", recipe())[::-1]
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
