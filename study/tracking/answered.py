"""What a command answered when nothing was left to do, so that the same command answers at once.

A second run of a finished study imports its libraries, lists its data, derives every table, draws
every figure, and starts MLflow, to write what is there already. So a run that ends with everything
done keeps what it has said, with what it rests on: the command line and the environment, this
program and all installed packages, the files of the data and the weights, the store, and what the
views have. The next run compares all of it, which takes a fraction of a second, and says the same.
Where anything differs, or cannot be read, it runs as ever.

Files of the store count by their SHA-256, weights in it and files elsewhere by size and times.
What was answered with a warning is not kept, but for one that the inputs give every time. Nor is
that of a study whose data, results or views lie elsewhere, or that has a detector of one's own.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.core.cache import Cache, read_entry, remove_others, write_entry
from study.core.errors import StudyError
from study.core.identity import digest, this_machine
from study.core.log import FILE_ONLY, LOG, keep
from study.core.parallel import ordered_map, try_lock
from study.core.paths import is_url
from study.core.snapshot import (
    ABSENT,
    changed_since,
    file_state,
    files_below,
    program_state,
    shelf_state,
    tree_state,
)

if TYPE_CHECKING:
    from study.planning.open_study import OpenStudy

# of the store: what a sweep reads and writes, and what no answer depends on
_OF_SWEEP = ("models", "draws", "probes", "epochs", "checkpoints")
_TABLES = (
    *("study.toml", "trials.jsonl", "trials.parquet", "failures.json", "warm_start.json"),
    *("search.json", "frozen.json"),
)
_ASIDE = (".lock", "run.log", "ray")
_BY_TIMES = (".safetensors", ".pt")  # an empty run does not read them
# of the environment: names that begin so
_ENVIRONMENT = (
    *("STUDY_", "MLFLOW_", "OPTUNA_", "OMP_", "MKL_", "CUDA_", "TORCH", "PYTHON", "HF_"),
    *("KAGGLE", "XDG_", "HOME", "LC_", "LANG", "TZ", "COLUMNS", "NO_COLOR", "MPL"),
)
_ELSEWHERE = ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE")
# what MLflow's view of a study has, as its database keeps it
_RUNS = (
    "SELECT run_uuid, tags.value FROM runs JOIN experiments USING (experiment_id)"
    " JOIN tags USING (run_uuid) WHERE experiments.name = ? AND tags.key = 'study.kind'"
    " AND runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An answer. program: what gave it. folder: of the store. seen: kind of state -> path -> state.
    runs: of MLflow. journal: bytes of Optuna's journal, and their SHA-256. lines: (level of the
    log, or 0 for what is printed, and the text).
    """

    program: str
    folder: str
    seen: Mapping[str, Mapping[str, str]]
    runs: list[str]
    journal: tuple[int, str]
    lines: list[tuple[int, str]]


ANSWERS = Cache("answers", [Entry])


