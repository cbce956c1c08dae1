"""Search every pairing's hyperparameters with the same budget, then train the winners with S seeds.

    python -m study.sweep quick

Behind the firewall: everything here sees train and val of the training sets only. What the
store holds is not done again.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.core.failures import Failure, Said
    from study.core.records import Pairing, Trial, TrialResult
    from study.jobs.winner import WinnerJob
    from study.planning.open_study import OpenStudy
    from study.planning.selection import SearchHistory
    from study.runtime.interface import Launcher
    from study.tracking.recording import TrialRecord, Views

EXAMPLES = """
python -m study.sweep quick
python -m study.sweep quick --local --set budget.trials=2
python -m study.sweep my_study.toml --data-root ~/datasets --weights-root ~/weights
python -m study.sweep my_study.toml --set search.sampler=gp --budget-hours 12
python -m study.sweep my_study.toml --warm-start older_study
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("sweep", __doc__.splitlines()[0], EXAMPLES)
    cli.add_study_options(parser)
    cli.add_launch_options(parser)
    cli.add_budget_option(parser)
    parser.add_argument(
        "--warm-start",
        action="append",
        default=[],
        metavar="STUDY",
        help=(
            "try the best configurations of an older study first: its name below the results, its"
            " folder, or one pairing of it (STUDY/DETECTOR @ TRAINING SET); they count in the"
            " budget. May be given several times"
        ),
    )
    options = cli.parse(parser, arguments)
    if options.warm_start:
        from study.planning.study_file import toml_text

        options.set.append(f"search.warm_start=[{', '.join(map(toml_text, options.warm_start))}]")
    opened = cli.open_study(options, firewall=True)
    with opened.store.lock(), cli.pushed(options, opened):
        return sweep(opened, options)


def sweep(opened: OpenStudy, options: argparse.Namespace) -> int:
    """Search, select, train the winners; print what was done. Returns the exit code."""
    from study.core.failures import Said
    from study.planning.search_summary import write_search_summary
    from study.planning.searches import replay
    from study.planning.study_file import to_toml
    from study.planning.warm_start import save_starts
    from study.tracking.mlflow_tracker import Tracker, ui_command
    from study.tracking.optuna_record import dashboard_command
    from study.tracking.recording import TrialRecord, Views

    opened.store.save_study(to_toml(opened.study))
    save_starts(opened.starts, opened.study, opened.store)
    views = Views(opened, Tracker(opened.study.name, results=opened.workspace.results))
    said = Said()
    record = TrialRecord(opened, views, functools.partial(_say, said))
    _say_header(opened)
    if not opened.study.searched():
        print(f"Nothing to train in this study.\n\nnext:   {cli.again(options, 'cross_eval')}")
        return cli.DONE
    with cli.launcher(opened, options, workers=opened.study.run.workers_per_trial) as launcher:
        try:
            _measure(opened, launcher, record, options)
            _search(opened, launcher, record)
        finally:
            history = replay(opened)
            write_search_summary(opened, history)
        if record.standing_failures:
            cli.LOG.info(
                f"{record.standing_failures} failed trials stand: later generations were proposed"
                " knowing them"
            )
        trained, failed = _train_winners(opened, launcher, history, views, said)
    if not record.ran and not trained and not failed:
        cli.LOG.info(
            f"\nNothing to train: {record.held} trials and all their winners are in"
            f" {opened.store.folder}"
        )
    _print_selection(opened, history)
    _print_devices(history)
    cli.say_what_is_left([("failed", *one) for one in failed.items()], said)
    results = opened.workspace.results
    print(
        f"\nnext:   {cli.again(options, 'cross_eval')}\nmlflow: {ui_command(results)}\noptuna:"
        f" {dashboard_command(results)}"
    )
    return cli.SOME_FAILED if failed else cli.DONE


def _say_header(opened: OpenStudy) -> None:
    study, budget = opened.study, opened.study.budget
    cli.LOG.info(f"study {study.name}: {cli.pairings_text(study)}")
    limit = (
        f", no new trial after {cli.seconds_text(budget.gpu_seconds)} of device time"
        if budget.gpu_seconds
        else ""
    )
    workers = f" x {study.run.workers_per_trial} workers" if study.run.workers_per_trial > 1 else ""
    cli.LOG.info(
        f"every pairing: {budget.trials} trials (the default first), {budget.epochs} epochs at"
        f" most{limit}, {budget.seeds} winner seeds; {study.run.threads} thread(s){workers} a"
        f" trial, {study.run.precision}"
    )
    cli.LOG.info(f"search: {study.search_words()}")
    for line in (*cli.variant_lines(study), *cli.untrained_lines(study), *cli.balance_lines(study)):
        cli.LOG.info(line)
    for pairing in study.searched():
        if opened.searches[pairing].trials < budget.trials:
            cli.LOG.info(
                f"{pairing.name}: its grid has {opened.searches[pairing].trials} points, fewer than"
                f" {budget.trials}; all are tried"
            )
    for pairing, starts in opened.starts.items():
        cli.LOG.info(
            f"{pairing.name}: warm start with {len(starts)} configurations"
            + "".join(f"\n  {start.origin}" for start in starts)
        )
    for note in cli.notes(study):
        cli.LOG.info(f"note: {note}")


