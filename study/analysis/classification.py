"""The confusion table and the classification report of each cell, at the thresholds that a user
could have: `fixed` and `source`, as scikit-learn's `classification_report` has them. Counted here:
scikit-learn takes 30 ms a report, and a study has hundreds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.score_set import ScoreSet
from study.core.identity import digest
from study.core.records import NO_DEGRADATION, Pairing, Scores, TrainedDetector
from study.planning.cells import PlannedCell
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
    label = of.scores.label
    called = (of.scores.logit.astype(np.float64) >= cut).astype(int)
    tn, fp, fn, tp = np.bincount(2 * label.astype(int) + called, minlength=4).tolist()
    report = classification_report(tn, fp, fn, tp)
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


def classification_report(tn: int, fp: int, fn: int, tp: int) -> dict[str, Any]:
    """Return what `sklearn.metrics.classification_report(output_dict=True, zero_division=nan)` says
    of these counts: precision, recall, f1-score and support of each class, accuracy, and the means
    over classes, plain and weighted by support. A number without a base is NaN, and means leave it
    out.
    """
    rows = {
        "real": _class_row(tn, called=tn + fn, support=tn + fp),
        "fake": _class_row(tp, called=tp + fp, support=tp + fn),
    }
    total = tn + fp + fn + tp
    table = np.array([[row[name] for name in NUMBERS] for row in rows.values()])
    for name, weights in (("macro avg", np.ones(2)), ("weighted avg", table[:, -1])):
        means = [_mean(column, weights) for column in table[:, :-1].T]
        rows[name] = dict(zip(NUMBERS, [*means, float(total)], strict=True))
    return {
        "real": rows["real"],
        "fake": rows["fake"],
        "accuracy": _ratio(tn + tp, total),
        "macro avg": rows["macro avg"],
        "weighted avg": rows["weighted avg"],
    }


NUMBERS = ("precision", "recall", "f1-score", "support")


def _class_row(hits: int, *, called: int, support: int) -> dict[str, float]:
    numbers = (_ratio(hits, called), _ratio(hits, support), _ratio(2 * hits, called + support))
    return dict(zip(NUMBERS, (*numbers, float(support)), strict=True))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Average what is known, as scikit-learn does: evenly where nothing known has a weight."""
    known = ~np.isnan(values)
    values, weights = values[known], weights[known]
    if not len(values):
        return math.nan
    return float(np.average(values, weights=weights if weights.any() else None))


def report_text(report: dict[str, Any]) -> str:
    """Lay a report out as scikit-learn prints it, with three digits."""
    width = max(len(name) for name in report) + 1
    lines = [" " * width + "".join(f" {name:>9}" for name in NUMBERS), ""]
    total = report["macro avg"]["support"]
    for name, row in report.items():
        if name == "accuracy":
            cells = f"{'':10}{'':10} {row:>9.3f} {total:>9.0f}"
            lines += ["", f"{name:>{width - 1}} {cells}"]
            continue
        numbers = "".join(f" {row[number]:>9.3f}" for number in NUMBERS[:-1])
        lines.append(f"{name:>{width - 1}} {numbers} {row['support']:>9.0f}")
    return "\n".join(lines) + "\n"
