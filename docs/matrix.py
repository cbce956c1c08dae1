"""Draw the picture of the README: one detector's matrix of a study on real images.

python docs/matrix.py
"""

from __future__ import annotations

from pathlib import Path

from study.analysis.results_csv import read_results
from study.render.figures.headless import headless

HERE = Path(__file__).parent
TRACKED = HERE.parent / "results" / "tracked" / "faces_and_shoes"


def draw(path: Path, detector: str = "npr") -> None:
    """Draw it from the tracked numbers."""
    with headless():
        from study.render.figures.heat_map import heat_map

        heat_map(read_results(TRACKED), detector, "auc", path)


if __name__ == "__main__":
    draw(HERE / "matrix.png")
