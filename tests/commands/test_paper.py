"""study.paper: the files of a study's figures and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import paper
from study.core.errors import ConfigError
from tests.commands.conftest import StudyRun


def test_the_command_writes_the_figures_that_there_are(
    local_run: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [one for one in local_run.arguments if one != "--local"]
    assert paper.main([*arguments, "--out", str(tmp_path), "--formats", "pdf"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("forest.pdf", "heat_maps.pdf", "roc.pdf", "precision_recall.pdf", "reliability.pdf"),
        *("confusion_npr.pdf", "confusion_spectrum.pdf", "learning_curves.pdf"),
        "critical_difference.pdf",
        *("matrix.tex", "ranking.tex", "matrix.md", "ranking.md"),
    }
    assert capsys.readouterr().out.startswith(f"13 files in {tmp_path}: matrix, ranking, forest")


def test_a_style_that_is_not_there_is_said_at_once(local_run: StudyRun) -> None:
    with pytest.raises(ConfigError, match=r"--style none\.mplstyle: there is no such file"):
        paper.main([local_run.arguments[0], "--style", "none.mplstyle"])
