"""What the search costs beside its trials: per trial in this process and on Ray, with everything
recorded, and over a whole sweep.

    python benchmarks/search_overhead.py

The trials do nothing but sleep and report, so all that is measured is ours: proposals, dealing,
Ray, trials.jsonl, MLflow and Optuna's journal. They run through the driver, the recorder and the
launchers of a sweep, without images. Needs two free cores, and says how busy the machine is; takes
about three minutes.

start-up is the time from opening the launcher to the first trial's begin; ideal is the trials' own
time divided by the slots; overhead is (wall - start-up - ideal) / trials. Wall ends when the last
result is told; closing Ray is printed beside it. CPU is what this process computed per trial after
the first: what is left of the overhead where other programs hold the cores.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.goals import LIMIT, PROJECT, Goal, Options, Row, Taken
from study.core.records import EpochRecord, Report, TrialResult
from study.data.catalog import DataConfig
from study.detectors import registry
from study.jobs.trial import TrialJob
from study.jobs.workspace import Workspace
from study.planning.keys import Keys
from study.planning.open_study import OpenStudy, searches_of
from study.planning.searches import search_driver
from study.planning.study import Budget, Study
from study.runtime.interface import Terms
from study.runtime.launcher import open_launcher
from study.search.spaces import load_space
from study.store.store import Store
from study.tracking.recording import TrialRecord
from study.tracking.views import Views

SLOTS = 2
EPOCHS = 10
INLINE_GOAL_S = 0.05
RECORDED_GOAL_S = 0.5
SWEEP_GOAL = 1.15  # times the trials' own time over the slots


def trial(job: TrialJob, report: Report, *, seconds: float) -> TrialResult:
    """Sleep, then report ten epochs. The note says when the trial began, by the clock that all
    processes of a machine share.
    """
    began = time.time()
    time.sleep(seconds)
    history = tuple(
        EpochRecord(
            epoch=e,
            phase="full",
            train_loss=0.7,
            val_auc=_auc(job),
            val_nll=0.7,
            learning_rate=1e-3,
            seconds=seconds / EPOCHS,
        )
        for e in range(EPOCHS)
    )
    for record in history:
        report(record)
    return TrialResult(
        key=job.trial.key,
        state="done",
        note=repr(began),
        val_auc=_auc(job),
        val_nll=0.7,
        best_epoch=0,
        history=history,
        seconds=seconds,
    )


def _auc(job: TrialJob) -> float:
    """Something for the sampler to model: it peaks at a learning rate of 1e-3."""
    lr = float(job.trial.params["lr"])
    return 1 - abs(lr - 1e-3)


def make_setup(
    folder: Path, name: str, *, training_sets: int, trials: int, detectors: tuple[str, ...]
) -> OpenStudy:
    """Return a study whose data nobody opens. Its results are its own: those of others would be
    used.
    """
    folder = folder / name
    sets = tuple(f"set_{i}" for i in range(training_sets))
    study = Study(
        name=name,
        detectors=detectors,
        train_on=sets,
        test_on=sets,
        budget=Budget(trials=trials, epochs=EPOCHS),
    )
    workspace = Workspace(
        results=folder,
        study=name,
        data=DataConfig(root=None, cache=folder / "cache"),
        weights_root=None,
        threads=1,
        precision="float32",
        firewall=True,
    )
    specs = {d: registry.resolve(d, options={}, weights_root=None) for d in detectors}
    spaces = {detector: load_space(detector) for detector in detectors}
    epochs = dict.fromkeys(sets, EPOCHS)
    setup = OpenStudy(
        study=study,
        workspace=workspace,
        store=Store(folder, name),
        keys=Keys(study=study, specs=specs, data=dict.fromkeys(sets, "no data"), epochs=epochs),
        searches=searches_of(study, specs, spaces, {}, epochs),
        starts={},
    )
    setup.store.prepare()
    return setup


@dataclass
class Run:
    """One measured search. Times in seconds; `parts`: time inside the recorder's calls, by what
    they write.
    """

    trials: int
    slots: int
    trial_s: float
    wall: float = 0.0
    start_up: float = 0.0
    closing: float = 0.0
    views: float = 0.0  # waited for at the end, until MLflow and Optuna's journal were written
    cpu: float = 0.0  # of this process, from the first result to the last
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def ideal(self) -> float:
        return self.trials * self.trial_s / self.slots

    @property
    def overhead(self) -> float:
        return (self.wall - self.start_up - self.ideal) / self.trials


def timed(function: Callable[..., Any], parts: dict[str, float], name: str) -> Callable[..., Any]:
    """Return the function, its time added to `parts`."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - start

    return call


