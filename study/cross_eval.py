"""Score every winner on every test set, and lay out the train-on-X/test-on-Y matrix.

    python -m study.cross_eval quick

What the store holds is not scored again; metrics, tables and figures are derived from the
scores at every run. Detectors that are not trained are built here, and ensembles are made here of
their members' scores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.analysis.audit import StudyAudit
    from study.analysis.choices import Choices
    from study.analysis.leakage import Leakage
    from study.analysis.results import ResultRow, Results
    from study.analysis.robustness import Robustness
    from study.core.failures import Failure
    from study.core.records import Cell, Pairing
    from study.jobs.cell import CellJob
    from study.jobs.winner import WinnerJob
    from study.planning.cells import PlannedCell
    from study.planning.open_study import OpenStudy
    from study.planning.selection import SearchHistory
    from study.runtime.interface import Launcher

EXAMPLES = """
python -m study.cross_eval quick
python -m study.cross_eval quick --metric balanced_accuracy --threshold source
python -m study.cross_eval quick --degradations default blur2
python -m study.cross_eval my_study.toml --data-root ~/datasets --local
python -m study.cross_eval my_study.toml --predictions theirs=scores.csv --test-on cifake
"""
SETTLED = ("done", "not_applicable")  # the states of cells that nothing is left to do for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("cross_eval", __doc__.splitlines()[0], EXAMPLES)
    cli.add_study_options(parser)
    cli.add_launch_options(parser)
    parser.add_argument(
        "--metric",
        default="auc",
        help="the metric of the printed table (default: auc; all are in matrix.csv)",
    )
    parser.add_argument(
        "--threshold",
        default="source",
        help="the threshold of a metric that needs one (default: source)",
    )
    parser.add_argument(
        "--transfer",
        action="store_true",
        help="print the threshold transfer too (tables.md always has it)",
    )
    parser.add_argument(
        "--degradations",
        nargs="+",
        metavar="NAME",
        help=(
            "score degraded images too: suites (default, genimage, wang, sidbench) or members"
            " (jpeg40, blur2+jpeg50, ...); in place of the study's key `degradations`"
        ),
    )
    _add_predictions(parser)
    options = cli.parse(parser, arguments)
    _check_metric(options)
    setup = cli.open_study(options, firewall=False)
    with setup.store.lock(), cli.pushed(options, setup):
        return cross_eval(setup, options)


def _add_predictions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE.csv",
        help=(
            "add a detector that was run elsewhere: columns score and sample_id or path, of the"
            " images of --test-on. Kept in the store; NAME= takes it out again. May be given"
            " several times"
        ),
    )
    parser.add_argument(
        "--test-on", action="append", default=[], metavar="Y", help="the test set of --predictions"
    )
    parser.add_argument(
        "--probability",
        action="store_true",
        help="the scores of --predictions are p(fake), not logits",
    )


def _check_metric(options: argparse.Namespace) -> None:
    from study.core.errors import ConfigError, unknown_name
    from study.statistics.metrics import METRICS
    from study.statistics.thresholds import THRESHOLDS

    shown = [metric.name for metric in METRICS.values() if not metric.is_count]
    if options.metric not in shown:
        raise ConfigError(unknown_name("metric", options.metric, shown))
    if options.threshold not in THRESHOLDS:
        raise ConfigError(unknown_name("threshold", options.threshold, THRESHOLDS))
    options.threshold = options.threshold if METRICS[options.metric].at_threshold else ""


def cross_eval(setup: OpenStudy, options: argparse.Namespace) -> int:
    """Score what is missing, write and print the matrix. Returns the exit code."""
    from study.analysis.choices import choices_of
    from study.analysis.comparisons import compare_study
    from study.analysis.external import ask_for, external_cells
    from study.analysis.leakage import leakage_of
    from study.analysis.results_csv import degradations_in
    from study.analysis.robustness import robustness
    from study.audit import write_audit
    from study.core.errors import StoreError
    from study.planning.cells import plan_cells
    from study.planning.searches import replay
    from study.planning.variants import variant_cells, variants
    from study.render.answer import answer
    from study.render.audit import pairs_line
    from study.render.files import remove_stale, write_comparisons
    from study.render.printed import printed
    from study.tracking.mlflow_tracker import ui_command

    for note in ask_for(
        setup, options.predictions, options.test_on, probability=options.probability
    ):
        cli.LOG.info(f"note: {note}")
    outside = external_cells(setup)
    history = replay(setup)
    _build_untrained(setup, options)
    cells = plan_cells(setup, history)
    if not setup.study.untrained() and not outside and not any(c.winner for c in cells):
        others = sum(1 for _ in setup.store.folder.glob("models/*/detector.json"))
        hint = (
            f" (it holds {others} of other configurations: if the sweep had --set, give the same"
            " here)"
            if others
            else ""
        )
        raise StoreError(
            f"no winners of this study in '{setup.store.folder}'{hint}; first run:"
            f" {cli.again(options, 'sweep')}"
        )
    _score(
        setup,
        options,
        [
            *cells,
            *(
                cell
                for _, more in variant_cells(setup, variants(setup.jobs, history))
                for cell in more
            ),
        ],
    )
    _derive(setup, options, plan_cells(setup, history))
    cells = plan_cells(setup, history)
    _score_epochs(setup, options, cells)
    leakage = leakage_of(setup)
    audit = write_audit(setup)
    results = _results(setup, cells, outside, leakage, audit)
    cells += outside
    compared = compare_study(setup, cells, leakage, marked=[*results.warnings()])
    choices = choices_of(setup, history, cells, results, leakage)
    notes = [note for note in (pairs_line(audit, options.study), *cli.notes(setup.study)) if note]
    degraded = robustness(setup, cells, leakage)
    gone = [
        name
        for name in degradations_in(setup.store.matrix_file)
        if name not in setup.study.conditions()
    ]
    artifacts = [
        *_write(setup, results, cells, history, choices, degraded, notes, leakage),
        *write_comparisons(compared, setup.store.folder),
    ]
    quantity = (options.metric, options.threshold)
    print(printed(results, choices, degraded, quantity, transfer=options.transfer))
    for note in [*notes, *_left_out(options, gone, remove_stale(setup.store.figures, artifacts))]:
        cli.LOG.info(f"\nnote: {note}")
    _track(setup, cells, results.rows, artifacts)
    print(
        f"\nmatrix:  {setup.store.matrix_file}\nfigures: {setup.store.figures}\nmlflow: "
        f" {ui_command(setup.workspace.results)}"
    )
    print(f"\n{answer(compared)}")
    return _exit_code(cells)


def _results(
    setup: OpenStudy,
    cells: Sequence[PlannedCell],
    outside: Sequence[PlannedCell],
    leakage: Leakage,
    audit: StudyAudit,
) -> Results:
    """Return the numbers of the study's cells, of detectors run elsewhere, and of the audit."""
    from study.analysis.audit import dataset_rows, no_pixel_rows
    from study.analysis.cell_rows import matrix_rows
    from study.analysis.external import external_rows
    from study.analysis.leakage import pair_rows
    from study.analysis.results import Results

    test_on = setup.study.test_on
    rows = [
        *matrix_rows(setup, cells, leakage),
        *external_rows(setup, outside),
        *no_pixel_rows(audit, test_on),
    ]
    return Results(
        rows=tuple(rows),
        datasets=dataset_rows(audit, test_on),
        pairs=pair_rows(setup, leakage),
    )


