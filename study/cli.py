"""What all commands share: their common options, one-line errors, exit codes, and help that answers
at once.

Imports nothing heavy: a command parses its arguments first and imports what it needs
afterwards.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import logging
import math
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from study.analysis.winners import Winner
    from study.core.failures import Failure
    from study.jobs.workspace import Job
    from study.planning.cost import PairingOutlook
    from study.planning.open_study import OpenStudy
    from study.planning.study import Run, Study
    from study.runtime.interface import Launcher, Terms
    from study.store.store import Store
    from study.tracking.answered import Answered
    from study.tracking.views import Views

W = TypeVar("W", bound="Job")
DONE, SOME_FAILED, BAD_INPUT, BY_SIGNAL = 0, 1, 2, 128
LOG = logging.getLogger("study")
SHORT_FORMS = (
    ("detectors", "NAMES", "detectors, with commas between them"),
    ("train_on", "NAMES", "training sets, with commas between them"),
    ("budget.trials", "N", "configurations tried per pairing"),
    ("budget.epochs", "N", "most epochs of a trial"),
    ("budget.seeds", "N", "winners per pairing"),
    ("data.max_per_class", "N", "images per class and dataset, 0 for all"),
    ("detector.*.lr", "RATE", "fix the learning rate of all that has one"),
    ("detector.*.batch_size", "N", "fix the batch size of all that has one"),
)  # (key of the study, what its value is, in words)
_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")  # in the order in which they decide


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors for users are."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        from study.core.errors import ConfigError

        raise ConfigError(f"{message} ({self.prog} --help lists the options)")


class _ShortForm(argparse.Action):
    """An option that is short for --set KEY=VALUE. dest: the key. Of a list of names the value has
    commas.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the override to those of --set."""
        if self.metavar == "NAMES":
            quoted = (f'"{name.strip()}"' for name in values.split(","))
            values = f"[{', '.join(quoted)}]"
        namespace.set = [*namespace.set, f"{self.dest}={values}"]


def command_parser(name: str, about: str | None, examples: str) -> argparse.ArgumentParser:
    """Return a parser whose help ends with commands one can paste. about: the command's docstring,
    of which the first line is shown; `python -OO` has none.
    """
    return _Parser(
        prog=f"python -m study.{name}",
        description=(about or "").partition("\n")[0],
        epilog="examples:\n"
        + "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # half an option is a slip, and gets the nearest one in the error
    )


def add_study_options(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add STUDY, which may be left out where it is `optional`, and the options that say where
    things are.
    """
    what = "a preset's name (python -m study.ls presets) or the path of a study file (.toml)"
    nargs = "?" if optional else None
    study = parser.add_argument("study", nargs=nargs, metavar="STUDY", help=what)
    # argcomplete looks for this attribute, which argparse does not declare
    study.completer = _complete_study  # type: ignore[attr-defined]
    what = "override a key of the study, for example --set budget.generation=8"
    change = parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help=what
    )
    change.completer = _complete_key  # type: ignore[attr-defined]
    short = parser.add_argument_group("short for --set")
    for key, kind, what in SHORT_FORMS:
        option = f"--{key.rpartition('.')[2].replace('_', '-')}"
        names = (option, "--learning-rate") if option == "--lr" else (option,)
        short.add_argument(
            *names,
            action=_ShortForm,
            dest=key,
            default=argparse.SUPPRESS,
            metavar=kind,
            help=f"{what} ({key})",
        )
    add_place_options(parser)


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where results, data and weights are."""
    what = "where the store is kept, or the URL of that (default: results)"
    parser.add_argument("--results", default="results", metavar="DIR", help=what)
    what = "a folder with one folder per dataset, or its URL (s3://...). Overrides data.root"
    parser.add_argument("--data-root", metavar="DIR", help=f"{what} of the study")
    what = "a folder with pretrained weights as files (default: the study's weights_root, else"
    parser.add_argument(
        "--weights-root", metavar="DIR", help=f"{what} STUDY_WEIGHTS, else the libraries' hubs)"
    )


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is shown of what a command does."""
    parser.set_defaults(log_level=logging.INFO)
    group = parser.add_mutually_exclusive_group()
    for flags, level, what in (
        (("-v", "--verbose"), logging.DEBUG, "more: tracebacks of what fails, where work runs"),
        (("-q", "--quiet"), logging.WARNING, "results, warnings and errors only"),
    ):
        group.add_argument(
            *flags, dest="log_level", action="store_const", const=level, help=f"show {what}"
        )


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command, and show as much of what it does as they say."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        import argcomplete

        argcomplete.autocomplete(parser)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_unknown_text(parser, unknown))
    words = sys.argv[1:] if arguments is None else arguments
    options.command_line = f"{parser.prog} {shlex.join(words)}"
    from study.core.log import set_up

    set_up(getattr(options, "log_level", logging.INFO))
    # Arrow's own pools keep what is freed: the peak of 100,000 images was 1.11 times that of 10,000
    # with them, and is 1.09 times with the system's (benchmarks/images_in_tables.py).
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    return options