def measure(setup: OpenStudy, *, local: bool, seconds: float, recorded: bool) -> Run:
    """Search the study once. recorded: through the sweep's recorder, or just counted."""
    total = len(setup.study.pairings()) * setup.study.budget.trials
    run = Run(trials=total, slots=1 if local else SLOTS, trial_s=seconds)
    begins: list[float] = []
    computed: list[float] = []
    views = Views() if recorded else None
    known, add = _recorder(setup, run, views) if views else (lambda _: None, lambda *_: None)

    def on_result(job: TrialJob, result: TrialResult) -> None:
        if result.state != "done":
            raise SystemExit(f"a trial failed: {result.failure or result.reason}")
        begins.append(float(result.note))
        add(job, result)
        computed.append(time.process_time())

    driver = search_driver(setup, known, on_result)
    opened, start = time.time(), time.perf_counter()
    with open_launcher(
        local=local,
        address=None,
        terms=Terms(threads=1, failures=setup.store.tracebacks),
        slots=SLOTS,
        scratch=setup.store.folder / "ray",
    ) as launcher:
        launcher.run_trials(driver, functools.partial(trial, seconds=seconds))
        run.wall = time.perf_counter() - start
    run.closing = time.perf_counter() - start - run.wall
    if views:
        with views:
            ended = time.perf_counter()
            if not views.wait():
                raise SystemExit("the views are not whole")
            run.views = time.perf_counter() - ended
    run.start_up = min(begins) - opened
    run.cpu = computed[-1] - computed[0]
    return run