def _say(said: Said, place: str, trial: Trial, result: TrialResult, best: float) -> None:
    """Say that a trial has ended, and how."""
    name = f"{place} {trial.pairing.name}  trial {trial.number}"
    if result.failure is not None:
        cli.LOG.warning(f"{name}  failed: {said(result.failure)}")
        return
    notes = "".join(f"; {text}" for text in (result.reason, result.note) if text)
    cli.LOG.info(
        f"{name}  val AUC {result.val_auc:.3f} (best {best:.3f})"
        f"  {len(result.history)} epochs, {cli.seconds_text(result.seconds)}{notes}"
    )


def _measure(
    opened: OpenStudy, launcher: Launcher, record: TrialRecord, options: argparse.Namespace
) -> None:
    """With --budget-hours, run trial 0 of every pairing, and refuse the study if the rest would not
    fit.
    """
    from study.jobs.trial import run_trial
    from study.planning.cost import look_at_training
    from study.planning.searches import replay, search_driver

    if options.budget_hours is None:
        return
    driver = search_driver(opened, record.known, record.add, trials=1)
    if not driver.finished():
        launcher.run_trials(driver, run_trial)
    cli.refuse_over_budget(look_at_training(opened, replay(opened)), opened, options, measured=True)


def _search(opened: OpenStudy, launcher: Launcher, record: TrialRecord) -> None:
    from study.jobs.trial import run_trial
    from study.planning.searches import search_driver

    driver = search_driver(opened, record.known, record.add)
    if not driver.finished():
        if record.held and not record.ran:
            cli.LOG.info(f"{record.held} of {record.total} trials are in the store")
        launcher.run_trials(driver, run_trial)


def _train_winners(
    opened: OpenStudy,
    launcher: Launcher,
    history: Mapping[Pairing, SearchHistory],
    views: Views,
    said: Said,
) -> tuple[int, dict[str, Failure]]:
    """Train what the store lacks; return how many were trained, and the failures by name."""
    from study.jobs.winner import is_trained, run_winner
    from study.planning.variants import variant_jobs

    failed = {
        pairing.name: replace(searched.why_no_winner(said), traceback_file=None)
        for pairing, searched in history.items()
        if not opened.jobs.winners(pairing, searched)
    }
    jobs = [
        job
        for pairing, searched in history.items()
        for job in opened.jobs.winners(pairing, searched)
    ]
    winners = {job.trial.key for job in jobs}
    further = variant_jobs(opened.jobs, history, opened.store.failures())
    todo = [job for job in (*jobs, *further) if not is_trained(job)]
    for job in (*jobs, *further):
        if is_trained(job):
            # of one that was killed just after its record was written
            opened.store.drop_checkpoint(job.trial.key)
    if todo:
        mine = sum(job.trial.key in winners for job in todo)
        beside = f", and {len(todo) - mine} further configurations" if len(todo) > mine else ""
        cli.LOG.info(f"\ntraining {mine} winners ({len(jobs) - mine} are in the store){beside}")
        start = time.monotonic()
        show = functools.partial(_show_winner, opened, views, winners)
        with cli.announced(
            todo, is_trained, lambda job: f"{job.trial.pairing.name}  {job.trial.origin}", show
        ):
            failures = launcher.run_jobs(todo, run_winner, is_trained, lambda job: job.trial.key)
        opened.store.save_failures([job.trial.key for job in todo], failures)
        for job in (job for job in todo if job.trial.key in failures):
            failure, name = failures[job.trial.key], job.trial.pairing.name
            if job.trial.key in winners:
                failed[f"{name} seed {job.winner_seed}"] = failure
            else:  # as a failed trial: a result of its own
                cli.LOG.warning(f"{name}  {job.trial.origin}  failed: {said(failure)}")
        seconds = cli.seconds_text(time.monotonic() - start)
        cli.LOG.info(f"trained {len(todo) - len(failures)} of {len(todo)} in {seconds}")
    for job in jobs:
        if is_trained(job):
            # logged already, unless MLflow's store is a new one
            _show_winner(opened, views, winners, job)
    return len(todo), failed


def _show_winner(opened: OpenStudy, views: Views, winners: Container[str], job: WinnerJob) -> None:
    if job.trial.key in winners:  # other configurations stand in the store alone
        views.add_winner(opened.store.model(job.trial.key))


def _print_selection(opened: OpenStudy, history: Mapping[Pairing, SearchHistory]) -> None:
    print("\nselected on source val (AUC of the default configuration -> of the winner):")
    width = max(len(pairing.name) for pairing in history)
    for pairing, searched in history.items():
        selected = searched.best
        if selected is None:
            print(f"  {pairing.name:<{width}}  none: see FAILED")
            continue
        (winner, result), default = (
            selected,
            next((r for t, r in searched.trials if t.number == 0), None),
        )
        before = (
            f"{default.val_auc:.3f}"
            if default and default.state != "failed"
            else default.state
            if default
            else "not run"
        )
        settings = opened.searches[pairing].space.names()
        chosen = ", ".join(f"{k}={_short(v)}" for k, v in winner.params.items() if k in settings)
        print(
            f"  {pairing.name:<{width}}  {before} -> {result.val_auc:.3f}  trial {winner.number} "
            f" {chosen}"
        )


def _print_devices(history: Mapping[Pairing, SearchHistory]) -> None:
    """Say where trials ran on several kinds of device: run again on one of them, they would differ
    in their last digits.
    """
    kinds = Counter(
        result.device_kind
        for searched in history.values()
        for _, result in searched.trials
        if result.device_kind
    )
    if len(kinds) > 1:
        counts = ", ".join(f"{count} on {kind}" for kind, count in sorted(kinds.items()))
        cli.LOG.info(
            f"note: trials ran on several kinds of device ({counts}); run again on one kind, some"
            " differ in their last digits"
        )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    cli.run(main)