def _unknown_text(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Return what is wrong about words that no option takes, with what was probably meant."""
    from study.core.errors import nearest

    word = next((word for word in words if word.startswith("--")), words[0])
    if not word.startswith("-"):
        return f"'{word}' is one word too many"
    options = [name for name in parser._option_string_actions if name.startswith("--")]
    known = {name.removeprefix("--"): name for name in options}
    name, _, value = word.partition("=")
    if "--set" in options:
        from study.planning.key_names import dotted_keys

        for key in dotted_keys():
            own = key.rpartition(".")[2].replace("_", "-")
            known.setdefault(own, f"--set {key}={value or 'VALUE'}")
    close = nearest(name.lstrip("-"), known)
    return f"unknown option {name}" + (f": did you mean {known[close]}?" if close else "")


def _complete_study(prefix: str, **_: Any) -> list[str]:
    """Names of presets and study files that begin so."""
    presets = (file.stem for file in (Path(__file__).parent / "planning/presets").glob("*.toml"))
    folder = Path(prefix).parent if "/" in prefix else Path()
    files = [str(file) for file in folder.glob("*.toml")] if folder.is_dir() else []
    return [name for name in (*sorted(presets), *sorted(files)) if name.startswith(prefix)]


def _complete_key(prefix: str, **_: Any) -> list[str]:
    """Keys of a study file that begin so."""
    from study.planning.key_names import dotted_keys

    return [f"{key}=" for key in dotted_keys() if key.startswith(prefix)]


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the work runs, and how much is shown of it."""
    add_log_options(parser)
    what = "run everything in this process, without Ray. The scores are the same"
    parser.add_argument("--local", action="store_true", help=what)
    what = "join a running Ray cluster (default: a cluster of this machine alone)"
    parser.add_argument("--address", metavar="ADDRESS", help=what)
    add_slots_option(parser)
    what = "stop at the first failure, with its traceback (default: the others go on)"
    parser.add_argument("--debug", action="store_true", help=what)


def add_retry_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that has failed trials trained again."""
    what = (
        "failed: train again every trial that failed, also one that diverged or that later"
        " trials rest on (default: those alone whose failure may have been an accident)"
    )
    parser.add_argument("--retry", choices=["failed"], help=what)


def add_slots_option(parser: argparse.ArgumentParser) -> None:
    """Add the limit on what runs at a time."""
    what = "how many trials run side by side (default: as the machine allows)"
    parser.add_argument("--slots", type=int, metavar="N", help=what)


def add_budget_option(parser: argparse.ArgumentParser) -> None:
    """Add the limit on a study's time."""
    what = (
        "refuse a study whose training may take more than H hours on this machine, by the measured"
        " time of every trial 0"
    )
    parser.add_argument("--budget-hours", type=float, metavar="H", help=what)


def add_unit_options(parser: argparse.ArgumentParser, of: str = "the scores") -> None:
    """Add the options that say what scores are that were made elsewhere."""
    parser.set_defaults(unit="")
    group = parser.add_mutually_exclusive_group()
    for unit, what in (
        ("logit", "are logits, also where they look like another unit"),
        ("probability", "are p(fake) in [0, 1], not logits"),
        ("percent", "are p(fake) in [0, 100], not logits"),
    ):
        text = f"{of} {what}"
        group.add_argument(f"--{unit}", dest="unit", action="store_const", const=unit, help=text)
    what = f"{of} are higher for real images, like p(real)"
    parser.add_argument("--higher-is-real", action="store_true", help=what)


def add_class_folder_option(parser: argparse.ArgumentParser, belongs_to: str) -> None:
    """Add the option that says what class a folder holds, where no study says it."""
    what = f"with {belongs_to}: a class folder that is named otherwise, NAME=real or NAME=fake"
    parser.add_argument(
        "--class-folder", action="append", default=[], metavar="NAME=CLASS", help=what
    )


def class_folders(given: Sequence[str]) -> dict[str, int]:
    """Return the label of every folder that --class-folder names. Raises ConfigError."""
    from study.core.errors import ConfigError

    found = {}
    for text in given:
        name, _, word = text.rpartition("=")
        if not name or word.lower() not in ("real", "fake"):
            raise ConfigError(f"--class-folder {text!r} must be NAME=real or NAME=fake")
        found[name] = int(word.lower() == "fake")
    return found


def launcher(setup: OpenStudy, options: argparse.Namespace, *, workers: int = 1) -> Launcher:
    """Open the launcher that the options ask for, for work of this study. workers: of one trial."""
    from study.runtime.launcher import open_launcher

    return open_launcher(
        local=options.local,
        address=options.address,
        terms=terms(setup, options),
        slots=options.slots,
        scratch=setup.store.folder / "ray",
        workers=workers,
        gpus_per_trial=setup.study.run.gpus_per_trial or None,
    )


def answered(
    command: str, options: argparse.Namespace, arguments: Sequence[str] | None
) -> Answered:
    """Return the answer that a command is to give, with the one that it gave before. arguments: of
    `main`; None where the process was started for this command.
    """
    from study.tracking.answered import Answered

    return Answered(command, options, fresh=arguments is None)


def views() -> Views:
    """Start the process that shows a study in MLflow and in Optuna's storage."""
    from study.tracking.views import Views

    return Views()


def show_in(views: Views, setup: OpenStudy, options: argparse.Namespace) -> None:
    """Have a study shown. Raises StoreError for an address of MLflow that can be none."""
    from study.tracking.mlflow_address import tracking_uri

    tracking_uri(setup.workspace.results)
    name, results, data = setup.study.name, setup.workspace.results, setup.keys.data
    views.open(name, results, remedy=again(options, "track"), data=data)


def terms(setup: OpenStudy, options: argparse.Namespace) -> Terms:
    """Return what holds for all work of a study, wherever it runs."""
    from study.runtime.interface import Terms

    return Terms(
        threads=setup.workspace.threads, failures=setup.store.tracebacks, debug=options.debug
    )


def slots_here(run: Run, options: argparse.Namespace) -> int:
    """Return how many trials of a study run side by side, with these options, on this machine.

    Raises ConfigError where it has not the CPUs or GPUs of one.
    """
    import torch

    from study.core.parallel import cpu_count
    from study.runtime.places import share_out

    if getattr(options, "local", False):
        return 1
    machine = {"CPU": float(cpu_count()), "GPU": float(torch.cuda.device_count())}
    return share_out(
        [machine],
        threads=run.threads,
        slots=getattr(options, "slots", None),
        workers=run.workers_per_trial,
        gpus_per_trial=run.gpus_per_trial or None,
    ).slots


def refuse_over_budget(
    pairings: Sequence[PairingOutlook],
    study: Study,
    options: argparse.Namespace,
    *,
    measured: bool = False,
) -> None:
    """Raise ConfigError where what is left of a study may take longer than --budget-hours; before
    it is measured, too.

    measured: every trial 0 has run. A pairing whose trial 0 failed has no time then, and is left
    out of the sum with a warning.
    """
    from study.core.errors import ConfigError

    if options.budget_hours is None:
        return
    unknown = [p.pairing.name for p in pairings if math.isnan(p.seconds_at_most)]
    if measured:
        for name in unknown:
            LOG.warning(
                f"warning: trial 0 of {name} failed, so its time is unknown and not counted"
            )
    elif unknown:
        raise ConfigError(
            f"--budget-hours: no trial of {unknown[0]} is timed yet ({len(unknown)} of"
            f" {len(pairings)} pairings); {again(options, 'sweep')} --budget-hours"
            f" {options.budget_hours:g} runs every trial 0 first and then decides"
        )
    slots = slots_here(study.run, options)
    needed = sum(p.seconds_at_most for p in pairings if not math.isnan(p.seconds_at_most)) / slots
    if needed > options.budget_hours * 3600:
        raise ConfigError(
            f"the study may train for {seconds_text(needed)} on {slots} slot(s) of this machine,"
            f" more than --budget-hours {options.budget_hours:g}: lower budget.trials"
            f" ({study.budget.trials}), budget.epochs ({study.budget.epochs}) or"
            " data.max_per_class; what has been trained is kept"
        )


def open_study(options: argparse.Namespace, *, firewall: bool) -> OpenStudy:
    """Load the study that the options name and open it on this machine. Raises StudyError."""
    from study.core import live

    live.show("loading libraries")
    try:
        return _open_study(options, firewall=firewall)
    finally:
        live.clear()


def _open_study(options: argparse.Namespace, *, firewall: bool) -> OpenStudy:
    from study.core import live
    from study.core.errors import ConfigError
    from study.core.quick_arrow import without_pandas

    without_pandas()
    from study.planning.open_study import open_study as open_here
    from study.planning.study_file import load_study

    for option in ("budget_hours", "slots"):
        value = getattr(options, option, None)
        if value is not None and not value > 0:
            raise ConfigError(f"--{option.replace('_', '-')} {value:g} must be above 0")
    degradations = getattr(options, "degradations", None)
    live.show("opening the study")
    study = load_study(
        options.study, options.set, data_root=options.data_root, degradations=degradations
    )
    opened = open_here(
        study,
        results=results_folder(options, study),
        weights_root=weights_root(options, study),
        firewall=firewall,
        progress=show_progress,
    )
    if hasattr(options, "log_level"):
        from study.core.log import FILE_ONLY, keep

        keep(opened.store.run_log)
        LOG.info(options.command_line, extra=FILE_ONLY)
    return opened


def results_folder(options: argparse.Namespace, study: Study | None = None) -> Path:
    """Return the results folder; of results elsewhere their copy on this machine, into which the
    study, if given, is pulled.
    """
    from study.core.paths import is_url

    if not is_url(options.results):
        return Path(options.results)
    from study.core.errors import ConfigError
    from study.store.mirror import Mirror, local_results

    if getattr(options, "address", None):
        raise ConfigError(
            f"--results {options.results} is worked on in a copy on this machine, which the nodes"
            " of --address do not see; give a results folder that all of them see"
        )

    if study:
        Mirror(options.results, study.name).pull()
    return local_results(options.results)


def study_folder(options: argparse.Namespace, file: str, how: str) -> Path:
    """Return the folder of a study that has been run, which STUDY names by its name below the
    results, by its file, or itself. file: what is in such a folder. how: what writes it, for the
    error. Raises StoreError where there is none.
    """
    from study.core.errors import StoreError, unknown_name

    given, name = Path(options.study), options.study
    if (given / file).is_file():
        return given.absolute()
    results = results_folder(options)
    if given.suffix == ".toml" and given.is_file():
        from study.planning.study_file import load_study

        name = load_study(str(given)).name
    folder = results / name
    if not (folder / file).is_file():
        here = [found.parent.name for found in results.glob(f"*/{file}")]
        if not here or Path(f"{name}.toml").is_file() or folder.is_dir():
            raise StoreError(f"there are no results of '{name}' in '{results}' yet; {how}")
        raise StoreError(unknown_name(f"study in '{results}'", name, here) + f"; {how}")
    return folder.absolute()


def add_winner_options(parser: argparse.ArgumentParser) -> None:
    """Add STUDY, --with and --seed, which name a trained detector of a study that has been run."""
    what = "a study that has been run: its name below the results, its file, or its folder"
    parser.add_argument("study", metavar="STUDY", help=what)
    what = "the winner: 'DETECTOR @ TRAINING SET' (default: the one with the highest"
    what += " mean AUC over its cross-domain test sets without a mark)"
    parser.add_argument("--with", dest="winner", default="best", metavar="NAME", help=what)
    what = "which of the winner's seeds (default: 0)"
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=what)


