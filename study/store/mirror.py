"""Results elsewhere (`--results s3://bucket/results`): a study's store, worked on in a local copy
and pushed as its files appear.

The copy lies in the user's cache folder. A command first pulls what it lacks or what
another machine changed, works on the copy as on any store, and pushes every file that is finished,
whole: weights and val scores of a model before its record, models and scores before the record of
trials. So a reader there never sees a model without its weights, and after a kill at any point any
machine goes on from what was pushed. What was not is done again, with the same result, for every
key holds all that decides it.

Left on the machine: caches, its log, checkpoints and epochs of fits under way, and the views that
have addresses of their own (MLflow, Optuna). Parts of a cell under way are pushed, and deleted
there
once its scores are there. One machine at a time may write a study: of two, the record of trials of
the last one stands there, until the other one adds its own.

What was pushed and is gone there, or is an older one again (a backup was put back), is pushed once
more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from study.core.errors import DataError, StoreError
from study.core.identity import digest, whole_file, whole_folder
from study.core.parallel import try_lock
from study.data.sources.remote import PART_SUFFIX, RemoteFile, RemoteFolder, fetch
from study.store.store import RECORD, TRIALS
from study.store.trials import read_trials, write_trials

LOG = logging.getLogger(__name__)
LOCAL_FOLDERS = ("checkpoints", "ray", "damaged")
RUN_LOG = "run.log"
UNDER_WAY = ".part"  # ends the folder of a fit's epochs until all of them are there
KEYED = (
    "models",
    "scores",
    "draws",
    "draw_scores",
)  # folders of files with a key: their content never changes
SECONDS = 5.0  # between two looks for finished files


def local_results(url: str) -> Path:
    """Return the local copy of a results folder elsewhere; nothing is made."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "fake-image-study" / "results" / digest("results", url.rstrip("/"))


