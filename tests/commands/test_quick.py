"""The embedded default study has a right answer: its traces are known, and the matrix must find
them, in each cell.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quick_answer import cells_of, generalises, is_related, marked
from study import cross_eval, sweep

pytestmark = pytest.mark.slow
ONLY = ["--set", 'detectors=["spectrum"]', "--local"]  # the detector that the preset names


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset with its whole budget: the folder of its results."""
    results = tmp_path_factory.mktemp("quick")
    arguments = ["quick", "--results", str(results), *ONLY]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    return results / "quick"


def test_related_traces_transfer_and_unrelated_ones_do_not(quick: Path) -> None:
    cells = cells_of(quick)
    assert len(cells) == 3 * 4
    assert sum(map(is_related, cells)) == 2 * 3 + 1
    for cell in cells:
        assert generalises(cell) is is_related(cell), cell
        assert is_related(cell) or 0.35 < cell["auc"] < 0.65


def test_the_audit_marks_the_planted_confound_alone(quick: Path) -> None:
    assert marked(quick) == ["demo_confounded"]
