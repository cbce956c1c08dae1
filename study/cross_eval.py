"""Score every winner on every test set, and lay out the train-on-X/test-on-Y matrix.

    python -m study.cross_eval quick

What the store holds is not scored again; metrics, tables and figures are derived from the
scores at every run. Detectors that are not trained are built here, and ensembles are made here of
their members' scores.
"""

from __future__ import annotations

import argparse
import functools
import logging
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.analysis.analyses import Analyses, VariantCells
    from study.analysis.leak_price import KeptEpochs
    from study.analysis.repeats import Repeat
    from study.core.failures import Failure
    from study.core.records import Cell, Pairing, TrainedDetector
    from study.jobs.cell import CellJob
    from study.jobs.degraded import DegradedJob
    from study.jobs.draws import DrawCellJob
    from study.planning.cells import PlannedCell
    from study.planning.in_process import Estimates
    from study.planning.open_study import OpenStudy
    from study.planning.selection import SearchHistory
    from study.runtime.interface import Launcher
    from study.tracking.answered import Answered
    from study.tracking.views import Views

EXAMPLES = """
python -m study.cross_eval quick
python -m study.cross_eval quick --metric balanced_accuracy --threshold source
python -m study.cross_eval quick --degradations default blur2
python -m study.cross_eval my_study.toml --data-root ~/datasets --local
python -m study.cross_eval my_study.toml --predictions-csv
python -m study.cross_eval my_study.toml --predictions theirs=scores.csv --test-on cifake
"""
SETTLED = ("done", "not_applicable")  # the states of cells that nothing is left to do for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("cross_eval", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_launch_options(parser)
    parser.add_argument(
        "--metric",
        default="auc",
        help="the metric of the printed table (default: auc). matrix.csv has all",
    )
    parser.add_argument(
        "--threshold",
        default="source",
        help="the threshold of a metric that needs one (default: source)",
    )
    parser.add_argument(
        "--transfer",
        action="store_true",
        help="print the threshold transfer too (tables.md always has it), and --full",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="print every detector's matrix with its notes, and the whole answer (else in files)",
    )
    parser.add_argument(
        "--degradations",
        nargs="+",
        metavar="NAME",
        help=(
            "score degraded images too: suites (default, genimage, wang, sidbench) or members"
            " (jpeg40, blur2+jpeg50, ...). In place of the study's key `degradations`"
        ),
    )
    parser.add_argument(
        "--predictions-csv",
        action="store_true",
        help="write the predictions of every cell as CSV, into the folder predictions",
    )
    _add_predictions(parser)
    options = cli.parse(parser, arguments)
    _check_metric(options)
    answer = cli.answered("cross_eval", options, arguments)
    if answer.given(options):
        return cli.DONE
    with cli.views() as views:
        opened = cli.open_study(options, firewall=False)
        with opened.store.lock(), cli.pushed(options, opened.study):
            code = cross_eval(opened, options, views, answer)
    if code == cli.DONE:
        answer.keep(opened)
    return code


def _add_predictions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE.csv",
        help=(
            "add a detector that was run elsewhere: columns score and sample_id or path, of the"
            " images of --test-on. The store keeps it. NAME= takes it out again. May be given"
            " several times"
        ),
    )
    parser.add_argument(
        "--test-on", action="append", default=[], metavar="Y", help="the test set of --predictions"
    )
    cli.add_unit_options(parser, "the scores of --predictions")


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


