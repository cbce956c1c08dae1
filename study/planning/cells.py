"""From the store to the matrix: which cells there are, what state they are in, and the numbers of
those that are scored.

Floor 3. Metrics are always derived from scores, so this trains nothing and scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from study.data.leaks import Leaks
from study.data.parallel import ordered_map
from study.identity import derive_seed
from study.jobs import CellJob, open_catalog
from study.planning.ensembles import EnsembleJob
from study.planning.estimates import kept_estimates
from study.planning.leakage import NO_LEAKS, Leakage
from study.planning.setup import Searched, Setup
from study.planning.unit_sources import Decided, UnitSources
from study.records import (
    DATASET,
    FAKE,
    NO_DEGRADATION,
    REAL,
    SHARED_IMAGES,
    Cell,
    CellState,
    Estimate,
    MatrixRow,
    Pairing,
    Scores,
    Trained,
)
from study.statistics.columns import SCALED
from study.statistics.intervals import Row
from study.statistics.methods import WITHOUT_LEAKS, by_method, part, without
from study.statistics.units import has_units, to_units

NAN = float("nan")
Place = tuple[Pairing, str, int, str]  # pairing, test set, winner seed, degradation


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, and the job that would score it; the job is None while its winner is not trained.

    Of an ensemble the job derives the cell; it is None while a member's cell is not scored.
    """

    cell: Cell
    winner: Trained | None
    job: CellJob | EnsembleJob | None


def plan_cells(setup: Setup, told: Mapping[Pairing, Searched] | None = None) -> list[PlannedCell]:
    """Return every cell of the study in the order pairing, test set, degradation, seed.

    told: what `setup.replay()` gave, if it is known.
    """
    told = setup.replay() if told is None else told
    failures, pairings = setup.store.failures(), setup.study.pairings()
    ensembles = [pairing for pairing in pairings if pairing.detector in setup.study.ensembles]
    cells: dict[Place, PlannedCell] = {}
    for pairing in pairings:
        if pairing not in ensembles:
            cells.update(_built_cells(setup, pairing, told.get(pairing), failures))
    for pairing in ensembles:
        cells.update(_ensemble_cells(setup, pairing, cells, failures))
    return [cells[place] for pairing in pairings for place in _places(setup, pairing)]


def _places(setup: Setup, pairing: Pairing) -> list[Place]:
    study = setup.study
    seeds, conditions = range(study.seeds_of(pairing)), study.conditions()
    return [
        (pairing, test_on, seed, condition)
        for test_on in study.test_on
        for condition in conditions
        for seed in seeds
    ]


def _built_cells(
    setup: Setup, pairing: Pairing, searched: Searched | None, failures: Mapping[str, str]
) -> Iterator[tuple[Place, PlannedCell]]:
    """Give the cells of a pairing whose winners are networks. searched: None where it is not
    trained.
    """
    found = (
        [setup.untrained_job(pairing)] if searched is None else setup.winner_jobs(pairing, searched)
    )
    jobs = {job.winner_seed: job for job in found}
    lost = (
        why_no_winner(searched) if searched is not None and searched.complete and not jobs else ""
    )
    waiting = "not built yet" if searched is None else "not trained yet"
    winners = {
        seed: setup.store.model(job.trial.key)
        for seed, job in jobs.items()
        if setup.store.has_model(job.trial.key)
    }
    for place in _places(setup, pairing):
        _, test_on, seed, degradation = place
        if seed in winners:
            job = setup.cell_job(winners[seed].key, test_on, degradation)
            planned = scored_or_not(setup, place, winners[seed], job, failures)
        else:
            reason = lost or (failures.get(jobs[seed].trial.key, "") if seed in jobs else "")
            planned = _unscored(place, "failed" if reason else "planned", reason=reason or waiting)
        yield place, planned