def _recorder(
    setup: OpenStudy, run: Run, views: Views
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `known` and `add` of what a sweep writes with: the store, and the process that writes
    MLflow's SQLite database and Optuna's journal.
    """
    views.open(setup.study.name, setup.workspace.results, remedy="none")
    setup.store.add_trial = timed(setup.store.add_trial, run.parts, "trials.jsonl")  # type: ignore[method-assign]
    views.add_trial = timed(views.add_trial, run.parts, "handed to the views")  # type: ignore[method-assign]
    record = TrialRecord(setup, views, lambda *_: None)
    return record.known, timed(record.add, run.parts, "all of the recorder")


def proposals_alone(setup: OpenStudy) -> float:
    """Return the seconds of a whole search in which every result is known: proposals and
    bookkeeping, nothing run.
    """
    start = time.perf_counter()
    driver = search_driver(
        setup, lambda job: trial(job, lambda _: None, seconds=0), lambda *_: None
    )
    assert driver.finished()
    return time.perf_counter() - start


def show(name: str, run: Run, goal: str) -> None:
    times = (
        f"{run.wall:>9.2f}{run.start_up:>10.2f}{run.ideal:>8.2f}{run.closing:>9.2f}"
        f"{run.overhead:>12.4f}"
    )
    print(f"{name:<34}{run.trials:>7}{times}{run.cpu / (run.trials - 1):>9.4f}  {goal}")
    if run.parts:
        shares = ", ".join(
            f"{part} {seconds / run.trials:.4f}" for part, seconds in run.parts.items()
        )
        print(f"{'':<34}of it, s a trial in the driver: {shares}", flush=True)
        print(f"{'':<34}then {run.views:.2f} s until the views were written", flush=True)


def ratio(value: float, goal: float) -> str:
    return f"goal {goal:.4g}: {value / goal:.2f} of it, {'met' if value <= goal else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=20,
        help="of each of the ten pairings of the short trials (default 20)",
    )
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores; load average before the start:"
        f" {', '.join(f'{load:.1f}' for load in os.getloadavg())}"
    )
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        study = functools.partial(
            make_setup,
            Path(temporary),
            training_sets=5,
            trials=options.trials,
            detectors=("npr", "resnet18_scratch"),
        )
        print(
            f"{'':<34}{'trials':>7}{'wall s':>9}{'start-up':>10}{'ideal':>8}"
            f"{'closing':>9}{'s a trial':>12}{'CPU':>9}"
        )
        alone = proposals_alone(study("alone"))
        total = 10 * options.trials
        print(
            f"{'proposals alone':<34}{total:>7}{alone:>9.2f}{'':>27}{alone / total:>12.4f}",
            flush=True,
        )
        for name, local in (("in this process (--local)", True), (f"Ray, {SLOTS} slots", False)):
            run = measure(study(f"short-{local}"), local=local, seconds=0.001, recorded=False)
            show(f"1 ms, {name}", run, ratio(run.overhead, INLINE_GOAL_S))
        for name, local in (("in this process", True), (f"Ray, {SLOTS} slots", False)):
            run = measure(study(f"recorded-{local}"), local=local, seconds=0.001, recorded=True)
            show(f"1 ms, recorded, {name}", run, ratio(run.overhead, RECORDED_GOAL_S))
        sweep(make_setup(Path(temporary), "sweep", training_sets=3, trials=8, detectors=("npr",)))


def goal(options: Options) -> Goal:
    """G11: what a trial costs beside its own time, and a whole sweep; on Ray, by the wall."""
    found = Goal("G11", "what a search costs beside its trials")
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        short = make_setup(Path(temporary), "short", training_sets=4, trials=12, detectors=("npr",))
        run = measure(short, local=False, seconds=0.001, recorded=True)
        each = Taken(cpu=run.cpu / (run.trials - 1), wall=run.overhead)
        taken = {PROJECT: each, LIMIT: Taken(RECORDED_GOAL_S, RECORDED_GOAL_S)}
        note = f"{run.trials} trials; of the CPU seconds the driver's alone"
        found.rows.append(
            Row(name="a trial through Ray", taken=taken, limit_goal=1, note=note, by_wall=True)
        )
        whole = make_setup(Path(temporary), "sweep", training_sets=3, trials=8, detectors=("npr",))
        run = measure(whole, local=False, seconds=2.0, recorded=True)
        limit = SWEEP_GOAL * run.ideal + run.start_up
        taken = {PROJECT: Taken(run.cpu, run.wall), LIMIT: Taken(limit, limit)}
        note = f"the limit is {SWEEP_GOAL} x the trials' seconds over two slots, and the start-up"
        found.rows.append(
            Row(name="24 trials of 2 s", taken=taken, limit_goal=1, note=note, by_wall=True)
        )
    return found


def sweep(setup: OpenStudy) -> None:
    run = measure(setup, local=False, seconds=2.0, recorded=True)
    limit = SWEEP_GOAL * run.ideal + run.start_up
    show(f"2 s, recorded, Ray, {SLOTS} slots", run, "")
    print(
        f"a sweep of {run.trials} trials of 2 s over 3 pairings: wall {run.wall:.2f} s; sum / slots"
        f" {run.ideal:.2f} s"
    )
    print(
        f"  limit {SWEEP_GOAL} x {run.ideal:.2f} + start-up {run.start_up:.2f} = {limit:.2f} s:"
        f" {ratio(run.wall, limit)}"
    )
    print(f"  (wall - start-up) / (sum / slots) = {(run.wall - run.start_up) / run.ideal:.3f}")


if __name__ == "__main__":
    main()