def cross_eval(
    opened: OpenStudy, options: argparse.Namespace, views: Views, answer: Answered
) -> int:
    """Score what is missing, derive everything, write and print it. Returns the exit code."""
    from study.analysis.analyses import analyse
    from study.analysis.external import ask_for, external_cells
    from study.audit import write_audit
    from study.core import live
    from study.planning.cells import plan_cells
    from study.planning.in_process import Estimates
    from study.planning.repeats import repeats_of
    from study.planning.searches import replay
    from study.planning.variants import draw_cells, variant_cells, variants
    from study.render.audit import pairs_line

    repeats = repeats_of(opened)
    cli.show_in(views, opened, options)
    given = options.predictions, options.test_on
    how = {"unit": options.unit, "higher_is_real": options.higher_is_real}
    for note in ask_for(opened, *given, **how):
        cli.LOG.info(f"note: {note}")
    outside, history = external_cells(opened), replay(opened)
    with answer.working():
        _build_untrained(opened, options)
    cells = plan_cells(opened, history)
    if not opened.study.untrained() and not outside:
        _check_winners(opened, options, cells)
    tried: VariantCells = variant_cells(opened.jobs, variants(opened.jobs, history))
    drawn = draw_cells(opened.jobs, history)
    with _made_beside(opened, cells):
        estimates = Estimates(opened.jobs, history)
        cells, tried = _scored(opened, options, cells, tried, drawn, estimates, answer)
    for winner in {c.winner.key: c.winner for c in cells if c.winner is not None}.values():
        # shown already, unless the view is a new one
        views.add_winner(winner, opened.store.model_folder(winner.key))
    again = [_repeat_scored(one, options, answer) for one in repeats[1:]]
    with answer.working():
        epochs = _scored_epochs(opened, options, cells)
    cells += outside
    audit = write_audit(opened)
    models = [job for job in drawn if job.is_done()]
    live.show("computing numbers and intervals")
    found = analyse(opened, cells, tried, epochs, models, audit, history, again)
    live.show("writing tables and figures")
    notes = _notes(opened, pairs_line(audit))
    gone = _degradations_gone(opened)
    files = _write(opened, found, cells, history, notes)
    files += _write_cells(opened, options, found, cells)
    _write_page(opened, options, found, cells, history, notes)
    if left_out := _left_out(opened, options, gone, files):
        answer.forget()  # nothing will be left out of the next matrix
    notes += left_out
    _show_matrix(opened, found, views)
    _print(opened, options, found, notes, answer)
    _wait_for(views, opened, answer)
    return _exit_code([*cells, *(planned for one in again for planned in one.cells)])


def _notes(opened: OpenStudy, of_audit: str) -> list[str]:
    """What a reader of the numbers must know of how they were made."""
    from study.planning.frozen import frozen_line
    from study.planning.repeats import repeats_note
    from study.render.study_text import study_notes

    said = (frozen_line(opened), of_audit, repeats_note(opened), *study_notes(opened.study))
    return [note for note in said if note]


def _repeat_scored(opened: OpenStudy, options: argparse.Namespace, answer: Answered) -> Repeat:
    """Score what the store lacks of a further repeat."""
    from study.analysis.repeats import Repeat
    from study.planning.cells import plan_cells
    from study.planning.in_process import Estimates
    from study.planning.searches import replay
    from study.planning.variants import draw_cells

    cli.LOG.info(f"{opened.name} (of {opened.study.repeats}, from 0 on)")
    history = replay(opened)
    cells, drawn = plan_cells(opened, history), draw_cells(opened.jobs, history)
    estimates = Estimates(opened.jobs, history)
    cells, _ = _scored(opened, options, cells, [], drawn, estimates, answer)
    return Repeat.of(opened, cells, drawn)


def _show_matrix(opened: OpenStudy, found: Analyses, views: Views) -> None:
    """Hand the matrix to the views, with the pairing that is best."""
    from study.analysis.winners import champion
    from study.jobs.workspace import provenance

    rows, commit = found.results.every_row, provenance()["commit"]
    views.add_matrix(rows, opened.store.shown_files(), champion(found.results), commit=commit)


def _wait_for(views: Views, opened: OpenStudy, answer: Answered) -> None:
    """Wait until the views have everything, and say where."""
    from study.tracking.mlflow_address import page_line

    with answer.working():
        if not views.wait():
            answer.forget()
    if views.matrix_page:
        answer.say(page_line(opened.workspace.results, views.matrix_page))


@contextmanager
def _made_beside(opened: OpenStudy, cells: Sequence[PlannedCell]) -> Iterator[None]:
    """Measure datasets for the audit, and make what draws the page, beside the block, where that
    has something to score.
    """
    from study.analysis.audit import study_measured_ahead
    from study.render.report.library import library_ahead

    if all(planned.cell.state in SETTLED for planned in cells):
        yield
        return
    with study_measured_ahead(opened), library_ahead(opened.workspace.data.cache):
        yield


