"""What anybody's predictions are worth: every estimate that a label and a score per image allow.

A single scoring without a source: the thresholds are `fixed` (logit 0, which is p = 0.5)
and `oracle`, and there is no temperature.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.core.records import Scores
from study.data.predictions import Predictions
from study.statistics.intervals import Row, estimate_cell
from study.statistics.methods import by_method, part
from study.statistics.metrics import METRICS
from study.statistics.resampling import REPLICATES
from study.statistics.thresholds import FIXED

CHANCE = 0.5  # the AUC of scores that say nothing
RNG_SEED = 0  # of the bootstrap: the same file gives the same numbers


@dataclass(frozen=True, kw_only=True)
class ScoredFile:
    """The numbers of one file. levels: `image`, and those by method -> the rows; notes: what is to
    be said of all.
    """

    name: str
    scores: Scores
    levels: dict[str, list[Row]]
    notes: tuple[str, ...]

    @property
    def n_fake(self) -> int:
        """Fakes among the images."""
        return int(self.scores.label.sum())

    @property
    def groups(self) -> int:
        """Groups, over which the bootstrap draws."""
        return len(np.unique(self.scores.group))


def score_file(name: str, read: Predictions, *, replicates: int = REPLICATES) -> ScoredFile:
    """Estimate everything that a file of predictions allows, pooled and by method."""
    levels = {"image": estimates_of(read.scores, brief=False, replicates=replicates)}
    for level, places in by_method(read.scores).items():
        levels[level] = estimates_of(part(read.scores, places), brief=True, replicates=replicates)
    notes = (*turned_notes(levels, read.real_label), *read.notes)
    return ScoredFile(name=name, scores=read.scores, levels=levels, notes=notes)


def turned_notes(levels: Mapping[str, Sequence[Row]], real_label: str = "") -> list[str]:
    """Return what is to be said first where an AUC lies wholly below 0.5. real_label: the value of
    the label that was read as real.
    """
    aucs = {
        level: row.estimate for level, rows in levels.items() for row in rows if row.metric == "auc"
    }
    pooled = aucs.pop("image")
    if pooled.high < CHANCE:
        return [
            f"the AUC of {pooled.value:.3f} lies wholly below 0.5: higher scores go with real"
            " images, so labels or scores seem to mean the opposite. Say --fake-label"
            f" {shlex.quote(real_label)} if {real_label} means fake, or --higher-is-real if a"
            " higher score means real"
        ]
    below = [level for level, estimate in aucs.items() if estimate.high < CHANCE]
    if not below:
        return []
    return [
        f"the AUC of {', '.join(below)} lies wholly below 0.5: by these scores its images look more"
        " like the other class than that class does. Look whether its labels are right"
    ]


def estimates_of(scores: Scores, *, brief: bool = False, replicates: int = REPLICATES) -> list[Row]:
    """Return every metric of scores that have no source; brief: the AUC and what counts tell."""
    cell = estimate_cell(
        [scores],
        [{"fixed": FIXED}],
        [math.nan],
        rng_seed=RNG_SEED,
        brief=brief,
        replicates=replicates,
    )
    return [row for row in cell.rows if row.seed == "0" and not METRICS[row.metric].of_source]
