"""Search every pairing's hyperparameters with the same budget, then train the winners with S seeds.

    python -m study.sweep quick

Behind the firewall: everything here sees train and val of the training sets only. What the
store holds is not done again.
"""

from __future__ import annotations

import argparse
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.core.failures import Failure, Said
    from study.core.records import EpochRecord, Pairing, Trial, TrialResult
    from study.jobs.draws import DrawsJob
    from study.jobs.probe import ProbeJob
    from study.jobs.trial import FitJob, TrialJob
    from study.jobs.winner import WinnerJob
    from study.planning.cost import PairingOutlook
    from study.planning.open_study import OpenStudy
    from study.planning.selection import SearchHistory
    from study.runtime.interface import Launcher
    from study.tracking.answered import Answered
    from study.tracking.recording import TrialRecord
    from study.tracking.views import Views

EXAMPLES = """
python -m study.sweep quick
python -m study.sweep quick --local --set budget.trials=2
python -m study.sweep my_study.toml --data-root ~/datasets --weights-root ~/weights
python -m study.sweep my_study.toml --set search.sampler=gp --budget-hours 12
python -m study.sweep my_study.toml --warm-start older_study
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("sweep", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_launch_options(parser)
    cli.add_budget_option(parser)
    cli.add_retry_option(parser)
    parser.add_argument(
        "--warm-start",
        action="append",
        default=[],
        metavar="STUDY",
        help=(
            "try the best configurations of an older study first: its name below the results, its"
            " folder, or one pairing of it (STUDY/DETECTOR @ TRAINING SET). They count in the"
            " budget. May be given several times"
        ),
    )
    options = cli.parse(parser, arguments)
    if options.warm_start:
        from study.planning.study_file import toml_text

        options.set.append(f"search.warm_start=[{', '.join(map(toml_text, options.warm_start))}]")
    answer = cli.answered("sweep", options, arguments)
    if answer.given(options):
        return cli.DONE
    with cli.views() as views:
        opened = cli.open_study(options, firewall=True)
        with opened.store.lock(), cli.pushed(options, opened.study):
            code = sweep(opened, options, views, answer)
    if code == cli.DONE:
        answer.keep(opened)
    return code


def sweep(opened: OpenStudy, options: argparse.Namespace, views: Views, answer: Answered) -> int:
    """Search, select, train the winners; print what was done. Returns the exit code."""
    from study.core.failures import Failure, Said
    from study.planning.repeats import repeats_of
    from study.planning.study_file import to_toml
    from study.planning.warm_start import save_starts
    from study.tracking.mlflow_address import ui_command
    from study.tracking.optuna_record import dashboard_command, without_dashboard
    from study.tracking.recording import TrialRecord

    store, results, repeats = opened.store, opened.workspace.results, repeats_of(opened)
    store.save_study(to_toml(opened.study))
    save_starts(opened.starts, opened.study, store)
    _say_header(opened)
    if not opened.searches:
        print(f"Nothing to train in this study.\n\nnext:   {cli.again(options, 'cross_eval')}")
        return cli.DONE
    cli.show_in(views, opened, options)
    said, retry = Said(), options.retry is not None
    say = functools.partial(_say, said)
    records = {
        one.repeat: TrialRecord(one, None if one.repeat else views, say, retry=retry)
        for one in repeats
    }
    trained, failed, histories = 0, dict[str, Failure](), []
    with cli.launcher(opened, options, workers=opened.study.run.workers_per_trial) as launcher:
        with answer.working():
            _measure(repeats, launcher, records, options)
        for one in repeats:
            if one.name:
                cli.LOG.info(f"\n{one.name} (of {one.study.repeats}, from 0 on)")
            record = records[one.repeat]
            with answer.working():
                searched = _searched(one, launcher, record)
            _say_standing(record)
            histories.append(searched)
            shown = None if one.repeat else views
            with answer.working():
                more, lost = _train_winners(one, launcher, searched, shown, said, again=retry)
            trained, failed = trained + more, failed | lost
    ran = any(record.ran for record in records.values())
    held = sum(record.held + record.ran for record in records.values())
    text = f"\nNothing to train: {held} trials and all their winners are in {store.folder}"
    if ran or trained or failed:
        answer.add(logging.INFO, text)
    else:
        cli.LOG.info(text)
    _say_selected(repeats, histories, answer)
    _say_flags(opened, histories[0])
    cli.say_what_is_left([("failed", *one) for one in failed.items()], said)
    answer.say(
        f"\nnext:   {cli.again(options, 'cross_eval')}\nmlflow: {ui_command(results)}\noptuna:"
        f" {dashboard_command(results)}{without_dashboard()}"
    )
    with answer.working():
        if not views.wait():
            answer.forget()
    return cli.SOME_FAILED if failed else cli.DONE


def _say_selected(
    repeats: Sequence[OpenStudy],
    histories: Sequence[Mapping[Pairing, SearchHistory]],
    answer: Answered,
) -> None:
    """Say what the searches selected, repeat by repeat."""
    from study.render.study_text import selection_text
    from study.render.table import terminal_width

    for one, searched in zip(repeats, histories, strict=True):
        aucs = {
            pairing: [
                one.store.model(job.trial.key).val_auc
                for job in one.jobs.winners(pairing, history)
                if one.store.has_model(job.trial.key)
            ]
            for pairing, history in searched.items()
        }
        selected = selection_text(searched, one.searches, aucs, terminal_width())
        answer.say(f"\n{one.name and f'{one.name}: '}{selected}")


def _say_flags(opened: OpenStudy, history: Mapping[Pairing, SearchHistory]) -> None:
    """Say what is noteworthy of how detectors were trained."""
    from study.analysis.flags import flags
    from study.analysis.floors import floors
    from study.render.floors import floor_line
    from study.render.study_text import devices_note

    below = floors(opened.jobs, history)
    for detector in dict.fromkeys(one.pairing.detector for one in below):
        cli.LOG.info(f"{detector}: {floor_line(below, detector)}")
    for flag in flags(opened.searches, history, below):
        cli.LOG.info(f"flag: {flag.detector} @ {flag.train_on}: {flag.text}")
    if note := devices_note(history):
        cli.LOG.info(note)


def _searched(
    opened: OpenStudy, launcher: Launcher, record: TrialRecord
) -> Mapping[Pairing, SearchHistory]:
    """Run what the store lacks of a repeat's searches; return how far they have come."""
    from study.planning.search_summary import write_search_summary
    from study.planning.searches import replay

    try:
        _search(opened, launcher, record)
    finally:
        history = replay(opened)
        if not opened.repeat:
            write_search_summary(opened, history)
    return history