def _check_winners(
    opened: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]
) -> None:
    """Raise StoreError where there is nothing that could be scored."""
    from study.core.errors import StoreError

    if any(planned.winner for planned in cells):
        return
    others = sum(1 for _ in opened.store.folder.glob("models/*/detector.json"))
    hint = (
        f" (it holds {others} of other configurations: if the sweep had --set, give the same here)"
        if others
        else ""
    )
    raise StoreError(
        f"no winners of this study in '{opened.store.folder}'{hint}; first run:"
        f" {cli.again(options, 'sweep')}"
    )


def _scored(
    opened: OpenStudy,
    options: argparse.Namespace,
    cells: Sequence[PlannedCell],
    tried: VariantCells,
    drawn: Sequence[DrawCellJob],
    estimates: Estimates,
    answer: Answered,
) -> tuple[list[PlannedCell], VariantCells]:
    """Score what the store lacks, then what is made of scores; return the cells as they are by
    then. tried: the cells of other configurations. drawn: those of models of draws.
    """
    from study.core import live
    from study.planning.cells import refreshed

    of_all = [*cells, *(planned for _, mine in tried for planned in mine)]
    lacking = [job for job in drawn if not job.is_done()]
    _score(opened, options, of_all, lacking, estimates, answer)
    cells = refreshed(opened.jobs, cells)
    with answer.working():
        if _derive(opened, options, cells):
            cells = refreshed(opened.jobs, cells)
    live.show("auditing the datasets")  # what is left of it, until the next sign
    return cells, [(variant, refreshed(opened.jobs, mine)) for variant, mine in tried]


def _score(
    opened: OpenStudy,
    options: argparse.Namespace,
    cells: Sequence[PlannedCell],
    drawn: Sequence[DrawCellJob],
    estimates: Estimates,
    answer: Answered,
) -> None:
    """Score what the store lacks, and record what failed. drawn: what is left of models of
    draws.
    """
    from study.jobs.cell import CellJob

    cells = [c for c in cells if c.cell.pairing.detector not in opened.study.ensembles]
    # each once
    cells = list({c.cell.scores_key or str(number): c for number, c in enumerate(cells)}.values())
    todo = [c for c in cells if isinstance(c.job, CellJob) and c.cell.state not in SETTLED]
    settled = sum(c.cell.state in SETTLED for c in cells)
    if not todo and not drawn:
        waiting = f"; {len(cells) - settled} have no winner" if settled < len(cells) else ""
        cli.LOG.info(f"Nothing to score: {settled} cells are in {opened.store.folder}{waiting}\n")
        return
    answer.add(logging.INFO, f"Nothing to score: {len(cells)} cells are in {opened.store.folder}\n")
    with answer.working():
        _score_missing(opened, options, todo, settled, drawn, estimates)


def _score_missing(
    opened: OpenStudy,
    options: argparse.Namespace,
    todo: Sequence[PlannedCell],
    settled: int,
    drawn: Sequence[DrawCellJob],
    estimates: Estimates,
) -> None:
    """Score cells and models of draws, and say so. settled: how many cells are in the store."""
    from study.core.records import NO_DEGRADATION
    from study.jobs.cell import CellJob
    from study.jobs.degraded import degraded_jobs

    models = sum(len(job.of.draws) for job in drawn)
    beside = f"; {models} of models on draws of the training sets" if models else ""
    cli.LOG.info(f"scoring {len(todo)} cells ({settled} are in the store){beside}")
    start = time.monotonic()
    known = [(c.job, c.winner) for c in todo if isinstance(c.job, CellJob) and c.winner]
    clean = [(job, winner) for job, winner in known if job.degradation == NO_DEGRADATION]
    degraded = degraded_jobs([job for job, _ in known if job.degradation != NO_DEGRADATION])
    needed = estimates.scoring(known, drawn, degraded)
    with cli.launcher(opened, options) as launcher:
        failed = _score_clean(launcher, clean, drawn, needed)
        failed |= _score_degraded(launcher, degraded, needed)
    seconds = cli.seconds_text(time.monotonic() - start)
    cli.LOG.info(f"scored {len(todo) - len(failed)} cells in {seconds}\n")
    tried = [*(c.cell.scores_key for c in todo), *(job.scores_key for job in drawn)]
    opened.store.save_failures(tried, failed)
    for job in drawn:
        if job.scores_key in failed:
            name = f"{job.of.trial.pairing.name} -> {job.test_on}  {job.of.trial.origin}"
            cli.LOG.warning(f"warning: {name} is not scored: {failed[job.scores_key]}")


