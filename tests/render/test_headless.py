"""Figures are drawn whatever the environment says of matplotlib; one that fails costs itself."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from study.core.log import keep, set_up
from study.render.figures.headless import costs_only, headless
from study.render.files import draw
from tests.render.synthetic_matrix import matrix, results

ROOT = Path(__file__).parent.parent.parent
DRAW = """
import sys
from pathlib import Path
from study.render.files import draw
from tests.render.synthetic_matrix import matrix, results
draw(results(matrix(["npr"], ["a"])), [], {}, Path(sys.argv[1]))
"""
AFTERWARDS = """
from study.render.figures.headless import headless
with headless():
    import matplotlib
print(matplotlib.rcParams["backend"], matplotlib.rcParams["font.size"])
"""


def printed(code: str, cwd: Path, **environment: str) -> str:
    """What a new process with an environment of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, "figures"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not drawn" not in done.stderr
    return done.stdout.strip()


def test_a_notebooks_backend_and_a_users_style_change_no_figure(tmp_path: Path) -> None:
    """The style asks for LaTeX, which is not here, and for another size."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 33\nnonsense\n")
    printed(DRAW, tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline")
    draw(results(matrix(["npr"], ["a"])), [], {}, tmp_path / "here")
    for name in ("heat_map_npr_auc.png", "roc.png"):
        drawn = (tmp_path / "figures" / name).read_bytes()
        assert drawn == (tmp_path / "here" / name).read_bytes()


@pytest.mark.parametrize(("backend", "afterwards"), [("nonsense", "agg"), ("svg", "svg")])
def test_what_can_be_used_stays_for_whoever_draws_after_us(
    tmp_path: Path, backend: str, afterwards: str
) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 33\n")
    assert printed(AFTERWARDS, tmp_path, MPLBACKEND=backend) == f"{afterwards} 33.0"


def test_the_style_of_a_notebook_is_as_before() -> None:
    with matplotlib.rc_context({"font.size": 21}):
        with headless():
            assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]
        assert matplotlib.rcParams["font.size"] == 21


def test_a_figure_that_fails_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no glyph\nfor this name")

    monkeypatch.setattr("study.render.figures.heat_map.heat_map", broken)
    set_up()
    keep(tmp_path / "run.log")
    figures = draw(results(matrix(["npr"], ["a"])), [], {}, tmp_path)
    assert [path.name for path in figures] == ["roc.png"] and figures[0].is_file()
    path = tmp_path / "heat_map_npr_auc.png"
    assert capsys.readouterr().err.splitlines() == [
        f"warning: '{path}' is not drawn: no glyph for this name"
    ]
    logged = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "is not drawn" in logged and "RuntimeError: no glyph" in logged
    set_up(logging.INFO)


def test_a_disk_that_takes_no_figure_costs_figures_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "figures").write_text("a file", encoding="utf-8")
    set_up()
    assert draw(results(matrix(["npr"], ["a"])), [], {}, tmp_path / "figures") == []
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("is not drawn: cannot write" in line for line in lines)


def test_an_interruption_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt), costs_only("a figure is"):
        raise KeyboardInterrupt