def _say_standing(record: TrialRecord) -> None:
    """Say how many failures are not tried again."""
    if record.standing_failures:
        cli.LOG.info(
            f"{record.standing_failures} failed trials stand: later generations were proposed"
            " knowing them (--retry failed trains them again, and what follows from them)"
        )


def _say_header(opened: OpenStudy) -> None:
    """Say what every pairing gets, and what a grid, a warm start or few groups make of it."""
    from study.analysis.flags import given_recipe
    from study.core.log import OF_INPUTS
    from study.planning.repeats import repeats_line
    from study.render.study_text import study_lines

    for name in opened.study.members():
        for line in opened.workspace.catalog.dataset(name).incomplete:
            text = f"warning: {name} is not all that was published: {line}"
            cli.LOG.warning(text, extra=OF_INPUTS)
    study, searches = opened.study, opened.searches
    budget = study.budget
    device_time = f", no new trial after {cli.seconds_text(budget.gpu_seconds)} of device time"
    workers = f" x {study.run.workers_per_trial} workers" if study.run.workers_per_trial > 1 else ""
    size = (
        f"every pairing: {budget.trials} trials (the default first), {budget.epochs_text}"
        f"{device_time if budget.gpu_seconds else ''}, {budget.seeds} winner seeds;"
        f" {study.run.threads} thread(s){workers} a trial, {study.run.precision}"
    )
    grids = [
        f"{pairing.name}: its grid has {search.trials} points, fewer than {budget.trials}; all are"
        " tried"
        for pairing, search in searches.items()
        if search.trials < budget.trials and search.space.names()
    ]
    given = {
        search.space.detector: f"{search.space.detector}: {said.seen}"
        for search in searches.values()
        if (said := given_recipe(search))
    }
    warm = [
        "\n  ".join(
            [
                f"{pairing.name}: warm start with {len(found)} configurations",
                *(start.origin for start in found),
            ]
        )
        for pairing, found in opened.starts.items()
    ]
    few = [
        f"{pairing.name}: too few training groups to be halved, so that its training sample is not"
        " counted"
        for pairing in searches
        if study.replicates_of(pairing.detector) and not opened.jobs.replicates(pairing)
    ]
    further = [repeats_line(opened), *given.values(), *grids, *warm, *few]
    for line in study_lines(study, size, [line for line in further if line]):
        cli.LOG.info(line)