def stored_winner(options: argparse.Namespace) -> tuple[Store, Winner]:
    """Return the store and the winner that the options name. Raises ConfigError, StoreError."""
    from study.analysis.winners import find_winner
    from study.store.store import Store

    folder = study_folder(options, "cells.csv", "cross_eval writes them")
    return Store(folder.parent, folder.name), find_winner(folder, options.winner, options.seed)


def open_stored(store: Store, options: argparse.Namespace) -> OpenStudy:
    """Open a study that has been run, by the settings in its folder, with its test sets. Raises
    ConfigError where the folder has another name than the study, StudyError.
    """
    from study.core.errors import ConfigError
    from study.planning.open_study import open_study as open_here
    from study.planning.study_file import load_study

    study = load_study(str(store.study_file), [], data_root=options.data_root)
    if study.name != store.folder.name:
        raise ConfigError(
            f"the folder '{store.folder}' holds the study '{study.name}'; give it that name"
        )
    return open_here(
        study,
        results=store.results,
        weights_root=weights_root(options, study),
        firewall=False,
        progress=show_progress,
    )


def pushed(options: argparse.Namespace, study: Study) -> contextlib.AbstractContextManager[None]:
    """Return a context in which what a command writes goes to results elsewhere as it is finished;
    nothing where they are here.
    """
    from study.core.paths import is_url

    if not is_url(options.results):
        return contextlib.nullcontext()
    from study.store.mirror import Mirror, pushing

    return pushing(Mirror(options.results, study.name))


