"""The numbers of a study's cells: every metric of every scored cell, and the state of every other.

Metrics are always derived from scores, so this trains nothing and scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from study.analysis.estimates import cached_estimates
from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.unit_calibrations import SourceCalibration, UnitCalibrations
from study.core.identity import derive_seed
from study.core.parallel import ordered_map
from study.core.records import (
    DATASET,
    FAKE,
    NO_DEGRADATION,
    REAL,
    SHARED_IMAGES,
    Cell,
    Estimate,
    MatrixRow,
    Pairing,
    Scores,
    TrainedDetector,
)
from study.data.leaks.find import Leaks
from study.planning.cells import PlannedCell, _worst, test_content
from study.planning.setup import Setup
from study.statistics.columns import SCALED
from study.statistics.intervals import Row
from study.statistics.methods import WITHOUT_LEAKS, by_method, part, without
from study.statistics.units import has_units, to_units

NAN = float("nan")


def matrix_rows(
    setup: Setup, cells: Sequence[PlannedCell], leakage: Leakage = NO_LEAKS
) -> list[MatrixRow]:
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
    setup: Setup,
    block: Sequence[PlannedCell],
    rng_seeds: Mapping[str, int],
    leakage: Leakage,
    units: UnitCalibrations,
) -> list[MatrixRow]:
    done = [c for c in block if c.cell.state == "done"]
    others = [c.cell for c in block if c.cell.state != "done"]
    rows = (
        [*_numbers(setup, done, len(block), rng_seeds, leakage, units)]
        if done
        else [without_number(_worst(others), "mean")]
    )
    return rows + [without_number(cell, str(cell.winner_seed)) for cell in others]


def _numbers(
    setup: Setup,
    done: Sequence[PlannedCell],
    seeds: int,
    rng_seeds: Mapping[str, int],
    leakage: Leakage,
    units: UnitCalibrations,
) -> Iterable[MatrixRow]:
    scores = [setup.store.scores(c.cell.scores_key) for c in done]
    levels: dict[str, list[Scores]] = {"image": scores}
    if has_units(scores[0]):
        levels["unit"] = [to_units(s) for s in scores]
    of_methods = by_method(scores[0])
    winners = [c.winner for c in done if c.winner is not None]
    first = done[0].cell
    place = (first.pairing.train_on, first.test_on)
    if place in leakage.leaks:
        left = [without(s, leakage.leaks[place].ids()) for s in scores]
        levels |= {
            level + WITHOUT_LEAKS: left if level == "image" else [to_units(s) for s in left]
            for level in tuple(levels)
        }
    if place in leakage.related and first.degradation == NO_DEGRADATION:
        yield _shared(first, leakage.related[place])
    missing = f"{seeds - len(done)} of {seeds} seeds missing" if len(done) < seeds else ""
    for level in (*levels, *of_methods):
        decided = [
            units.of(winner) if level.startswith("unit") else _of_images(winner)
            for winner in winners
        ]
        estimates = cached_estimates(
            setup.workspace.data.cache,
            levels[level] if level in levels else [part(s, of_methods[level]) for s in scores],
            [one.thresholds for one in decided],
            [one.temperature for one in decided],
            rng_seed=rng_seeds[first.test_on],
            brief=level in of_methods,
        )
        for row in estimates.rows:
            seed = row.seed if row.seed == "mean" else str(winners[int(row.seed)].winner_seed)
            yield MatrixRow(
                detector=first.pairing.detector,
                train_on=first.pairing.train_on,
                test_on=first.test_on,
                degradation=first.degradation,
                level=level,
                seed=seed,
                metric=row.metric,
                threshold=row.threshold,
                estimate=_noted(row, decided[0].note),
                coverage=scores[0].coverage,
                state="done",
                reason=missing if seed == "mean" else "",
            )


def _of_images(winner: TrainedDetector) -> SourceCalibration:
    return SourceCalibration(thresholds=winner.thresholds, temperature=winner.temperature)


def _noted(row: Row, note: str) -> Estimate:
    """The estimate of a row, with what is to be known of the source where the source decides
    something of it.
    """
    applies = note and (row.threshold.startswith("source") or row.metric in SCALED)
    return (
        replace(row.estimate, note="; ".join(text for text in (row.estimate.note, note) if text))
        if applies
        else row.estimate
    )


def _shared(cell: Cell, shared: Leaks) -> MatrixRow:
    """The row that says why a cell is not cross-domain."""
    share = max(shared.copies(REAL), shared.copies(FAKE))
    note = "not cross-domain: " + "; ".join(shared.sentences(kinds=("exact", "near")))
    estimate = Estimate(
        value=share, low=NAN, high=NAN, n_real=shared.real, n_fake=shared.fake, note=note
    )
    row = without_number(cell, "mean")
    return replace(
        row, level=DATASET, metric=SHARED_IMAGES, estimate=estimate, state="done", reason=""
    )


def without_number(cell: Cell, seed: str) -> MatrixRow:
    """Return the row that stands for a cell without a number: its state and why."""
    nothing = float("nan")
    return MatrixRow(
        detector=cell.pairing.detector,
        train_on=cell.pairing.train_on,
        test_on=cell.test_on,
        degradation=cell.degradation,
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