def _say(said: Said, place: str, trial: Trial, result: TrialResult, best: float) -> None:
    """Say that a trial has ended, and how."""
    from study.render.numbers import counted

    name = f"{place} {trial.pairing.name}  trial {trial.number}"
    if result.failure is not None:
        cli.LOG.warning(f"{name}  failed: {said(result.failure)}")
        return
    notes = "".join(f"; {text}" for text in (result.reason, result.note) if text)
    cli.LOG.info(
        f"{name}  val AUC {result.val_auc:.3f} (best {best:.3f})"
        f"  {counted(len(result.history), 'epoch')}, {cli.seconds_text(result.seconds)}{notes}"
    )


def _measure(
    repeats: Sequence[OpenStudy],
    launcher: Launcher,
    records: Mapping[int, TrialRecord],
    options: argparse.Namespace,
) -> None:
    """With --budget-hours, run trial 0 of every pairing, and refuse the study if the rest would not
    fit.
    """
    from study.planning.cost import look_at_training
    from study.planning.searches import replay

    if options.budget_hours is not None:
        pairings: list[PairingOutlook] = []
        for one in repeats:
            _search(one, launcher, records[one.repeat], trials=1)
            pairings += look_at_training(one.jobs, replay(one))
        cli.refuse_over_budget(pairings, repeats[0].study, options, measured=True)


def _search(
    opened: OpenStudy, launcher: Launcher, record: TrialRecord, trials: int | None = None
) -> None:
    """Run what the store lacks of every search; of each only so many `trials`, if given."""
    from study.core import live
    from study.jobs.trial import run_trial
    from study.planning.searches import search_driver

    signs = _Signs(opened, record)
    driver = search_driver(opened, record.known, signs.add, trials=trials, heard=signs.hear)
    if not driver.finished():
        if record.held and not record.ran:
            cli.LOG.info(f"{record.held} of {record.total} trials are in the store")
        signs.show()
        try:
            launcher.run_trials(driver, run_trial)
        finally:
            live.clear()


class _Signs:
    """Shows where a search is: trials done, those under way with their epoch and speed, the best so
    far.
    """

    def __init__(self, opened: OpenStudy, record: TrialRecord) -> None:
        self._opened, self._record = opened, record
        self._running: dict[str, str] = {}  # by the key of a trial
        self._names: dict[str, str] = {}  # their pairings
        self._best: dict[str, float] = {}  # by pairing

    def hear(self, job: TrialJob, epoch: EpochRecord) -> None:
        """Take in an epoch of a trial under way."""
        from study.data.names import split_union

        images = sum(
            self._opened.workspace.catalog.dataset(name).rows("train").num_rows
            for name in split_union(job.trial.pairing.train_on)
        )
        speed = f", {images / epoch.seconds:,.0f} images/s" if epoch.seconds > 0 else ""
        self._running[job.trial.key] = (
            f"{job.trial.pairing.name} epoch {epoch.epoch + 1}/{job.trial.epochs}{speed}"
        )
        self._names[job.trial.key] = job.trial.pairing.name
        self._record.hear(job, epoch)
        self.show()

    def add(self, job: TrialJob, result: TrialResult) -> None:
        """Take in a trial that has ended."""
        self._running.pop(job.trial.key, None)
        self._names.pop(job.trial.key, None)
        if result.state == "done":
            name = job.trial.pairing.name
            self._best[name] = max(result.val_auc, self._best.get(name, 0.0))
        self._record.add(job, result)
        self.show()

    def show(self) -> None:
        """Show it all in a line."""
        from study.core import live

        now = next(reversed(self._names.values()), "")
        best = f"its best val AUC {self._best[now]:.3f}" if now in self._best else ""
        more = len(self._running) - 1
        running = next(reversed(self._running.values()), "") + (
            f" and {more} more" if more > 0 else ""
        )
        detail = ", ".join(filter(None, (running, best * (more < 1))))
        live.show("trials", self._record.ended, self._record.total, detail)


