"""The numbers of a study's cells: every metric of every scored cell, and the state of every other.

Metrics are always derived from scores, so this trains nothing and scores nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from study.analysis.estimates import cached_estimates
from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import ResultRow, Role
from study.analysis.unit_calibrations import SourceCalibration, UnitCalibrations
from study.core.identity import derive_seed
from study.core.parallel import ordered_map
from study.core.records import Cell, Estimate, Pairing, Scores, TrainedDetector
from study.planning.cells import PlannedCell, test_content, worst
from study.planning.open_study import OpenStudy
from study.statistics.intervals import Row
from study.statistics.methods import by_method, part, without
from study.statistics.metrics import METRICS
from study.statistics.units import has_units, to_units


def matrix_rows(
    setup: OpenStudy, cells: Sequence[PlannedCell], leakage: Leakage = NO_LEAKS
) -> list[ResultRow]:
    """Return the matrix in its long form: every metric of every scored cell, and the state of every
    other.

    leakage: cells with leaked images are there without them too. Several threads derive, a cell
    each; what was derived of the same scores before is kept (estimates.py).
    """
    blocks: dict[tuple[Pairing, str, str], list[PlannedCell]] = {}  # the seeds of one place
    for planned in cells:
        cell = planned.cell
        blocks.setdefault((cell.pairing, cell.test_on, cell.degradation), []).append(planned)
    scored = dict.fromkeys(c.cell.test_on for c in cells if c.cell.state == "done")
    rng_seeds = {
        test_on: derive_seed(setup.study.seed, "bootstrap", test_content(setup, test_on))
        for test_on in scored
    }
    units = UnitCalibrations(setup.store)
    each = ordered_map(
        lambda block: _rows(setup, block, rng_seeds, leakage, units), blocks.values(), at_once=1
    )
    return [row for rows in each for row in rows]


def _rows(
    setup: OpenStudy,
    block: Sequence[PlannedCell],
    rng_seeds: Mapping[str, int],
    leakage: Leakage,
    units: UnitCalibrations,
) -> list[ResultRow]:
    done = [c for c in block if c.cell.state == "done"]
    others = [c.cell for c in block if c.cell.state != "done"]
    rows = (
        [*_numbers(setup, done, len(block), rng_seeds, leakage, units)]
        if done
        else [without_number(worst(others), "mean", leakage)]
    )
    return rows + [without_number(cell, str(cell.winner_seed), leakage) for cell in others]


def _numbers(
    setup: OpenStudy,
    done: Sequence[PlannedCell],
    seeds: int,
    rng_seeds: Mapping[str, int],
    leakage: Leakage,
    units: UnitCalibrations,
) -> Iterable[ResultRow]:
    scores = [setup.store.scores(c.cell.scores_key) for c in done]
    winners = [c.winner for c in done if c.winner is not None]
    first = done[0].cell
    missing = f"{seeds - len(done)} of {seeds} seeds missing" if len(done) < seeds else ""
    for part_of, held in parts_of(scores, leakage.leaked(first.pairing.train_on, first.test_on)):
        decided = [
            units.of(winner) if part_of.level == "unit" else _of_images(winner)
            for winner in winners
        ]
        estimates = cached_estimates(
            setup.workspace.data.cache,
            held,
            [one.thresholds for one in decided],
            [one.temperature for one in decided],
            rng_seed=rng_seeds[first.test_on],
            brief=bool(part_of.subset),
        )
        for row in estimates.rows:
            seed = row.seed if row.seed == "mean" else str(winners[int(row.seed)].winner_seed)
            yield ResultRow(
                **place_of(first, "detector", leakage),
                level=part_of.level,
                subset=part_of.subset,
                leak_free=part_of.leak_free,
                seed=seed,
                metric=row.metric,
                threshold=row.threshold,
                estimate=_noted(row, decided[0].note),
                coverage=scores[0].coverage,
                state="done",
                reason=missing if seed == "mean" else "",
            )


class Part(NamedTuple):
    """Which of a cell's images a number is of, see `ResultRow`."""

    level: str = "image"
    subset: str = ""
    leak_free: bool = False


def parts_of(
    scores: Sequence[Scores], leaked: Collection[str]
) -> Iterator[tuple[Part, Sequence[Scores]]]:
    """Give what a cell is taken apart into, and the scores of each seed there: images and units,
    both without what leaks, and methods.
    """
    left = [without(one, leaked) for one in scores]
    has_videos = has_units(scores[0])
    for leak_free, held in ((False, scores), (True, left)) if leaked else ((False, scores),):
        yield Part(leak_free=leak_free), held
        if has_videos:
            yield Part("unit", leak_free=leak_free), [to_units(one) for one in held]
    for subset, places in by_method(scores[0]).items():
        yield Part(subset=subset), [part(one, places) for one in scores]


def _of_images(winner: TrainedDetector) -> SourceCalibration:
    return SourceCalibration(thresholds=winner.thresholds, temperature=winner.temperature)


def _noted(row: Row, note: str) -> Estimate:
    """The estimate of a row, with what is to be known of the source where the source decides
    something of it.
    """
    applies = note and (row.threshold.startswith("source") or METRICS[row.metric].scaled)
    return (
        replace(row.estimate, note="; ".join(text for text in (row.estimate.note, note) if text))
        if applies
        else row.estimate
    )


def without_number(cell: Cell, seed: str, leakage: Leakage, role: Role = "detector") -> ResultRow:
    """Return the row that stands for a cell without a number: its state and why."""
    nothing = float("nan")
    return ResultRow(
        **place_of(cell, role, leakage),
        level="image",
        seed=seed,
        metric="auc",
        threshold="",
        estimate=Estimate(
            value=nothing,
            low=nothing,
            high=nothing,
            n_real=0,
            n_fake=0,
            reason=cell.reason or cell.state,
        ),
        coverage=nothing,
        state=cell.state,
        reason=cell.reason,
    )


def place_of(cell: Cell, role: Role, leakage: Leakage) -> dict[str, Any]:
    """The columns of a row that say where its cell stands."""
    return {
        "detector": cell.pairing.detector,
        "train_on": cell.pairing.train_on,
        "test_on": cell.test_on,
        "role": role,
        "degradation": cell.degradation,
        "domain": leakage.domain(cell.pairing.train_on, cell.test_on),
    }