def weights_root(options: argparse.Namespace, study: Study | None = None) -> Path | None:
    """Return where local weights lie: `--weights-root`, else what the study says, else
    STUDY_WEIGHTS, else None (the libraries' own hubs).
    """
    from study.detectors.weights import weights_folder

    named = options.weights_root or (study.weights_root if study else "")
    folder = weights_folder(Path(named) if named else None)
    return folder.absolute() if folder else None


def again(options: argparse.Namespace, command: str) -> str:
    """Return the command line that runs `command` on the same study in the same places."""
    words = ["python", "-m", f"study.{command}", options.study]
    for key in options.set:
        words += ["--set", key]
    words += ["--results", options.results] if options.results != "results" else []
    launches = command in ("sweep", "cross_eval")
    for name in ("data_root", "weights_root", *(["address"] if launches else [])):
        value = getattr(options, name, None)
        words += [f"--{name.replace('_', '-')}", value] if value else []
    words += ["--local"] if launches and getattr(options, "local", False) else []
    return shlex.join(words)


def run(main: Callable[[Sequence[str] | None], int]) -> None:
    """Run a command's `main` and leave with its exit code: 0 done, 1 some failed, 2 bad input, 130
    interrupted, 143 and 129 for SIGTERM and SIGHUP; 3 where the Ray cluster is lost
    (runtime/watch.py).
    """
    from study.core import live, stop
    from study.core.environment import without_strangers
    from study.core.errors import StudyError
    from study.core.failures import full_text, is_disk_full
    from study.core.log import FILE_ONLY, set_up, written_out
    from study.core.parallel import share_heap

    share_heap()
    set_up()
    for line in without_strangers():
        LOG.warning(f"warning: {line}")
    try:
        with stop.listening():
            _check_encodings()
            code = main(None)
            stop.check()  # one that was swallowed to the end
    except StudyError as error:
        LOG.error(f"error: {written_out(str(error))}")  # a line, whatever is in a name
        code = BAD_INPUT
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # whoever read our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        else:
            what = f"{error}; what was finished is kept"
            LOG.error(f"error: {full_text(error) if is_disk_full(error) else what}")
            code = BAD_INPUT
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        what = (
            "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        )
        LOG.error(f"\n{what}: what was finished is kept; run the same command again to go on")
        code = BY_SIGNAL + number
    except Exception:
        LOG.error("this should not have happened:", exc_info=True, extra=FILE_ONLY)
        raise
    finally:
        live.clear()  # whatever ended the work: the terminal is the shell's again
    sys.stdout.flush()
    if main.__module__ == "__main__":  # and not of a process that goes on
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End the process, of which everything is written by now. To take torch apart object by object,
    as Python does at its end, takes seconds in which nothing is shown.
    """
    from study.core import stop

    stop.end_at_once()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _check_encodings() -> None:
    """Have names printed that the output has no letters for, and refuse to read folders whose names
    cannot be read: images would be left out for the locale's sake.
    """
    from study.core.errors import ConfigError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    encoding = sys.getfilesystemencoding()
    if encoding.replace("-", "").lower() != "utf8":
        locale = next((f"{k}={os.environ[k]}" for k in _LOCALE if os.environ.get(k)), "no locale")
        raise ConfigError(
            f"file names cannot be read: with {locale} Python takes them for {encoding}; set"
            " PYTHONUTF8=1"
        )


@contextlib.contextmanager
def announced(
    jobs: Sequence[W],
    name: Callable[[W], str],
    then: Callable[[W], None] = lambda _: None,
    *,
    what: str = "work",
) -> Iterator[None]:
    """While jobs run somewhere, say of each that the store has its result, at most two seconds
    after it came; then do `then`. what: they are, in a word.
    """
    from study.core import live

    waiting, stop = list(jobs), threading.Event()

    def look() -> None:
        for job in [job for job in waiting if job.is_done()]:
            waiting.remove(job)
            place = f"{len(jobs) - len(waiting):>{len(str(len(jobs)))}}/{len(jobs)}"
            LOG.info(f"[{place}] {name(job)}")
            then(job)
        if waiting:
            live.show(
                what, len(jobs) - len(waiting), len(jobs), f"not done yet: {name(waiting[0])}"
            )
        elif jobs:
            live.show(f"all {what} done, ending the workers")

    def watch() -> None:
        while not stop.wait(2):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    look()
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
        live.clear()


def say_what_is_left(
    left: Iterable[tuple[str, str, Failure]], said: Callable[[Failure], str] = str
) -> None:
    """Say what a command could not do, as (state, name, failure); equal failures once, with their
    number.
    """
    alike: dict[tuple[str, str], list[tuple[str, Failure]]] = {}
    for state, name, failure in left:
        alike.setdefault((state.upper(), failure.text), []).append((name, failure))
    for (state, _), ((name, failure), *more) in alike.items():
        LOG.error(f"{state} {name}: {said(failure)}")
        if more:
            LOG.error(f"  and {len(more)} more likewise: {', '.join(name for name, _ in more)}")


def show_progress(what: str, done: int, total: int) -> None:
    """Show how far long work has come, until it is done."""
    from study.core import live

    live.show(what, done, total)
    if done >= total:
        live.finish(what)


def seconds_text(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> seconds_text(4.26), seconds_text(75), seconds_text(7260)
    ('4.3 s', '1 min 15 s', '2 h 1 min')
    """
    from study.core.live import duration

    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
