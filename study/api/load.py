"""A finished study as Python objects: its tables as pandas, its detectors as things that score."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.analysis.cells_csv import CellFile, read_cells
from study.analysis.results import Results
from study.analysis.results_csv import read_results
from study.core.errors import ConfigError, StoreError, unknown_name
from study.core.records import NO_DEGRADATION, TrainedDetector
from study.detectors.base import Detector
from study.jobs.cell import load_detector
from study.jobs.score_images import Image, Scorer, as_images
from study.statistics.metrics import METRICS, sigmoid
from study.statistics.thresholds import THRESHOLDS

if TYPE_CHECKING:
    import pandas as pd


def load(folder: str | Path) -> StudyResults:
    """Open the results of a study, `results/<study>`. Nothing is trained, scored or written.

    Raises StoreError where the folder is none, or holds no matrix.
    """
    return StudyResults(Path(folder))


class StudyResults:
    """The tables and the trained detectors of one study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if not self.folder.is_dir():
            raise StoreError(f"'{folder}' is no folder; give that of a study, results/<study>")
        self.tables: Results = read_results(self.folder)

    def __repr__(self) -> str:
        return f"study.load({str(self.folder)!r})"

    @property
    def detectors(self) -> list[str]:
        """The detectors that have a matrix, in its order; the audit's baselines are none."""
        return list(dict.fromkeys(r.detector for r in self.tables.rows if r.role != "baseline"))

    def frame(self) -> pd.DataFrame:
        """Return every number, a row each, with the columns of matrix.csv; see `ResultRow`."""
        return self.tables.frame()

    def matrix(
        self,
        detector: str,
        metric: str = "auc",
        *,
        threshold: str | None = None,
        level: str = "image",
        degradation: str = NO_DEGRADATION,
        leak_free: bool = False,
    ) -> pd.DataFrame:
        """Return a detector's matrix: training sets are the index, test sets the columns.

        A value is the mean over seeds, NaN where there is none. threshold: `source` unless given,
        for a metric that needs one. leak_free: without the test images that leak from training, in
        the cells that have some. `frame()` has the intervals.

        Raises ConfigError for a name that the study does not have.
        """
        import pandas as pd

        _check("detector", detector, self.detectors)
        _check("metric", metric, METRICS)
        needed = METRICS[metric].at_threshold
        named = (threshold or "source") if needed else ""
        if needed:
            _check("threshold", named, THRESHOLDS)
        rows = [r for r in self.tables.rows if r.detector == detector and r.seed == "mean"]
        _check("degradation", degradation, dict.fromkeys(r.degradation for r in rows))
        _check("level", level, dict.fromkeys(r.level for r in rows))
        places = {(r.metric, r.threshold, r.degradation, r.level, r.subset): None for r in rows}
        if (metric, named, degradation, level, "") not in places:
            raise ConfigError(f"the study has no {metric} {named} of '{detector}' at {level} level")
        index = list(dict.fromkeys(r.train_on for r in rows))
        columns = list(dict.fromkeys(r.test_on for r in rows))
        table = pd.DataFrame(np.nan, index=index, columns=columns)
        table.index.name, table.columns.name = "train_on", "test_on"
        mine = [
            r
            for r in rows
            if (r.metric, r.threshold) == (metric, named)
            and (r.degradation, r.level, r.subset) == (degradation, level, "")
        ]
        for row in sorted(mine, key=lambda r: r.leak_free):  # leak-free numbers come last, and win
            if leak_free or not row.leak_free:
                table.loc[row.train_on, row.test_on] = row.estimate.value
        return table

    def detector(self, name: str, *, train_on: str, seed: int = 0) -> LoadedDetector:
        """Return a trained detector of the matrix, which scores images.

        Raises ConfigError for a detector, training set or seed that the matrix does not have, and
        StoreError where its weights are not here (an ensemble has none of its own).
        """
        cells = [cell for cell in read_cells(self.folder / "cells.csv") if cell.model]
        _check("detector", name, dict.fromkeys(cell.detector for cell in cells))
        cells = [cell for cell in cells if cell.detector == name]
        _check("training set", train_on, dict.fromkeys(cell.train_on for cell in cells))
        cells = [cell for cell in cells if cell.train_on == train_on]
        _check("seed", str(seed), dict.fromkeys(str(cell.seed) for cell in cells))
        cell: CellFile = next(cell for cell in cells if cell.seed == seed)
        return LoadedDetector(self.folder / "models" / cell.model)


class LoadedDetector:
    """A trained detector of a study. record: how it was made, with its thresholds (logits)."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._scorer = folder, Scorer(folder)
        self.record: TrainedDetector = self._scorer.record

    def __repr__(self) -> str:
        return f"<{self.record.trial.pairing.name}, seed {self.record.winner_seed}>"

    @cached_property
    def network(self) -> Detector:
        """The network, in evaluation mode. Raises StoreError where it is missing or damaged."""
        return load_detector(self._folder)

    def score(self, images: Image | Iterable[Image]) -> pd.DataFrame:
        """Score images, alone or as a sequence: paths, the bytes of files, Pillow images, or RGB
        pixels (H, W, 3) uint8; an array (N, H, W, 3) is such a sequence. What the study did to its
        images, `faces` and `unify` included, is done to these.

        Returns a table with a row an image, in the order given: `logit`, higher is more fake, and
        `probability` in [0, 1], its sigmoid. Neither is a verdict. Raises DataError, naming the
        image, where one cannot be read.
        """
        import pandas as pd

        logit = self._scorer.score(as_images(images))
        return pd.DataFrame({"logit": logit, "probability": sigmoid(logit)})


def _check(kind: str, name: str, valid: Collection[str]) -> None:
    if name not in valid:
        raise ConfigError(unknown_name(kind, name, valid))