class Answered:
    """The answer of one command as it is given, and the one that it gave before.

    fresh: whether this process has just begun, so that its code is what lies on the disk.
    """

    def __init__(self, command: str, options: argparse.Namespace, *, fresh: bool) -> None:
        self._command, self._began = command, time.time()
        self._heard, self._program = _Heard(), ""
        self._path: Path | None = None
        elsewhere = is_url(options.results) or any(map(os.environ.get, _ELSEWHERE))
        new = getattr(options, "predictions", None) or getattr(options, "retry", None)
        if fresh and not elsewhere and not new:
            with contextlib.suppress(OSError):
                self._program = program_state()
                self._path = ANSWERS.path(_cache(options), f"{_key(command, options)}.json")
                LOG.addHandler(self._heard)

    def given(self, options: argparse.Namespace) -> bool:
        """Say what was said before, where nothing has changed since; tell whether."""
        content = read_entry(self._path) if self._path else None
        if content is None:
            return False
        found = json.loads(content)
        with contextlib.suppress(OSError), _alone(Path(found["folder"])) as alone:
            if not alone or not self._holds(found):
                return False
            keep(Path(found["folder"]) / "run.log")
            LOG.info(options.command_line, extra=FILE_ONLY)
            for level, text in found["lines"]:
                if level:
                    LOG.log(level, text)
                else:
                    print(text)
            return True
        return False

    def say(self, text: str) -> None:
        """Print a part of the answer."""
        print(text)
        self._heard.add(0, text)

    def add(self, level: int, text: str) -> None:
        """Add to the answer what a run with nothing to do would log, and this one had no need
        to.
        """
        self._heard.add(level, text)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While the block runs, what is said is of work, and no part of the answer."""
        before, self._heard.paused = self._heard.paused, True
        try:
            yield
        finally:
            self._heard.paused = before

    def forget(self) -> None:
        """Do not keep this answer: the next run has another."""
        self._path = None

    def keep(self, opened: OpenStudy) -> None:
        """Keep the answer, after everything is written. No error ends a command for its sake."""
        if self._path is None or self._heard.warned or not _is_here(opened):
            return
        results, folder = opened.workspace.results, opened.store.folder
        with contextlib.suppress(OSError, StudyError):
            if self._changed(opened) or program_state() != self._program:
                return
            seen = {**_of_inputs(opened), **_of_store(self._command, folder)}
            runs, journal = _runs(self._command, folder), _journal(results, None)
            if runs is None:
                return
            entry = Entry(
                program=self._program,
                folder=str(folder),
                seen=seen,
                runs=sorted(runs),
                journal=journal,
                lines=self._heard.lines,
            )
            write_entry(self._path, json.dumps(asdict(entry)).encode())
            remove_others(self._path)

    def _changed(self, opened: OpenStudy) -> bool:
        """Tell whether a file that was there before this run changed while it ran."""
        cache = str(opened.workspace.data.cache)
        inputs = {path for of in _paths(opened).values() for path in of}
        mine = {path for path in inputs if path.startswith(f"{cache}{os.sep}")}
        return any(changed_since(Path(path), self._began) for path in inputs - mine)

    def _holds(self, found: Mapping[str, Any]) -> bool:
        """Tell whether everything is as it was."""
        folder, journal = Path(found["folder"]), found["journal"]
        if found["program"] != self._program:
            return False
        runs = _runs(self._command, folder)
        if runs is None or not runs.issuperset(found["runs"]):
            return False
        if _journal(folder.parent, journal[0]) != tuple(journal):
            return False
        todo = [(kind, *one) for kind, of in found["seen"].items() for one in of.items()]
        same = ordered_map(lambda one: _state(one[0], one[1]) == one[2], todo)
        return all(same)


class _Heard(logging.Handler):
    """What is said, but for life signs and what goes to the file of the log alone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[int, str]] = []
        self.paused = self.warned = False

    def emit(self, record: logging.LogRecord) -> None:
        self.warned |= record.levelno >= logging.WARNING and not hasattr(record, "of_inputs")
        if not hasattr(record, "file_only") and not hasattr(record, "aside"):
            self.add(record.levelno, record.getMessage())

    def add(self, level: int, text: str) -> None:
        if not self.paused:
            self.lines.append((level, text))


def _cache(options: argparse.Namespace) -> Path:
    return Path(options.results).absolute() / "cache"


