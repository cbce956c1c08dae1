"""docs/tutorial.md is run, command by command, and prints what the page shows.

A shown line is one of the output, in its order; `...` stands for lines left out, or for the rest of
a line. Numbers may differ a little, as another machine's do.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
NUMBER = re.compile(r"[-+]?\d*\.?\d+")
CLOSE = 0.03  # of a number with decimals; whole ones are equal


def blocks() -> Iterator[tuple[str, str]]:
    """(language, text) of the page's blocks of code, in their order."""
    yield from re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def steps(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a block, each with the lines that it shows."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif line.strip():
            found[-1][1].append(line)
    return found


def is_shown(shown: str, line: str) -> bool:
    """Tell whether a line of the page is this line of the output."""
    start, _, _ = shown.partition("...")
    if shown.endswith("..."):
        line = cut(line, len(NUMBER.split(start)))
    ours, theirs = NUMBER.findall(start), NUMBER.findall(line)
    texts = [" ".join("".join(NUMBER.split(one)).split()) for one in (start, line)]
    if len(ours) != len(theirs) or not texts[1].startswith(texts[0]):
        return False
    if not shown.endswith("...") and texts[0] != texts[1]:
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(abs(float(a) - float(b)) <= (CLOSE if "." in a else 0) for a, b in pairs)


def is_next(shown: str, output: Iterator[str]) -> bool:
    """Tell whether a line is among those of the output that are left."""
    return any(is_shown(shown, one) for one in output)


def cut(line: str, parts: int) -> str:
    """A line up to before its so-manieth number."""
    numbers = [match.start() for match in NUMBER.finditer(line)]
    return line[: numbers[parts - 1]] if len(numbers) >= parts else line


def test_a_line_is_recognised_and_another_is_not() -> None:
    assert is_shown("AUC 0.996 [0.9, 1.0]", "AUC 0.990 [0.9, 1.0]")
    assert not is_shown("AUC 0.996 [0.9, 1.0]", "AUC 0.900 [0.9, 1.0]")
    assert not is_shown("12 trials", "13 trials")
    assert is_shown("mine: 400 real, such as ...", "mine: 400 real, such as 'a/0015.png'")
    assert not is_shown("mine: 400 real, such as ...", "mine: 400 real, unlike 'a/0015.png'")
    assert not is_shown("a line", "a line that goes on")


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"}
    missing: list[str] = []
    for language, text in blocks():
        if language == "toml":
            edit(tmp_path / "my_study.toml", text)
            continue
        for command, shown in steps(text):
            words = command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
            done = subprocess.run(
                ["bash", "-c", words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"
            output = iter((done.stdout + done.stderr).splitlines())
            lost = [one for one in shown if one != "..." and not is_next(one, output)]
            missing += [f"{command} does not print {one!r}" for one in lost[:1]]
    assert not missing, "\n".join(missing)


def edit(file: Path, text: str) -> None:
    """Write lines of the page in place of those of a file that set the same key."""
    content = file.read_text(encoding="utf-8")
    for line in text.splitlines():
        key = line.partition(" = ")[0]
        content, number = re.subn(rf"(?m)^{key} = .*$", line, content)
        assert number == 1, line
    file.write_text(content, encoding="utf-8")
