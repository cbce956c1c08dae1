"""The numbers of cells: every metric of every scored cell, and the state of every other.

Metrics are always derived from scores, so this trains nothing and scores nothing. The interval of
the mean over seeds of an AUC counts training sample and seeds (weighted_sums.py). All others are of
the test images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from study.analysis.calibrations import Calibration, Calibrations
from study.analysis.estimates import cached_estimates
from study.analysis.leakage import Leakage
from study.analysis.results import IMAGES_ALONE, ResultRow
from study.analysis.score_set import ScoreSet
from study.analysis.weighted_sums import WeightedSum, part_sum
from study.core.parallel import ordered_map
from study.core.records import ELSEWHERE, Cell, Estimate, Pairing, Scores
from study.data.layouts.manifest import SUBGROUP
from study.planning.cells import PlannedCell, worst
from study.statistics.intervals import Row
from study.statistics.methods import by_method, part, without
from study.statistics.metrics import METRICS
from study.statistics.ranking import Ints
from study.statistics.units import has_units, to_units

NAN = float("nan")


class Part(NamedTuple):
    """Which of a cell's images a number is of, see `ResultRow`."""

    level: str = "image"
    subset: str = ""
    leak_free: bool = False


def cell_rows(
    scores: ScoreSet, cells: Iterable[PlannedCell], *, cache: Path, calibrations: Calibrations
) -> list[ResultRow]:
    """Return every metric of every scored cell, and the state of every other, in the cells' order;
    of a cell with leaked images the metrics without them, too.

    cache: the folder of what was derived of the same scores before (estimates.py). Several threads
    derive, a cell each.
    """
    blocks: dict[tuple[Pairing, str, str], list[PlannedCell]] = {}  # the seeds of one place
    for planned in cells:
        cell = planned.cell
        blocks.setdefault((cell.pairing, cell.test_on, cell.degradation), []).append(planned)
    source = _Source(scores=scores, cache=cache, calibrations=calibrations)
    each = ordered_map(source.rows, blocks.values(), at_once=1)
    return [row for rows in each for row in rows]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What the numbers are made of."""

    scores: ScoreSet
    cache: Path
    calibrations: Calibrations

    def rows(self, block: Sequence[PlannedCell]) -> list[ResultRow]:
        """The rows of the seeds of one place: those of the scored ones, then the others' states."""
        leakage = self.scores.leakage
        done = [planned for planned in block if planned.cell.state == "done"]
        others = [planned.cell for planned in block if planned.cell.state != "done"]
        missing = f"{len(others)} of {len(block)} seeds missing" if others else ""
        rows = (
            [*self._numbers(done, missing)]
            if done
            else [_without_number(worst(others), "mean", leakage)]
        )
        return rows + [_without_number(cell, str(cell.winner_seed), leakage) for cell in others]

    def _numbers(self, done: Sequence[PlannedCell], missing: str) -> Iterator[ResultRow]:
        first = done[0].cell
        place = _place(first, self.scores.leakage)
        scores = [self.scores.of(planned.cell) for planned in done]
        levels = self.scores.levels(first.test_on, scores[0].sample_id)
        parts = chain(_parts(scores, self.scores.leaked(first)), _by_level(scores, levels))
        for of, held, images in parts:
            calibrated = [self.calibrations.of(planned.winner, of.level) for planned in done]
            estimates = cached_estimates(
                self.cache,
                held,
                [one.thresholds for one in calibrated],
                [one.temperature for one in calibrated],
                [one.evidence for one in calibrated],
                rng_seed=self.scores.rng_seed(first.test_on),
                brief=bool(of.subset),
            )
            for row in estimates.rows:
                if METRICS[row.metric].of_source and first.pairing.train_on == ELSEWHERE:
                    continue  # there is no source that could decide it
                is_mean = row.seed == "mean"
                estimate = _noted(row, calibrated[0])
                if is_mean and row.metric == "auc":
                    seeds = [planned.cell.winner_seed for planned in done]
                    total = part_sum(self.scores, first, seeds, held, images)
                    estimate = of_one_model(estimate, total)
                yield ResultRow(
                    **place,
                    **of._asdict(),
                    seed="mean" if is_mean else str(done[int(row.seed)].cell.winner_seed),
                    metric=row.metric,
                    threshold=row.threshold,
                    estimate=estimate,
                    coverage=scores[0].coverage,
                    state="done",
                    reason=missing if is_mean else "",
                )


def _parts(
    scores: Sequence[Scores], leaked: Collection[str]
) -> Iterator[tuple[Part, Sequence[Scores], Scores | None]]:
    """Give what a cell is taken apart into, and the scores of each seed there: images and units,
    both without what leaks, and methods. With units their single images, by the first seed.
    """
    has_videos = has_units(scores[0])
    for leak_free in (False, True) if leaked else (False,):
        held = [without(one, leaked) for one in scores] if leak_free else scores
        yield Part(leak_free=leak_free), held, None
        if has_videos:
            units = [to_units(one) for one in held]
            yield Part(level="unit", leak_free=leak_free), units, held[0]
    for subset, places in by_method(scores[0]).items():
        yield Part(subset=subset), [part(one, places) for one in scores], None


def _by_level(
    scores: Sequence[Scores], levels: Mapping[str, Mapping[str, Ints]]
) -> Iterator[tuple[Part, Sequence[Scores], None]]:
    """Give the levels of a cell's subgroups, and the scores of each seed there."""
    for name, of in levels.items():
        for level, places in of.items():
            subset = f"{SUBGROUP}{name}={level}"
            yield Part(subset=subset), [part(one, places) for one in scores], None


def of_one_model(estimate: Estimate, total: WeightedSum) -> Estimate:
    """Return the mean over seeds of an AUC with the interval of one model, over test images,
    training samples and seeds.
    """
    found = total.finding(kind="auc")
    if found.reason:
        return estimate
    exact = found.how if "exact" in found.how else ""
    alone = "" if found.counted else IMAGES_ALONE
    note = "; ".join(filter(None, (total.note, exact, alone)))
    return replace(estimate, low=found.low, high=found.high, note=note)


def _noted(row: Row, calibrated: Calibration) -> Estimate:
    """The estimate of a row, with what is to be known of the source where the source decides
    something of it.
    """
    notes = [row.estimate.note, calibrated.notes.get(row.threshold, "")]
    if row.threshold.startswith("source") or METRICS[row.metric].of_source:
        notes.append(calibrated.note)
    note = "; ".join(filter(None, notes))
    return replace(row.estimate, note=note) if note != row.estimate.note else row.estimate


def _without_number(cell: Cell, seed: str, leakage: Leakage) -> ResultRow:
    """The row that stands for a cell without a number: its state and why."""
    why = cell.reason or cell.state
    return ResultRow(
        **_place(cell, leakage),
        level="image",
        seed=seed,
        metric="auc",
        threshold="",
        estimate=Estimate(value=NAN, low=NAN, high=NAN, n_real=0, n_fake=0, reason=why),
        coverage=NAN,
        state=cell.state,
        reason=cell.reason,
    )


def _place(cell: Cell, leakage: Leakage) -> dict[str, Any]:
    """The columns of a row that say where its cell stands."""
    x, y = cell.pairing.train_on, cell.test_on
    return {
        "detector": cell.pairing.detector,
        "train_on": x,
        "test_on": y,
        "role": "external" if x == ELSEWHERE else "detector",
        "degradation": cell.degradation,
        "domain": leakage.domain(x, y),
    }