def _key(command: str, options: argparse.Namespace) -> str:
    """The digest of how a command is called, and where."""
    study = Path(options.study)
    return digest(
        command,
        {name: value for name, value in vars(options).items() if name != "command_line"},
        file_state(study, by_content=True) if study.is_file() else "",
        Path.cwd(),
        {name: v for name, v in os.environ.items() if name.startswith(_ENVIRONMENT)},
        (shutil.get_terminal_size().columns, sys.stdout.isatty(), sys.stderr.isatty()),
        (this_machine(), os.getuid(), os.cpu_count()),
        sorted(map(str, Path("/dev").glob("nvidia[0-9]*"))),
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Give whether no other command works in the folder of a study, and keep others out."""
    with (folder / ".lock").open("r") as file:
        yield try_lock(file)


def _is_here(opened: OpenStudy) -> bool:
    """Tell whether all that an answer rests on can be looked at here."""
    from study.detectors.registry import library_of

    data = opened.workspace.data
    roots = [opened.workspace.catalog.dataset(name).root for name in opened.study.datasets()]
    remote = any(root.is_relative_to(data.cache / "remote") for root in roots)
    own = any(library_of(name) == "py" for name in opened.study.detectors)
    return not (data.url or remote or own)


def _paths(opened: OpenStudy) -> dict[str, list[str]]:
    """What lies outside the store, by the kind of state that tells whether it changed."""
    from study.data.names import parse_name
    from study.detectors import registry, weights

    study, data, catalog = opened.study, opened.workspace.data, opened.workspace.catalog
    root = opened.workspace.weights_root
    trees, files = [], [*data.manifests.values()]
    for name in study.datasets():
        dataset = catalog.dataset(name)
        trees += [dataset.root, *([data.root / parse_name(name).base] if data.root else [])]
        files += [dataset.manifest] if dataset.manifest else []
    for name in study.detectors:
        if name in study.ensembles:
            continue
        for source in registry.sources(registry.entry(name)):
            files.append(weights.find(source, root, download=False))
        given = study.options_of(name).values()
        files += [Path(one) for one in given if isinstance(one, str) and Path(one).is_file()]
    shelves = [folder for folder in (data.root, weights.weights_folder(root)) if folder]
    kinds = {"tree": trees, "times": files, "shelf": shelves}
    return {kind: sorted({str(p.absolute()) for p in paths}) for kind, paths in kinds.items()}


def _of_inputs(opened: OpenStudy) -> dict[str, dict[str, str]]:
    """The states of what lies outside the store."""
    found = {}
    for kind, paths in _paths(opened).items():
        found[kind] = {path: _state(kind, path) for path in paths}
    return found


def _of_store(command: str, folder: Path) -> dict[str, dict[str, str]]:
    """The states of the files of a store that a command reads and writes. Of a sweep others may be
    added; cross_eval reads all there are.
    """
    if command == "sweep":
        files = [folder / name for name in _TABLES]
        files += [
            path
            for name in _OF_SWEEP
            if (folder / name).is_dir()
            for path in files_below(folder / name)
        ]
        kinds: dict[str, dict[str, str]] = {}
    else:
        files = files_below(folder, without=_ASIDE)
        kinds = {"names": {str(folder): _state("names", str(folder))}}
    for path in files:
        kind = "weights" if path.suffix in _BY_TIMES else "content"
        kinds.setdefault(kind, {})[str(path)] = _state(kind, str(path))
    return kinds


def _state(kind: str, path: str) -> str:
    """What a path is like. Raises OSError."""
    place = Path(path)
    if kind == "tree":
        return tree_state(place)
    if kind == "shelf":
        return shelf_state(place)
    if kind == "names":
        found = files_below(place, without=_ASIDE) if place.is_dir() else []
        return digest([str(one.relative_to(place)) for one in found])
    return file_state(place, by_content=kind == "content")


def _runs(command: str, folder: Path) -> frozenset[str] | None:
    """The runs of a study that MLflow shows, of a sweep without that of the matrix, which each new
    matrix takes; None where its database cannot be read.
    """
    database = folder.parent / "mlflow.db"
    if not database.is_file():
        return None
    try:
        address = f"{database.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as opened:
            found = opened.execute(_RUNS, (folder.name,)).fetchall()
    except sqlite3.Error:
        return None
    return frozenset(run for run, kind in found if command != "sweep" or kind != "matrix")


def _journal(results: Path, size: int | None) -> tuple[int, str]:
    """The number of bytes of Optuna's journal and their SHA-256; of its first `size` bytes where
    that is given, because others are only added.
    """
    path = results / "optuna.journal"
    if not path.is_file():
        return 0, ABSENT
    with path.open("rb") as file:
        content = file.read() if size is None else file.read(size)
    return len(content), hashlib.sha256(content).hexdigest()