def _track(
    setup: OpenStudy,
    cells: Sequence[PlannedCell],
    rows: Sequence[ResultRow],
    artifacts: Sequence[Path],
) -> None:
    """Log the matrix to MLflow, and winners that it lacks."""
    from study.tracking.mlflow_tracker import Tracker

    tracker = Tracker(setup.study.name, results=setup.workspace.results)
    for winner in {c.winner.key: c.winner for c in cells if c.winner is not None}.values():
        # logged already, unless MLflow's store is a new one
        tracker.log_winner(winner, setup.store.model_folder(winner.key))
    tracker.log_matrix(rows, artifacts)


def _exit_code(cells: Sequence[PlannedCell]) -> int:
    """Say what is left."""
    from study.core.failures import Failure

    left = [c for c in cells if c.cell.state not in SETTLED]
    cli.say_what_is_left(
        (c.cell.state, _named(c.cell), c.failure or Failure(message=c.cell.reason)) for c in left
    )
    return cli.SOME_FAILED if left else cli.DONE


def _left_out(
    options: argparse.Namespace, degradations: Sequence[str], figures: Sequence[str]
) -> list[str]:
    """Say what the matrix before had and this one has not, and which figures went with it."""
    said = []
    if degradations:
        more = " ".join(degradations)
        said.append(
            f"this matrix is without {more}, which the one before had: their scores stay in the"
            f" store. With them: {cli.again(options, 'cross_eval')} --degradations {more}, or the"
            " study's key `degradations`"
        )
    return said + (
        [f"removed figures that are not of this matrix: {', '.join(figures)}"] if figures else []
    )