def _train_winners(
    opened: OpenStudy,
    launcher: Launcher,
    history: Mapping[Pairing, SearchHistory],
    views: Views | None,
    said: Said,
    *,
    again: bool,
) -> tuple[int, dict[str, Failure]]:
    """Train what the store lacks; return how many were trained, and the failures by name. views:
    None for a repeat of a study, which trains winners and halves alone. again: what diverged, too.
    """
    from study.core.failures import Failure
    from study.jobs.winner import WinnerJob
    from study.planning.in_process import Estimates
    from study.planning.variants import draws_jobs, variant_jobs

    store, failed, winners = opened.store, dict[str, Failure](), []
    where = f" ({opened.name})" if opened.repeat else ""
    for pairing, searched in history.items():
        jobs = opened.jobs.winners(pairing, searched)
        winners += jobs
        if not jobs:
            reason = searched.why_no_winner(said)
            failed[pairing.name + where] = replace(reason, traceback_file=None)
    known = {} if again else store.failures()
    further = variant_jobs(opened.jobs, history, known)
    drawn = draws_jobs(opened.jobs, history, known)
    probed = [] if opened.repeat else [opened.jobs.probe(pairing) for pairing in history]
    probes = [job for job in probed if job is not None]
    todo = [job for job in (*winners, *further, *drawn, *probes) if not job.is_done()]

    def show(job: FitJob) -> None:
        # other configurations, draws, probes and repeats stand in the store alone
        if job in winners and views is not None:
            key = job.trial.key
            views.add_winner(store.model(key), store.model_folder(key))

    for job in (*winners, *further, *drawn):
        if job.is_done():
            # of one that was killed just after its record was written
            store.drop_checkpoint(job.trial.key)
            show(job)  # logged already, unless MLflow's store is a new one
    seconds = Estimates(opened.jobs, history).training(todo)
    failures = _train(opened, launcher, winners, todo, show, seconds) if todo else {}
    for job in (job for job in todo if job.trial.key in failures):
        failure, name = failures[job.trial.key], job.trial.pairing.name + where
        if isinstance(job, WinnerJob) and job in winners:
            failed[f"{name} seed {job.winner_seed}"] = failure
        else:  # as a failed trial: a result of its own
            cli.LOG.warning(f"{name}  {job.trial.origin}  failed: {said(failure)}")
    return len(todo), failed


def _train(
    opened: OpenStudy,
    launcher: Launcher,
    winners: Sequence[WinnerJob],
    todo: Sequence[WinnerJob | DrawsJob | ProbeJob],
    show: Callable[[FitJob], None],
    needed: float,
) -> Mapping[str, Failure]:
    """Train winners, further configurations, draws and probes, and say so; return the failures by
    key. needed: about how many seconds it takes.
    """
    from study.jobs.draws import DrawsJob, by_kind, run_draws
    from study.jobs.probe import ProbeJob, run_probe
    from study.jobs.winner import WinnerJob, run_winner

    mine = sum(job in winners for job in todo)
    models = sum(len(job.draws) for job in todo if isinstance(job, DrawsJob))
    others = sum(not isinstance(job, (DrawsJob, ProbeJob)) for job in todo) - mine
    beside = f", {others} models of other configurations" if others else ""
    beside += f", {models} models on halves and permuted labels" if models else ""
    held = f" ({len(winners) - mine} are in the store)" * (mine < len(winners))
    cli.LOG.info(f"\ntraining {mine} winners{held}{beside}: {len(todo)} pieces of work")
    start = time.monotonic()
    with cli.announced(
        todo, lambda j: f"{j.trial.pairing.name}  {j.trial.origin}", show, what="models"
    ):
        work = {WinnerJob: run_winner, DrawsJob: run_draws, ProbeJob: run_probe}
        failures = launcher.run_jobs(todo, functools.partial(by_kind, work), seconds=needed)
    opened.store.save_failures([job.trial.key for job in todo], failures)
    seconds = cli.seconds_text(time.monotonic() - start)
    cli.LOG.info(f"trained {len(todo) - len(failures)} of {len(todo)} in {seconds}")
    return failures


if __name__ == "__main__":
    cli.run(main)