def _score_clean(
    launcher: Launcher,
    known: Sequence[tuple[CellJob, TrainedDetector]],
    drawn: Sequence[DrawCellJob],
    seconds: float,
) -> dict[str, Failure]:
    """Score cells on test sets as they are, those that share images and a frozen body in one job,
    and models of draws; return the failures by scores key.
    """
    from study.jobs.cell import CellsJob, cells_jobs, run_cells
    from study.jobs.draws import DrawCellJob, by_kind, run_draw_cell

    names = {
        job.scores_key: f"{winner.trial.pairing.name} -> {job.test_on}  {winner.trial.origin}"
        for job, winner in known
    }
    jobs = cells_jobs(known)
    with cli.announced(
        [cell for job in jobs for cell in job.cells], lambda c: names[c.scores_key], what="cells"
    ):
        work = functools.partial(by_kind, {CellsJob: run_cells, DrawCellJob: run_draw_cell})
        failures = launcher.run_jobs([*jobs, *drawn], work, seconds=seconds)
    return _of_cells(failures, {job.result_key: job.cells for job in jobs})


def _of_cells(
    failures: dict[str, Failure], jobs: Mapping[str, Sequence[CellJob]]
) -> dict[str, Failure]:
    """Give the failure of a whole job to all of its cells that are not done; jobs: their cells, by
    the key of the job.
    """
    found: dict[str, Failure] = {}
    for key, failure in failures.items():
        cells = jobs.get(key)
        lacking = [key] if cells is None else [c.scores_key for c in cells if not c.is_done()]
        found |= dict.fromkeys(lacking, failure)
    return found


def _score_degraded(
    launcher: Launcher, jobs: Sequence[DegradedJob], seconds: float
) -> dict[str, Failure]:
    """Score cells on degraded test sets, a job for every stretch of images; return the failures by
    scores key.
    """
    from study.jobs.degraded import assemble, run_degraded

    cells = {cell.scores_key: cell for job in jobs for cell in job.cells}
    with cli.announced(
        jobs,
        lambda job: f"{job.test_on}  images {job.start + 1}-{job.stop}, {job.conditions}",
        what="degraded images",
    ):
        failures = launcher.run_jobs(jobs, run_degraded, seconds=seconds)
    assemble([*cells.values()])
    return _of_cells(failures, {job.result_key: job.missing() for job in jobs})


def _scored_epochs(
    opened: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]
) -> list[KeptEpochs]:
    """Score every epoch that winners have kept, where the store lacks it; return what they have
    kept.
    """
    from study.analysis.leak_price import kept_epochs
    from study.jobs.epochs import run_epochs

    kept = kept_epochs(opened, cells)
    todo = [one.job for one in kept if not one.job.is_done()]
    if not todo:
        return kept
    cli.LOG.info(f"scoring the epochs of {len(todo)} cells, for the leak price")
    todo.sort(key=lambda job: job.cell.test_on)
    with cli.launcher(opened, options) as launcher:
        failures = launcher.run_jobs(todo, run_epochs)
    for job in todo:
        if job.result_key in failures:
            cli.LOG.warning(
                f"warning: no leak price of {job.cell.model} on {job.cell.test_on}:"
                f" {failures[job.result_key]}"
            )
    return kept


def _build_untrained(opened: OpenStudy, options: argparse.Namespace) -> None:
    """Build and keep the detectors that are not trained, where the store lacks them. Nothing to
    share out: it is done here.
    """
    from study.jobs.winner import run_winner
    from study.runtime.local import LocalLauncher

    jobs = [opened.jobs.untrained(pairing) for pairing in opened.study.untrained()]
    todo = [job for job in jobs if not job.is_done()]
    for job in todo:
        cli.LOG.info(f"building {job.trial.pairing.detector}, which is not trained")
    failures = LocalLauncher(cli.terms(opened, options)).run_jobs(todo, run_winner)
    if todo:
        opened.store.save_failures([job.trial.key for job in todo], failures)