class Mirror:
    """One study of a results folder elsewhere, and its local copy. Raises StoreError where the
    folder there cannot be reached.
    """

    def __init__(self, url: str, study: str) -> None:
        """Raises ConfigError for a URL that cannot be used. Asks nobody yet."""
        self.url, self.study = url.rstrip("/"), study
        self.results = local_results(url)
        self.folder = self.results / study
        self._remote = RemoteFolder(self.url)
        self._file = self.results / f".{study}.pushed.json"
        # path -> what it was there and here when both were the same
        self._seen: dict[str, list[object]] = self._read()

    def pull(self) -> int:
        """Fetch what this machine lacks and what changed there since it last looked; return how
        many files.

        A file that changed on both sides is taken from there; of trials, those that only this
        machine has are kept. What is gone there, or not what was pushed, is pushed by the next
        `push`. While a command of this machine writes the study nothing is
        fetched: what is here is then the newest.
        """
        with self._stored(), self._unless_written() as free:
            if not free:
                return 0
            there = {
                path: file
                for path, file in self._remote.files(self.study).items()
                if _is_kept(path)
            }
            self._forget(there)
            past = _past(there, scores=(*there, *self._finished()))
            self._seen |= {path: [_tag(there.pop(path))] for path in past}
            models = sorted(
                {path.rpartition("/")[0] for path in there if path.endswith(f"/{RECORD}")}
            )
            wanted = [path for path, file in there.items() if self._lacks(path, file)]
            absent = (folder for folder in models if not (self.results / folder).is_dir())
            whole = [folder for folder in absent if not self._is_aside(folder)]
            for folder in whole:
                files = {
                    path: file for path, file in there.items() if path.startswith(f"{folder}/")
                }
                with whole_folder(self.results / folder) as temporary:
                    for path, file in files.items():
                        fetch(file, temporary / path.removeprefix(f"{folder}/"))
                for path, file in files.items():
                    self._note(path, file)
            for path in wanted:
                self._take(path, there[path])
            self._write()
            for part in self.folder.rglob(f".*{PART_SUFFIX}"):  # of versions that are there no more
                part.unlink(missing_ok=True)
        return len(wanted) + len(whole)

    def push(self) -> int:
        """Write every finished file that is new or changed, and delete the parts of cells that are
        whole; return how many came.
        """
        with self._stored():
            finished = list(self._finished())
            changed = {*finished} - _past(finished, scores=self._seen)
            changed = {path for path in changed if self._seen.get(path, [])[1:] != self._here(path)}
            pushed = sum(self._push(path) for path in sorted(changed, key=_order))
            self._remove(_past(self._seen, scores=self._seen))
        return pushed

    def _push(self, path: str) -> bool:
        """Write one file, and say whether it was still here."""
        here = self._here(path)
        try:
            file = self._remote.put(self.results / path, path)
        except DataError:
            if (self.results / path).exists():
                raise
            return False  # a part, of a cell that is whole by now
        self._seen[path] = [_tag(file), *here]
        self._write()
        return True

    def _remove(self, past: Iterable[str]) -> None:
        """Delete files there. Where that may not be they lie there for ever, and nobody fetches
        them.
        """
        for path in sorted(past):
            with contextlib.suppress(DataError):
                self._remote.remove(path)
            del self._seen[path]
            self._write()

    @contextlib.contextmanager
    def _unless_written(self) -> Iterator[bool]:
        """Say whether no command of this machine writes the study, and keep others from it
        meanwhile.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a+") as file:
            yield try_lock(file)

    def _finished(self) -> Iterator[str]:
        """Give the paths, below the results, of all files of the study that another machine
        needs.
        """
        for place, folders, names in os.walk(self.folder):
            top = Path(place) == self.folder
            folders[:] = [name for name in folders if not (top and name in LOCAL_FOLDERS)]
            paths = (str((Path(place) / name).relative_to(self.results)) for name in names)
            yield from filter(_is_kept, paths)

    def _forget(self, there: Mapping[str, RemoteFile]) -> None:
        """Forget of what was pushed what is gone there, and what has a key and is another file
        there.
        """
        self._seen = {
            path: noted
            for path, noted in self._seen.items()
            if path in there and (path.split("/")[1] not in KEYED or noted[0] == _tag(there[path]))
        }

    def _take(self, path: str, file: RemoteFile) -> None:
        """Fetch one file; into a record of trials come those that only this machine has."""
        target = self.results / path
        if path.split("/")[1:] != [TRIALS] or not target.is_file():
            fetch(file, target)
            self._note(path, file)
            return
        with whole_file(target) as temporary:
            fetch(file, temporary)
            joined = _join_trials(target, temporary, name=f"{self.url}/{path}")
        self._seen[path] = [_tag(file)] if joined else [_tag(file), *self._here(path)]

    def _lacks(self, path: str, file: RemoteFile) -> bool:
        """Whether a file is to be fetched by itself. Files of models come with the whole folder;
        those with a key never change.
        """
        part = path.split("/")[1]
        if part == "models":
            return False
        if part in KEYED and ((self.results / path).is_file() or self._is_aside(path)):
            return False
        return not (self.results / path).is_file() or self._seen.get(path, [""])[0] != _tag(file)

    def _is_aside(self, path: str) -> bool:
        """Whether what was fetched was damaged: it is made anew here, and then pushed."""
        return any((self.folder / "damaged").glob(f"{Path(path).name}-*"))

    def _here(self, path: str) -> list[object]:
        """Size and time of last change, nothing of a file that is gone."""
        try:
            status = (self.results / path).stat()
        except FileNotFoundError:
            return []
        return [status.st_size, status.st_mtime_ns]

    def _note(self, path: str, file: RemoteFile) -> None:
        self._seen[path] = [_tag(file), *self._here(path)]

    def _read(self) -> dict[str, list[object]]:
        try:
            return dict(json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # nothing was ever pulled or pushed: what is there is taken
            return {}

    def _write(self) -> None:
        with whole_file(self._file) as temporary:
            temporary.write_text(json.dumps(self._seen), encoding="utf-8")

    @contextlib.contextmanager
    def _stored(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise StoreError(
                f"results at {error}; what this machine has is in '{self.folder}'"
            ) from None
        except OSError as error:
            raise StoreError(
                f"the copy of '{self.url}' in '{self.results}' cannot be written: {error.strerror}"
            ) from None


@contextlib.contextmanager
def pushing(mirror: Mirror, *, seconds: float = SECONDS) -> Iterator[None]:
    """While a command runs, push what it finishes; at its end, whatever that is, push the rest.

    Raises StoreError where that fails; a command that failed itself fails with its own error, and a
    warning.
    """
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(seconds):
            _push_or_warn(mirror)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        stop.set()
        thread.join()
        _push_or_warn(mirror)
        raise
    stop.set()
    thread.join()
    mirror.push()


def _push_or_warn(mirror: Mirror) -> None:
    try:
        mirror.push()
    except StoreError as error:
        LOG.warning(f"warning: {error}; it is pushed by the next command that reaches it")


def _is_kept(path: str) -> bool:
    """Whether a file is one that machines have in common: neither hidden, nor a machine's log, nor
    an epoch of a fit under way.
    """
    names = path.split("/")[1:]
    hidden = any(name.startswith(".") or name.endswith(UNDER_WAY) for name in names)
    return not hidden and names != [RUN_LOG] and names[0] not in LOCAL_FOLDERS


def _past(paths: Iterable[str], *, scores: Iterable[str]) -> set[str]:
    """Return which of some files are parts of cells that need them no more, for their scores are
    among others.
    """
    keys = {
        path.split("/")[2].partition(".")[0] for path in scores if path.split("/")[1] == "scores"
    }
    return {path for path in paths if path.split("/")[1] == "parts" and path.split("/")[2] in keys}


def _tag(file: RemoteFile) -> str:
    return f"{file.size} {file.tag}"


def _join_trials(here: Path, there: Path, *, name: str) -> bool:
    """Append to the record of trials `there` those that only the record `here` has; return whether
    there are any.

    name: of the record there, for a person. Raises StoreError for another schema.
    """
    tracebacks = here.parent / "failures"
    mine, _ = read_trials(here, tracebacks)
    theirs, _ = read_trials(there, tracebacks, name)
    known = {(trial.pairing, trial.number, trial.key) for trial, _ in theirs}
    only = [row for row in mine if (row[0].pairing, row[0].number, row[0].key) not in known]
    if only:
        write_trials(there, [*theirs, *only])
    return bool(only)


def _order(path: str) -> tuple[int, str]:
    """What a reader must find before something else goes first."""
    parts = path.split("/")
    if parts[1] == "models":
        return int(parts[-1] == RECORD), path
    return {"scores": 2, TRIALS: 3}.get(parts[1], 4), path