def _named(cell: Cell) -> str:
    from study.core.records import NO_DEGRADATION

    degraded = "" if cell.degradation == NO_DEGRADATION else f" {cell.degradation}"
    return f"{cell.pairing.name} -> {cell.test_on}{degraded} seed {cell.winner_seed}"


def _score(setup: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]) -> None:
    """Score what the store lacks, and record what failed."""
    from study.core.records import NO_DEGRADATION
    from study.jobs.cell import CellJob

    cells = [c for c in cells if c.cell.pairing.detector not in setup.study.ensembles]
    # each once
    cells = list({c.cell.scores_key or str(number): c for number, c in enumerate(cells)}.values())
    todo = [c for c in cells if isinstance(c.job, CellJob) and c.cell.state not in SETTLED]
    settled = sum(c.cell.state in SETTLED for c in cells)
    if not todo:
        waiting = f"; {len(cells) - settled} have no winner" if settled < len(cells) else ""
        cli.LOG.info(f"Nothing to score: {settled} cells are in {setup.store.folder}{waiting}\n")
        return
    cli.LOG.info(f"scoring {len(todo)} cells ({settled} are in the store)")
    start = time.monotonic()
    with cli.launcher(setup, options) as launcher:
        failed = _score_clean(launcher, [c for c in todo if c.cell.degradation == NO_DEGRADATION])
        failed |= _score_degraded(
            launcher, [c for c in todo if c.cell.degradation != NO_DEGRADATION]
        )
    seconds = cli.seconds_text(time.monotonic() - start)
    cli.LOG.info(f"scored {len(todo) - len(failed)} cells in {seconds}\n")
    setup.store.save_failures([c.cell.scores_key for c in todo], failed)


def _score_clean(launcher: Launcher, cells: Sequence[PlannedCell]) -> dict[str, Failure]:
    """Score cells on test sets as they are, a job each; return the failures by scores key."""
    from study.jobs.cell import CellJob, run_cell

    geometries = {c.winner.key: repr(c.winner.spec.geometry) for c in cells if c.winner is not None}
    jobs = [c.job for c in cells if isinstance(c.job, CellJob)]
    # neighbours share a pack
    jobs.sort(key=lambda job: (job.test_on, geometries[job.model], job.model))
    named = {
        c.cell.scores_key: f"{c.cell.pairing.name} -> {c.cell.test_on}  {c.winner.trial.origin}"
        for c in cells
        if c.winner
    }
    with cli.announced(jobs, _is_scored, lambda job: named[job.scores_key]):
        return launcher.run_jobs(jobs, run_cell, _is_scored, lambda job: job.scores_key)


def _score_degraded(launcher: Launcher, cells: Sequence[PlannedCell]) -> dict[str, Failure]:
    """Score cells on degraded test sets, a job for every stretch of images; return the failures by
    scores key.
    """
    from study.jobs.cell import CellJob
    from study.jobs.degraded import (
        assemble,
        degraded_jobs,
        is_through,
        missing_parts,
        run_degraded,
    )

    cell_jobs = [c.job for c in cells if isinstance(c.job, CellJob)]
    jobs = degraded_jobs(cell_jobs)
    with cli.announced(
        jobs,
        is_through,
        lambda job: f"{job.test_on}  images {job.start + 1}-{job.stop}, {job.conditions}",
    ):
        failures = launcher.run_jobs(jobs, run_degraded, is_through, lambda job: job.key)
    assemble(cell_jobs)
    for job in jobs:
        if failure := failures.pop(job.key, None):  # of all its cells
            failures |= {cell.scores_key: failure for cell in missing_parts(job)}
    return failures


