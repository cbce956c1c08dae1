"""The null band: what a detector scores on a test set when its training labels are permuted, so
that an AUC of .36 or .65 that comes of nothing is seen as nothing.

The models have the winner's configuration and differ in the permutation (study/data/draws.py). An
AUC within the band is one that training on nothing gives, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from study.analysis.results import ResultRow
from study.analysis.score_set import ScoreSet
from study.core.records import NO_DEGRADATION, Cell, Estimate, Pairing
from study.statistics.metrics import auc
from study.statistics.ranking import Floats

PERMUTED = "permuted labels"  # the subset of a band's rows
LEVELS = (0.025, 0.975)  # of the models' AUCs: 95 % of them lie in the band


@dataclass(frozen=True, kw_only=True)
class NullBand:
    """What a pairing's models of permuted labels score on a clean test set. aucs: (P,) of them.
    numbers: of the permutations, which are the same for all detectors. cell: one of the pairing.
    """

    cell: Cell
    numbers: tuple[int, ...]
    aucs: Floats
    n_real: int
    n_fake: int
    coverage: float

    @property
    def pairing(self) -> Pairing:
        """Whose configuration it is."""
        return self.cell.pairing

    @property
    def test_on(self) -> str:
        """The test set."""
        return self.cell.test_on

    @property
    def mean(self) -> float:
        """The mean AUC, in [0, 1]: .5 where nothing of the training set decides."""
        return float(self.aucs.mean())

    @property
    def sd(self) -> float:
        """The standard deviation of the AUCs; NaN of one."""
        return float(self.aucs.std(ddof=1)) if len(self.aucs) > 1 else float("nan")

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the band: 95 % of the models lie between them."""
        low, high = np.quantile(self.aucs, LEVELS)
        return float(low), float(high)


def null_bands(scores: ScoreSet, cells: Iterable[Cell]) -> list[NullBand]:
    """Return a band for every pairing and clean test set that has scored models of permuted labels,
    in the order of the cells.
    """
    clean = [c for c in cells if c.state == "done" and c.degradation == NO_DEGRADATION]
    bands = []
    for _, group in groupby(clean, key=lambda c: (c.pairing, c.test_on)):
        cell = next(group)
        of = scores.of(cell)
        drawn = scores.drawn(cell.pairing, cell.test_on, "permuted", of.sample_id)
        if len(drawn) and len(np.unique(of.label)) == 2:
            bands.append(
                NullBand(
                    cell=cell,
                    numbers=drawn.numbers,
                    aucs=np.array([auc(of.label, logit) for logit in drawn.logits[:, 0]]),
                    n_real=int((of.label == 0).sum()),
                    n_fake=int((of.label == 1).sum()),
                    coverage=of.coverage,
                )
            )
    return bands


def null_rows(scores: ScoreSet, bands: Sequence[NullBand]) -> list[ResultRow]:
    """Return the bands as rows of the results: the mean AUC of the models, and the ends of the
    band in the place of an interval.
    """
    return [
        ResultRow(
            detector=band.pairing.detector,
            train_on=band.pairing.train_on,
            test_on=band.test_on,
            role="null",
            degradation=NO_DEGRADATION,
            level="image",
            subset=PERMUTED,
            domain=scores.leakage.domain(band.pairing.train_on, band.test_on),
            seed="mean",
            metric="auc",
            threshold="",
            estimate=_estimate(band),
            coverage=band.coverage,
            state="done",
        )
        for band in bands
    ]


def _estimate(band: NullBand) -> Estimate:
    low, high = band.ends
    return Estimate(
        value=band.mean,
        low=low,
        high=high,
        n_real=band.n_real,
        n_fake=band.n_fake,
        seeds=len(band.aucs),
        sd=band.sd,
        note=f"null band: 95 % of {len(band.aucs)} models trained on permuted labels",
    )
