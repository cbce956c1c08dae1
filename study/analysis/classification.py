"""The confusion table and the classification report of each cell, at the thresholds that a user
could have: `fixed` and `source`, of the stored scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.analysis.score_set import ScoreSet
from study.core.identity import digest
from study.core.records import NO_DEGRADATION, Pairing, Scores, TrainedDetector
from study.planning.cells import PlannedCell
from study.statistics.class_report import class_report, report_text
from study.statistics.metrics import sigmoid

CLASSES = ("real", "fake")
THRESHOLDS = ("fixed", "source")


@dataclass(frozen=True, kw_only=True)
class CellReport:
    """One cell of one seed at one threshold. cut: its logit. tn, fp, fn, tp: images, fakes are the
    positives. report: by class (`real`, `fake`) and mean, as scikit-learn names them; a number that
    is undefined is NaN. text: the same as scikit-learn prints it.
    """

    detector: str
    train_on: str
    test_on: str
    seed: int
    threshold: str
    cut: float
    tn: int
    fp: int
    fn: int
    tp: int
    report: dict[str, Any]
    text: str

    @property
    def name(self) -> str:
        """How the cell is shown."""
        pairing = f"{self.detector} @ {self.train_on}"
        return f"{pairing} -> {self.test_on}, seed {self.seed}, threshold {self.threshold}"


@dataclass(frozen=True, kw_only=True)
class CellPredictions:
    """One cell of one seed: its winner's record and its scores."""

    winner: TrainedDetector
    test_on: str
    scores: Scores

    @property
    def file_name(self) -> str:
        """The name of a file of it."""
        return predictions_file(self.winner.trial.pairing, self.test_on, self.winner.winner_seed)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a line an image: what it is, its logit, p(fake), and the verdict at each threshold,
        "" where there is no such threshold.
        """
        s = self.scores
        logit = s.logit.astype(np.float64)
        cuts = [self.winner.thresholds.get(name, math.nan) for name in THRESHOLDS]
        columns = zip(s.sample_id, s.group, s.method, s.label, logit, sigmoid(logit), strict=True)
        for sample, group, method, label, value, chance in columns:
            said = ["" if math.isnan(cut) else CLASSES[int(value >= cut)] for cut in cuts]
            numbers = (repr(float(value)), repr(float(chance)))
            yield (str(sample), str(group), str(method), CLASSES[int(label)], *numbers, *said)


def predictions_file(pairing: Pairing, test_on: str, seed: int) -> str:
    """Return a name for a file of a cell's predictions, of letters that every disk takes, and of
    this cell alone: where they do not say which cell it is, a digest follows.
    """
    parts = [pairing.detector, pairing.train_on, test_on, f"seed{seed}"]
    name = "__".join(parts)
    safe = "".join(c if c.isalnum() or c in "._-+" else "-" for c in name)
    told = safe == name and name.split("__") == parts
    return f"{safe}.csv" if told else f"{safe}-{digest(parts)[:8]}.csv"


COLUMNS = ("sample_id", "group", "method", "label", "logit", "probability", *THRESHOLDS)


def cell_predictions(scores: ScoreSet, cells: Iterable[PlannedCell]) -> Iterator[CellPredictions]:
    """Yield the scores of every clean cell that is done and has a winner."""
    for planned in cells:
        cell, winner = planned.cell, planned.winner
        if cell.state == "done" and winner is not None and cell.degradation == NO_DEGRADATION:
            yield CellPredictions(winner=winner, test_on=cell.test_on, scores=scores.of(cell))


def cell_reports(of: CellPredictions) -> list[CellReport]:
    """Return the reports of a cell, one for each threshold that its winner has."""
    return [
        _report(of, name, of.winner.thresholds[name])
        for name in THRESHOLDS
        if not math.isnan(of.winner.thresholds.get(name, math.nan))
    ]


def _report(of: CellPredictions, threshold: str, cut: float) -> CellReport:
    called = of.scores.logit.astype(np.float64) >= cut
    places = 2 * of.scores.label.astype(np.intp) + called
    tn, fp, fn, tp = np.bincount(places, minlength=4).tolist()
    report = class_report(CLASSES, tn=tn, fp=fp, fn=fn, tp=tp)
    pairing = of.winner.trial.pairing
    return CellReport(
        detector=pairing.detector,
        train_on=pairing.train_on,
        test_on=of.test_on,
        seed=of.winner.winner_seed,
        threshold=threshold,
        cut=cut,
        tn=tn,
        fp=fp,
        fn=fn,
        tp=tp,
        report=report,
        text=report_text(report),
    )