def _score_epochs(
    setup: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]
) -> None:
    """Score every epoch that winners have kept, where the store lacks it."""
    from study.analysis.leak_price import epochs_jobs
    from study.jobs.epochs import is_scored, run_epochs

    todo = [job for job in epochs_jobs(setup, cells) if not is_scored(job)]
    if not todo:
        return
    cli.LOG.info(f"scoring the epochs of {len(todo)} cells, for the leak price")
    todo.sort(key=lambda job: job.cell.test_on)
    with cli.launcher(setup, options) as launcher:
        failures = launcher.run_jobs(todo, run_epochs, is_scored, lambda job: job.key)
    for job in todo:
        if job.key in failures:
            cli.LOG.warning(
                f"warning: no leak price of {job.cell.model} on {job.cell.test_on}:"
                f" {failures[job.key]}"
            )


def _build_untrained(setup: OpenStudy, options: argparse.Namespace) -> None:
    """Build and keep the detectors that are not trained, where the store lacks them. Nothing to
    share out: it is done here.
    """
    from study.jobs.winner import run_winner
    from study.runtime.local import LocalLauncher

    jobs = [setup.jobs.untrained(pairing) for pairing in setup.study.untrained()]
    todo = [job for job in jobs if not _is_built(job)]
    for job in todo:
        cli.LOG.info(f"building {job.trial.pairing.detector}, which is not trained")
    failures = LocalLauncher(cli.terms(setup, options)).run_jobs(
        todo, run_winner, _is_built, lambda job: job.trial.key
    )
    if todo:
        setup.store.save_failures([job.trial.key for job in todo], failures)


def _derive(setup: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]) -> None:
    """Make the cells of ensembles whose members are scored. A few sums of numbers in the store:
    they are done here.
    """
    from study.jobs.ensemble import EnsembleJob, is_derived, run_ensemble
    from study.runtime.local import LocalLauncher

    todo = [c.job for c in cells if isinstance(c.job, EnsembleJob) and c.cell.state not in SETTLED]
    if not todo:
        return
    failures = LocalLauncher(cli.terms(setup, options)).run_jobs(
        todo, run_ensemble, is_derived, lambda job: job.scores_key
    )
    setup.store.save_failures([job.scores_key for job in todo], failures)
    cli.LOG.info(
        f"made {len(todo) - len(failures)} cells of ensembles from their members' scores\n"
    )


def _is_built(job: WinnerJob) -> bool:
    from study.store.store import Store

    return Store(job.workspace.results, job.workspace.study).has_model(job.trial.key)


def _is_scored(job: CellJob) -> bool:
    from study.store.store import Store

    return Store(job.workspace.results, job.workspace.study).has_scores(job.scores_key)


def _write(
    setup: OpenStudy,
    results: Results,
    cells: Sequence[PlannedCell],
    history: Mapping[Pairing, SearchHistory],
    choices: Choices,
    degraded: Sequence[Robustness],
    notes: Sequence[str],
    leakage: Leakage,
) -> list[Path]:
    """Write the results, the tables, and the figures; return the files."""
    from study.analysis.cells_csv import csv_text
    from study.analysis.diff import cell_files
    from study.analysis.results_csv import write_results
    from study.analysis.roc import roc_of_means
    from study.core.records import NO_DEGRADATION
    from study.planning.search_summary import best_so_far
    from study.planning.study_file import to_toml
    from study.render.files import draw, write_tables, write_tuning

    store = setup.store
    store.save_study(to_toml(setup.study))
    store.save_text(store.folder / "cells.csv", csv_text(cell_files(setup, cells)))
    done = [c.cell for c in cells if c.cell.state == "done"]
    scores = [
        (cell.test_on, cell.pairing, store.scores(cell.scores_key))
        for cell in done
        if cell.degradation == NO_DEGRADATION
    ]
    searches = {pairing: best_so_far(searched.trials) for pairing, searched in history.items()}
    return [
        *write_results(results, store.folder),
        *write_tables(results, choices, degraded, notes, store.folder),
        *write_tuning(choices.contrasts, store.folder),
        store.study_file,
        store.audit_file,
        *draw(results, roc_of_means(scores, leakage), searches, store.figures),
    ]


if __name__ == "__main__":
    cli.run(main)
