"""The digest of code changes with what runs, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.core import code
from study.core.code import code_digest
from tests.conftest import forget_code

MAKING = '''
"""A module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toy.sub import tools
from toy.words import LIMIT, Word as Term

if TYPE_CHECKING:
    from toy.words import Shown

SIDES = (1, 2)


def make(x: int, shown: Shown) -> int:
    """Make it."""
    from toy.late import finish

    return finish(sum(SIDES) + np.abs(x) + LIMIT + len(_helper([Term(x)])))


def _helper(words: list[Term]) -> list[Term]:
    return tools.sort(words)


def other() -> int:
    return 5
'''
FILES = {
    "making.py": MAKING,
    "words.py": "LIMIT = 3\nUNUSED = 4\nclass Word:\n    pass\nclass Shown:\n    size = 1\n",
    "late.py": "from toy.words import LIMIT\ndef finish(x):\n    return x + LIMIT\n",
    "sub/tools.py": "def sort(x):\n    return sorted(x)\n",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "toy"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(code, "PACKAGE", folder)
    return folder


def key(libraries: tuple[str, ...] = ()) -> str:
    forget_code()
    found = code_digest((("toy.making", "make"),), libraries)
    forget_code()
    return found


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("making.py", "+ LIMIT", "- LIMIT"),
        ("making.py", "SIDES = (1, 2)", "SIDES = (1, 3)"),
        ("making.py", "SIDES = (1, 2)", "SIDES = [1, 2]"),
        ("making.py", "np.abs(x)", "np.sign(x)"),
        ("making.py", "import numpy as np", "import scipy as np"),
        ("making.py", "return tools.sort(words)", "return words"),
        ("making.py", "SIDES = (1, 2)", "SIDES = (1, 2)\nprint('loaded')"),
        ("making.py", "_helper([Term(x)])", "_helper([Term(x=x)])"),
        ("words.py", "LIMIT = 3", "LIMIT = 3.0"),
        ("words.py", "class Word:\n    pass", "class Word:\n    x = 1"),
        ("words.py", "size = 1", "size = 2"),  # the class of an argument
        ("late.py", "x + LIMIT", "LIMIT + x"),  # imported by the function itself
        ("sub/tools.py", "sorted(x)", "sorted(x, reverse=True)"),
    ],
)
def test_what_runs_changes_the_digest(toy: Path, file: str, old: str, new: str) -> None:
    before = key()
    assert FILES[file].count(old) == 1
    (toy / file).write_text(FILES[file].replace(old, new), encoding="utf-8")
    assert key() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("making.py", '"""Make it."""', '"""Make it well."""\n    # and quickly\n'),
        ("making.py", '"""A module."""', ""),
        ("making.py", "sum(SIDES) + np.abs(x)", "(\n        sum( SIDES )\n  +  np.abs(x))"),
        ("making.py", "make(x: int, shown: Shown) -> int", "make(x, shown: Shown | None) -> str"),
        ("making.py", "return 5", "return 6"),
        ("making.py", "def other() -> int:\n    return 5\n", ""),
        ("words.py", "UNUSED = 4", "UNUSED = 5"),
        ("sub/tools.py", "def sort", "# sorts\n\n\ndef sort"),
    ],
)
def test_what_does_not_run_changes_nothing(toy: Path, file: str, old: str, new: str) -> None:
    before = key()
    assert FILES[file].count(old) == 1
    (toy / file).write_text(FILES[file].replace(old, new), encoding="utf-8")
    assert key() == before


def test_code_may_move(toy: Path) -> None:
    before = key()
    moved = "def _helper(words: list[Term]) -> list[Term]:\n    return tools.sort(words)\n"
    (toy / "moved.py").write_text("from toy.sub import tools\n" + moved, encoding="utf-8")
    text = MAKING.replace(moved, "").replace("SIDES =", "from toy.moved import _helper\nSIDES =")
    (toy / "making.py").write_text(text, encoding="utf-8")
    assert key() == before


def test_libraries_count_by_their_version(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({key(), key(("numpy",)), key(("scipy",)), key(("no-such-library",))}) == 4
    before = key(("numpy",))
    monkeypatch.setattr(code, "version", lambda name: "0.0")
    assert key(("numpy",)) != before


def test_a_definition_that_is_not_there_is_an_error(toy: Path) -> None:
    with pytest.raises(AssertionError, match="gone"):
        code_digest((("toy.making", "gone"),))