def _ensemble_cells(
    setup: Setup, pairing: Pairing, cells: Mapping[Place, PlannedCell], failures: Mapping[str, str]
) -> Iterator[tuple[Place, PlannedCell]]:
    """Give the cells of an ensemble, from those of its members."""
    members = [
        Pairing(detector=name, train_on=pairing.train_on)
        for name in setup.study.ensembles[pairing.detector]
    ]
    for place in _places(setup, pairing):
        parts = [cells[member, *place[1:]] for member in members]
        missing = [part.cell for part in parts if part.cell.state != "done"]
        if missing:
            worst = _worst(missing)
            reason = f"its member {worst.pairing.detector}: {worst.reason or 'not scored yet'}"
            yield place, _unscored(place, worst.state, reason=reason)
            continue
        job = EnsembleJob(
            workspace=setup.workspace,
            pairing=pairing,
            winner_seed=place[2],
            members=tuple(member.detector for member in members),
            models=tuple(part.winner.key for part in parts if part.winner is not None),
            scores=tuple(part.cell.scores_key for part in parts),
        )
        winner = setup.store.model(job.key) if setup.store.has_model(job.key) else None
        yield place, scored_or_not(setup, place, winner, job, failures)


def _unscored(place: Place, state: CellState, *, reason: str) -> PlannedCell:
    return PlannedCell(cell=_cell(place, state, reason=reason), winner=None, job=None)


def scored_or_not(
    setup: Setup,
    place: Place,
    winner: Trained | None,
    job: CellJob | EnsembleJob,
    failures: Mapping[str, str],
) -> PlannedCell:
    """Return the cell of a trained detector, as the store has it, and the job that scores it."""
    key = job.scores_key
    if winner is not None and setup.store.has_scores(key):
        cell = _cell(place, "done", scores_key=key)
    elif place[3] != NO_DEGRADATION and (reason := setup.store.not_applicable(key)):
        cell = _cell(place, "not_applicable", reason=reason, scores_key=key)
    else:
        cell = _cell(
            place,
            "failed" if key in failures else "planned",
            reason=failures.get(key, ""),
            scores_key=key,
        )
    return PlannedCell(cell=cell, winner=winner, job=job)


def _cell(place: Place, state: CellState, *, reason: str = "", scores_key: str = "") -> Cell:
    pairing, test_on, seed, degradation = place
    return Cell(
        pairing=pairing,
        winner_seed=seed,
        test_on=test_on,
        degradation=degradation,
        state=state,
        reason=reason,
        scores_key=scores_key,
    )


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
    units = UnitSources(setup.store)
    each = ordered_map(
        lambda block: _rows(setup, block, rng_seeds, leakage, units), blocks.values(), at_once=1
    )
    return [row for rows in each for row in rows]


def _rows(
    setup: Setup,
    block: Sequence[PlannedCell],
    rng_seeds: Mapping[str, int],
    leakage: Leakage,
    units: UnitSources,
) -> list[MatrixRow]:
    done = [c for c in block if c.cell.state == "done"]
    others = [c.cell for c in block if c.cell.state != "done"]
    rows = (
        [*_numbers(setup, done, len(block), rng_seeds, leakage, units)]
        if done
        else [without_number(_worst(others), "mean")]
    )
    return rows + [without_number(cell, str(cell.winner_seed)) for cell in others]


def _worst(missing: Sequence[Cell]) -> Cell:
    """The cell that stands for several without a number: a failed one where there is one."""
    return next((cell for cell in missing if cell.state == "failed"), missing[0])


def why_no_winner(searched: Searched) -> str:
    """Say why a search that has used its budget selected nothing."""
    reasons = [result.reason for _, result in searched.trials if result.state == "failed"]
    return (
        f"no trial gave a result ({reasons[-1]})"
        if reasons
        else "no trial gave a defined validation AUC"
    )


def _numbers(
    setup: Setup,
    done: Sequence[PlannedCell],
    seeds: int,
    rng_seeds: Mapping[str, int],
    leakage: Leakage,
    units: UnitSources,
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
        estimates = kept_estimates(
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


def _of_images(winner: Trained) -> Decided:
    return Decided(thresholds=winner.thresholds, temperature=winner.temperature)


def _noted(row: Row, note: str) -> Estimate:
    """The estimate of a row, with what is to be known of the source where the source decides
    something of it.
    """
    told = note and (row.threshold.startswith("source") or row.metric in SCALED)
    return (
        replace(row.estimate, note="; ".join(text for text in (row.estimate.note, note) if text))
        if told
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


def test_content(setup: Setup, test_on: str) -> str:
    """The content key of a test split: detectors are compared on the same resamples of the same
    images.
    """
    return open_catalog(setup.workspace.data, firewall=setup.workspace.firewall).key(
        test_on, ("test",)
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
