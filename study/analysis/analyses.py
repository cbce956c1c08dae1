"""Everything that the scores of a study say, derived of one `ScoreSet`: what cross_eval writes and
prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from study.analysis.audit import StudyAudit, control_rows, dataset_rows
from study.analysis.calibrations import Calibrations
from study.analysis.cell_rows import cell_rows
from study.analysis.choices import Choices
from study.analysis.comparisons import Comparisons, compare_detectors
from study.analysis.controls import ControlRow, control_comparisons
from study.analysis.deliveries import deliveries
from study.analysis.evidence import evidence_rows
from study.analysis.exposure import exposures, later_rows, with_exposure
from study.analysis.flags import flags
from study.analysis.floors import floors
from study.analysis.leak_price import KeptEpochs, leak_prices
from study.analysis.leakage import leakage_of, pair_rows
from study.analysis.null_band import null_bands, null_rows
from study.analysis.other_test_sets import other_test_sets
from study.analysis.repeats import Repeat, with_repeats
from study.analysis.results import Results
from study.analysis.robustness import Robustness, robustness
from study.analysis.roc import RocCurve, roc_of_means
from study.analysis.score_set import ScoreSet, blends_of, open_scores
from study.analysis.search_cost import search_costs, val_agreement
from study.analysis.selection_gap import selection_gaps
from study.analysis.subgroups import subgroup_rows
from study.analysis.tuning import contrasts
from study.analysis.weighted_sums import TrainingParts, training_parts
from study.core.records import Pairing
from study.jobs.draws import DrawCellJob
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
from study.planning.selection import SearchHistory
from study.planning.variants import Variant

VariantCells = Sequence[tuple[Variant, Sequence[PlannedCell]]]


@dataclass(frozen=True, kw_only=True)
class Analyses:
    """The tables of a study; () where it has nothing of a kind. scores: what they are derived from.
    training: what training sample and seeds add to the errors of clean cells.
    """

    scores: ScoreSet
    results: Results
    comparisons: Comparisons
    choices: Choices
    controls: tuple[ControlRow, ...]
    robustness: tuple[Robustness, ...]
    curves: tuple[RocCurve, ...]
    training: TrainingParts


def analyse(
    setup: OpenStudy,
    cells: Sequence[PlannedCell],
    variants: VariantCells,
    epochs: Sequence[KeptEpochs],
    drawn: Sequence[DrawCellJob],
    audit: StudyAudit,
    history: Mapping[Pairing, SearchHistory],
    repeats: Sequence[Repeat] = (),
) -> Analyses:
    """Derive everything. Trains nothing, scores nothing, and opens each file of scores once.

    cells: of the study, and of detectors run elsewhere. variants: the cells of other configurations
    of its pairings. epochs: what winners have kept. drawn: the scores of models of draws.
    history: of the searches. repeats: of the study, after itself: the matrix, its comparisons and
    the headline are means over all. Everything else is of the study itself, the first one.
    """
    more = [planned for _, of_variant in variants for planned in of_variant]
    keys = [p.cell.scores_key for p in (*cells, *more) if p.cell.state == "done"]
    keys += [key for one in epochs if one.job.is_done() for key in one.keys.values()]
    again = [one.scores() for one in repeats]
    scores = open_scores(setup, keys, leakage_of(setup), drawn, blends_of(cells), again)
    below = floors(setup.jobs, history)
    flagged = tuple(flags(setup.searches, history, below))
    results = replace(results_of(setup, scores, cells, audit), flags=flagged)
    plain = [planned.cell for planned in cells]
    every = [*plain, *(planned.cell for one in repeats for planned in one.cells)]
    results = with_repeats(results, scores, setup, plain, repeats)
    dated = exposures(setup, plain)
    results = replace(results, rows=with_exposure(results.rows, dated))
    degraded = tuple(robustness(scores, plain))
    marked = [*results.warnings()]
    return Analyses(
        scores=scores,
        results=results,
        comparisons=compare_detectors(scores, every, marked=marked, rows=results.rows),
        choices=Choices(
            gaps=tuple(selection_gaps(scores, cells)),
            contrasts=tuple(contrasts(scores, setup.store, cells, variants)),
            prices=tuple(leak_prices(scores, epochs)),
            floors=tuple(below),
            costs=search_costs(history, devices=setup.study.run.devices_per_trial),
            agreement=val_agreement(scores, cells, variants),
            evidence=evidence_rows(scores, setup.store, cells, results.rows),
            others=other_test_sets(scores, plain, marked=marked),
            subgroups=subgroup_rows(scores, plain),
            exposures=dated,
            later=later_rows(results.rows, dated),
            deliveries=deliveries(scores, cells, degraded, marked=marked),
        ),
        controls=control_comparisons(setup, scores, cells),
        robustness=degraded,
        curves=tuple(roc_of_means(scores, plain)),
        training=training_parts(scores, plain),
    )


def results_of(
    setup: OpenStudy, scores: ScoreSet, cells: Sequence[PlannedCell], audit: StudyAudit
) -> Results:
    """Return the numbers of the cells and of the audit, and what is known of test sets and
    pairs.
    """
    test_on, plain = setup.study.test_on, [planned.cell for planned in cells]
    cache, calibrations = setup.workspace.data.cache, Calibrations(setup.store)
    rows = cell_rows(scores, cells, cache=cache, calibrations=calibrations)
    return Results(
        rows=(
            *rows,
            *null_rows(scores, null_bands(scores, plain)),
            *control_rows(audit, test_on),
        ),
        datasets=dataset_rows(audit, test_on),
        pairs=pair_rows(setup, scores.leakage),
    )