def _derive(opened: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]) -> bool:
    """Make the cells of ensembles whose members are scored; tell whether there was any to make. A
    few sums of numbers in the store: they are done here.
    """
    from study.jobs.ensemble import EnsembleJob, run_ensemble
    from study.runtime.local import LocalLauncher

    todo = [c.job for c in cells if isinstance(c.job, EnsembleJob) and c.cell.state not in SETTLED]
    if not todo:
        return False
    failures = LocalLauncher(cli.terms(opened, options)).run_jobs(todo, run_ensemble)
    opened.store.save_failures([job.scores_key for job in todo], failures)
    cli.LOG.info(
        f"made {len(todo) - len(failures)} cells of ensembles from their members' scores\n"
    )
    return True


def _write(
    opened: OpenStudy,
    found: Analyses,
    cells: Sequence[PlannedCell],
    history: Mapping[Pairing, SearchHistory],
    notes: Sequence[str],
) -> list[Path]:
    """Write the results, the tables, and the figures; return the files."""
    from study.analysis.cells_csv import csv_text
    from study.analysis.diff import cell_files
    from study.analysis.ledger import read_ledger
    from study.analysis.results_csv import write_results
    from study.planning.search_summary import best_so_far
    from study.planning.study_file import to_toml
    from study.render.files import (
        draw,
        write_comparisons,
        write_controls,
        write_tables,
        write_tuning,
    )
    from study.store.image_list import write_images

    store, folder = opened.store, opened.store.folder
    store.save_study(to_toml(opened.study))
    store.save_text(folder / "cells.csv", csv_text(cell_files(opened, cells, found.training)))
    catalog = opened.workspace.catalog
    write_images(folder, map(catalog.dataset, sorted(opened.study.datasets())))
    searches = {pairing: best_so_far(searched.trials) for pairing, searched in history.items()}
    files = write_results(found.results, folder)
    claims = read_ledger(folder)
    return [
        *files,
        *write_tables(found.results, found.choices, found.robustness, claims, notes, folder),
        *write_tuning(found.choices.contrasts, folder),
        store.study_file,
        store.audit_file,
        *draw(found.results, found.curves, searches, store.figures, found.choices.evidence),
        *write_comparisons(found.comparisons, folder, found.results.flags),
        *write_controls(found.controls, folder),
    ]


def _write_page(
    opened: OpenStudy,
    options: argparse.Namespace,
    found: Analyses,
    cells: Sequence[PlannedCell],
    history: Mapping[Pairing, SearchHistory],
    notes: Sequence[str],
) -> None:
    """Write the report's page."""
    from study.core import live
    from study.render.figures.headless import costs_only
    from study.report import REPORT, write_report

    page = opened.store.folder / REPORT
    page.unlink(missing_ok=True)  # one of an earlier matrix would be taken for this one's
    with costs_only(f"'{page}' is"):
        write_report(opened, options, found, cells, history, notes, page)
    live.clear()


def _write_cells(
    opened: OpenStudy, options: argparse.Namespace, found: Analyses, cells: Sequence[PlannedCell]
) -> list[Path]:
    """Write confusion tables, classification reports and metrics; the predictions on request, and
    those that an earlier run wrote anew. Return the files of predictions.
    """
    from study.analysis.classification import cell_predictions, cell_reports
    from study.render.cell_files import (
        PREDICTIONS,
        write_metrics,
        write_predictions,
        write_reports,
    )

    folder, reports, files = opened.store.folder, [], []
    for scored in cell_predictions(found.scores, cells):
        reports += cell_reports(scored)
        if options.predictions_csv or (folder / PREDICTIONS / scored.file_name).exists():
            files.append(write_predictions(scored, folder))
    write_reports(reports, folder)
    write_metrics(found.results.rows, folder)
    return files


def _degradations_gone(opened: OpenStudy) -> list[str]:
    """The degradations of the matrix before, which this one has not."""
    from study.analysis.results_csv import degradations_in

    before, conditions = degradations_in(opened.store.matrix_file), opened.study.conditions()
    return [name for name in before if name not in conditions]


def _left_out(
    opened: OpenStudy,
    options: argparse.Namespace,
    degradations: Sequence[str],
    files: Sequence[Path],
) -> list[str]:
    """Delete figures and predictions that are not of this matrix; say which, and what else it has
    not. files: those just written.
    """
    from study.render.cell_files import PREDICTED, PREDICTIONS
    from study.render.deliveries import FILES
    from study.render.files import DRAWN, remove_stale

    said = []
    if degradations:
        more = " ".join(degradations)
        said.append(
            f"this matrix is without {more}, which the one before had: their scores stay in the"
            f" store. With them: {cli.again(options, 'cross_eval')} --degradations {more}, or the"
            " study's key `degradations`"
        )
    predictions = opened.store.folder / PREDICTIONS
    for what, folder, patterns in (
        ("figures", opened.store.figures, DRAWN),
        ("predictions", predictions, PREDICTED),
        ("tables", opened.store.folder, FILES),
    ):
        if stale := remove_stale(folder, patterns, files):
            said.append(f"removed {what} that are not of this matrix: {', '.join(stale)}")
    return said


def _print(
    opened: OpenStudy,
    options: argparse.Namespace,
    found: Analyses,
    notes: Sequence[str],
    answer: Answered,
) -> None:
    """Print the answer, the ranked detectors and a small matrix; with --full everything. Then where
    the rest is, and what to do next.
    """
    from study.render.answer import answer as answer_of
    from study.render.answer import answer_text
    from study.render.cell_files import PREDICTIONS, write_readme
    from study.render.closing import closing
    from study.render.controls import controls_lines
    from study.render.printed import printed
    from study.render.table import fold, terminal_width
    from study.report import REPORT
    from study.tracking.mlflow_address import ui_command

    flags, folder = found.results.flags, opened.store.folder
    quantity = options.metric, options.threshold
    full = options.full or options.transfer
    controls = "".join(f"\n{line}" for line in controls_lines(found.controls))
    if full:
        tables = (found.results, found.choices, found.robustness)
        answer.say(printed(*tables, quantity, transfer=options.transfer))
        for note in notes:
            cli.LOG.info(f"\nnote: {note}")
        answer.say(f"\n{answer_text(found.comparisons, flags)}{controls}\n")
    else:
        answer.say(closing(found.results, found.comparisons, flags, quantity))
        for note in notes:
            cli.LOG.info(f"note: {note}")
    image = f"python -m study.predict {shlex.quote(opened.study.name)} IMAGE"
    results = options.results
    image += f" --results {shlex.quote(results)}" if results != "results" else ""
    commands = [
        ("score new images", image),
        ("see everything on the terminal", f"{cli.again(options, 'cross_eval')} --full"),
        ("train more, or again", cli.again(options, "sweep")),
        ("look at the datasets", cli.again(options, "audit")),
        ("look at MLflow", ui_command(opened.workspace.results)),
    ]
    said = answer_of(found.comparisons, flags) + controls
    said = "\n".join([said, *(f"Note: {note}." for note in notes)])
    readme = write_readme(opened.study.name, said, commands, folder)
    page = f", {REPORT} is the page" * (folder / REPORT).is_file()
    if readme.is_relative_to(Path.cwd()):
        readme = readme.relative_to(Path.cwd())
    answer.say(fold(f"files:  {readme} says what is where{page}", terminal_width()))
    if options.predictions_csv:
        answer.say(f"of each image: {folder / PREDICTIONS}, a CSV for every model and test set")
    if found.results.warnings():
        answer.say(f"audit:  {cli.again(options, 'audit')}")
    answer.say(f"next:   {image}")
    if full:
        answer.say(f"mlflow: {ui_command(opened.workspace.results)}")


def _exit_code(cells: Sequence[PlannedCell]) -> int:
    """Say what is left."""
    from study.core.failures import Failure

    left = [c for c in cells if c.cell.state not in SETTLED]
    cli.say_what_is_left(
        (c.cell.state, _named(c.cell), c.failure or Failure(message=c.cell.reason)) for c in left
    )
    return cli.SOME_FAILED if left else cli.DONE


def _named(cell: Cell) -> str:
    from study.core.records import NO_DEGRADATION

    degraded = "" if cell.degradation == NO_DEGRADATION else f" {cell.degradation}"
    repeat = f" (repeat {cell.repeat})" if cell.repeat else ""
    return f"{cell.pairing.name} -> {cell.test_on}{degraded} seed {cell.winner_seed}{repeat}"


if __name__ == "__main__":
    cli.run(main)
